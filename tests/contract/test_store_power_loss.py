"""What SQLite promises about power, held against a disk that loses it: `bench/power_loss.py` in short."""

from __future__ import annotations

from random import Random

import pytest

from _disk import Cut, Disk, Event, Made, Removed, Synced, Written
from power_loss import CONTROLS, control, torment


def test_nothing_acknowledged_is_lost_and_no_batch_is_halved_when_the_power_fails() -> None:
    tally = torment(24, seed=1, per_life=8)
    assert tally.checkpoints > 3
    assert tally.acknowledged > 100
    assert (tally.images, tally.lost, tally.torn_batches, tally.troubles) == (240, 0, 0, {})


@pytest.mark.parametrize("name", CONTROLS)
def test_without_syncs_the_same_trial_sees_the_loss(name: str) -> None:
    assert control(name, 4, seed=1).lost > 0


def test_of_what_was_not_synced_any_part_may_be_missing() -> None:
    """One file of two sectors: the first is synced, then both are written again."""
    old, new = bytes(1024), b"x" * 1024
    events: list[Event] = [Made("a", 0), Written(0, 0, old), Synced(0, True), Written(0, 0, new)]
    disk, random = Disk({}, events), Random(0)
    disk.advance(4)
    assert disk.after_power_loss("none", random) == {"a": old}
    assert disk.after_power_loss("all", random) == {"a": new}
    seen = {disk.after_power_loss("torn", random)["a"] for _ in range(200)}
    half = old[:512]
    assert {half + new[512:], new[:512] + half} <= seen


def test_a_name_is_certain_only_with_its_directory() -> None:
    """File 0 was there before, file 1 is made and removed."""
    events: list[Event] = [
        Made("a", 1),
        Written(1, 0, b"one"),
        Synced(1, False),
        Synced(1, True),
        Removed("a", False),
    ]
    disk, random = Disk({"b": b"two"}, events), Random(0)
    disk.advance(3)
    assert disk.after_power_loss("none", random) == {"b": b"two"}
    disk.advance(4)
    assert disk.after_power_loss("none", random) == {"a": b"one", "b": b"two"}
    disk.advance(5)
    found = [disk.after_power_loss("some", random) for _ in range(50)]
    assert {"b": b"two"} in found
    assert {"a": b"one", "b": b"two"} in found


def test_a_cut_that_was_not_synced_may_not_have_happened() -> None:
    disk, random = Disk({"a": b"abcdef"}, [Cut(0, 2), Synced(0, False)]), Random(0)
    disk.advance(1)
    assert disk.after_power_loss("none", random) == {"a": b"abcdef"}
    disk.advance(2)
    assert disk.after_power_loss("none", random) == {"a": b"ab"}
