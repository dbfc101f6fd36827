"""How people are asked."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class LabelingSettings(BaseModel):
    """How people are asked, and how far they are believed before they are known."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    prior: float = Field(0.75, gt=0, lt=1)
    """Reliability of a rater who has not been tested on gold items."""

    prior_weight: float = Field(8.0, gt=0)
    """How many gold items that prior counts for."""

    candidates: int = Field(4, ge=2)
    """Answers that are sampled per prompt before two of them are shown."""

    gold_share: float = Field(0.1, ge=0, lt=1)
    """Share of assignments that are hidden gold items, as long as a rater has unseen ones."""

    lease_seconds: float = Field(600.0, gt=0)
    """How long an assignment waits for its rater."""
