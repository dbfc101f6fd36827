"""How the steps that learn run, and how they are remembered: once under their name, whoever asks again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from heedful.domain.access import OPERATOR
from heedful.domain.ids import Digest, RunId, TenantId
from heedful.domain.models import Policy, Run, Weights
from heedful.engine.protocol import Progress
from heedful.errors import InvalidInput
from heedful.registry import runs
from heedful.road.parts import Parts

T = TypeVar("T")


def run_once(
    parts: Parts,
    task: str,
    spec: runs.Spec,
    *,
    tenant: TenantId,
    once: str,
    files: Mapping[str, Digest],
    trees: Mapping[str, Digest],
    progress: Progress | None = None,
) -> Run:
    """The finished run of the step that `once` names: it may have been finished long ago."""
    return runs.execute(
        task,
        spec,
        id=_run_id(tenant, once),
        tenant=tenant,
        files=files,
        trees=trees,
        store=parts.store,
        blobs=parts.blobs,
        engine=parts.engine,
        tracking=parts.tracking,
        clock=parts.clock,
        progress=progress,
    )


def _run_id(tenant: TenantId, once: str) -> RunId:
    """A run's work directory goes by its name alone, and `once` may be a caller's: so the tenant is in it.

    Only the tenant is parted off by a slash; what the operator's own runs are called can never look like it.
    A dot stands for a slash, and one that was a dot already is marked as such: `a/b` and `a.b` stay two names.
    """
    name = once.replace("@", "@@").replace(".", "@.").replace("/", ".")
    return RunId(name if tenant == OPERATOR else f"{tenant}/{name}")


def made_by(parts: Parts, kind: type[T], tenant: TenantId, run: RunId) -> T | None:
    found = parts.store.find(kind, tenant, where={"run": run}, limit=1)
    return found[0] if found else None


def weights_of(policy: Policy) -> Digest:
    if not isinstance(policy.body, Weights):
        raise InvalidInput(
            f"policy {policy.id!r} is {policy.body.kind}: only weights can be trained here", field="policy"
        )
    return policy.body.digest
