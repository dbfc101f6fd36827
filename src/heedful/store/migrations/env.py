"""Alembic runs this file: the connection comes from `migrate`, and so does the transaction."""

from __future__ import annotations

from alembic import context

from heedful.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
