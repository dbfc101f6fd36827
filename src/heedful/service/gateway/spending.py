"""What each key has spent this month, so that a budget stops it.

The store has the whole truth, and is asked once for a key in a month; what is answered here since then is added
in memory. Several gateways on one database each see the others' spend when they ask again, after a while.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from heedful.domain.ids import KeyId, TenantId
from heedful.errors import OverBudget
from heedful.road import Parts
from heedful.service.gateway.asking import Asked

BELIEVED = timedelta(seconds=60)  # for so long what others spent is not asked for again


@dataclass(slots=True)
class _Account:
    month: datetime
    read_at: datetime
    spent: float


class Spending:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._accounts: dict[tuple[TenantId, KeyId], _Account] = {}

    async def check(self, asked: Asked) -> None:
        """Nothing, or `OverBudget`. What is under way is not known yet: a key may end a little over."""
        limit = asked.limits.spend_per_month
        if limit is None or asked.key is None:
            return
        account = await self._account(asked.tenant, asked.key)
        if account.spent >= limit:
            raise OverBudget(
                f"key {asked.key} has spent {account.spent:.2f} of {limit:g} since "
                f"{account.month:%Y-%m-%d}: raise its spend_per_month, or wait for the next month"
            )

    def add(self, asked: Asked, spend: float) -> None:
        account = None if asked.key is None else self._accounts.get((asked.tenant, asked.key))
        if account is not None:
            account.spent += spend

    async def _account(self, tenant: TenantId, key: KeyId) -> _Account:
        now = self._parts.clock.now().astimezone(UTC)
        month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        known = self._accounts.get((tenant, key))
        if known is None or known.month != month or now - known.read_at > BELIEVED:
            stored = await asyncio.to_thread(self._parts.views.spent, tenant, key, month)
            same = known is not None and known.month == month
            # What was answered a moment ago may not be in the store yet: an account never shrinks in its month.
            spent = max(stored, known.spent) if same and known is not None else stored
            known = self._accounts[tenant, key] = _Account(month, now, spent)
        return known
