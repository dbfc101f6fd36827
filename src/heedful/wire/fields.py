"""What the fields of our shapes may hold, and what a shape is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from heedful.domain.ids import ID_PATTERN

LONGEST_TEXT = 200_000  # characters of one text


def _utc(value: datetime) -> datetime:
    """The same moment in UTC; one that no calendar of ours reaches is refused."""
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("this moment is beyond the calendar") from error


Name = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
"""An id, ours or the caller's."""
Short = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Text = Annotated[str, StringConstraints(max_length=LONGEST_TEXT)]
# Strict: "5" is not 5, and true is not 1. A sender that mixes them up is told so.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Whole = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
At = Annotated[AwareDatetime, AfterValidator(_utc)]
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64)],
        Annotated[str, StringConstraints(max_length=4096)],
    ],
    Field(max_length=64),
]


class Shape(BaseModel):
    """What our own routes take and give."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def optional(kind: Any, value: str | None) -> Any:
    return None if value is None else kind(value)
