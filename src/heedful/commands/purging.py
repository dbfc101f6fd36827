"""Purging from the command line: through the server that runs here, else as the owner of the database."""

from __future__ import annotations

from dataclasses import asdict

from heedful import road, running
from heedful.client import Call, Client, Patience
from heedful.commands.keychain import ACTOR, KEY_VARIABLE
from heedful.domain.ids import TenantId
from heedful.errors import NotKnown
from heedful.settings import Settings
from heedful.wire import PurgedOut, PurgeIn
from heedful.wiring import wire

SECONDS = 3600.0  # the first purge of a large store takes its time


def purge(settings: Settings, tenant: TenantId, key: str | None, *, dry_run: bool) -> PurgedOut:
    server = running.find(settings.data)
    if server is not None:
        call = Call(
            method="POST",
            path="/v1/purge",
            body=PurgeIn(dry_run=dry_run, tenant=tenant).model_dump(mode="json"),
            read=lambda response: PurgedOut.model_validate(response.json()),
        )
        with Client(server.url, key, timeout=SECONDS, patience=Patience(attempts=2)) as client:
            try:
                return client.send(call)
            except NotKnown as error:
                raise NotKnown(f"{error}; here: --key or {KEY_VARIABLE}, or stop the server first") from error
    wired = wire(settings)
    try:
        purged = road.purge_old(wired.parts, tenant, actor=ACTOR, dry_run=dry_run)
    finally:
        wired.close()
    return PurgedOut(**asdict(purged))
