"""Ties, margins, rankings, members, groups and folds: each changes what it should, and bad ones are refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from heedful.errors import InvalidInput
from heedful.lm import columns
from heedful.lm.load import load as load_model
from heedful.lm.load import save
from heedful.lm.records import write_records
from heedful.lm.tiny import TinyShape, make_tiny
from heedful.rewards import fit
from heedful.rewards.fit import FitSpec
from heedful.rewards.lessons import Flags, Pairs, Rankings, counted
from heedful.rewards.model import RewardModel, load

WORDS = ("my", "order", "is", "late", "where", "parcel", "broke", "today", "help")
ENDS = ("thank you.", "as you like.", "go away.")  # from good to bad


def silent(step: int, values: Mapping[str, float]) -> None:
    pass


def prompt(random: Random) -> list[dict[str, str]]:
    return [{"role": "user", "content": " ".join(random.choices(WORDS, k=5))}]


def answer(random: Random, end: str) -> str:
    return f"[{random.choice('ab')}] {' '.join(random.choices(WORDS, k=3))} {end}"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    work = tmp_path_factory.mktemp("kinds")
    random = Random(0)
    texts = [answer(random, end) for end in ENDS for _ in range(40)] + [" ".join(WORDS)] * 20
    save(make_tiny(texts, shape=TinyShape(width=32, layers=2, heads=2, vocabulary=400)), work / "base")
    return str(work / "base")


def fitted(base: str, work: Path, rows: Sequence[Mapping[str, Any]], **other: Any) -> dict[str, Any]:
    write_records(work / "rows.jsonl", rows)
    order = {"model": base, "epochs": 6, "rate": 3e-3, "preferences": str(work / "rows.jsonl")}
    return fit.run(order | other, work, silent)


def gap(model: RewardModel, one: str, other: str, **columns: str) -> float:
    """How much better an answer with the one end is than one with the other, on average."""
    random = Random(9)
    prompts = [prompt(random) for _ in range(40)]
    known = {name: [value] * 40 for name, value in columns.items()} or None
    a, b = (
        model.score(prompts, [answer(Random(n), end) for n in range(40)], columns=known)["quality"]
        for end in (one, other)
    )
    return float((a - b).mean())


def pairs(random: Random, better: str, worse: str, count: int, **rest: Any) -> list[dict[str, Any]]:
    return [
        {"prompt": prompt(random), "chosen": answer(random, better), "rejected": answer(random, worse)} | rest
        for _ in range(count)
    ]


def test_ties_draw_together_what_nothing_tells_apart(base: str, tmp_path: Path) -> None:
    random = Random(1)
    rows = pairs(random, ENDS[0], ENDS[2], 120) + pairs(random, ENDS[0], ENDS[1], 120, tie=True)
    model = load(fitted(base, tmp_path, rows)["reward"])
    assert abs(gap(model, ENDS[0], ENDS[1])) < 0.3 * gap(model, ENDS[0], ENDS[2])


def test_rankings_teach_the_whole_order(base: str, tmp_path: Path) -> None:
    random = Random(2)
    rows = [{"prompt": prompt(random), "ranking": [answer(random, end) for end in ENDS]} for _ in range(150)]
    write_records(tmp_path / "rankings.jsonl", rows)
    order = {"model": base, "epochs": 8, "rate": 3e-3, "rankings": str(tmp_path / "rankings.jsonl")}
    done = fit.run(order, tmp_path, silent)
    assert done["report"]["quality"]["accuracy"] > 0.9
    model = load(done["reward"])
    assert gap(model, ENDS[0], ENDS[1]) > 0
    assert gap(model, ENDS[1], ENDS[2]) > 0


def test_a_group_that_wants_the_opposite_is_heard_where_it_is_named(base: str, tmp_path: Path) -> None:
    random = Random(3)
    rows = pairs(random, ENDS[0], ENDS[2], 200) + pairs(random, ENDS[2], ENDS[0], 60, segment="odd")
    rows += pairs(random, ENDS[0], ENDS[2], 60, segment="even")
    model = load(fitted(base, tmp_path, rows, noise=0.0)["reward"])
    shared = gap(model, ENDS[0], ENDS[2])
    assert shared > 0
    assert gap(model, ENDS[0], ENDS[2], segment="odd") < 0.5 * shared
    assert gap(model, ENDS[0], ENDS[2], segment="unheard of") == pytest.approx(shared)


def test_members_have_a_spread_and_their_mean_is_the_score(base: str, tmp_path: Path) -> None:
    rows = pairs(Random(4), ENDS[0], ENDS[2], 120)
    model = load(fitted(base, tmp_path, rows, members=3)["reward"])
    asked = ([prompt(Random(5))] * 2, [answer(Random(6), end) for end in (ENDS[0], ENDS[2])])
    scores = model.score(*asked)
    each_am = model.each(*asked)
    assert each_am.shape == (2, 3)
    assert np.allclose(scores["quality"], (each_am.mean(1) - model.scale.mean) / model.scale.std, atol=1e-5)
    assert (scores["spread"] > 0).all()
    (tmp_path / "single").mkdir()
    assert "spread" not in load(fitted(base, tmp_path / "single", rows)["reward"]).score(*asked)


def test_folds_judge_every_prompt_once_and_go_on_where_they_were_cut_off(base: str, tmp_path: Path) -> None:
    rows = pairs(Random(7), ENDS[0], ENDS[2], 90)
    report = fitted(base, tmp_path, rows, folds=3, epochs=2)["report"]
    assert len(report["cross_validation"]["each"]) == 3
    held = [
        json.loads(line)["prompt"]
        for file in (tmp_path / "folds").rglob("preferences_holdout.jsonl")
        for line in file.read_text().splitlines()
    ]
    assert sorted(one[0]["content"] for one in held) == sorted(row["prompt"][0]["content"] for row in rows)
    again = fitted(base, tmp_path, rows, folds=3, epochs=2)["report"]
    assert again["cross_validation"] == report["cross_validation"]
    with pytest.raises(InvalidInput, match="folds=1"):
        fitted(base, tmp_path, rows, folds=1)


def test_a_margin_asks_for_more(base: str) -> None:
    model = RewardModel(load_model(base), objectives=["quality"])
    rows = pairs(Random(8), ENDS[0], ENDS[2], 4)
    losses = []
    for margin in (0.0, 1.0):
        lesson = Pairs(model, [row | {"margin": margin} for row in rows], settings(base), "cpu")
        losses.append(lesson.loss(lesson.prepare(range(4)))[0].item())
    assert losses[1] > losses[0]


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("cut", [1, 2, 4])
def test_a_step_is_the_same_however_it_is_cut(base: str, members: int, cut: int) -> None:
    random = Random(10)
    model = RewardModel(load_model(base), objectives=["quality", "safety"], members=members)
    for head in (model.heads.call, model.heads.end):
        torch.nn.init.normal_(head.weight, std=0.1, generator=torch.Generator().manual_seed(1))
    ranked = [
        {"prompt": prompt(random), "ranking": [[answer(random, ENDS[0])], [answer(random, e) for e in ENDS]]}
        for _ in range(4)
    ]
    flags = [
        {"prompt": prompt(random), "answer": answer(random, ENDS[2]), "violation": n % 2} for n in range(4)
    ]
    compared = pairs(random, ENDS[0], ENDS[2], 3) + pairs(random, ENDS[0], ENDS[1], 1, tie=True, weight=2.0)
    for lesson in (
        Pairs(model, compared, settings(base), "cpu"),
        Rankings(model, ranked, settings(base), "cpu"),
        Flags(model, flags, settings(base), "cpu"),
    ):

        def slope(parts: Sequence[Sequence[int]], lesson: Any = lesson) -> torch.Tensor:
            model.zero_grad()
            for part in parts:
                (lesson.loss(lesson.prepare(part))[0] / lesson.begin(range(4))).backward()
            return torch.cat([one.grad.flatten() for one in model.parameters() if one.grad is not None])

        pieces = [range(start, start + 4 // cut) for start in range(0, 4, 4 // cut)]
        assert torch.allclose(slope(pieces), slope([range(4)]), atol=1e-6)


def settings(base: str) -> FitSpec:
    return FitSpec(model=base)


def test_each_member_draws_its_own_sample() -> None:
    rows = [{"weight": 2.0}] * 4000
    counts_nm = counted(rows, 3, seed=1) / 2
    assert counts_nm.mean().item() == pytest.approx(1.0, abs=0.05)
    assert not torch.equal(counts_nm[:, 0], counts_nm[:, 1])
    assert counted(rows, 1, seed=1).unique().tolist() == [2.0]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"tie": "yes"}, "tie='yes'"),
        ({"margin": -1}, "margin -1"),
        ({"margin": True}, "margin True"),
        ({"tie": True, "margin": 0.5}, "a tie with a margin"),
        ({"segment": 3}, "segment 3"),
    ],
)
def test_a_judgement_that_makes_no_sense_is_refused_by_its_row(
    tmp_path: Path, row: dict[str, Any], said: str
) -> None:
    write_records(tmp_path / "rows.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"} | row])
    with pytest.raises(InvalidInput, match=f"row 1.*{said}"):
        columns.judgements(tmp_path / "rows.jsonl")


@pytest.mark.parametrize("ranking", ["one two", ["alone"], [["a"], []], [["a"], [3]], {"a": 1}, [1, 2]])
def test_a_ranking_that_is_none_is_refused(tmp_path: Path, ranking: Any) -> None:
    write_records(tmp_path / "rows.jsonl", [{"prompt": "a", "ranking": ranking}])
    with pytest.raises(InvalidInput, match="row 1 has a `ranking`"):
        columns.rankings(tmp_path / "rows.jsonl")


def test_a_field_without_a_value_says_nothing(tmp_path: Path) -> None:
    empty = {"tie": None, "margin": None, "segment": None}
    write_records(tmp_path / "rows.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"} | empty])
    (row,) = columns.judgements(tmp_path / "rows.jsonl")
    assert set(row) == {"prompt", "chosen", "rejected", "weight"}


def test_methods_that_need_a_better_answer_refuse_a_tie(tmp_path: Path) -> None:
    write_records(tmp_path / "rows.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c", "tie": True}])
    with pytest.raises(InvalidInput, match="row 1 is a tie"):
        columns.pairs(tmp_path / "rows.jsonl")
