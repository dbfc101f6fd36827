"""Rows on disk: durable, in one place each, and no worse for a crash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from heedful.buffer.directory import DirectoryBuffer
from heedful.buffer.recent import RecentSettings
from heedful.errors import Corrupt

Row = dict[str, Any]


def pair(number: int, **rest: Any) -> Row:
    return {"prompt": [{"role": "user", "content": f"q {number}"}], "chosen": "a", "rejected": "b"} | rest


def opened(root: Path, **settings: float) -> DirectoryBuffer:
    return DirectoryBuffer(root, RecentSettings.model_validate({"fewest": 1} | settings))


def waiting(buffer: DirectoryBuffer) -> list[Row]:
    return [row for _, row in buffer.waiting()]


def test_rows_are_there_for_whoever_opens_the_directory_next(tmp_path: Path) -> None:
    assert opened(tmp_path).put([(1.0, pair(1)), (2.0, pair(2))]) == 2
    assert list(opened(tmp_path).waiting()) == [(1.0, pair(1)), (2.0, pair(2))]


def test_the_same_pair_counts_once_whatever_it_weighs_and_its_opposite_is_another(tmp_path: Path) -> None:
    buffer = opened(tmp_path)
    assert buffer.put([(1.0, pair(1, weight=1.0)), (2.0, pair(1, weight=5.0))]) == 1
    assert buffer.put([(3.0, pair(1)), (3.0, pair(1, chosen="b", rejected="a"))]) == 1
    assert waiting(buffer) == [pair(1, weight=1.0), pair(1, chosen="b", rejected="a")]


def test_beyond_the_most_the_oldest_leave_the_file_too(tmp_path: Path) -> None:
    buffer = opened(tmp_path, most=3)
    buffer.put((float(number), pair(number)) for number in range(5))
    assert waiting(buffer) == [pair(2), pair(3), pair(4)]
    assert (tmp_path / "waiting.jsonl").read_text().count("\n") == 3


@pytest.mark.parametrize("fate", ["taught", "quarantine"])
def test_what_moved_does_not_come_again(tmp_path: Path, fate: Any) -> None:
    buffer = opened(tmp_path)
    buffer.put((float(number), pair(number)) for number in range(4))
    for _ in range(2):  # as after a crash
        buffer.move([pair(1), pair(3)], fate, why="it fell")
    assert waiting(buffer) == [pair(0), pair(2)]
    assert buffer.went(fate) == [pair(1), pair(3)]
    assert buffer.put([(9.0, pair(1)), (9.0, pair(7))]) == 1
    record = json.loads((tmp_path / f"{fate}.jsonl").read_text().splitlines()[0])
    assert record == {"at": 1.0, "row": pair(1), "why": "it fell"}


def test_a_row_that_a_crash_left_in_two_places_counts_where_it_went(tmp_path: Path) -> None:
    buffer = opened(tmp_path)
    buffer.put([(1.0, pair(1)), (2.0, pair(2))])
    before = (tmp_path / "waiting.jsonl").read_bytes()
    buffer.move([pair(1)], "quarantine")
    (tmp_path / "waiting.jsonl").write_bytes(before)
    assert waiting(buffer) == [pair(2)]


def test_what_newer_rows_pushed_out_meanwhile_is_still_not_lost(tmp_path: Path) -> None:
    buffer = opened(tmp_path, most=2)
    buffer.put([(1.0, pair(1))])
    drawn = waiting(buffer)
    buffer.put([(2.0, pair(2)), (3.0, pair(3))])
    buffer.move(drawn, "quarantine")
    assert buffer.went("quarantine") == [pair(1)]
    assert waiting(buffer) == [pair(2), pair(3)]


def test_a_torn_last_line_is_dropped_and_the_next_row_stands_whole(tmp_path: Path) -> None:
    buffer = opened(tmp_path)
    buffer.put([(1.0, pair(1))])
    with (tmp_path / "waiting.jsonl").open("a") as file:
        file.write('{"at": 2.0, "row": {"pro')
    assert waiting(opened(tmp_path)) == [pair(1)]
    buffer.put([(3.0, pair(3))])
    assert waiting(opened(tmp_path)) == [pair(1), pair(3)]


def test_a_line_that_somebody_spoilt_is_named(tmp_path: Path) -> None:
    (tmp_path / "waiting.jsonl").write_text('{"at": 1.0, "row": {}}\n{"at": "soon"}\n')
    with pytest.raises(Corrupt, match=r"waiting.jsonl:2 is no row of a buffer"):
        waiting(opened(tmp_path))


def test_only_the_newest_of_what_has_taught_is_kept_and_all_of_the_quarantine(tmp_path: Path) -> None:
    buffer = opened(tmp_path, most=2)
    for number in range(4):
        for fate, prompt in (("taught", number), ("quarantine", number + 10)):
            buffer.put([(float(number), pair(prompt))])
            buffer.move([pair(prompt)], fate)  # type: ignore[arg-type]
    assert buffer.went("taught") == [pair(2), pair(3)]
    assert buffer.went("quarantine") == [pair(number + 10) for number in range(4)]
