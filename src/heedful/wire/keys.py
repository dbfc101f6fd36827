"""Keys: what each may do, and how much of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field, StringConstraints

from heedful.domain.access import Key, Limits, Scope
from heedful.domain.ids import KeyId, PersonId, TenantId
from heedful.wire.fields import At, Name, Number, Shape


class LimitsIn(Shape):
    """How much a key may do; what is left out is not limited beyond what any key is."""

    requests_per_second: Annotated[Number, Field(gt=0)] | None = None
    """Over a few seconds, instead of `server.requests_per_second`."""
    spend_per_month: Annotated[Number, Field(gt=0)] | None = None
    """Of a calendar month in UTC, in the currency of the price tables: then it gets no more answers."""

    def to_domain(self) -> Limits:
        return Limits(**dict(self))


class KeyIn(Shape):
    """Issue a key."""

    scope: Scope
    """What it may do."""
    name: Annotated[str, StringConstraints(max_length=200)] = ""
    """What people call it."""
    person: Name | None = None
    """For raters: whose judgements these are."""
    origin: Annotated[str, StringConstraints(pattern=r"^https?://[^/\s]{1,200}$")] | None = None
    """For widgets: the only web origin that it works from."""
    expires_at: At | None = None
    """When it ends by itself."""
    limits: LimitsIn = LimitsIn()
    """How much it may do."""
    tenant: Name | None = None
    """Another tenant, which begins with this: only for an admin of the operator's own."""


class RotateIn(Shape):
    """Replace a key."""

    overlap_seconds: Annotated[Number, Field(ge=0, le=90 * 86_400)] = 86_400.0
    """How long the old one still works."""


class KeyOut(Shape):
    """A key without its secret."""

    id: KeyId
    """The part before the dot."""
    tenant: TenantId
    """Whose."""
    scope: Scope
    """What it may do."""
    name: str
    """What people call it."""
    person: PersonId | None
    """Whose judgements come with it."""
    origin: str | None
    """Where it works from."""
    created_at: datetime
    """Since when."""
    expires_at: datetime | None
    """Until when."""
    revoked_at: datetime | None
    """When it was ended."""
    successor: KeyId | None
    """What it was replaced with."""
    limits: Limits
    """How much it may do."""

    @classmethod
    def of(cls, key: Key) -> Self:
        return cls(**{name: getattr(key, name) for name in cls.model_fields})


class KeyIssued(Shape):
    """A new key: its text is shown this once."""

    key: KeyOut
    """What is kept."""
    text: str
    """What goes into `Authorization: Bearer`."""
