"""A sweep tries what it was told to, keeps the best, and goes on where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

pytest.importorskip("torch", reason="needs the extra `train`")

from heedful.cli import app
from heedful.commands import sweeping, teaching
from heedful.commands.sweeping import Goal, dial, drawn
from heedful.errors import InvalidInput, TrainingFailed
from heedful.lm.records import write_records


def silent(step: int, values: Mapping[str, float]) -> None:
    pass


@pytest.fixture
def demonstrations(tmp_path: Path) -> Path:
    rows = [{"prompt": f"question {n % 7}", "answer": f"answer {n % 7}"} for n in range(60)]
    write_records(tmp_path / "rows.jsonl", rows)
    return tmp_path / "rows.jsonl"


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("rate=1e-5..1e-3", (1e-5, 1e-4, 1e-3)),  # by its logarithm
        ("beta=0.1..0.5", (0.1, 0.3, 0.5)),
        ("steps=10..30", (10, 20, 30)),
        ("schedule=linear,cosine", ("linear", "cosine", "cosine")),
        ("clip=-2..2", (-2, 0, 2)),
    ],
)
def test_a_dial_goes_from_end_to_end(text: str, ends: tuple[Any, ...]) -> None:
    one = dial(text)
    assert [one.at(share) for share in (0.0, 0.5, 0.999999)] == list(ends)


@pytest.mark.parametrize(
    "text", ["rate", "=1", "rate=", "rate=3..1", "rate=a..b", "rate=1..2..3", "rate=0..inf"]
)
def test_a_dial_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"LOW\.\.HIGH|range"):
        dial(text)


def test_few_trials_reach_into_every_part_of_a_range() -> None:
    values = [one["rate"] for one in drawn([dial("rate=0.0..1.0"), dial("beta=0.0..1.0")], 10, seed=3)]
    assert sorted(int(value * 10) for value in values) == list(range(10))
    assert drawn([dial("rate=0.0..1.0")], 4, seed=1) == drawn([dial("rate=0.0..1.0")], 4, seed=1)


def test_from_the_command_to_the_best_model(demonstrations: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = [
        "sweep",
        "sft",
        str(demonstrations),
        "--vary",
        "rate=1e-4..1e-2",
        "--trials",
        "3",
        "--out",
        str(out),
    ]
    asked += [
        "-o",
        "steps=3",
        "-o",
        "held_out=0.2",
        "-o",
        "tiny={width: 16, layers: 1, heads: 2, vocabulary: 300}",
    ]
    said = CliRunner().invoke(app, [*asked, "--json"])
    assert said.exit_code == 0, said.output
    found = json.loads(said.stdout)
    figures = [trial["figure"] for trial in found["trials"]]
    assert len(figures) == 3
    assert found["best"]["figure"] == min(figures)
    assert (Path(found["model"]) / "model" / "model.safetensors").is_file()
    assert [one.name for one in out.iterdir() if one.is_dir()] == [Path(found["model"]).name]
    best = yaml.safe_load((out / "best.yaml").read_text())
    assert best["rate"] == found["best"]["values"]["rate"]
    again = CliRunner().invoke(app, [*asked, "--json"])
    assert json.loads(again.stdout) == found  # nothing was done twice
    other = CliRunner().invoke(app, [*asked, "--seed", "1"])
    assert other.exit_code != 0
    assert "another sweep" in str(other.exception)


def test_one_that_diverges_is_a_result_and_one_that_was_cut_off_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[float, bool]] = []

    def run(name: str, spec: dict[str, Any], out: Path, track: Any, *, resume: bool) -> dict[str, Any]:
        asked.append((spec["rate"], resume))
        if len(asked) == 1:
            raise TrainingFailed("the loss is not a number")
        if len(asked) == 3:
            (out / "states").mkdir(parents=True)
            return {"stopped": "seconds"}
        out.mkdir(parents=True, exist_ok=True)
        return {"stopped": "done", "loss": spec["rate"]}

    monkeypatch.setattr(teaching, "run", run)
    monkeypatch.setattr(teaching, "check", lambda name, spec: None)

    def sweep() -> sweeping.Sweep:
        return sweeping.run(
            "sft",
            {},
            [dial("rate=1..2")],
            tmp_path / "out",
            silent,
            goal=Goal("loss", highest=False),
            trials=4,
            seconds=None,
            seed=0,
        )

    first = sweep()
    assert [trial.why is None for trial in first.trials] == [False, True]
    second = sweep()
    assert [trial.number for trial in second.trials] == [0, 1, 2, 3]
    assert asked[2][0] == asked[3][0]
    assert second.best is not None
    assert second.best.figure == min(trial.figure for trial in second.trials if trial.figure is not None)


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ([], "nothing to vary"),
        (["rat=1..2"], "SftSpec has"),
        (["rate=-1..1"], "rate: input should be greater than 0"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_runs(
    demonstrations: Path, tmp_path: Path, vary: list[str], said: str
) -> None:
    dials = [part for one in vary for part in ("--vary", one)]
    asked = ["sweep", "sft", str(demonstrations), *dials, "--out", str(tmp_path / "out")]
    answer = CliRunner().invoke(app, asked)
    assert answer.exit_code != 0
    assert said in " ".join(answer.output.split()) or said in str(answer.exception)


def test_a_metric_that_is_none_names_what_there_is(demonstrations: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no 'report.accuracy': at 'report' it has loss, steps"):
        Goal("report.accuracy", highest=True).of({"loss": 1.0, "steps": 2})
    with pytest.raises(InvalidInput, match="a metric is a number"):
        Goal("model", highest=True).of({"model": "here"})
