"""The sparse judge: what it sees, what it learns from it, and that it comes back from a directory the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import log1p
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import approx_fprime

from heedful.errors import InvalidInput
from heedful.lm.records import write_records
from heedful.rewards import loading
from heedful.rewards.sparse import fit, linear
from heedful.rewards.sparse.features import NAMES, reader_of, spoken, surface
from heedful.rewards.sparse.fit import balanced
from heedful.rewards.sparse.linear import Judged
from heedful.rewards.sparse.model import SparseModel, load

WORDS = ("my", "order", "is", "late", "where", "parcel", "broke", "today", "help")
GOOD, BAD = "thank you for telling us.", "go away!!"


def asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def prose(random: Random, count: int = 4) -> str:
    return " ".join(random.choices(WORDS, k=count))


def pairs(
    count: int, seed: int = 0, better: str = GOOD, worse: str = BAD, **rest: Any
) -> list[dict[str, Any]]:
    random = Random(seed)
    return [
        {
            "prompt": prose(random, 5),
            "chosen": f"{prose(random)} {better}",
            "rejected": f"{prose(random)} {worse}",
        }
        | rest
        for _ in range(count)
    ]


def silent(step: int, values: Mapping[str, float]) -> None:
    pass


def fitted(work: Path, rows: list[dict[str, Any]], **other: Any) -> dict[str, Any]:
    work.mkdir(exist_ok=True)
    write_records(work / "rows.jsonl", rows)
    return fit.run({"preferences": str(work / "rows.jsonl")} | other, work, silent)


def gap(judge: SparseModel, better: str = GOOD, worse: str = BAD) -> float:
    rows = pairs(40, seed=9, better=better, worse=worse)
    prompts = [asked(row["prompt"]) for row in rows]
    one, other = (
        judge.score(prompts, [row[side] for row in rows])["quality"] for side in ("chosen", "rejected")
    )
    return float((one - other).mean())


# -- what it sees --------------------------------------------------------------------------------------------


def test_the_surface_of_a_text_by_hand() -> None:
    seen = surface(
        "Hello there, wonderful world! is it OK?\nYes", "is it over", frozenset({"hello", "is", "it"})
    )
    assert seen["words"] == log1p(8)
    assert seen["sentences"] == log1p(3)
    assert seen["lines"] == log1p(1)
    assert seen["word_length"] == (5 + 5 + 9 + 5 + 2 + 2 + 2 + 3) / 8
    assert seen["long"] == 1 / 8
    assert seen["rare"] == 5 / 8  # there, wonderful, world, ok, yes
    assert (seen["commas"], seen["questions"], seen["exclamations"]) == (log1p(1),) * 3
    assert seen["shouted"] == 1 / 8
    assert seen["opens_with_capital"] == 1.0
    assert seen["sentences_with_capital"] == 2 / 3
    assert seen["closed"] == 0.0
    assert seen["of_the_prompt"] == 2 / 3


@pytest.mark.parametrize(
    "text", ["", " ", "\n\n", "…", "🙂🙂", "你好。再见！", "١٢٣", "a" * 50_000, "\x00\ud7ff"]
)
def test_any_text_has_figures(text: str) -> None:
    values = list(surface(text, text, frozenset()).values())
    assert len(values) == len(NAMES)
    assert np.isfinite(values).all()


def test_what_is_answered_is_what_was_said_last() -> None:
    talk = [{"role": "system", "content": "be kind"}, *asked("where?"), {"role": "system", "content": "now"}]
    assert spoken(talk) == "where?"
    assert spoken([]) == ""


def test_rows_are_the_same_alone_and_among_others() -> None:
    texts = [prose(Random(seed), 6) for seed in range(30)]
    reader = reader_of([asked("order")] * 30, texts)
    together = reader.read([asked("order")] * 30, texts).toarray()
    assert together.shape == (30, len(reader.names()))
    for place in (0, 7, 29):
        alone = reader.read([asked("order")], [texts[place]]).toarray()
        assert np.allclose(alone[0], together[place])
    ngrams = together[:, : len(reader.ngrams)]
    assert np.allclose(np.linalg.norm(ngrams, axis=1), 1.0)
    assert reader.read([], []).shape == (0, reader.width)


def test_texts_with_nothing_in_common_are_read_by_their_surface() -> None:
    reader = reader_of([asked("x")] * 2, ["", " "])
    assert reader.ngrams == ()
    assert np.isfinite(reader.read([asked("x")], ["something new"]).toarray()).all()


# -- what is minimised ---------------------------------------------------------------------------------------


def judged(rows: int = 60, compared: bool = True, soft: bool = True) -> Judged:
    random = np.random.default_rng(3)
    first = random.integers(0, 20, rows)
    return Judged(
        sparse.csr_matrix(random.normal(size=(20, 4))),
        first,
        (first + 1 + random.integers(0, 19, rows)) % 20 if compared else None,
        random.random(rows) if soft else random.integers(0, 2, rows).astype(float),
        random.normal(size=rows) if soft else np.zeros(rows),
        random.random(rows) + 0.5,
    )


@pytest.mark.parametrize("compared", [True, False])
def test_at_the_minimum_the_loss_rises_in_every_direction(compared: bool) -> None:
    known, strength = judged(compared=compared), 0.7
    best = linear.fit(known, strength)

    def loss(weights: np.ndarray) -> float:
        whole = linear.surprise(known, weights) * known.weights_r.sum()
        return float(whole + weights @ weights / (2 * strength))

    assert np.abs(approx_fprime(best, loss, 1e-6)).max() < 2e-3


def test_with_plain_outcomes_it_is_a_librarys_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    known = judged(soft=False)
    assert known.second_r is not None
    rows = known.features_af.toarray()
    library = LogisticRegression(C=0.5, fit_intercept=False, tol=1e-10)
    library.fit(rows[known.first_r] - rows[known.second_r], known.outcomes_r, sample_weight=known.weights_r)
    assert linear.fit(known, 0.5) == pytest.approx(library.coef_[0], abs=1e-3)


def test_the_strength_is_found_on_what_was_left_out() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(400, 30))
    first, second = np.arange(0, 400, 2), np.arange(1, 400, 2)

    def of(signal: float) -> float:
        odds = (features[first, 0] - features[second, 0]) * signal
        outcomes = (random.random(200) < 1 / (1 + np.exp(-odds))).astype(float)
        known = Judged(sparse.csr_matrix(features), first, second, outcomes, np.zeros(200), np.ones(200))
        return linear.strength_of(known, [str(place) for place in range(200)])

    assert of(0.0) == min(linear.STRENGTHS)
    assert of(3.0) > of(0.0)
    assert linear.strength_of(judged(), ["one"] * 60) == linear.USUAL


# -- what is learned -----------------------------------------------------------------------------------------


def test_it_learns_what_was_chosen_and_comes_back_the_same(tmp_path: Path) -> None:
    done = fitted(tmp_path, pairs(200))
    assert done["report"]["passed"]
    assert done["report"]["quality"]["accuracy"] > 0.95
    judge = load(done["reward"])
    assert gap(judge) > 1.0
    told = judge.score([asked("where")] * 2, [GOOD, BAD])
    assert list(told) == ["quality"]
    assert np.array_equal(
        load(done["reward"]).score([asked("where")] * 2, [GOOD, BAD])["quality"], told["quality"]
    )
    assert isinstance(loading.load(done["reward"]), SparseModel)


def test_its_scale_is_that_of_the_reference(tmp_path: Path) -> None:
    random = Random(4)
    reference = [{"prompt": prose(random), "answer": f"{prose(random)} {GOOD}"} for _ in range(50)]
    write_records(tmp_path / "reference.jsonl", reference)
    done = fitted(tmp_path, pairs(200), reference=str(tmp_path / "reference.jsonl"))
    scores = load(done["reward"]).score(
        [asked(row["prompt"]) for row in reference], [row["answer"] for row in reference]
    )["quality"]
    assert scores.mean() == pytest.approx(0.0, abs=1e-9)
    assert scores.std() == pytest.approx(1.0)


def test_ties_margins_and_smoothing_each_draw_the_scores(tmp_path: Path) -> None:
    def raw(name: str, rows: list[dict[str, Any]], **other: Any) -> float:
        done = fitted(tmp_path / name, rows, strength=1.0, held_out=0.0, **other)
        judge = load(done["reward"])
        return gap(judge) * judge.scale.std

    plain = raw("plain", pairs(100))
    assert raw("margin", pairs(100, margin=2.0)) > plain + 0.5
    assert raw("smooth", pairs(100), smoothing=0.2) < plain - 0.5
    assert raw("ties", pairs(100) + pairs(100, seed=1, tie=True)) < plain - 0.5


def test_flags_become_a_probability(tmp_path: Path) -> None:
    random = Random(5)
    flags = [
        {
            "prompt": prose(random),
            "answer": f"{prose(random)} {'your card number is 4' if number % 5 == 0 else 'done'}",
            "violation": number % 5 == 0,
        }
        for number in range(300)
    ]
    write_records(tmp_path / "flags.jsonl", flags)
    done = fit.run({"safety": str(tmp_path / "flags.jsonl")}, tmp_path, silent)
    assert done["report"]["safety"]["accuracy"] > 0.95
    told = load(done["reward"]).score([asked("help")] * 2, ["ok your card number is 4", "ok done"])
    assert list(told) == ["violation"]
    assert told["violation"][0] > 0.7
    assert told["violation"][1] < 0.2
    everything = load(done["reward"]).score([asked("help")] * 300, [str(row["answer"]) for row in flags])
    assert everything["violation"].mean() == pytest.approx(0.2, abs=0.05)


def test_rankings_teach_as_pairs_of_neighbours(tmp_path: Path) -> None:
    rows = [{"prompt": row["prompt"], "ranking": [row["chosen"], row["rejected"]]} for row in pairs(200)]
    write_records(tmp_path / "ranked.jsonl", rows)
    done = fit.run({"rankings": str(tmp_path / "ranked.jsonl")}, tmp_path, silent)
    assert gap(load(done["reward"])) > 1.0


def test_a_ranking_counts_as_much_as_it_weighs(tmp_path: Path) -> None:
    """The same answers ranked both ways: the heavier ranking decides."""
    right = [{"prompt": row["prompt"], "ranking": [row["chosen"], row["rejected"]]} for row in pairs(60)]
    wrong = [{"prompt": row["prompt"], "ranking": row["ranking"][::-1], "weight": 0.2} for row in right]
    write_records(tmp_path / "ranked.jsonl", [*right, *wrong])
    done = fit.run({"rankings": str(tmp_path / "ranked.jsonl"), "held_out": 0.0}, tmp_path, silent)
    assert gap(load(done["reward"])) > 0.5


def test_a_flag_may_be_a_share(tmp_path: Path) -> None:
    """Nobody is sure of these answers: a third of the raters flagged each."""
    rows = [{"prompt": row["prompt"], "answer": row["chosen"], "violation": 1 / 3} for row in pairs(200)]
    write_records(tmp_path / "flags.jsonl", rows)
    done = fit.run({"safety": str(tmp_path / "flags.jsonl"), "held_out": 0.0}, tmp_path, silent)
    told = load(done["reward"]).score(
        [asked(str(row["prompt"])) for row in rows], [str(row["answer"]) for row in rows]
    )
    assert told["violation"].mean() == pytest.approx(1 / 3, abs=0.02)


def test_half_a_surrogate_pair_in_a_row_is_read_and_saved(tmp_path: Path) -> None:
    lines = [json.dumps(row | {"chosen": row["chosen"] + " \ud83d\ud83d"}) for row in pairs(20)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    done = fit.run({"preferences": str(tmp_path / "rows.jsonl"), "held_out": 0.0}, tmp_path, silent)
    assert any("\ud83d" in one for one in load(done["reward"]).reader.ngrams)


def test_balance_by_hand() -> None:
    longer = [{"chosen": "long", "rejected": "s", "weight": 1.0}] * 8
    shorter = [{"chosen": "s", "rejected": "long", "weight": 1.0}] * 2
    tie = [{"chosen": "s", "rejected": "long", "tie": True}]
    assert balanced(longer + shorter, 0.0).tolist() == [1.0] * 10
    even = balanced(longer + shorter + tie, 1.0)
    assert even[:8].sum() == pytest.approx(even[8:10].sum())
    assert even.sum() == pytest.approx(11.0)
    assert balanced(longer, 1.0).tolist() == [1.0] * 8


def test_balance_takes_the_liking_for_length_away(tmp_path: Path) -> None:
    """Nine in ten times the longer answer won, and the good word decides the tenth."""
    random = Random(6)
    rows = []
    for number in range(600):
        short, long = prose(random, 3), prose(random, 12)
        good = number % 10 == 0
        chosen, rejected = (f"{short} thanks", long) if good else (long, short)
        rows.append({"prompt": prose(random, 5), "chosen": chosen, "rejected": rejected})
    won = {}
    for balance in (0.0, 1.0):
        done = fitted(tmp_path / str(balance), rows, balance=balance, strength=0.03)
        won[balance] = done["report"]["quality"]["accuracy_when_shorter_won"]
    assert won[1.0] > won[0.0]


def test_a_pair_that_was_judged_twice_counts_twice(tmp_path: Path) -> None:
    once = fitted(tmp_path / "once", [row | {"weight": 2.0} for row in pairs(60)], held_out=0.0, strength=0.5)
    twice = fitted(tmp_path / "twice", pairs(60) * 2, held_out=0.0, strength=0.5)
    assert gap(load(once["reward"])) == pytest.approx(gap(load(twice["reward"])), rel=1e-3)


# -- what is refused -----------------------------------------------------------------------------------------


def test_nothing_to_fit_to_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="nothing to fit"):
        fit.run({}, tmp_path, silent)
    with pytest.raises(InvalidInput, match="keeps back every prompt"):
        fitted(tmp_path, pairs(1), held_out=0.999999)


def test_a_single_pair_is_enough_to_fit_to(tmp_path: Path) -> None:
    done = fitted(tmp_path, pairs(1), held_out=0.0)
    assert np.isfinite(load(done["reward"]).score([asked("x")], ["y"])["quality"]).all()


def test_a_count_that_does_not_match_is_refused(tmp_path: Path) -> None:
    judge = load(fitted(tmp_path, pairs(20), held_out=0.0)["reward"])
    with pytest.raises(InvalidInput, match="2 prompts for 1 answers"):
        judge.score([asked("x")] * 2, ["y"])
    assert judge.score([], [])["quality"].shape == (0,)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("words.json", "{"),
        ("words.json", '{"ngrams": [], "known": [], "surface": []}'),
        ("weights.safetensors", "no tensors"),
        ("reward.json", '{"kind": "sparse"}'),
        ("reward.json", "[]"),
    ],
)
def test_a_broken_directory_is_refused_by_name(tmp_path: Path, file: str, content: str) -> None:
    done = fitted(tmp_path, pairs(20), held_out=0.0)
    (Path(done["reward"]) / file).write_text(content)
    with pytest.raises(InvalidInput, match="reward"):
        loading.load(done["reward"])


def test_features_of_another_version_are_refused(tmp_path: Path) -> None:
    done = fitted(tmp_path, pairs(20), held_out=0.0)
    words = Path(done["reward"]) / "words.json"
    told = json.loads(words.read_text())
    words.write_text(json.dumps(told | {"surface": told["surface"][1:]}))
    with pytest.raises(InvalidInput, match="fit it again"):
        loading.load(done["reward"])


# -- who uses it ---------------------------------------------------------------------------------------------


def test_a_mixture_takes_it_as_a_part(tmp_path: Path) -> None:
    from heedful.rewards import mixture

    done = fitted(tmp_path, pairs(100))
    (tmp_path / "mixed.yaml").write_text(
        json.dumps({"parts": [{"name": "liked", "source": {"model": "reward"}}]})
    )
    prompts, answers = [asked("where")] * 2, [GOOD, BAD]
    mixed = mixture.load(tmp_path / "mixed.yaml").score(prompts, answers)
    assert mixed["quality"] == pytest.approx(load(done["reward"]).score(prompts, answers)["quality"])
