"""What a reward model's report card says, from its scores on pairs that it never saw.

Accuracy alone hides what people get hurt by: confidence that is not deserved (the calibration error), a plain
liking for long answers (the two shares by length), a group of people whom it serves badly (the slices), and
raters who agree so little among themselves that nothing could be much better (the ceiling). Every share comes
with its 95 % interval, because ten pairs prove nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heedful.errors import InvalidInput
from heedful.stats.intervals import Interval, wilson

Floats = NDArray[np.floating[Any]]
Row = dict[str, Any]
FEWEST_FOR_RANKS = 4  # scores below which a correlation has no interval


# -- pairs ---------------------------------------------------------------------------------------------------


def ranked_right(differences: Floats) -> Floats:
    """1 where the chosen answer scores higher, 0 where it scores lower, one half where they are equal."""
    right: Floats = (differences > 0) + 0.5 * (differences == 0)
    return right


def accuracy(differences: Floats, weights: Floats | None = None) -> float:
    """Share of pairs whose chosen answer scores higher; an equal score is half right."""
    if len(differences) == 0:
        return float("nan")
    return float(np.average(ranked_right(differences), weights=weights))


def share(right: Floats, groups: Sequence[Hashable] | None = None) -> Interval:
    """A mean of shares with Wilson's interval. What shares a group (a prompt) resembles each other, and
    counts as one trial: rather too wide an interval than too narrow a one."""
    if len(right) == 0:
        return wilson(0, 0)
    trials = len(right) if groups is None else len(set(groups))
    return wilson(float(right.mean()) * trials, trials)


def probabilities(differences: Floats) -> Floats:
    """That the chosen answer is the better one, as the model has it (Bradley and Terry 1952)."""
    chances: Floats = 1.0 / (1.0 + np.exp(-np.clip(differences, -30, 30)))
    return chances


def calibration_error(probabilities: Floats, outcomes: Floats, *, bins: int = 10) -> float:
    """Expected calibration error (Guo et al. 2017, equation 3): mean gap of confidence and frequency."""
    if len(probabilities) == 0:
        return float("nan")
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    gap = 0.0
    for which in range(bins):
        inside = place == which
        if inside.any():
            gap += inside.sum() * abs(probabilities[inside].mean() - outcomes[inside].mean())
    return float(gap / len(probabilities))


def brier(differences: Floats) -> float:
    """Mean squared error of the probabilities (Brier 1950); a quarter is what a coin gets."""
    return _mean((1.0 - probabilities(differences)) ** 2)


def log_loss(differences: Floats) -> float:
    """Mean surprise in nats; 0.693 is what a coin gets."""
    return _mean(np.logaddexp(0.0, -differences))


def pair_report(
    differences: Floats,
    chosen_lengths: Floats,
    rejected_lengths: Floats,
    prompts: Sequence[Hashable] | None = None,
) -> dict[str, float]:
    """Figures over held-out pairs; differences are score(chosen) - score(rejected) in log-odds."""
    longer = chosen_lengths > rejected_lengths
    shorter = chosen_lengths < rejected_lengths
    right = ranked_right(differences)
    # Each pair is put both ways round, so that calibration sees both outcomes.
    chances = probabilities(np.concatenate([differences, -differences]))
    outcomes = np.repeat([1.0, 0.0], len(differences))
    report = {"pairs": float(len(differences)), "accuracy": accuracy(differences)}
    report |= _ends("accuracy", share(right, prompts))
    report |= {
        "calibration_error": calibration_error(chances, outcomes),
        "brier": brier(differences),
        "log_loss": log_loss(differences),
    }
    for name, which in (("longer", longer), ("shorter", shorter)):
        own = None if prompts is None else [prompts[place] for place in np.flatnonzero(which).tolist()]
        report[f"pairs_{name}_won"] = float(which.sum())
        report[f"accuracy_when_{name}_won"] = accuracy(differences[which])
        report |= _ends(f"accuracy_when_{name}_won", share(right[which], own))
    return report | {"share_longer_won": _mean(longer.astype(float))}


def reliability(differences: Floats, *, bins: int = 5) -> list[Row]:
    """How sure the model was of its verdicts, and how often it was right: what a reliability diagram shows.

    Confidence in a verdict runs from one half to one, so five bins here are the ten of `pair_report`.
    """
    sure, right = probabilities(np.abs(differences)), ranked_right(differences)
    place = np.minimum(((2 * sure - 1) * bins).astype(int), bins - 1)
    rows = []
    for which in range(bins):
        inside = place == which
        if inside.any():
            rows.append(
                {"confidence": float(sure[inside].mean()), **_row(share(right[inside]), inside.sum())}
            )
    return rows


def slices(
    differences: Floats, values: Sequence[Hashable], prompts: Sequence[Hashable] | None = None
) -> list[Row]:
    """Accuracy for each value of a field, the most frequent first; few pairs show in the interval."""
    if len(values) != len(differences):
        raise InvalidInput(f"{len(values)} values for {len(differences)} pairs: give one per pair")
    right = ranked_right(differences)
    places: dict[Hashable, list[int]] = {}
    for place, value in enumerate(values):
        places.setdefault(value, []).append(place)
    rows = []
    for value, own in places.items():
        among = None if prompts is None else [prompts[place] for place in own]
        rows.append({"value": value, **_row(share(right[own], among), len(own))})
    return sorted(rows, key=lambda row: (-row["n"], str(row["value"])))


# -- what could be reached -----------------------------------------------------------------------------------


def ceiling_of_votes(chosen: float, rejected: float) -> float:
    """How often a rater of this pair sides with most of the *other* raters: nobody is asked about himself."""
    if chosen + rejected < 2:
        raise InvalidInput(f"{chosen + rejected:g} votes: agreement needs two")

    def sides(own: float, other: float) -> float:
        return own * (1.0 if own - 1 > other else 0.5 if own - 1 == other else 0.0)

    return (sides(chosen, rejected) + sides(rejected, chosen)) / (chosen + rejected)


def against_raters(right: Floats, agreements: Floats, ceilings: Floats) -> dict[str, float]:
    """How often the model sides with a rater of the pair, and how often another rater would.

    `agreements` is the share of a pair's raters who chose as its record says; of two answers the model takes,
    1 - agreement is the share behind the other one.
    """
    sided = right * agreements + (1 - right) * (1 - agreements)
    return _of_ceiling(_mean(sided), _mean(ceilings)) | {"pairs": float(len(right))}


def against_noise(right: Floats, noise: float) -> dict[str, float]:
    """The same where all that is known is the share of labels that are the wrong way round."""
    if not 0 <= noise < 0.5:
        raise InvalidInput(f"a noise of {noise}: a share from 0 to below 0.5", field="noise")
    return _of_ceiling(_mean(right), 1.0 - noise) | {"pairs": float(len(right))}


def _of_ceiling(model: float, ceiling: float) -> dict[str, float]:
    beyond_chance = (model - 0.5) / (ceiling - 0.5) if ceiling > 0.5 else float("nan")
    return {"model": model, "ceiling": ceiling, "of_ceiling": beyond_chance}


# -- answers -------------------------------------------------------------------------------------------------


def told_apart(low: Floats, high: Floats) -> float:
    """How often a value of `high` lies above one of `low`; one half says nothing (Mann and Whitney 1947)."""
    from scipy.stats import rankdata

    if len(low) == 0 or len(high) == 0:
        return float("nan")
    ranks = rankdata(np.concatenate([low, high]))[len(low) :]
    return float((ranks.sum() - len(high) * (len(high) + 1) / 2) / (len(low) * len(high)))


def disagreement(inside: Floats, outside: Floats, right: Floats, of_pairs: Floats) -> dict[str, float]:
    """What the model's own doubt (or the spread of its members) is worth.

    It should be higher for answers from elsewhere, and for pairs that were ranked wrongly.
    """
    return {
        "inside": _mean(inside),
        "outside": _mean(outside),
        "elsewhere_told_apart": told_apart(inside, outside),
        "wrong_told_apart": told_apart(of_pairs[right == 1], of_pairs[right == 0]),
    }


def correlation(scores: Floats, given: Floats) -> dict[str, float]:
    """With what people or programs gave as a score; intervals by Fisher's z (for ranks: Bonett and Wright 2000)."""
    from scipy.stats import pearsonr, spearmanr

    if len(scores) != len(given):
        raise InvalidInput(f"{len(scores)} scores for {len(given)} given ones")
    constant = len(scores) < 2 or np.ptp(scores) == 0 or np.ptp(given) == 0
    line = float("nan") if constant else float(pearsonr(scores, given)[0])
    order = float("nan") if constant else float(spearmanr(scores, given)[0])
    return {
        "answers": float(len(scores)),
        "spearman": order,
        **_fisher("spearman", order, (1 + order**2 / 2), len(scores)),
        "pearson": line,
        **_fisher("pearson", line, 1.0, len(scores)),
    }


