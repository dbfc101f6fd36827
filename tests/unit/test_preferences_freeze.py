"""Frozen datasets: the same rows are the same bytes, and no prompt is on both sides."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import make_message
from heedful.domain.preference import Label, Objective, Preference, Row, Shown, Split
from heedful.preferences.freeze import frozen, prompt_key, split_of
from heedful.store.codec import decode

WORDS = st.text(min_size=1, max_size=8)


def preference(id: str, prompt: str, chosen: str = "yes") -> Preference:
    return Preference(
        id=id,  # type: ignore[arg-type]
        objective=Objective.QUALITY,
        prompt=(make_message(prompt),),
        chosen=chosen,
        rejected="no",
        weight=1.0,
        feedback=(),
    )


def label(id: str, prompt: str) -> Label:
    return Label(
        id=id,  # type: ignore[arg-type]
        prompt=(make_message(prompt),),
        answer="a",
        violation=True,
        weight=1.0,
        feedback=(),
    )


def shown(id: str, prompt: str) -> Shown:
    return Shown(id=id, prompt=(make_message(prompt),), answer="a", weight=1.0, feedback=())  # type: ignore[arg-type]


ROWS = st.lists(
    st.builds(
        lambda make, id, prompt: make(id, prompt), st.sampled_from([preference, label, shown]), WORDS, WORDS
    ),
    max_size=12,
)


@given(ROWS, st.randoms(use_true_random=False))
def test_any_order_of_rows_and_any_repetition_gives_the_same_dataset(rows: list[Row], random: Random) -> None:
    once = frozen(rows, holdout=0.3)
    mixed = [*rows, *random.sample(rows, len(rows) // 2)]
    random.shuffle(mixed)
    again = frozen(mixed, holdout=0.3)
    assert (again.digest, again.files, again.rows) == (once.digest, once.files, once.rows)
    assert again.dropped == once.dropped + len(rows) // 2
    assert sum(once.rows.values()) + once.dropped == len(rows)


@given(ROWS)
def test_no_prompt_is_on_both_sides_whatever_the_kind_of_row(rows: list[Row]) -> None:
    sides: dict[str, set[str]] = {side: set() for side in Split}
    for name, content in frozen(rows, holdout=0.5).files.items():
        for line in content.splitlines():
            sides[name.rpartition(".")[2]].add(json.dumps(json.loads(line)["prompt"]))
    assert not sides["train"] & sides["holdout"]


def test_a_row_never_changes_sides_when_the_dataset_grows() -> None:
    first = frozen([preference(f"r{i}", f"p{i}") for i in range(50)], holdout=0.3)
    grown = frozen([preference(f"r{i}", f"p{i}") for i in range(100)], holdout=0.3)
    for name, content in first.files.items():
        assert set(content.splitlines()) <= set(grown.files[name].splitlines())


def test_the_share_that_is_held_out_is_the_share_that_was_asked_for() -> None:
    """10,000 prompts at 15 %: 1,500 within 3 sigma of 107."""
    held_out = sum(split_of((make_message(f"p{i}"),), holdout=0.15) is Split.HOLDOUT for i in range(10_000))
    assert abs(held_out - 1500) < 107


def test_prompts_are_told_apart_by_who_said_what() -> None:
    one = (make_message("a"), make_message("b"))
    assert prompt_key(one) == prompt_key((make_message("a"), make_message("b", name="ann")))
    assert len({prompt_key(one), prompt_key(one[::-1]), prompt_key((make_message("a\nb"),))}) == 3


def test_rows_come_back_as_they_were() -> None:
    rows = [preference("r1", "Wo ist mein Paket?\n\u2028"), preference("r2", "p", chosen='"\\')]
    files = frozen(rows, holdout=0.5).files
    back = [decode(Preference, line) for content in files.values() for line in content.split(b"\n") if line]
    assert sorted(back, key=lambda row: row.id) == rows


@pytest.mark.parametrize(
    "other",
    [preference("r1", "p", chosen="other"), preference("r2", "p"), preference("r1", "q")],
    ids=["answer", "id", "prompt"],
)
def test_whatever_differs_in_a_row_differs_in_the_digest(other: Preference) -> None:
    assert frozen([other], holdout=0.5).digest != frozen([preference("r1", "p")], holdout=0.5).digest
