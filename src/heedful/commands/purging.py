"""Purging from the command line: through the server that runs here, else as the owner of the database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from heedful import road
from heedful.client import Call, Client
from heedful.commands.reaching import ACTOR, reached
from heedful.domain.ids import TenantId
from heedful.road import Parts
from heedful.settings import Settings
from heedful.wire import PurgedOut, PurgeIn

SECONDS = 3600.0  # the first purge of a large store takes its time

Purge = Callable[[], PurgedOut]


def purge(settings: Settings, tenant: TenantId, key: str | None, *, dry_run: bool) -> PurgedOut:
    def remote(client: Client) -> Purge:
        call = Call(
            method="POST",
            path="/v1/purge",
            body=PurgeIn(dry_run=dry_run, tenant=tenant).model_dump(mode="json"),
            read=lambda response: PurgedOut.model_validate(response.json()),
        )
        return lambda: client.send(call)

    def own(parts: Parts) -> Purge:
        return lambda: PurgedOut(**asdict(road.purge_old(parts, tenant, actor=ACTOR, dry_run=dry_run)))

    with reached(settings, key, remote=remote, own=own, seconds=SECONDS) as done:
        return done()
