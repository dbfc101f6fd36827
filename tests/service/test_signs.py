"""A user who goes on after an answer says something about it, and nobody has to send it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from heedful.domain.feedback import Behaviour, Feedback, Source
from heedful.domain.ids import TenantId
from heedful.road import Parts

from .conftest import local

TENANT = TenantId("default")
ASKED = "How do I export my invoices as a spreadsheet?"


@pytest.fixture
def http(app: FastAPI) -> Any:
    with local(app) as client:
        yield client


def said(http: TestClient, agent: str, messages: list[tuple[str, str]], **headers: str) -> Any:
    body = {"model": agent, "messages": [{"role": role, "content": text} for role, text in messages]}
    answer = http.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def signs(parts: Parts, wanted: int) -> list[Feedback]:
    """Feedback of behaviour, which is there some milliseconds after the answer."""
    for _ in range(300):
        found = parts.store.find(Feedback, TENANT, where={"form": "behaviour"})
        if len(found) >= wanted:
            return found
        time.sleep(0.01)
    return found


def test_a_sign_is_feedback_on_the_answer_before(http: TestClient, resolver: str, parts: Parts) -> None:
    first = said(http, resolver, [("user", ASKED)], **{"x-heedful-episode": "e1", "x-heedful-user": "ada"})
    answer = first.json()["choices"][0]["message"]["content"]
    said(
        http,
        resolver,
        [("user", ASKED), ("assistant", answer), ("user", "Perfect, that worked, thank you so much!")],
        **{"x-heedful-episode": "e1", "x-heedful-user": "ada"},
    )
    (one,) = signs(parts, 1)
    assert isinstance(one.said, Behaviour)
    assert (one.said.kind, one.turn, one.episode, one.by) == ("thanks", first.json()["id"], "e1", "ada")
    assert (one.policy, one.source) == ("resolver@1", Source.BEHAVIOUR)
    assert 0 < one.confidence <= 1


def test_a_conversation_goes_on_in_its_episode_without_being_named(
    http: TestClient, resolver: str, parts: Parts
) -> None:
    first = said(http, resolver, [("user", ASKED)])
    answer = first.json()["choices"][0]["message"]["content"]
    talk = [("user", ASKED), ("assistant", answer), ("user", "No, that's wrong, I asked about invoices.")]
    second = said(http, resolver, talk)
    assert second.headers["x-heedful-episode"] == first.headers["x-heedful-episode"]
    (one,) = signs(parts, 1)
    assert isinstance(one.said, Behaviour)
    assert (one.said.kind, one.turn) == ("correction", first.json()["id"])
    turn = http.get(f"/v1/turns/{second.json()['id']}").json()
    assert turn["parent"] == first.json()["id"]


def test_a_sign_is_about_the_answer_before_also_when_the_next_one_says_the_same(
    http: TestClient, resolver: str, parts: Parts
) -> None:
    """`echo` says again what was said last: so does the conversation here."""
    wrong = "No, that's wrong, I asked about invoices."
    first = said(http, resolver, [("user", wrong)])
    answer = first.json()["choices"][0]["message"]["content"]
    second = said(http, resolver, [("user", wrong), ("assistant", answer), ("user", wrong)])
    assert second.json()["choices"][0]["message"]["content"] == answer
    (one,) = signs(parts, 1)
    assert one.turn == first.json()["id"]


def test_two_conversations_that_began_alike_are_not_taken_for_one(
    http: TestClient, resolver: str, parts: Parts
) -> None:
    ones, twos = (said(http, resolver, [("user", "Hi")]) for _ in range(2))
    answer = ones.json()["choices"][0]["message"]["content"]
    third = said(http, resolver, [("user", "Hi"), ("assistant", answer), ("user", "What is your name?")])
    episodes = {one.headers["x-heedful-episode"] for one in (ones, twos, third)}
    assert len(episodes) == 3


def test_first_messages_and_ordinary_questions_say_nothing(
    http: TestClient, resolver: str, parts: Parts
) -> None:
    first = said(http, resolver, [("user", ASKED)])
    answer = first.json()["choices"][0]["message"]["content"]
    said(
        http, resolver, [("user", ASKED), ("assistant", answer), ("user", "And where do I find my receipts?")]
    )
    time.sleep(0.3)
    assert signs(parts, 0) == []
