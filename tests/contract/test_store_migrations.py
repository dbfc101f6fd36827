"""The revisions, one after the other, make exactly the tables that the code believes in."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, inspect, text

from heedful.errors import Misconfigured
from heedful.store.migrations import HEAD, alembic_config
from heedful.store.sql import open_store
from heedful.store.sqlite import driver
from heedful.store.tables import metadata


def engine_of(url: str) -> Engine:
    return create_engine(url, module=driver()) if url.startswith("sqlite") else create_engine(url)


def test_the_code_knows_its_newest_revision() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_heads() == [HEAD]


def test_migrating_makes_the_tables_of_the_code(url: str) -> None:
    open_store(url).close()
    engine = engine_of(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def shape(connection: Connection) -> dict[str, object]:
    """Columns with their types, and every index as the database itself would write it."""
    if connection.dialect.name == "sqlite":
        indexes = text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
    else:
        indexes = text("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'")
    inspector = inspect(connection)
    columns = {
        name: {
            column["name"]: (str(column["type"]), column["nullable"])
            for column in inspector.get_columns(name)
        }
        for name in inspector.get_table_names()
        if name != "alembic_version"
    }
    keys = {name: inspector.get_pk_constraint(name)["constrained_columns"] for name in columns}
    unique = {name: inspector.get_unique_constraints(name) for name in columns}
    # The two ways of making a table write NULL conditions with and without the table's name.
    found = {
        name: said.replace(f"{name.split('_')[1]}.", "")
        for name, said in connection.execute(indexes)
        if name.startswith("ix_")
    }
    return {"columns": columns, "keys": keys, "unique": unique, "indexes": found}


def test_migrating_makes_the_same_indexes_as_the_code(tmp_path: Path) -> None:
    """Alembic does not compare the conditions of partial indexes, so that they are compared here."""
    open_store(f"sqlite:///{tmp_path / 'migrated.db'}").close()
    migrated, made = (
        engine_of(f"sqlite:///{tmp_path / 'migrated.db'}"),
        engine_of(f"sqlite:///{tmp_path / 'made.db'}"),
    )
    metadata.create_all(made)
    with migrated.connect() as one, made.connect() as other:
        assert shape(one) == shape(other)
    migrated.dispose()
    made.dispose()


def test_a_database_of_a_newer_version_is_refused(url: str) -> None:
    open_store(url).close()
    engine = engine_of(url)

    def stand_at(revision: str) -> None:
        with engine.begin() as connection:
            connection.execute(
                text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision}
            )

    stand_at("9999")
    try:
        for read_only in (False, True):
            with pytest.raises(Misconfigured, match="newer"):
                open_store(url, read_only=read_only)
    finally:
        stand_at(HEAD)
    open_store(url).close()
    engine.dispose()


def test_a_reader_of_an_empty_database_says_who_must_come_first(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="start the server once"):
        open_store(f"sqlite:///{tmp_path / 'none.db'}", read_only=True)
