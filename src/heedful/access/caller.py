"""Who is asking."""

from __future__ import annotations

from dataclasses import dataclass

from heedful.domain.access import UNLIMITED, Limits, Scope
from heedful.domain.ids import KeyId, PersonId, TenantId


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    tenant: TenantId
    scope: Scope
    key: KeyId | None = None  # None: on this machine, while there are no keys at all
    person: PersonId | None = None  # for raters: whose judgements these are
    origin: str | None = None  # for widgets: the web origin that the key belongs to
    limits: Limits = UNLIMITED

    @property
    def actor(self) -> str:
        """As the audit log names them."""
        return self.key or "loopback"
