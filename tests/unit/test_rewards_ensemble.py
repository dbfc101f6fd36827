"""Several judges as one: their mean, how far they are apart, and a fit that goes on where it was cut off."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heedful.errors import InvalidInput
from heedful.lm.load import save
from heedful.lm.records import write_records
from heedful.lm.tiny import TinyShape, make_tiny
from heedful.rewards import ensemble_fit, fit
from heedful.rewards.ensemble import Ensemble, load
from heedful.rewards.loading import load as load_any
from heedful.rewards.scale import Scale

PROMPTS = [f"where is {thing} number {number}" for thing in ("it", "she", "he") for number in range(20)]
GOOD, BAD = "it is on its way.", "go away."


class Says:
    """A judge of whom it is known what it says."""

    def __init__(self, objectives: tuple[str, ...] = ("quality",), **values: list[float]) -> None:
        self.objectives, self.scale, self._values = objectives, Scale(), values

    def score(
        self, prompts: Any, answers: Any, *, columns: Any = None
    ) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
        return {name: np.array(values) for name, values in self._values.items()}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ensemble")
    save(
        make_tiny([*PROMPTS, GOOD, BAD] * 3, shape=TinyShape(width=32, layers=2, heads=2, vocabulary=320)),
        root / "base",
    )
    write_records(
        root / "rows.jsonl", [{"prompt": prompt, "chosen": GOOD, "rejected": BAD} for prompt in PROMPTS]
    )
    return root


def order(place: Path, **other: Any) -> dict[str, Any]:
    known = {"model": str(place / "base"), "preferences": str(place / "rows.jsonl")}
    return known | {"models": 2, "epochs": 3, "batch": 8, "max_tokens": 8, "held_out": 0.2} | other


def silent(step: int, values: Mapping[str, float]) -> None:
    pass


def test_scores_are_the_mean_and_spread_is_how_far_they_are_apart() -> None:
    members = [
        Says(quality=[1.0, 4.0], violation=[0.2, 0.0]),
        Says(quality=[3.0, 4.0], violation=[0.4, 1.0], doubt=[1.0, 0.0]),
    ]
    told = Ensemble(members, Scale(mean=2.0, std=2.0)).score([[]] * 2, ["a", "b"])
    assert told["quality"].tolist() == [0.0, 1.0]
    assert told["spread"].tolist() == [pytest.approx(np.sqrt(2) / 2), 0.0]
    assert told["violation"].tolist() == [pytest.approx(0.3), 0.5]
    assert "doubt" not in told  # not every member has one


def test_what_is_no_ensemble_is_refused() -> None:
    with pytest.raises(InvalidInput, match="1 reward models are no ensemble"):
        Ensemble([Says()])
    with pytest.raises(InvalidInput, match="different objectives"):
        Ensemble([Says(), Says(("safety",))])


def test_members_differ_and_are_together_on_the_references_scale(place: Path, tmp_path: Path) -> None:
    reference = [{"prompt": prompt, "answer": answer} for prompt in PROMPTS[:20] for answer in (GOOD, BAD)]
    write_records(tmp_path / "reference.jsonl", reference)
    done = ensemble_fit.run(
        order(place, reference=str(tmp_path / "reference.jsonl")), tmp_path / "out", silent
    )
    assert done["stopped"] == "done"
    assert len(done["each"]) == 2
    assert done["report"]["quality"]["accuracy"] == 1.0
    assert not (tmp_path / "out" / "states").exists()
    judge = load_any(done["reward"])
    prompts = [[{"role": "user", "content": row["prompt"]}] for row in reference]
    told = judge.score(prompts, [row["answer"] for row in reference])
    assert told["quality"].mean() == pytest.approx(0.0, abs=1e-5)
    assert told["quality"].std() == pytest.approx(1.0, abs=1e-5)
    assert (told["spread"] > 0).all()


class CutOff(Exception):
    pass


def test_what_was_cut_off_goes_on_and_gives_the_same(place: Path, tmp_path: Path) -> None:
    whole = ensemble_fit.run(order(place), tmp_path / "whole", silent)

    def twice(step: int, values: Mapping[str, float]) -> None:
        if step >= 2:
            raise CutOff

    with pytest.raises(CutOff):
        ensemble_fit.run(order(place), tmp_path / "cut", twice)
    again = ensemble_fit.run(order(place), tmp_path / "cut", silent)
    prompts = [[{"role": "user", "content": prompt}] for prompt in PROMPTS[:8]]
    for name, values in load(again["reward"]).score(prompts, [GOOD] * 8).items():
        assert np.array_equal(values, load(whole["reward"]).score(prompts, [GOOD] * 8)[name]), name


def test_a_member_that_is_done_is_not_fitted_again(place: Path, tmp_path: Path) -> None:
    seen: list[Path] = []
    fitted = fit.run

    def counted(spec: dict[str, Any], work: Path, track: Any) -> dict[str, Any]:
        if len(seen) == 1 and not (tmp_path / "out" / "broken").exists():
            (tmp_path / "out" / "broken").touch()
            raise CutOff
        seen.append(work)
        done: dict[str, Any] = fitted(spec, work, track)
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "run", counted)
        with pytest.raises(CutOff):
            ensemble_fit.run(order(place), tmp_path / "out", silent)
        ensemble_fit.run(order(place), tmp_path / "out", silent)
    assert len(seen) == len(set(seen)) == 2


def test_other_settings_do_not_go_on_with_what_is_there(place: Path, tmp_path: Path) -> None:
    stopped = ensemble_fit.run(order(place, tokens=300), tmp_path, silent)
    assert stopped["stopped"] == "tokens"
    with pytest.raises(InvalidInput, match="other settings or other data"):
        ensemble_fit.run(order(place, epochs=4), tmp_path, silent)
    assert ensemble_fit.run(order(place), tmp_path, silent)["stopped"] == "done"


def test_what_cannot_be_is_refused(place: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not cross-validated"):
        ensemble_fit.run(order(place, folds=3), tmp_path, silent)
    with pytest.raises(InvalidInput, match="nothing to fit"):
        ensemble_fit.run({"model": str(place / "base")}, tmp_path, silent)
    (tmp_path / "reward.json").write_text('{"kind": "ensemble", "members": 2}')
    with pytest.raises(InvalidInput, match="tells of no ensemble"):
        load_any(tmp_path)
