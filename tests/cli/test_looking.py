"""status, show and why: what a person reads, and the same as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Heedful
from heedful.cli import Kind

SHOWN = {
    Kind.EPISODE: "ticket-1",
    Kind.TURN: "turn-1",
    Kind.FEEDBACK: "thumb-1",
    Kind.QUEUE: "pairs",
    Kind.ITEM: "item-1",
    Kind.VERDICT: "verdict-1",
    Kind.DATASET: "resolver-judged@1",
    Kind.REWARD: "reward:v1",
    Kind.POLICY: "resolver:v2",
    Kind.RUN: "run-fit",
    Kind.CYCLE: "cycle-1",
    Kind.RELEASE: "release-1",
}


def test_an_episode_of_two_agents_tells_who_spoke_to_whom(heedful: Heedful, story: Path) -> None:
    said = heedful("show", "episode", "ticket-1", "--dir", story)
    assert said.code == 0
    lines = said.out.splitlines()
    order = [
        next(place for place, line in enumerate(lines) if words in line)
        for words in ("customer-7 → triage", "triage → resolver", "resolver → user", "thumb up")
    ]
    assert order == sorted(order)
    # Each one stands further in than the one it answers.
    depth = [len(lines[place]) - len(lines[place].lstrip("│├└─ ")) for place in order]
    assert depth == sorted(set(depth))
    assert "policy resolver:v1" in said.out
    assert "“We refund you today.”" in said.out
    assert "2 agents: triage, resolver" in said.out


def test_what_people_wrote_cannot_steer_the_terminal(heedful: Heedful, story: Path) -> None:
    said = heedful("show", "episode", "ticket-1", "--full", "--dir", story)
    assert "never came" in said.out
    assert "\x1b" not in said.out


def test_an_episode_as_json_has_its_turns_and_its_feedback(heedful: Heedful, story: Path) -> None:
    said = heedful("show", "episode", "ticket-1", "--json", "--dir", story).json
    assert [(turn["agent"], turn["addressee"], turn["parent"]) for turn in said["turns"]] == [
        ("triage", "resolver", None),
        ("resolver", "user", "turn-1"),
    ]
    assert {one["id"] for one in said["feedback"]} == {"thumb-1", "done-1"}


@pytest.mark.parametrize(("kind", "id"), SHOWN.items())
def test_every_kind_has_a_page_and_json(heedful: Heedful, story: Path, kind: Kind, id: str) -> None:
    page = heedful("show", kind, id, "--dir", story)
    assert page.code == 0
    assert id in page.out
    said = heedful("show", kind, id, "--json", "--dir", story)
    assert said.code == 0
    assert id in json.dumps(said.json)


def test_a_turn_is_shown_with_what_was_said_about_it(heedful: Heedful, story: Path) -> None:
    said = heedful("show", "turn", "turn-2", "--json", "--dir", story).json
    assert [one["id"] for one in said["feedback"]] == ["thumb-1"]


def test_a_release_shows_its_steps_with_figures(heedful: Heedful, story: Path) -> None:
    said = heedful("show", "release", "release-1", "--dir", story)
    for words in ("canary, 50 %", "120", "advance", "difference 0.031"):
        assert words in said.out


def test_a_dataset_shows_its_rows_per_file(heedful: Heedful, story: Path) -> None:
    said = heedful("show", "dataset", "resolver-judged@1", "--dir", story)
    rows = {line.split()[0]: line.split()[1] for line in said.out.splitlines() if "preferences." in line}
    assert rows == {"preferences.train": "34", "preferences.holdout": "6"}


def test_without_an_id_the_newest_few_are_shown(heedful: Heedful, story: Path) -> None:
    said = heedful("show", "episode", "--limit", "3", "--json", "--dir", story).json
    assert [one["id"] for one in said] == ["pair-39", "pair-38", "pair-37"]
    assert "pair-39" in heedful("show", "episode", "--limit", "3", "--dir", story).out
    assert heedful("show", "alert", "--dir", story).out.strip() == "no alert yet"


def test_what_is_not_there_is_refused_in_one_line(heedful: Heedful, story: Path) -> None:
    said = heedful("show", "policy", "nobody:v9", "--dir", story)
    assert (said.code, said.out) == (1, "")
    assert said.err == "heedful: policy 'nobody:v9' is not known here\n"


def test_another_tenants_records_are_not_there(heedful: Heedful, story: Path) -> None:
    assert heedful("--tenant", "other", "show", "episode", "ticket-1", "--dir", story).code == 1


def groups(node: dict[str, Any], side: str) -> dict[str, dict[str, Any]]:
    return {group["kind"]: group for group in node[side]}


def test_why_a_policy_walks_back_to_people(heedful: Heedful, story: Path) -> None:
    back = groups(heedful("why", "policy", "resolver:v2", "--json", "--dir", story).json, "back")
    assert {"run", "reward_model", "dataset", "policy"} <= back.keys()
    reward = back["reward_model"]["examples"][0]
    data = groups(reward, "groups")["dataset"]["examples"][0]
    behind = groups(data, "groups")
    assert (behind["verdict"]["count"], behind["feedback"]["count"], behind["feedback"]["people"]) == (
        40,
        40,
        4,
    )
    assert len(behind["feedback"]["examples"]) == 3  # never all of them


def test_why_a_feedback_walks_forward_to_the_release(heedful: Heedful, story: Path) -> None:
    node = heedful("why", "feedback", "said-3", "--json", "--dir", story).json
    for kind, id in (
        ("verdict", "verdict-3"),
        ("dataset", "resolver-judged@1"),
        ("reward_model", "reward:v1"),
        ("policy", "resolver:v2"),
        ("release", "release-1"),
    ):
        node = groups(node, "forward" if "forward" in node else "groups")[kind]["examples"][0]
        assert node["id"] == id


def test_why_prints_one_page_with_both_directions(heedful: Heedful, story: Path) -> None:
    said = heedful("why", "feedback", "said-3", "--dir", story)
    assert "was made from" in said.out
    assert "release-1" in said.out
    back = heedful("why", "policy", "resolver:v2", "--dir", story)
    assert "40 × feedback by 4 people" in back.out
    assert "and 37 more" in back.out
    assert len(back.out.splitlines()) < 40


def test_why_finds_the_kind_when_the_id_is_enough(heedful: Heedful, story: Path) -> None:
    assert heedful("why", "said-3", "--json", "--dir", story).json["kind"] == "feedback"
    missing = heedful("why", "said-3000", "--dir", story)
    assert missing.code == 1
    assert "'said-3000'" in missing.err


def test_a_kind_may_be_said_as_the_page_prints_it(heedful: Heedful, story: Path) -> None:
    short = heedful("why", "reward", "reward:v1", "--json", "--dir", story)
    assert short.json == heedful("why", "reward_model", "reward:v1", "--json", "--dir", story).json


def test_why_of_a_cycle_leads_to_what_it_made(heedful: Heedful, story: Path) -> None:
    forward = groups(heedful("why", "cycle", "cycle-1", "--json", "--dir", story).json, "forward")
    assert forward["policy"]["examples"][0]["id"] == "resolver:v2"


def test_status_tells_what_is_live_and_that_no_server_runs(heedful: Heedful, story: Path) -> None:
    said = heedful("status", "--json", "--dir", story).json
    assert said["server"] == {"running": False}
    (agent,) = said["agents"]
    assert (agent["agent"], agent["live"]) == ("resolver", "resolver:v1")
    assert agent["release"] == {
        "id": "release-1",
        "policy": "resolver:v2",
        "stage": "canary",
        "percent": 50.0,
    }
    assert agent["cycle"]["stage"] == "releasing"
    assert said["records"]["feedback"] == 42
    page = heedful("status", "--dir", story).out
    assert "no server runs here" in page
    assert "resolver:v2 canary at 50 % (release-1)" in page
