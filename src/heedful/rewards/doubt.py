"""How unlike everything a reward model was fitted to an answer is: its doubt, from 0 to 1.

Three things are looked at, all of which the reading of an answer gives anyway: how far the state behind the
prompt lies from those behind known prompts, how unlikely the model finds the call, and how unlikely the least
likely token of the prose. Each becomes its quantile among answers that were kept back; the strangest decides,
and is made a quantile again. So of answers like the known ones a tenth has a doubt above 0.9, and where nearly
all have, the scores mean little.

A prompt about something new shows in the first, a policy that went too far in the other two. A distance over
all states at once sees either less well, and the spread of several heads or models cannot be relied on
(`bench/ensemble.py` has the figures). What doubt cannot see is a usual answer that is liked for a wrong reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from heedful.errors import InvalidInput
from heedful.lm.heads import Points

FEWEST = 30  # answers kept back; with fewer a quantile says nothing
SHRINK = 0.05  # share of the covariance that is taken to be the same in every direction


@dataclass(frozen=True, slots=True)
class Look:
    """What is looked at in some answers."""

    prompt_ad: Tensor  # state behind the prompt
    call_a: Tensor  # log p of the call
    prose_a: Tensor  # log p of the least likely token after it

    @classmethod
    def at(cls, points: Points) -> Look:
        return cls(*(part.float().cpu() for part in (points.at_prompt, points.call_logp, points.worst_logp)))

    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.prompt_ad, self.call_a, self.prose_a


def joined(looks: Sequence[Look]) -> Look:
    """Several as one."""
    return Look(*(torch.cat(parts) for parts in zip(*(look.parts() for look in looks), strict=True)))


@dataclass(frozen=True, slots=True)
class Doubt:
    """What is known, as it was when the model was fitted."""

    centre_d: Tensor  # mean of the states behind known prompts
    whitening_dd: Tensor  # turns a deviation from it into one of equal size in every direction
    kept_back_ka: Tensor  # strangeness of the answers kept back, per look, rising
    strangest_a: Tensor  # the largest of their quantiles, rising

    def of(self, look: Look) -> NDArray[np.float64]:
        """The doubt about each answer, a."""
        if look.prompt_ad.shape[1] != len(self.centre_d):
            raise InvalidInput(
                f"states of width {look.prompt_ad.shape[1]} for a doubt of width {len(self.centre_d)}: "
                "a doubt belongs to the reward model that it was fitted with"
            )
        strange_ka = _strange(look, self.centre_d, self.whitening_dd)
        return _quantiles(_largest(strange_ka, self.kept_back_ka), self.strangest_a.double().numpy())

    def card(self) -> dict[str, int]:
        """What a reader should know of it."""
        return {"kept_back": len(self.strangest_a), "width": len(self.centre_d)}

    def save(self, file: Path) -> None:
        save_file({field.name: getattr(self, field.name).contiguous() for field in fields(self)}, file)


def fit(known_ad: Tensor, kept_back: Look) -> Doubt:
    """From the states behind prompts that a model was fitted to, and from answers to prompts that it was not.

    Two groups, because a model knows its own lessons better than their like: quantiles among them would find
    everything new a little strange (split conformal prediction; Vovk et al. 2005, chapter 4).
    """
    if len(known_ad) < 2 or len(kept_back.call_a) < FEWEST:
        raise InvalidInput(
            f"{len(known_ad)} known prompts and {len(kept_back.call_a)} answers kept back: a doubt needs "
            f"at least 2 and {FEWEST}"
        )
    if known_ad.shape[1] != kept_back.prompt_ad.shape[1]:
        raise InvalidInput(
            f"known states of width {known_ad.shape[1]}, kept back ones of width "
            f"{kept_back.prompt_ad.shape[1]}: read both with the same model"
        )
    if not all(bool(part.isfinite().all()) for part in (known_ad, *kept_back.parts())):
        raise InvalidInput("a state or a likelihood is not a finite number: the model may have diverged")
    centre_d, whitening_dd = _gaussian(known_ad)
    kept_back_ka = _strange(kept_back, centre_d, whitening_dd).sort(1).values
    strangest = np.sort(_largest(_strange(kept_back, centre_d, whitening_dd), kept_back_ka))
    return Doubt(centre_d, whitening_dd, kept_back_ka, torch.from_numpy(strangest).float())


def load(file: Path) -> Doubt:
    try:
        return Doubt(**load_file(file))
    except (OSError, SafetensorError, TypeError) as error:
        raise InvalidInput(f"{str(file)!r} does not hold a doubt: {error}") from error


def _gaussian(known_ad: Tensor) -> tuple[Tensor, Tensor]:
    """Mean, and a matrix whose square is the inverse of the shrunk covariance: lengths behind it are
    Mahalanobis distances (Lee et al. 2018, "A simple unified framework for detecting out-of-distribution
    samples", equation 2, with one class)."""
    exact_ad = known_ad.double()
    centre_d = exact_ad.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(exact_ad.T, correction=0))
    even = values.mean().clamp(min=1e-12)
    shrunk = (1 - SHRINK) * values.clamp(min=0) + SHRINK * even
    return centre_d.float(), ((vectors / shrunk.sqrt()) @ vectors.T).float()


def _strange(look: Look, centre_d: Tensor, whitening_dd: Tensor) -> Tensor:
    """Per look and answer, more where stranger, ka."""
    distance_a = ((look.prompt_ad - centre_d) @ whitening_dd).norm(dim=1)
    return torch.stack((distance_a, -look.call_a, -look.prose_a))


def _largest(strange_ka: Tensor, kept_back_ka: Tensor) -> NDArray[np.float64]:
    rows = zip(strange_ka.double().numpy(), kept_back_ka.double().numpy(), strict=True)
    largest: NDArray[np.float64] = np.max([_quantiles(values, known) for values, known in rows], axis=0)
    return largest


def _quantiles(values_a: NDArray[np.float64], known_n: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where each value stands among the known ones, which rise; between two of them in proportion."""
    count = len(known_n)
    return np.interp(values_a, known_n, np.arange(1, count + 1) / (count + 1))
