"""What a product, a segment or a language wants beyond what all want.

Two things are found out about a group from its own pairs. How far it agrees with the shared judge: one number, which
a few dozen pairs fix well, and which is below nothing where people want the opposite. And a leaning: a direction in
what the judge reads off an answer, fitted on top of that and held towards nothing, so that fifty pairs move it a little
and five thousand freely. How tightly it is held is one number for all groups of a field, found by cross-validation
over all of them together. Agreeing in full, and holding at nothing, are among the choices, and stand unless another
is clearly better: where people do not differ by group, no group gets anything of its own.

This is a hierarchical logistic regression whose prior is estimated from the data (empirical Bayes; Gelman et al.,
"Bayesian Data Analysis", chapter 5), with the shared judge as its mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit

from heedful.errors import InvalidInput

Floats = NDArray[np.float64]
FIELDS = ("product", "segment", "language")  # of a row: whose values may have leanings
FEWEST = 10  # pairs of a group, for a leaning of its own
FOLDS = 5
HOLDS = tuple(np.geomspace(0.5, 5000.0, 9))  # how tightly leanings are held, in pairs of average size
USUAL = "usual"  # in a file of leanings
CLEARLY = 1.0  # standard errors by which leanings must foretell choices better than none
SURELY = 2.0  # the same for a single group's agreement: there are many groups
AGREEMENT_HOLD = 2.0  # pairs that speak for full agreement, beside the group's own
AGREEMENTS = (-3.0, 3.0)  # from wanting the opposite, surely, to being surer than all others


@dataclass(frozen=True, slots=True)
class Group:
    """Pairs of one value: how their answers differ in what is read, and what is thought of it without a leaning."""

    gaps_pf: Floats  # chosen less rejected
    shared_p: Floats  # log-odds that the chosen one is better
    weights_p: Floats
    prompts_p: Sequence[str]  # pairs of one prompt are held out together


@dataclass(frozen=True, slots=True)
class Leanings:
    """By field and value: what is added to the shared score for each of the things read, beyond their usual size. The
    last of them is the shared score itself."""

    of: Mapping[tuple[str, str], Floats]
    usual_f: Floats

    def add(self, read_af: Floats, columns: Mapping[str, Sequence[Any]]) -> Floats:
        """What each answer's groups add to its score; nothing where a group has no leaning."""
        added = np.zeros(len(read_af))
        for (field, value), leaning_f in self.of.items():
            mine = np.array([one == value for one in columns.get(field, ())], dtype=bool)
            if mine.any():
                added[mine] += (read_af[mine] - self.usual_f) @ leaning_f
        return added

    def card(self) -> dict[str, list[str]]:
        """Which values have leanings, by field."""
        found: dict[str, list[str]] = {}
        for field, value in self.of:
            found.setdefault(field, []).append(value)
        return found

    def save(self, file: Path) -> None:
        stored = {json.dumps(key): leaning_f for key, leaning_f in self.of.items()} | {USUAL: self.usual_f}
        save_file({name: values_f.astype(np.float32) for name, values_f in stored.items()}, file)


def load(file: Path) -> Leanings:
    try:
        stored = {name: values_f.astype(np.float64) for name, values_f in load_file(file).items()}
        usual_f = stored.pop(USUAL)
        return Leanings({_key(name): leaning_f for name, leaning_f in stored.items()}, usual_f)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InvalidInput(f"{str(file)!r} does not hold leanings: {error}") from error


def _key(name: str) -> tuple[str, str]:
    field, value = json.loads(name)
    return field, value


def fit(groups: Mapping[tuple[str, str], Group], usual_f: Floats) -> Leanings:
    """What groups have of their own, where it is clear; `usual_f` is what is read off usual answers."""
    found: dict[tuple[str, str], Floats] = {}
    for field in dict.fromkeys(field for field, _ in groups):
        mine = {
            key: group for key, group in groups.items() if key[0] == field and len(group.shared_p) >= FEWEST
        }
        if mine:
            found |= _of_field(mine, len(usual_f))
    return Leanings({key: leaning_f for key, leaning_f in found.items() if leaning_f.any()}, usual_f)


def _of_field(groups: Mapping[tuple[str, str], Group], width: int) -> dict[tuple[str, str], Floats]:
    agreements = {key: agreement(group) for key, group in groups.items()}
    rest = {
        key: Group(group.gaps_pf, agreements[key] * group.shared_p, group.weights_p, group.prompts_p)
        for key, group in groups.items()
    }
    size_f = _size(list(rest.values()))
    scaled = {key: _scaled(group, size_f) for key, group in rest.items()}
    hold = best_hold(list(scaled.values()))
    found: dict[tuple[str, str], Floats] = {}
    for key, group in scaled.items():
        leaning_f = np.zeros(width - 1) if hold is None else _leaning(group, hold) / size_f
        found[key] = np.append(leaning_f, agreements[key] - 1.0)
    return found


