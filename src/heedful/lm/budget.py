"""What a training run may spend before it stops, with a state to go on from."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Spent = Literal["seconds", "tokens", "money"]


class BudgetSettings(BaseModel):
    """Of every training task."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    seconds: float | None = Field(None, gt=0)
    """Stop after so many seconds, with a state to go on from."""

    tokens: int | None = Field(None, gt=0)
    """Stop after so many tokens, likewise."""

    money: float | None = Field(None, gt=0)
    """Stop when so much has been spent, likewise; `hourly` says what an hour costs."""

    hourly: float = Field(0.0, ge=0)
    """What an hour of this machine costs, in the same coin as `money`."""

    @model_validator(mode="after")
    def _priced(self) -> Self:
        if self.money is not None and not self.hourly:
            raise ValueError("money is a budget only where an hour has a price: give hourly too")
        return self

    def spent(self, seconds: float, tokens: int) -> Spent | None:
        """Which of it is used up."""
        if self.seconds is not None and seconds >= self.seconds:
            return "seconds"
        if self.tokens is not None and tokens >= self.tokens:
            return "tokens"
        if self.money is not None and seconds / 3600 * self.hourly >= self.money:
            return "money"
        return None
