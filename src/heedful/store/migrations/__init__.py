"""The shape of the database, step by step: whoever owns it brings it up to date when it opens it.

Alembic takes a moment to import, so that it is only asked when something is to be done.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from heedful.errors import Misconfigured

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0003"  # the newest revision in versions/


def revision(connection: Connection) -> str | None:
    """Where this database stands; None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(
        text("SELECT version_num FROM alembic_version")
    ).scalar_one_or_none()
    return found


def migrate(connection: Connection) -> None:
    """Up to HEAD, inside the caller's transaction."""
    now = revision(connection)
    if now == HEAD:
        return
    _refuse_newer(now)
    from alembic import command

    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)


def require_current(connection: Connection) -> None:
    """For those who only read, and must not change the shape."""
    now = revision(connection)
    if now != HEAD:
        _refuse_newer(now)
        raise Misconfigured(
            f"the database is at revision {now}, we read {HEAD}: start our server once, it migrates"
        )


def alembic_config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def _refuse_newer(now: str | None) -> None:
    if now is not None and now > HEAD:
        raise Misconfigured(
            f"the database is at revision {now}, of a newer Heedful: this one knows {HEAD}, upgrade it"
        )
