"""What the journal holds and the store does not take waits for a person, and is not silently gone."""

from __future__ import annotations

import zlib
from pathlib import Path

from starlette.testclient import TestClient

from factories import make_turn
from heedful.domain.episode import Turn
from heedful.domain.feedback import DeadLetter
from heedful.domain.ids import TenantId
from heedful.service.api import build
from heedful.service.intake.recorder import Entry
from heedful.store.protocol import Batch
from parts import make_parts

from .conftest import QuietLoop, asked, local, released

TENANT = TenantId("default")


def left_behind(folder: Path, *lines: bytes) -> None:
    """A journal as a process leaves it that was killed."""
    (folder / "journal").mkdir()
    text = b"".join(b"%08x %s\n" % (zlib.crc32(line), line) for line in lines)
    (folder / "journal" / "000000000001.log").write_bytes(text)


def test_what_a_dead_process_left_is_stored_and_what_does_not_read_becomes_a_dead_letter(
    tmp_path: Path,
) -> None:
    turn = make_turn(id="left", tenant="default")
    left_behind(tmp_path, b'{"turns": "of another version"}', Entry(TENANT, (turn,), None).line())
    parts = make_parts(tmp_path)
    with local(build(parts, QuietLoop(parts))) as http:
        assert http.get("/v1/turns/left").status_code == 200
        (letter,) = parts.store.find(DeadLetter, TENANT)
    assert (letter.origin, letter.payload) == ("journal", '{"turns": "of another version"}')
    parts.store.close()


def test_an_answer_that_the_store_refuses_waits_and_its_neighbours_do_not(tmp_path: Path) -> None:
    parts = make_parts(tmp_path)
    taken = make_turn(id="taken", tenant="default", answer="first")
    other = make_turn(id="taken", tenant="default", answer="second")
    parts.store.commit(Batch(add=(taken,)))
    left_behind(
        tmp_path,
        Entry(TENANT, (other,), None).line(),
        Entry(TENANT, (make_turn(id="fine", tenant="default"),), None).line(),
    )
    with local(build(parts, QuietLoop(parts))) as http:
        assert http.get("/v1/turns/fine").status_code == 200
        (letter,) = parts.store.find(DeadLetter, TENANT)
        assert "taken" in letter.reason
        assert replayed(http, letter) == "error"
        parts.store.commit(Batch(drop=(taken,)))  # somebody made room for it
        assert replayed(http, letter) == "kept"
        assert parts.store.find(DeadLetter, TENANT) == []
        found = parts.store.get(Turn, TENANT, "taken")
        assert found is not None
        assert found.answer == "second"
    parts.store.close()


def replayed(http: TestClient, letter: DeadLetter) -> str:
    (result,) = http.post(f"/v1/deadletters/{letter.id}/replay", json={}).json()["results"]
    return str(result["status"])


def test_the_journal_is_empty_when_everything_is_stored(tmp_path: Path) -> None:
    parts = make_parts(tmp_path)
    with local(build(parts, QuietLoop(parts))) as http:
        released(http, "resolver", "echo")
        for _ in range(5):
            asked(http)
    parts.journal.close()
    assert list((tmp_path / "journal").glob("*.log")) == []
    parts.store.close()
