"""Groups that differ get a leaning, groups that do not get none, and few pairs move little."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heedful.errors import InvalidInput
from heedful.rewards import leanings
from heedful.rewards.leanings import FEWEST, Group, Leanings, agreement, best_hold, fit

WIDTH = 12
SHARED_F = np.linspace(-1, 1, WIDTH)


def group(random: np.random.Generator, pairs: int, own_f: np.ndarray) -> Group:
    """People who want what all want, and `own_f` besides."""
    gaps_pf = random.normal(size=(pairs, WIDTH))
    odds_p = gaps_pf @ (SHARED_F + own_f)
    chosen_p = np.where(random.random(pairs) < 1 / (1 + np.exp(-odds_p)), 1.0, -1.0)
    gaps_pf *= chosen_p[:, None]
    return Group(gaps_pf, gaps_pf @ SHARED_F, np.ones(pairs), [f"prompt {one}" for one in range(pairs)])


def accuracy(found: Leanings, of: Group, key: tuple[str, str]) -> float:
    *leaning_f, more = found.of.get(key, np.zeros(WIDTH + 1))
    own_p = (1 + more) * of.shared_p + of.gaps_pf @ np.array(leaning_f)
    return float((own_p > 0).mean())


def taste(place: int, size: float) -> np.ndarray:
    own_f: np.ndarray = np.eye(WIDTH)[place] * size
    return own_f


def test_those_who_differ_are_foretold_better_and_those_who_do_not_as_well() -> None:
    random = np.random.default_rng(0)
    tastes = {"a": taste(0, 4.0), "b": taste(5, -4.0), "c": taste(7, 0.0)}
    groups = {("segment", name): group(random, 60, own_f) for name, own_f in tastes.items()}
    found = fit(groups, np.zeros(WIDTH + 1))
    for name, own_f in tastes.items():
        fresh = group(random, 4000, own_f)
        gain = accuracy(found, fresh, ("segment", name)) - float((fresh.shared_p > 0).mean())
        assert gain > (0.08 if own_f.any() else -0.03)


def test_where_nobody_differs_nobody_has_anything_of_its_own() -> None:
    given = agreed = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        groups = [group(random, 50, np.zeros(WIDTH)) for _ in range(4)]
        given += best_hold(groups) is not None
        agreed += sum(agreement(one) != 1.0 for one in groups)
    assert given <= 4  # of 40: clearly better by chance alone
    assert agreed <= 8  # of 160


@pytest.mark.parametrize("pairs", [30, 200])
def test_those_who_want_the_opposite_are_understood(pairs: int) -> None:
    random = np.random.default_rng(3)
    groups = {
        ("segment", "contrary"): group(random, pairs, -2 * SHARED_F),
        ("segment", "other"): group(random, pairs, 0 * SHARED_F),
    }
    found = fit(groups, np.zeros(WIDTH + 1))
    fresh = group(random, 4000, -2 * SHARED_F)
    assert float((fresh.shared_p > 0).mean()) < 0.25
    assert accuracy(found, fresh, ("segment", "contrary")) > 0.75  # of 0.78, because people waver
    assert ("segment", "other") not in found.of or abs(found.of["segment", "other"][-1]) < 0.5


def test_a_group_of_few_pairs_has_none_and_other_fields_are_not_touched() -> None:
    random = np.random.default_rng(1)
    groups = {
        ("segment", "few"): group(random, FEWEST - 1, taste(0, 9.0)),
        ("segment", "many"): group(random, 400, taste(0, 3.0)),
        ("product", "shoes"): group(random, 400, taste(0, 0.0)),
    }
    assert set(fit(groups, np.zeros(WIDTH + 1)).of) == {("segment", "many")}


def test_weights_count_as_copies_do() -> None:
    random = np.random.default_rng(2)
    one = group(random, 30, taste(3, 2.0))
    doubled = Group(
        np.concatenate([one.gaps_pf, one.gaps_pf[:10]]),
        np.concatenate([one.shared_p, one.shared_p[:10]]),
        np.ones(40),
        [*one.prompts_p, *one.prompts_p[:10]],
    )
    weighed = Group(one.gaps_pf, one.shared_p, np.r_[np.full(10, 2.0), np.ones(20)], one.prompts_p)
    copies, weights = (leanings._leaning(which, 5.0) for which in (doubled, weighed))
    assert np.allclose(copies, weights, atol=1e-4)


def test_a_leaning_is_the_minimum_of_what_it_minimises() -> None:
    """By hand, in one dimension: the slope of the surprise is the hold's pull."""
    one = Group(np.array([[1.0], [2.0]]), np.array([0.3, -0.5]), np.array([1.0, 0.5]), ["a", "b"])
    (found,) = leanings._leaning(one, 0.7)
    pull = sum(
        weight * gap / (1 + np.exp(shared + gap * found))
        for weight, gap, shared in ((1.0, 1.0, 0.3), (0.5, 2.0, -0.5))
    )
    assert pull == pytest.approx(0.7 * found, abs=1e-5)


def test_what_is_usual_moves_no_score_and_strangers_move_none() -> None:
    found = Leanings({("segment", "a"): np.array([1.0, 0.0])}, np.array([2.0, 5.0]))
    read_af = np.array([[2.0, 1.0], [3.0, 1.0], [3.0, 1.0]])
    assert found.add(read_af, {"segment": ["a", "a", "b"]}).tolist() == [0.0, 1.0, 0.0]
    assert found.add(read_af, {"product": ["a", "a", "b"]}).tolist() == [0.0] * 3


def test_saved_and_read_again(tmp_path: Path) -> None:
    one = Leanings({("segment", 'a "b"\n中'): np.array([1.0, 0.5])}, np.array([2.0, 0.25]))
    one.save(tmp_path / "leanings.safetensors")
    again = leanings.load(tmp_path / "leanings.safetensors")
    assert again.card() == {"segment": ['a "b"\n中']}
    assert np.array_equal(again.usual_f, one.usual_f)
    (tmp_path / "leanings.safetensors").write_bytes(b"nothing")
    with pytest.raises(InvalidInput, match="does not hold leanings"):
        leanings.load(tmp_path / "leanings.safetensors")
