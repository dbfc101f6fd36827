"""Whose data it is, and who may touch it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from heedful.domain.ids import KeyId, PersonId, TenantId
from heedful.errors import InvalidInput

OPERATOR = TenantId("default")  # whoever runs the server; everything is theirs while there are no keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """One customer, team or company; nothing crosses from one to another."""

    id: TenantId
    tenant: TenantId  # itself: every record carries one
    name: str
    created_at: datetime


class Scope(StrEnum):
    """What a key may do. People have the same roles, and two more that keys do not."""

    ADMIN = "admin"
    ENGINEER = "engineer"
    REVIEWER = "reviewer"
    RATER = "rater"
    AGENT = "agent"
    PRODUCT = "product"
    WIDGET = "widget"
    VIEWER = "viewer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a key may do. None means as much as any."""

    requests_per_second: float | None = None
    spend_per_month: float | None = None  # of a calendar month in UTC, in the currency of the price tables

    def __post_init__(self) -> None:
        for name in ("requests_per_second", "spend_per_month"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InvalidInput(f"{name} is {value}: it is more than 0", field=name)


UNLIMITED = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An API key, without its secret: only the secret's SHA-256 is kept."""

    id: KeyId  # the public prefix of the key
    tenant: TenantId
    scope: Scope
    digest: str  # hex SHA-256 of the secret
    created_at: datetime
    name: str = ""
    person: PersonId | None = None  # for raters: whose judgements these are
    origin: str | None = None  # for widgets: the only web origin it works from
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    successor: KeyId | None = None  # after a rotation
    limits: Limits = UNLIMITED
