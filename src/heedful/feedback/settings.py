"""How much of what was said is kept, and for how long."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from heedful.domain.capture import Capture
from heedful.domain.ids import TenantId

Days = int | None


class CaptureSettings(BaseModel):
    """How much of what was said is kept, and for how long. Applied before anything is stored."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    default: Capture = Capture.FULL
    """`full`: as it was said; `redacted`: marks in the place of what is personal; `metadata`: no text."""

    tenants: dict[str, Capture] = Field(default_factory=dict)
    """By tenant, where it is not the default."""

    retention_days: Days = Field(None, ge=1)
    """Older turns, episodes and feedback are removed by `heedful purge`; empty keeps them."""

    tenants_retention: dict[str, Days] = Field(default_factory=dict)
    """Days by tenant, where it is not the default; empty keeps that tenant's."""

    def of(self, tenant: TenantId) -> Capture:
        return self.tenants.get(tenant, self.default)

    def days(self, tenant: TenantId) -> Days:
        return self.tenants_retention.get(tenant, self.retention_days)
