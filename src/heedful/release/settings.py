"""How fast the fleet gets a new policy, and on what evidence."""

from __future__ import annotations

from itertools import pairwise

from pydantic import BaseModel, ConfigDict, Field, field_validator


class ReleaseSettings(BaseModel):
    """How fast the fleet gets a new policy, and on what evidence."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    steps: tuple[float, ...] = (5, 10, 20, 40, 80, 100)
    """Percentages of units, rising, the last one 100."""

    @field_validator("steps")
    @classmethod
    def _rise_to_everyone(cls, steps: tuple[float, ...]) -> tuple[float, ...]:
        """Told at start: a release that finds it out comes after hours of training."""
        rising = all(a < b for a, b in pairwise((0.0, *steps)))
        if not rising or steps[-1:] != (100,):
            raise ValueError("percentages rise and end at 100")
        return steps

    alpha: float = Field(0.05, gt=0, lt=0.5)
    """Chance of a wrong decision that is accepted, over the whole release and all looks."""

    margin: float = Field(0.03, gt=0, lt=1)
    """By how much the success rate may be worse and still count as not worse."""

    episodes: int = Field(200, ge=20)
    """Episodes with a known outcome that each side needs before their success is compared."""

    step_episodes: int = Field(30, ge=1)
    """Episodes that the new policy answers at each step before the next."""

    budget: int = Field(20_000, ge=1)
    """Episodes after which an undecided release is handed to a person."""

    look_seconds: float = Field(2.0, gt=0)
    """Time between two looks at a release under way."""
