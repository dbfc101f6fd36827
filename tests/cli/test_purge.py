"""Purging from the command line: counted first, then done, once."""

from __future__ import annotations

from pathlib import Path

from cli import _filled
from cli.conftest import Heedful
from heedful.domain.episode import Turn
from heedful.domain.feedback import Feedback
from heedful.domain.ids import TenantId

T = TenantId("default")
DAYS = ("--set", "capture.retention_days=30")


def test_nothing_is_due_where_nobody_said_for_how_long(heedful: Heedful, directory: Path) -> None:
    said = heedful("purge", "--dir", directory)
    assert said.code == 0
    assert "capture.retention_days" in said.out
    assert heedful("purge", "--json", "--dir", directory).json == {"before": None, "gone": {}, "bare": {}}


def test_looking_first_tells_what_a_purge_does_and_the_second_finds_nothing(
    heedful: Heedful, directory: Path
) -> None:
    looked = heedful("purge", "--dry-run", "--json", *DAYS, "--dir", directory).json
    done = heedful("purge", "--json", *DAYS, "--dir", directory).json
    assert {**looked, "before": None} == {**done, "before": None}
    assert done["gone"]["turn"] > 0
    assert done["bare"]["feedback"] == _filled.JUDGED
    assert "nothing removed" in heedful("purge", *DAYS, "--dir", directory).out
    with _filled.opened(directory / "heedful-data") as store:
        assert store.find(Turn, T) == []
        assert len(store.find(Feedback, T, limit=None)) == _filled.JUDGED
    verbs = {act["verb"] for act in heedful("audit", "log", "--json", "--dir", directory).json}
    assert "records.purged" in verbs
    assert heedful("audit", "verify", "--dir", directory).code == 0


def test_it_is_the_named_tenants_and_nobody_elses(heedful: Heedful, directory: Path) -> None:
    done = heedful("purge", "--tenant", "globex", "--json", *DAYS, "--dir", directory).json
    assert (done["gone"], done["bare"]) == ({}, {})
    with _filled.opened(directory / "heedful-data") as store:
        assert store.find(Turn, T) != []
