"""What the service asks of the loop: begin, and then leave it alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from heedful.domain.ids import AgentId, CycleId, ReleaseId, TenantId
from heedful.domain.models import Cycle


class Loop(Protocol):
    """Turns of the loop and the watch over releases, which outlive this process.

    Neither call waits for what it begins. Raises `InvalidInput` or `Conflict` when it cannot be begun.
    """

    def start_cycle(
        self,
        tenant: TenantId,
        agent: AgentId,
        *,
        kind: str,
        actor: str,
        options: Mapping[str, Any],
        id: CycleId | None = None,
    ) -> Cycle:
        """A cycle with this id that was started before is handed back as it is."""
        ...

    def release_begun(self, tenant: TenantId, release: ReleaseId) -> None:
        """Watch this release until it is settled; saying it twice changes nothing."""
        ...
