"""Tracking: every promise of heedful/tracking/protocol.py, for every adapter."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from heedful.errors import Corrupt, InvalidInput, NotFound, Unavailable
from heedful.tracking.files import LINES, PICTURE, FilesTracking, read_curves
from heedful.tracking.protocol import Tracking

ADAPTERS: dict[str, Callable[[Path], Tracking]] = {"files": FilesTracking}


@pytest.fixture(params=ADAPTERS)
def tracking(request: pytest.FixtureRequest, tmp_path: Path) -> Tracking:
    return ADAPTERS[request.param](tmp_path)


def test_curves_come_back_as_they_were_logged(tracking: Tracking, tmp_path: Path) -> None:
    track = tracking.start("run-1", {"learning rate": 1e-4})
    track.log(0, {"loss": 0.1 + 0.2, "reward": -1})
    track.log(1, {"loss": 0.5})
    assert read_curves(tmp_path / "run-1") == {"loss": ((0, 0.1 + 0.2), (1, 0.5)), "reward": ((0, -1.0),)}


def test_values_that_are_not_numbers_any_more_come_back_too(tracking: Tracking, tmp_path: Path) -> None:
    track = tracking.start("run-1", {})
    track.log(0, {"loss": math.nan, "norm": math.inf, "ratio": -math.inf})
    curves = read_curves(tmp_path / "run-1")
    assert math.isnan(curves["loss"][0][1])
    assert (curves["norm"], curves["ratio"]) == (((0, math.inf),), ((0, -math.inf),))


def test_values_of_numpy_are_taken_and_words_are_refused(tracking: Tracking, tmp_path: Path) -> None:
    track = tracking.start("run-1", {})
    track.log(0, {"loss": np.float32(0.5), "tokens": np.int64(7)})
    assert read_curves(tmp_path / "run-1") == {"loss": ((0, 0.5),), "tokens": ((0, 7.0),)}
    for wrong in ("0.5", True, None, np.ones(2)):
        with pytest.raises(InvalidInput, match="loss at step 3"):
            track.log(3, {"loss": wrong})  # type: ignore[dict-item]
    with pytest.raises(InvalidInput, match="cannot name a metric"):
        track.log(3, {"": 1.0})


def test_a_resumed_run_goes_on_and_its_later_values_hold(tracking: Tracking, tmp_path: Path) -> None:
    first = tracking.start("run-1", {"seed": 1})
    for step in range(5):
        first.log(step, {"loss": 1.0})
    again = tracking.start("run-1", {"seed": 1})  # from the checkpoint at step 3
    again.log(3, {"loss": 0.5})
    again.log(6, {"loss": 0.25})
    expected = ((0, 1.0), (1, 1.0), (2, 1.0), (3, 0.5), (4, 1.0), (6, 0.25))
    assert read_curves(tmp_path / "run-1") == {"loss": expected}


LOG_UNTIL_KILLED = """
import sys
from pathlib import Path
from heedful.tracking.files import FilesTracking
track = FilesTracking(Path(sys.argv[1])).start("run-1", {})
for step in range(10**9):
    track.log(step, {"loss": 1 / (step + 1)})
    print(step, flush=True)
"""


def test_what_was_logged_survives_the_death_of_the_process(tracking: Tracking, tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOG_UNTIL_KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        steps = [int(writer.stdout.readline()) for _ in range(200)]
        writer.send_signal(signal.SIGKILL)
    tracking.start("run-1", {}).log(10**9, {"loss": 0.0})
    logged = dict(read_curves(tmp_path / "run-1")["loss"])
    assert {step: logged[step] for step in steps} == {step: 1 / (step + 1) for step in steps}
    assert logged[10**9] == 0.0


@pytest.mark.parametrize("cut", range(1, 36))
def test_a_torn_last_line_costs_only_itself(tmp_path: Path, cut: int) -> None:
    track = FilesTracking(tmp_path).start("run-1", {})
    track.log(0, {"loss": 1.0})
    track.log(1, {"loss": 0.5})
    lines = tmp_path / "run-1" / LINES
    lines.write_bytes(lines.read_bytes()[:-cut])
    assert read_curves(tmp_path / "run-1") == {"loss": ((0, 1.0),)}
    FilesTracking(tmp_path).start("run-1", {}).log(1, {"loss": 0.25})
    assert read_curves(tmp_path / "run-1") == {"loss": ((0, 1.0), (1, 0.25))}


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b'{"step": 1}', b'{"step": "x", "values": {"loss": 1}}', b"\xff"]
)
def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path, line: bytes) -> None:
    FilesTracking(tmp_path).start("run-1", {})
    lines = tmp_path / "run-1" / LINES
    lines.write_bytes(lines.read_bytes() + line + b"\n" + b'{"step": 2, "values": {"loss": 1}}\n')
    with pytest.raises(Corrupt, match=r"line 2 of .*run\.jsonl"):
        read_curves(tmp_path / "run-1")


def test_every_line_says_what_it_is(tmp_path: Path) -> None:
    weights = tmp_path / "adapter.safetensors"
    weights.write_bytes(b"")
    track = FilesTracking(tmp_path).start("run-1", {"base": tmp_path, "steps": 3})
    track.artifact(weights)
    track.finish("stopped by the brake")
    lines = [json.loads(line) for line in (tmp_path / "run-1" / LINES).read_text().splitlines()]
    assert lines == [
        {"params": {"base": str(tmp_path), "steps": 3}},
        {"artifact": str(weights)},
        {"outcome": "stopped by the brake"},
    ]
    assert not (tmp_path / "run-1" / PICTURE).exists()  # nothing was logged: nothing to draw


def test_an_artifact_that_does_not_exist_is_not_found(tracking: Tracking, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        tracking.start("run-1", {}).artifact(tmp_path / "nowhere")
    with pytest.raises(NotFound, match="no run was tracked"):
        read_curves(tmp_path / "run-2")


@pytest.mark.parametrize("run", ["", "..", ".hidden", "a/b", "a\\b", "a b", "ü", "x" * 129])
def test_a_name_that_could_leave_the_directory_is_refused(tracking: Tracking, run: str) -> None:
    with pytest.raises(InvalidInput, match="cannot name a run"):
        tracking.start(run, {})


def test_a_place_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable, match="file"):
        FilesTracking(tmp_path / "file").start("run-1", {})


def test_the_curves_of_a_finished_run_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    track = FilesTracking(tmp_path).start("run-1", {})
    for step in range(150):
        track.log(step, {"loss": 1 / (step + 1), "norm": math.nan if step == 70 else step})
    track.log(150, {"once": 1.0, "never": math.nan, "cost in $ per $x^": 1e300})
    track.finish()
    assert (tmp_path / "run-1" / PICTURE).read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_drawn_does_not_cost_the_run(tmp_path: Path) -> None:
    track = FilesTracking(tmp_path).start("run-1", {})
    track.log(0, {"loss": 1.0})
    (tmp_path / "run-1" / PICTURE).mkdir()
    track.finish()
    assert read_curves(tmp_path / "run-1") == {"loss": ((0, 1.0),)}


def test_the_running_mean_looks_only_back() -> None:
    """With width 2: 1 alone, then (1 + 3) / 2 and (3 + 8) / 2."""
    drawing = pytest.importorskip("heedful.tracking.drawing", exc_type=ImportError)
    assert drawing.running_mean([1.0, 3.0, 8.0], 2) == [1.0, 2.0, 5.5]
