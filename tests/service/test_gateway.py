"""An agent asks as it would ask OpenAI: the real client against the real server."""

from __future__ import annotations

import base64
import time
from dataclasses import replace
from typing import Any

import openai
import pytest
from fastapi import FastAPI
from openai import AsyncOpenAI, OpenAI
from starlette.testclient import TestClient

from heedful.domain.content import AudioPart, ImagePart, TextPart
from heedful.domain.episode import Episode, Turn
from heedful.domain.ids import TenantId
from heedful.domain.release import Release
from heedful.release.allocate import allocate, bucket
from heedful.road import Parts
from heedful.service.api import build
from heedful.store.protocol import Batch

from .conftest import QuietLoop, asked, local, released

TENANT = TenantId("default")
HI: list[Any] = [{"role": "user", "content": "Hi"}]


def turn_of(parts: Parts, id: str) -> Turn:
    """The turn, which is in the store some milliseconds after its answer left."""
    for _ in range(500):
        found = parts.store.get(Turn, TENANT, id)
        if found is not None:
            return found
        time.sleep(0.01)
    raise AssertionError(f"turn {id} never came to the store")


def client(address: str, **more: Any) -> OpenAI:
    return OpenAI(base_url=f"{address}/v1", api_key="none needed here", max_retries=0, **more)


def test_the_completions_id_is_a_turn_on_disk(served: str, resolver: str, parts: Parts) -> None:
    completion = client(served).chat.completions.create(model=resolver, messages=HI, temperature=0.3)
    turn = turn_of(parts, completion.id)
    assert completion.choices[0].message.content == turn.answer == "You said: Hi"
    assert (turn.policy, turn.agent, turn.config) == ("resolver@1", "resolver", "test")
    assert turn.sampling.temperature == 0.3
    assert turn.latency is not None
    assert turn.allocation == allocate(turn.policy, None, turn.episode)
    assert parts.store.get(Episode, TENANT, turn.episode) is not None


@pytest.mark.anyio
async def test_the_async_client_is_served_too(served: str, resolver: str) -> None:
    async with AsyncOpenAI(base_url=f"{served}/v1", api_key="x") as async_client:
        completion = await async_client.chat.completions.create(model=resolver, messages=HI)
    assert completion.choices[0].message.content == "You said: Hi"


def test_each_of_several_answers_is_a_turn(served: str, resolver: str, parts: Parts) -> None:
    completion = client(served).chat.completions.create(model=resolver, messages=HI, n=3)
    ids = [str((choice.model_extra or {})["turn"]) for choice in completion.choices]
    turns = [turn_of(parts, id) for id in ids]
    assert ids[0] == completion.id
    assert [turn.index for turn in turns] == [0, 1, 2]
    assert [turn.sibling_of for turn in turns] == [None, ids[0], ids[0]]
    assert len({turn.episode for turn in turns}) == 1