def agreement(group: Group) -> float:
    """By how much the shared log-odds are to be multiplied for this group; 1 unless another is clearly better."""
    folds, gains = _folds(group.prompts_p), np.zeros(len(group.shared_p))
    for fold in range(FOLDS):
        held = folds == fold
        if held.any() and not held.all():
            elsewhere = _agreeing(_some(group, ~held))
            gains[held] = _surprise(group.shared_p[held]) - _surprise(elsewhere * group.shared_p[held])
    mean, error = _mean_and_error(gains, group.weights_p, group.prompts_p)
    return _agreeing(group) if mean > SURELY * error else 1.0


def _agreeing(group: Group) -> float:
    def objective(times: float) -> float:
        surprise = group.weights_p @ _surprise(times * group.shared_p)
        return float(surprise + 0.5 * AGREEMENT_HOLD * (times - 1.0) ** 2)

    return float(minimize_scalar(objective, bounds=AGREEMENTS, method="bounded").x)


def best_hold(groups: Sequence[Group]) -> float | None:
    """The hold that foretells choices best that it was not fitted to; None: holding at nothing is as good."""
    without = np.concatenate([_surprise(group.shared_p) for group in groups])
    weights = np.concatenate([group.weights_p for group in groups])
    gains = [
        without - np.concatenate([_surprise(_foretold(group, hold)) for group in groups]) for hold in HOLDS
    ]
    best = int(np.argmax([np.average(gain, weights=weights) for gain in gains]))
    keys = [f"{number}\0{prompt}" for number, group in enumerate(groups) for prompt in group.prompts_p]
    mean, error = _mean_and_error(gains[best], weights, keys)
    return float(HOLDS[best]) if mean > CLEARLY * error else None


def _foretold(group: Group, hold: float) -> Floats:
    """Log-odds of each pair, by a leaning fitted to the other folds."""
    folds = _folds(group.prompts_p)
    found = group.shared_p.copy()
    for fold in range(FOLDS):
        held = folds == fold
        if held.any() and not held.all():
            found[held] += group.gaps_pf[held] @ _leaning(_some(group, ~held), hold)
    return found


def _leaning(group: Group, hold: float) -> Floats:
    """The minimum of the pairs' surprise and half `hold` times the leaning's square: convex, one solution."""

    def objective(leaning_f: Floats) -> tuple[float, Floats]:
        odds_p = group.shared_p + group.gaps_pf @ leaning_f
        slope_p = -group.weights_p * expit(-odds_p)
        value = group.weights_p @ _surprise(odds_p) + 0.5 * hold * leaning_f @ leaning_f
        return float(value), group.gaps_pf.T @ slope_p + hold * leaning_f

    start = np.zeros(group.gaps_pf.shape[1])
    return np.asarray(minimize(objective, start, jac=True, method="L-BFGS-B").x, dtype=np.float64)


def _surprise(odds_p: Floats) -> Floats:
    """-log P(chosen is better)."""
    return np.asarray(np.logaddexp(0.0, -odds_p))


def _size(groups: Sequence[Group]) -> Floats:
    """What makes every thing read as large as every other, and the square of a whole gap one on average."""
    square_f = np.mean(np.concatenate([group.gaps_pf for group in groups]) ** 2, axis=0)
    return np.asarray(np.sqrt(np.maximum(square_f, 1e-12) * len(square_f)))


def _scaled(group: Group, size_f: Floats) -> Group:
    return Group(group.gaps_pf / size_f, group.shared_p, group.weights_p, group.prompts_p)


def _some(group: Group, which_p: NDArray[np.bool_]) -> Group:
    prompts = [prompt for prompt, kept in zip(group.prompts_p, which_p, strict=True) if kept]
    return Group(group.gaps_pf[which_p], group.shared_p[which_p], group.weights_p[which_p], prompts)


def _folds(prompts: Sequence[str]) -> NDArray[np.int64]:
    """Which fold each pair is in: whole prompts, spread evenly."""
    number = {prompt: place for place, prompt in enumerate(sorted(set(prompts)))}
    return np.array([number[prompt] % FOLDS for prompt in prompts])


def _mean_and_error(values: Floats, weights: Floats, keys: Sequence[str]) -> tuple[float, float]:
    """Weighted mean, and its standard error where values of one key stand together."""
    mean = float(np.average(values, weights=weights))
    _, place = np.unique(np.array(keys), return_inverse=True)
    sums = np.bincount(place, weights=weights * (values - mean))
    count = len(sums)
    if count < 2:
        return mean, float("inf")
    return mean, float(np.sqrt((sums**2).sum() * count / (count - 1)) / weights.sum())
