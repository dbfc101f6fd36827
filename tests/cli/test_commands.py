"""init, doctor, audit, and how the command line says no."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli import _filled
from cli._filled import edit
from cli.conftest import Heedful
from heedful import running
from heedful.commands import doctor
from heedful.domain.clock import SetClock
from heedful.settings import load


def test_init_writes_a_file_that_reads_and_says_what_to_do_next(heedful: Heedful, tmp_path: Path) -> None:
    said = heedful("init", tmp_path / "new")
    assert said.code == 0
    assert "heedful up" in said.out
    text = (tmp_path / "new" / "heedful.yaml").read_text()
    assert "# releases:" in text
    load(tmp_path / "new", environment={})


def test_init_never_overwrites(heedful: Heedful, tmp_path: Path) -> None:
    (tmp_path / "heedful.yaml").write_text("seed: 7\n")
    said = heedful("init", tmp_path)
    assert said.code == 1
    assert "is there already" in said.err
    assert (tmp_path / "heedful.yaml").read_text() == "seed: 7\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("dance",),
        ("show", "nonsense", "x"),
        ("status", "--set", "server.prot=1"),
        ("status", "--set", "server.port"),
        ("show", "episode", "--limit", "0"),
        ("keys", "issue"),
        ("keys", "issue", "--scope", "owner"),
        ("why", "nonsense", "x"),
    ],
)
def test_wrong_use_is_two(heedful: Heedful, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    said = heedful(*arguments, "--dir", tmp_path)
    assert said.code == 2
    assert "Traceback" not in said.err


def test_a_misspelt_setting_names_the_right_one(heedful: Heedful, tmp_path: Path) -> None:
    said = heedful("status", "--set", "server.prot=1", "--dir", tmp_path)
    assert said.err == "heedful: there is no setting server.prot: did you mean server.port?\n"


def test_a_failure_is_one_line_and_with_debug_the_whole_story(heedful: Heedful, tmp_path: Path) -> None:
    said = heedful("status", "--dir", tmp_path)
    assert (said.code, len(said.err.splitlines())) == (1, 1)
    with pytest.raises(Exception, match="there is no database"):
        heedful("status", "--dir", tmp_path, "--debug")


def test_what_nobody_expected_is_one_line_too(heedful: Heedful, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = heedful("init", tmp_path / "file" / "below")
    assert (said.code, len(said.err.splitlines())) == (1, 1)
    assert "NotADirectoryError" in said.err


def test_global_options_may_stand_before_or_behind(heedful: Heedful, story: Path) -> None:
    before = heedful("--dir", story, "status", "--json")
    behind = heedful("status", "--json", f"--dir={story}")
    assert before.json == behind.json


def test_the_version_is_printed(heedful: Heedful) -> None:
    said = heedful("--version")
    assert said.code == 0
    assert said.out.strip().count(".") == 2


def test_a_reader_that_has_seen_enough_is_no_error_with_a_traceback(story: Path) -> None:
    command = [sys.executable, "-m", "heedful.cli", "show", "turn", "--limit", "80", "--full", "--json"]
    with subprocess.Popen(
        [*command, "--dir", story], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()


def test_an_interrupted_command_leaves_quietly(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from heedful import cli\n"
        "from heedful.commands import inspection\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a parent may have us ignore it
        "inspection.status = lambda *_: os.kill(os.getpid(), signal.SIGINT)\n"
        "cli.main(['status'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 128 + signal.SIGINT
    assert "Traceback" not in done.stderr


# -- doctor --------------------------------------------------------------------------------------------------


def test_doctor_finds_a_new_directory_well(heedful: Heedful, tmp_path: Path) -> None:
    said = heedful("doctor", "--json", "--dir", tmp_path)
    assert said.code == 0
    assert {check["name"] for check in said.json} >= {
        *("python", "torch", "cores", "sqlite", "data", "disk", "owner", "database", "keys"),
    }
    assert not (tmp_path / "heedful-data").exists()  # it changes nothing


def test_doctor_reads_what_is_stored(heedful: Heedful, story: Path) -> None:
    said = heedful("doctor", "--json", "--dir", story)
    checks = {check["name"]: check for check in said.json}
    assert said.code == 0
    assert checks["database"]["state"] == "ok"
    assert checks["clock"]["state"] == "ok"
    assert checks["audit"]["state"] == "warning"  # nothing was signed yet
    assert "audit checkpoint" in checks["audit"]["way_out"]


def test_doctor_fails_where_the_server_would_not_start(heedful: Heedful, story: Path) -> None:
    said = heedful("doctor", "--set", "server.host=0.0.0.0", "--dir", story)
    assert said.code == 1
    assert "heedful keys issue --scope admin" in said.out


@pytest.mark.parametrize(
    ("version", "state"),
    [
        ((3, 40, 1), "warning"),
        ((3, 44, 5), "warning"),
        ((3, 44, 6), "ok"),
        ((3, 45, 0), "warning"),
        ((3, 50, 6), "warning"),
        ((3, 50, 7), "ok"),
        ((3, 51, 2), "warning"),
        ((3, 51, 3), "ok"),
        ((3, 53, 0), "ok"),
    ],
)
def test_doctor_knows_which_sqlite_has_the_bug(version: tuple[int, int, int], state: str) -> None:
    assert doctor.sqlite(version, ours=True).state == state


def test_doctor_sees_a_clock_that_runs_behind(story: Path) -> None:
    settings = load(story, environment={})
    found = {
        check.name: check for check in doctor.checks(settings, SetClock(datetime(2020, 1, 1, tzinfo=UTC)))
    }
    assert found["clock"].state == "failed"


def test_doctor_names_who_owns_the_database(heedful: Heedful, directory: Path) -> None:
    with _filled.opened(directory / "heedful-data"):
        checks = {one["name"]: one for one in heedful("doctor", "--json", "--dir", directory).json}
    assert f"process {os.getpid()}" in checks["owner"]["said"]


def test_a_note_of_a_dead_server_is_ignored(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    (tmp_path / running.NOTE).write_text(json.dumps({"pid": child.pid, "url": "http://127.0.0.1:1"}))
    assert running.find(tmp_path) is None
    with running.announced(tmp_path, "http://127.0.0.1:2"):
        assert running.find(tmp_path) == running.Running(pid=os.getpid(), url="http://127.0.0.1:2")
    assert not (tmp_path / running.NOTE).exists()


# -- audit ---------------------------------------------------------------------------------------------------


def test_an_honest_log_is_intact_and_signed(heedful: Heedful, directory: Path) -> None:
    said = heedful("audit", "checkpoint", "--json", "--dir", directory)
    assert (said.code, said.json["size"]) == (0, 5)
    data = directory / "heedful-data"
    assert stat.S_IMODE((data / "audit.key").stat().st_mode) == 0o600
    assert len((data / "checkpoints.jsonl").read_text().splitlines()) == 1
    verified = heedful("audit", "verify", "--json", "--dir", directory)
    assert (verified.code, verified.json["intact"], verified.json["anchored"]) == (0, True, 5)


@pytest.mark.parametrize(
    ("statement", "outcome", "first"),
    [
        # one byte of one entry
        ("UPDATE audit_entry SET body = replace(body, 'loop', 'lo0p') WHERE \"index\" = 2", "changed", 2),
        ('DELETE FROM audit_entry WHERE "index" = 1', "missing", 1),
        ('DELETE FROM audit_entry WHERE "index" >= 3', "truncated", 3),
    ],
)
def test_verify_names_the_first_entry_that_is_not_as_it_was(
    heedful: Heedful, directory: Path, statement: str, outcome: str, first: int
) -> None:
    heedful("audit", "checkpoint", "--dir", directory)
    edit(directory, statement)
    said = heedful("audit", "verify", "--json", "--dir", directory)
    assert (said.code, said.json["outcome"], said.json["first"]) == (1, outcome, first)
    page = heedful("audit", "verify", "--dir", directory)
    assert page.code == 1
    assert str(first) in page.out


def test_one_changed_byte_of_the_file_is_found(heedful: Heedful, directory: Path) -> None:
    file = directory / "heedful-data" / "heedful.db"
    content = file.read_bytes()
    file.write_bytes(content.replace(b'"at":"2026-03-01T09:03:00Z"', b'"at":"2026-03-01T09:03:01Z"'))
    assert file.read_bytes() != content
    said = heedful("audit", "verify", "--json", "--dir", directory)
    assert (said.code, said.json["outcome"], said.json["first"]) == (1, "changed", 3)


def test_a_cut_tail_is_seen_even_before_the_first_checkpoint(heedful: Heedful, directory: Path) -> None:
    edit(directory, 'DELETE FROM audit_entry WHERE "index" = 4')
    said = heedful("audit", "verify", "--json", "--dir", directory)
    assert (said.code, said.json["outcome"], said.json["first"]) == (1, "truncated", 4)


def test_an_entry_rewritten_with_its_hash_is_seen(heedful: Heedful, directory: Path) -> None:
    from heedful.audit.merkle import leaf_hash

    body = b'{"verb":"nothing"}'
    with sqlite3.connect(directory / "heedful-data" / "heedful.db") as connection:
        connection.execute(
            'UPDATE audit_entry SET body = ?, leaf = ? WHERE "index" = 2', (body, leaf_hash(body))
        )
    said = heedful("audit", "verify", "--json", "--dir", directory)
    assert (said.code, said.json["outcome"]) == (1, "rewritten")


def test_a_damaged_log_is_not_signed(heedful: Heedful, directory: Path) -> None:
    edit(directory, "UPDATE audit_entry SET body = x'00' WHERE \"index\" = 0")
    said = heedful("audit", "checkpoint", "--dir", directory)
    assert said.code == 1
    assert "nothing was signed" in said.err
    assert not (directory / "heedful-data" / "checkpoints.jsonl").exists()
    doctored = heedful("doctor", "--json", "--dir", directory)
    assert doctored.code == 1


def test_a_checkpoint_that_somebody_wrote_himself_is_no_checkpoint(heedful: Heedful, directory: Path) -> None:
    heedful("audit", "checkpoint", "--dir", directory)
    file = directory / "heedful-data" / "checkpoints.jsonl"
    said = json.loads(file.read_text())
    file.write_text(json.dumps(said | {"signature": "00" * 32}) + "\n")
    verified = heedful("audit", "verify", "--json", "--dir", directory)
    assert (verified.code, verified.json["outcome"]) == (1, "forged")


def test_the_log_is_read_newest_first(heedful: Heedful, story: Path) -> None:
    said = heedful("audit", "log", "--limit", "2", "--json", "--dir", story).json
    assert [(act["index"], act["verb"]) for act in said] == [(4, "dataset.frozen"), (3, "dataset.frozen")]
    assert "dataset.frozen" in heedful("audit", "log", "--dir", story).out
