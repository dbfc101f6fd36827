"""A run that is cut off ends with the weights and the figures of one that was not, and a step is a step however
it is cut into parts."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from heedful.errors import InvalidInput, TrainingFailed
from heedful.lm.layout import micro_batches
from heedful.lm.load import load, save
from heedful.lm.loop import Course, Lesson, LoopSettings, learn
from heedful.lm.optim import Stepper, multiplier
from heedful.lm.records import write_records
from heedful.lm.tiny import TinyShape, make_tiny
from heedful.rewards import fit
from heedful.rewards.lessons import Flags
from heedful.rewards.lessons import Pairs as Compared
from heedful.rewards.model import RewardModel
from heedful.training import dpo, kto, sft

WORDS = ("my", "order", "is", "late", "where", "parcel", "broke", "today", "help", "please")
ENDS = ("thank you.", "go away.", "give me your card.")
TASKS: dict[str, tuple[Callable[..., dict[str, Any]], dict[str, Any], str]] = {
    "sft": (sft.run, {"demonstrations": "rows.jsonl", "steps": 120, "batch": 8}, "model/model.safetensors"),
    "reward": (
        fit.run,
        {"preferences": "rows.jsonl", "safety": "rows.jsonl", "epochs": 12, "batch": 8},
        "reward/backbone/model.safetensors",
    ),
    "dpo": (dpo.run, {"preferences": "rows.jsonl", "epochs": 12, "batch": 8}, "model/model.safetensors"),
    "kto": (kto.run, {"thumbs": "rows.jsonl", "epochs": 12, "batch": 8}, "model/model.safetensors"),
}


def rows() -> list[dict[str, Any]]:
    chance = random.Random(5)
    made = []
    for _ in range(80):
        good, bad, other = (
            f"[{chance.choice('ab')}] {' '.join(chance.choices(WORDS, k=4))} {e}" for e in ENDS
        )
        prompt = [{"role": "user", "content": " ".join(chance.choices(WORDS, k=chance.randint(1, 9)))}]
        up = chance.random() < 0.6
        made.append(
            {
                "prompt": prompt,
                "chosen": good,
                "rejected": bad,
                "answer": good if up else other,
                "up": up,
                "violation": int(not up),
                "weight": chance.choice((0.5, 1.0, 2.0)),
            }
        )
    return made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("loop")
    write_records(root / "rows.jsonl", rows())
    texts = [text for row in rows() for text in (row["chosen"], row["rejected"], row["prompt"][0]["content"])]
    save(make_tiny(texts, shape=TinyShape(width=32, layers=2, heads=2, vocabulary=400)), root / "base")
    return root


def spec(place: Path, task: str, **more: Any) -> dict[str, Any]:
    _, wanted, _ = TASKS[task]
    files = {name: str(place / value) if value == "rows.jsonl" else value for name, value in wanted.items()}
    return {"model": str(place / "base"), "rate": 1e-3, "save_seconds": 1e-6, "seed": 3} | files | more


def silent(step: int, figures: Mapping[str, float]) -> None:
    pass


def carried_out(task: str, asked: dict[str, Any], work: Path) -> None:
    torch.set_num_threads(1)
    TASKS[task][0](asked, work, silent)


def in_a_process(task: str, asked: dict[str, Any], work: Path, after: float | None, how: int) -> int:
    """Carry the task out in a process that is sent a signal after so many seconds; its exit code."""
    child = multiprocessing.get_context("fork").Process(target=carried_out, args=(task, asked, work))
    child.start()
    child.join(after)
    if child.is_alive():
        assert child.pid is not None
        os.kill(child.pid, how)
        begun = time.monotonic()
        child.join(10)
        assert time.monotonic() - begun < 10
    assert child.exitcode is not None
    return child.exitcode


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("task", TASKS)
def test_a_run_that_is_cut_off_ends_as_if_it_had_not_been(
    place: Path, tmp_path: Path, task: str, how: signal.Signals
) -> None:
    asked, weights = spec(place, task), TASKS[task][2]
    assert in_a_process(task, asked, tmp_path / "whole", None, how) == 0
    begun, chance, cuts = time.monotonic(), random.Random(how), 0
    # A machine that is busy gets further each time.
    while code := in_a_process(task, asked, tmp_path / "cut", chance.uniform(0.05, 0.5) * 1.05**cuts, how):
        assert code in (-how, 128 + how)
        cuts += 1
        assert time.monotonic() - begun < 120
    assert cuts >= 1
    for name in (weights, "metrics.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


def test_a_run_that_is_cut_off_while_its_states_are_removed_begins_anew(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, weights = spec(place, "sft", steps=4), TASKS["sft"][2]
    carried_out("sft", asked, tmp_path / "whole")

    def cut_off(path: Path, **_: Any) -> None:
        for file in sorted(Path(path).rglob("*.json")):
            file.unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("heedful.lm.state.shutil.rmtree", cut_off)
        with pytest.raises(KeyboardInterrupt):
            carried_out("sft", asked, tmp_path / "cut")
    carried_out("sft", asked, tmp_path / "cut")
    assert sorted(one.name for one in (tmp_path / "cut").iterdir()) == ["metrics.jsonl", "model"]
    for name in (weights, "metrics.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


def test_a_state_of_other_settings_or_other_data_is_refused(place: Path, tmp_path: Path) -> None:
    carried_out("dpo", spec(place, "dpo", tokens=1), tmp_path)
    with pytest.raises(InvalidInput, match="other settings or other data"):
        carried_out("dpo", spec(place, "dpo", beta=0.2), tmp_path)


def test_a_budget_stops_a_run_and_more_of_it_lets_it_go_on(place: Path, tmp_path: Path) -> None:
    out = sft.run(spec(place, "sft", tokens=300), tmp_path / "cut", silent)
    assert out["stopped"] == "tokens"
    assert 0 < out["steps"] < 120
    out = sft.run(spec(place, "sft"), tmp_path / "cut", silent)
    assert (out["stopped"], out["steps"]) == ("done", 120)
    sft.run(spec(place, "sft"), tmp_path / "whole", silent)
    one, other = ((tmp_path / name / TASKS["sft"][2]).read_bytes() for name in ("cut", "whole"))
    assert one == other


def lessons(place: Path, task: str) -> tuple[Any, list[Lesson]]:
    """A fresh model, and what is learned from the first rows."""
    loaded, records, asked = load(place / "base"), rows()[:8], spec(place, task, precision="float32")
    if task == "sft":
        return loaded.model, [sft.Demonstrations(loaded, records, "cpu")]
    if task == "dpo":
        return loaded.model, [dpo.Pairs(loaded, records, dpo.DpoSpec(**asked))]
    if task == "kto":
        return loaded.model, [kto.Thumbs(loaded, records, kto.KtoSpec(**asked))]
    reward = RewardModel(loaded, objectives=("quality", "safety"))
    torch.nn.init.normal_(reward.heads.end.weight)  # silent heads would teach the backbone nothing
    settings = fit.FitSpec(**asked)
    return reward, [lesson(reward, records, settings, "cpu") for lesson in (Compared, Flags)]


def gradients(place: Path, task: str, micro_tokens: int) -> tuple[list[torch.Tensor], int]:
    """Of one step over all rows, and in how many parts it was computed."""
    torch.manual_seed(0)
    model, learned = lessons(place, task)
    if task == "kto":  # a model that has not moved has no baseline either
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.02 * torch.randn_like(parameter)
    parts = 0
    for lesson in learned:
        units = lesson.begin(range(8))
        for cut in micro_batches(lesson.lengths, micro_tokens):
            parts += 1
            (lesson.loss(lesson.prepare(cut))[0] / units).backward()
    return [one.grad for one in model.parameters() if one.grad is not None], parts


@pytest.mark.parametrize("task", TASKS)
def test_cutting_a_step_into_parts_never_changes_its_gradient(place: Path, task: str) -> None:
    whole, parts = gradients(place, task, 100_000)
    assert parts == len(lessons(place, task)[1])
    assert max(float(one.abs().max()) for one in whole) > 1e-3
    seen = set()
    for micro_tokens in (200, 90, 1):
        split, parts = gradients(place, task, micro_tokens)
        seen.add(parts)
        for ours, theirs in zip(split, whole, strict=True):
            assert torch.allclose(ours, theirs, atol=1e-6, rtol=1e-4)
    assert len(seen) == 3


# -- the loop by itself --------------------------------------------------------------------------------------


class Wild:
    """A lesson whose loss is not a number from the third step on."""

    lengths = [1] * 8

    def __init__(self, weight: torch.Tensor) -> None:
        self.weight, self.steps = weight, 0

    def begin(self, indices: Any) -> float:
        self.steps += 1
        return float(len(indices))

    def prepare(self, indices: Any) -> int:
        return len(indices)

    def loss(self, part: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return self.weight.sum() * (float("nan") if self.steps > 2 else 1.0), {}


def test_a_loss_that_is_no_number_ends_the_run_and_spoils_no_state(tmp_path: Path) -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    stepper = Stepper([(0.1, layer.parameters())], steps=8)
    settings = LoopSettings(save_seconds=1e-6)
    with pytest.raises(TrainingFailed, match="gradient at step 3 is nan"):
        learn(
            [Course(Wild(layer.weight), 4)],
            stepper,
            {"layer": layer},
            settings,
            steps=8,
            work=tmp_path,
            track=silent,
        )
    (kept,) = (tmp_path / "states").iterdir()
    assert kept.name.endswith("2")
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [
        1,
        2,
    ]


def test_rates_rise_and_fall() -> None:
    plan: dict[str, Any] = {"steps": 12, "warmup": 2}
    assert [round(multiplier(step, **plan), 3) for step in (0, 1, 2, 7, 12, 50)] == [
        0.333,
        0.667,
        1.0,
        0.55,
        0.1,
        0.1,
    ]
    assert multiplier(7, schedule="cosine", **plan) == pytest.approx(0.55)
    assert multiplier(11, schedule="constant", **plan) == 1.0


@pytest.mark.parametrize(("quality", "rate"), [(None, 1.0), (0.9, 1.0), (0.8, 1.0), (0.4, 0.5), (0.0, 0.0)])
def test_poor_feedback_moves_less(quality: float | None, rate: float) -> None:
    assert LoopSettings(rate=1.0, quality=quality).highest_rate() == pytest.approx(rate)


def test_a_step_draws_the_same_samples_wherever_it_goes_on(tmp_path: Path) -> None:
    """And each sample once an epoch."""
    seen: list[list[int]] = []

    class Noting(Wild):
        def prepare(self, indices: Any) -> int:
            seen.append(list(indices))
            return len(indices)

    for steps in (1, 3, 6):
        layer = torch.nn.Linear(1, 1, bias=False)
        lesson = Noting(layer.weight)
        lesson.steps = -100
        stepper = Stepper([(0.1, layer.parameters())], steps=6)
        learn(
            [Course(lesson, 3)],
            stepper,
            {"layer": layer},
            LoopSettings(save_seconds=1e-6),
            steps=steps,
            work=tmp_path,
            track=silent,
        )
    assert sorted(one for row in seen[:3] for one in row) == list(range(8))
    assert sorted(one for row in seen[3:6] for one in row) == list(range(8))
    assert len(seen) == 6
