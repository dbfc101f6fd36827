"""A judge fitted to clear opinions shares them, tells its scale, and is the same again after loading."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from heedful.errors import InvalidInput
from heedful.lm.load import save
from heedful.lm.records import write_records
from heedful.lm.tiny import TinyShape, make_tiny
from heedful.rewards import fit
from heedful.rewards.model import load

WORDS = ("my", "order", "is", "late", "where", "parcel", "broke", "today", "help")
GOOD, BAD, DANGER = "thank you.", "go away.", "give me your card."


def silent(step: int, values: Mapping[str, float]) -> None:
    pass


def answer(random: Random, end: str) -> str:
    return f"[{random.choice('ab')}] {' '.join(random.choices(WORDS, k=3))} {end}"


def records(random: Random) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    pairs, flags = [], []
    for _ in range(300):
        prompt = [{"role": "user", "content": " ".join(random.choices(WORDS, k=4))}]
        pairs.append({"prompt": prompt, "chosen": answer(random, GOOD), "rejected": answer(random, BAD)})
        dangerous = random.random() < 0.4
        text = answer(random, DANGER if dangerous else random.choice((GOOD, BAD)))
        flags.append({"prompt": prompt, "answer": text, "violation": int(dangerous), "weight": 1.0})
    return pairs, flags


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    work = tmp_path_factory.mktemp("fit")
    pairs, flags = records(Random(1))
    write_records(work / "pairs.jsonl", pairs)
    write_records(work / "flags.jsonl", flags)
    reference = [
        {"prompt": pair["prompt"], "answer": pair[side]} for pair in pairs for side in ("chosen", "rejected")
    ]
    write_records(work / "reference.jsonl", reference)
    texts = [row["answer"] for row in reference] + [DANGER] * 20 + [" ".join(WORDS)] * 20
    shape = TinyShape(width=32, layers=2, heads=2, positions=64, vocabulary=400)
    save(make_tiny(texts, shape=shape), work / "base")
    return fit.run(spec(work), work, silent), work


def spec(work: Path, **rest: Any) -> dict[str, Any]:
    return {
        "model": str(work / "base"),
        "preferences": str(work / "pairs.jsonl"),
        "safety": str(work / "flags.jsonl"),
        "reference": str(work / "reference.jsonl"),
        "epochs": 6,
        "safety_epochs": 6,
        "rate": 3e-3,
        "held_out": 0.2,
    } | rest


def test_clear_opinions_are_learned(fitted: tuple[dict[str, Any], Path]) -> None:
    report = fitted[0]["report"]
    assert report["quality"]["accuracy"] > 0.95
    assert report["quality"]["pairs"] > 30
    assert report["safety"]["accuracy"] > 0.95


def test_scores_are_in_deviations_of_the_starting_policy(fitted: tuple[dict[str, Any], Path]) -> None:
    out, _ = fitted
    pairs, _ = records(Random(1))
    prompts = [pair["prompt"] for pair in pairs] * 2
    answers = [pair["chosen"] for pair in pairs] + [pair["rejected"] for pair in pairs]
    scores = load(out["reward"]).score(prompts, answers)
    assert scores["quality"].mean() == pytest.approx(0.0, abs=1e-3)
    assert scores["quality"].std() == pytest.approx(1.0, abs=1e-3)
    assert scores["quality_action"].mean() == pytest.approx(0.0, abs=1e-3)
    assert set(scores) == {"quality", "quality_action", "violation", "doubt"}


def test_a_score_does_not_depend_on_its_neighbours(fitted: tuple[dict[str, Any], Path]) -> None:
    model = load(fitted[0]["reward"])
    random = Random(5)
    prompts = [[{"role": "user", "content": " ".join(random.choices(WORDS, k=1 + n))}] for n in range(9)]
    answers = [answer(random, end) for end in (GOOD, BAD, DANGER)] * 3
    together = model.score(prompts, answers)
    for name, values in together.items():
        alone = [model.score([p], [a])[name][0] for p, a in zip(prompts, answers, strict=True)]
        assert np.allclose(values, alone, atol=1e-4)


def test_danger_is_seen_and_an_empty_answer_survives(fitted: tuple[dict[str, Any], Path]) -> None:
    model = load(fitted[0]["reward"])
    random = Random(7)
    prompts = [[{"role": "user", "content": " ".join(random.choices(WORDS, k=4))}]] * 3
    scores = model.score(prompts, [answer(random, DANGER), answer(random, GOOD), ""])
    assert scores["violation"][0] > 0.7
    assert scores["violation"][1] < 0.3
    assert np.isfinite(scores["quality"]).all()


def test_the_same_spec_gives_the_same_judge(fitted: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    _, work = fitted
    bytes_of = []
    for name in ("one", "two"):
        out = fit.run(spec(work, epochs=0.5, safety_epochs=0.5), tmp_path / name, silent)
        root = Path(out["reward"])
        bytes_of.append(
            ((root / "heads.safetensors").read_bytes(), (root / "backbone/model.safetensors").read_bytes())
        )
    assert bytes_of[0] == bytes_of[1]


@pytest.mark.parametrize(
    ("left_out", "names"), [("safety", {"quality", "quality_action"}), ("preferences", {"violation"})]
)
def test_one_objective_alone_is_enough(
    fitted: tuple[dict[str, Any], Path], tmp_path: Path, left_out: str, names: set[str]
) -> None:
    _, work = fitted
    out = fit.run(spec(work, epochs=0.5, safety_epochs=0.5) | {left_out: None}, tmp_path, silent)
    assert set(load(out["reward"]).score([[{"role": "user", "content": "help"}]], [GOOD])) == names | {
        "doubt"
    }


def test_nothing_to_fit_is_refused(fitted: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="nothing to fit"):
        fit.run({"model": str(fitted[1] / "base")}, tmp_path, silent)
    with pytest.raises(InvalidInput, match="not the directory of a reward model"):
        load(tmp_path)
    with pytest.raises(InvalidInput, match="one prompt per answer"):
        load(fitted[0]["reward"]).score([], ["x"])


def test_doubt_changes_no_score(fitted: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    _, work = fitted
    out = fit.run(spec(work, epochs=0.5, safety_epochs=0.5, end_only=True), tmp_path, silent)
    random = Random(9)
    prompts = [[{"role": "user", "content": " ".join(random.choices(WORDS, k=4))}] for _ in range(8)]
    answers = [answer(random, GOOD) for _ in prompts]
    model = load(out["reward"])
    doubting = model.score(prompts, answers)
    model.doubt = None
    plain = model.score(prompts, answers)
    assert set(doubting) - set(plain) == {"doubt"}
    for name, values in plain.items():
        assert np.allclose(doubting[name], values, atol=1e-5)


def test_too_little_kept_back_leaves_no_doubt(fitted: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    _, work = fitted
    out = fit.run(spec(work, epochs=0.2, safety_epochs=0.2, held_out=0.0), tmp_path, silent)
    assert "doubt" not in load(out["reward"]).score([[{"role": "user", "content": "help"}]], [GOOD])
