"""The simulated people as auditors of a run that practises: each pair is shown to one of them, sides by chance."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from heedful.errors import InvalidInput
from heedful.simulation.people import draw_raters
from heedful.simulation.tickets import ticket_of

SIDES = {"left": 1.0, "right": 0.0, None: 0.5}


class Crowd:
    """Raters as they come, those who work against us among them."""

    def __init__(self, seed: int) -> None:
        self._raters, self._seed = draw_raters(Random(f"auditors {seed}")), seed
        self.asked = 0

    def compare(
        self, prompts: Sequence[Any], first: Sequence[str], second: Sequence[str], *, once: str
    ) -> list[float | None]:
        chance = Random(f"{self._seed} {once}")
        self.asked += len(prompts)
        said: list[float | None] = []
        for prompt, one, other in zip(prompts, first, second, strict=True):
            ticket = ticket_of(prompt if isinstance(prompt, str) else prompt[-1]["content"])
            if ticket is None:
                said.append(None)
                continue
            turned = chance.random() < 0.5
            left, right = (other, one) if turned else (one, other)
            told = SIDES[chance.choice(self._raters).choose(ticket, left, right, chance)]
            said.append(1.0 - told if turned else told)
        return said


def crowd(asked: str) -> Crowd:
    """For `audit.auditor`; `asked` is the crowd's seed."""
    try:
        return Crowd(int(asked or 0))
    except ValueError:
        raise InvalidInput(f"the crowd's seed is a number, not {asked!r}", field="asked") from None