def test_a_stream_says_the_same_in_pieces(served: str, resolver: str, parts: Parts) -> None:
    stream = client(served).chat.completions.create(
        model=resolver, messages=HI, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == turn_of(parts, chunks[0].id).answer
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None


def test_usage_comes_only_when_asked_for(served: str, resolver: str) -> None:
    chunks = list(client(served).chat.completions.create(model=resolver, messages=HI, stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


def test_agents_are_models(served: str, resolver: str) -> None:
    models = client(served).models
    assert [model.id for model in models.list()] == [resolver]
    assert models.retrieve(resolver).owned_by == "heedful"
    with pytest.raises(openai.NotFoundError):
        models.retrieve("nobody")


def test_an_unknown_agent_is_named(served: str, resolver: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client(served).chat.completions.create(model="resolve", messages=HI)
    assert caught.value.param == "model"
    assert "there is resolver" in caught.value.message
    assert caught.value.response.headers["x-request-id"]


def test_headers_say_where_the_turn_belongs(http: TestClient, resolver: str, parts: Parts) -> None:
    first = asked(http, text="triage this")
    answer = http.post(
        "/v1/chat/completions",
        json={"model": resolver, "messages": HI},
        headers={
            "x-heedful-episode": "ticket-7",
            "x-heedful-user": "customer-1",
            "x-heedful-segment": "paying",
            "x-heedful-to": "user",
            "x-heedful-parent": first["id"],
            "x-heedful-agent-instance": "resolver-3",
            "x-heedful-product": "desk",
            "x-heedful-language": "en",
        },
    )
    turn = turn_of(parts, answer.headers["x-heedful-turn"])
    episode = parts.store.get(Episode, TENANT, "ticket-7")
    assert episode is not None
    assert (turn.episode, turn.addressee, turn.parent, turn.agent_instance) == (
        "ticket-7",
        "user",
        first["id"],
        "resolver-3",
    )
    assert (episode.user, episode.segment, episode.product, episode.language) == (
        "customer-1",
        "paying",
        "desk",
        "en",
    )
    assert answer.headers["x-heedful-episode"] == "ticket-7"
    assert answer.headers["x-heedful-policy"] == "resolver@1"


def test_the_metadata_or_the_address_say_it_as_well(http: TestClient, resolver: str, parts: Parts) -> None:
    one = asked(http, metadata={"heedful_episode": "ticket-8", "shift": "night"}, user="customer-2")
    body = {"model": "gpt-whatever", "messages": HI}
    two = http.post(f"/e/ticket-8/a/{resolver}/v1/chat/completions", json=body).json()
    assert turn_of(parts, one["id"]).metadata == {"shift": "night"}
    assert turn_of(parts, one["id"]).episode == turn_of(parts, two["id"]).episode == "ticket-8"
    episode = parts.store.get(Episode, TENANT, "ticket-8")
    assert episode is not None
    assert episode.user == "customer-2"


def test_what_the_agent_knew_is_kept(http: TestClient, resolver: str, parts: Parts) -> None:
    view = {"state": [0.5, 1], "actions": ["looked"], "progress": 0.25}
    world = {"environment": {"queue": 3}, "coordination": [["triage", "resolver"]], "safety": {"distance": 2}}
    turn = turn_of(parts, asked(http, heedful={"view": view, "world": world})["id"])
    assert turn.view is not None
    assert turn.world is not None
    assert (turn.view.state, turn.view.progress) == ((0.5, 1.0), 0.25)
    assert turn.world.coordination == (("triage", "resolver"),)
    assert turn.sampling.extra is None


@pytest.mark.parametrize(
    ("headers", "more", "field"),
    [
        ({"x-heedful-episode": "a b"}, {}, "x-heedful-episode"),
        ({"x-heedful-parent": "turn_nobody"}, {}, "heedful.parent"),
        ({}, {"metadata": {"heedful_user": "ä"}}, "metadata.heedful_user"),
        ({}, {"heedful": {"episod": "x"}}, "heedful.episod"),
        ({}, {"heedful": {"view": {"progress": 2}}}, "heedful.view.progress"),
    ],
)
def test_a_wrong_context_is_refused_by_its_field(
    http: TestClient,
    resolver: str,
    parts: Parts,
    headers: dict[str, str],
    more: dict[str, Any],
    field: str,
) -> None:
    body = {"model": resolver, "messages": HI, **more}
    answer = http.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code in {404, 422}
    assert answer.json()["error"]["param"] == field
    assert parts.store.find(Turn, TENANT) == []


def test_the_same_turn_sent_twice_gives_the_first_answer(
    http: TestClient, resolver: str, parts: Parts
) -> None:
    first = asked(http, n=2, heedful={"turn": "mine", "episode": "e"})
    again = asked(http, n=2, heedful={"turn": "mine", "episode": "e"})
    assert first == again
    assert turn_of(parts, "mine/1").sibling_of == "mine"
    assert len(parts.store.find(Turn, TENANT)) == 2
    other = {
        "model": resolver,
        "messages": [{"role": "user", "content": "else"}],
        "heedful": {"turn": "mine"},
    }
    refused = http.post("/v1/chat/completions", json=other)
    assert refused.status_code == 409
    assert refused.json()["error"]["param"] == "heedful.turn"


def test_an_episode_that_is_there_gets_more_turns(
    app: FastAPI, http: TestClient, resolver: str, parts: Parts
) -> None:
    assert http.post("/v1/episodes", json={"id": "ticket-9", "task_type": "refund"}).status_code == 201
    for _ in range(2):
        turn_of(parts, asked(http, heedful={"episode": "ticket-9"})["id"])
    episode = parts.store.get(Episode, TENANT, "ticket-9")
    assert episode is not None
    assert episode.task_type == "refund"
    assert len(parts.views.turns(TENANT, episode=episode.id)) == 2


def test_pictures_and_recordings_are_kept(http: TestClient, resolver: str, parts: Parts) -> None:
    data = base64.b64encode(b"bytes").decode()
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
        {"type": "image_url", "image_url": {"url": "https://shop.example/parcel.png"}},
        {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}},
    ]
    body = {"model": resolver, "messages": [{"role": "user", "content": content}]}
    turn = turn_of(parts, http.post("/v1/chat/completions", json=body).json()["id"])
    parts_of = turn.request[0].content
    assert isinstance(parts_of, tuple)
    text, inline, linked, audio = parts_of
    assert isinstance(text, TextPart)
    assert isinstance(inline, ImagePart)
    assert isinstance(linked, ImagePart)
    assert isinstance(audio, AudioPart)
    assert inline.digest is not None
    assert parts.blobs.get_bytes(inline.digest) == b"bytes"
    assert (inline.media_type, linked.url, audio.media_type) == (
        "image/png",
        "https://shop.example/parcel.png",
        "audio/wav",
    )


# -- releases -----------------------------------------------------------------------------------------------


def test_a_canary_answers_its_share_and_the_log_can_be_recomputed(
    http: TestClient, resolver: str, parts: Parts
) -> None:
    released(http, resolver, "shout", steps=[40, 100])
    release = parts.store.find(Release, TENANT, where={"stage": "canary"})[0]
    turns = [turn_of(parts, asked(http, heedful={"episode": f"e{n}"})["id"]) for n in range(60)]
    for turn in turns:
        allocation = turn.allocation
        assert allocation is not None
        canary = bucket(release.salt, turn.episode) < 0.4
        assert allocation.arm == ("canary" if canary else "control")
        assert turn.policy == ("resolver@2" if canary else "resolver@1")
        assert allocation.probability == pytest.approx(0.4 if canary else 0.6)
        assert turn.answer == ("WHERE IS MY PARCEL?" if canary else "You said: Where is my parcel?")
    assert len({turn.policy for turn in turns}) == 2


def test_a_release_by_user_keeps_each_user_on_one_side_and_its_cohorts_nest(
    app: FastAPI, http: TestClient, resolver: str, parts: Parts
) -> None:
    """A second gateway over the same store, and one after a restart, decide alike."""

    def sides(gateway: TestClient) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for n in range(60):
            user = f"u{n % 20}"
            body = {"model": resolver, "messages": HI}
            answer = gateway.post("/v1/chat/completions", json=body, headers={"x-heedful-user": user})
            found.setdefault(user, set()).add(answer.headers["x-heedful-policy"])
        return found

    released(http, resolver, "shout", steps=[30, 70, 100], unit="user")
    first = sides(http)
    assert all(len(policies) == 1 for policies in first.values())
    again = local(build(parts, QuietLoop(parts)))
    assert sides(again) == first
    (release,) = parts.store.find(Release, TENANT, where={"stage": "canary"})
    assert {user for user, found in first.items() if found == {"resolver@2"}} == {
        user for user in first if bucket(release.salt, user) < 0.3
    }
    parts.store.commit(Batch(swap=((release, replace(release, step=1)),)))
    app.state.fleet.refresh()
    wider = sides(http)
    canary = {user for user, found in first.items() if found == {"resolver@2"}}
    assert canary < {user for user, found in wider.items() if found == {"resolver@2"}}


def test_a_rollback_by_another_process_reaches_the_gateway_in_a_second(
    served: str, http: TestClient, resolver: str, app: FastAPI, parts: Parts
) -> None:
    from heedful import road

    released(http, resolver, "shout", steps=[99, 100])
    release = parts.store.find(Release, TENANT, where={"stage": "canary"})[0]

    def answers() -> set[str | None]:
        return {
            client(served).chat.completions.create(model=resolver, messages=HI).choices[0].message.content
            for _ in range(5)
        }

    assert "HI" in answers()
    road.roll_back(parts, TENANT, release.id, reason="test", actor="another process")
    time.sleep(1.0)
    assert answers() == {"You said: Hi"}


def test_a_rollback_over_http_is_seen_by_the_next_request(
    http: TestClient, resolver: str, parts: Parts
) -> None:
    released(http, resolver, "shout", steps=[99, 100])
    release = parts.store.find(Release, TENANT, where={"stage": "canary"})[0]
    assert http.post(f"/v1/releases/{release.id}/rollback", json={"reason": "test"}).status_code == 200
    assert {asked(http)["choices"][0]["message"]["content"] for _ in range(5)} == {
        "You said: Where is my parcel?"
    }