def flag_report(probabilities: Floats, flags: Floats) -> dict[str, float]:
    """Figures over held-out answers that people flagged or passed."""
    if len(flags) == 0:
        return {"answers": 0.0}
    said = probabilities > 0.5
    flagged = flags > 0.5
    return {
        "answers": float(len(flags)),
        "flagged": float(flagged.mean()),
        "accuracy": float((said == flagged).mean()),
        "missed": float((~said[flagged]).mean()) if flagged.any() else float("nan"),
        "false_alarms": float(said[~flagged].mean()) if (~flagged).any() else float("nan"),
        "calibration_error": calibration_error(probabilities, flags),
    }


# -- small things --------------------------------------------------------------------------------------------


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _row(interval: Interval, n: int) -> Row:
    return {"n": int(n), "accuracy": interval.estimate, "low": interval.lower, "high": interval.upper}


def _ends(name: str, interval: Interval) -> dict[str, float]:
    return {f"{name}_low": interval.lower, f"{name}_high": interval.upper}


def _fisher(name: str, found: float, variance: float, n: int) -> dict[str, float]:
    if not np.isfinite(found) or n < FEWEST_FOR_RANKS:
        return {f"{name}_low": -1.0, f"{name}_high": 1.0}
    centre = np.arctanh(np.clip(found, -1 + 1e-12, 1 - 1e-12))
    reach = 1.959964 * np.sqrt(variance / (n - 3))
    return {f"{name}_low": float(np.tanh(centre - reach)), f"{name}_high": float(np.tanh(centre + reach))}
