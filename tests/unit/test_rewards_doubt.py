"""Doubt is even among answers like the known ones, high for others, and the same again after loading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from heedful.errors import InvalidInput
from heedful.rewards import doubt
from heedful.rewards.doubt import Look

WIDTH = 8


def states(seed: int, count: int, *, away: float = 0.0) -> torch.Tensor:
    """Two clusters of prompts that vary much in some directions and little in others; `away`: along the least."""
    random = np.random.default_rng(seed)
    size = np.geomspace(3.0, 0.1, WIDTH)
    centre = np.where(random.random((count, 1)) < 0.5, 2.0, -2.0) * (np.arange(WIDTH) == 0)
    shift = away * (np.arange(WIDTH) == WIDTH - 1)
    return torch.from_numpy(centre + shift + random.normal(size=(count, WIDTH)) * size).float()


def look(seed: int, count: int, *, away: float = 0.0, call: float = 1.0, prose: float = 2.0) -> Look:
    random = np.random.default_rng(1000 + seed)
    return Look(
        states(seed, count, away=away),
        torch.from_numpy(-random.exponential(call, count)).float(),
        torch.from_numpy(-random.exponential(prose, count)).float(),
    )


@pytest.fixture(scope="module")
def fitted() -> doubt.Doubt:
    return doubt.fit(states(0, 2000), look(1, 1000))


def test_doubt_is_even_among_answers_like_the_known_ones(fitted: doubt.Doubt) -> None:
    """Kolmogorov and Smirnov's distance from uniform is below 0.06 for 3,000 against 1,000 (1 in 100)."""
    found = np.sort(fitted.of(look(2, 3000)))
    assert np.abs(found - np.arange(1, 3001) / 3000).max() < 0.06
    assert found.min() > 0
    assert found.max() < 1


@pytest.mark.parametrize(
    "strange", [{"away": 2.0}, {"call": 20.0}, {"prose": 40.0}], ids=["prompt", "call", "prose"]
)
def test_any_one_look_is_enough_for_a_doubt(fitted: doubt.Doubt, strange: dict[str, float]) -> None:
    found = fitted.of(look(3, 500, **strange))
    assert np.mean(found > 0.9) > 0.5


def test_a_direction_in_which_prompts_vary_little_counts_more(fitted: doubt.Doubt) -> None:
    known = look(4, 500)
    moved = [torch.zeros(WIDTH) for _ in range(2)]
    moved[0][0] = moved[1][-1] = 1.0
    along, across = (fitted.of(replace(known, prompt_ad=known.prompt_ad + step)) for step in moved)
    assert across.mean() > along.mean() + 0.2


def test_what_was_saved_says_the_same(fitted: doubt.Doubt, tmp_path: Path) -> None:
    fitted.save(tmp_path / "doubt.safetensors")
    asked = look(5, 200, away=0.3)
    assert np.array_equal(doubt.load(tmp_path / "doubt.safetensors").of(asked), fitted.of(asked))


def test_the_same_prompt_for_all_is_no_trouble() -> None:
    same = torch.ones(100, WIDTH)
    found = doubt.fit(same, replace(look(6, 100), prompt_ad=same)).of(look(7, 10))
    assert np.isfinite(found).all()


def test_looks_join_in_their_order() -> None:
    first, second = look(8, 3), look(9, 2)
    both = doubt.joined([first, second])
    assert torch.equal(both.call_a, torch.cat((first.call_a, second.call_a)))
    assert both.prompt_ad.shape == (5, WIDTH)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: doubt.fit(states(0, 100), look(1, 29)), "29 answers kept back"),
        (lambda: doubt.fit(states(0, 1), look(1, 50)), "1 known prompts"),
        (lambda: doubt.fit(states(0, 100)[:, :4], look(1, 50)), "known states of width 4"),
        (
            lambda: doubt.fit(states(0, 100), replace(look(1, 50), call_a=torch.full((50,), float("nan")))),
            "not a finite number",
        ),
        (lambda: doubt.load(Path("nowhere.safetensors")), "does not hold a doubt"),
    ],
)
def test_bad_input_is_refused(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        wrong()


def test_a_doubt_of_another_model_is_refused(fitted: doubt.Doubt) -> None:
    with pytest.raises(InvalidInput, match="belongs to the reward model"):
        fitted.of(replace(look(1, 5), prompt_ad=torch.zeros(5, WIDTH + 1)))
