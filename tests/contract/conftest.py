"""Databases for contract tests: every promise is kept by SQLite and by PostgreSQL."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from heedful.audit.merkle import Frontier
from heedful.store.sql import open_store
from heedful.store.tables import audit_frontier, metadata

DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database with nothing in it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'heedful.db'}"
    found: str = request.getfixturevalue("emptied_postgres")
    return found


@pytest.fixture(scope="session")
def migrated_postgres(postgres_url: str) -> Iterator[str]:
    """One database with our tables for all contract tests of this process: making one takes a second."""
    name = f"contract_{secrets.token_hex(6)}"
    admin = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    address = make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    open_store(address).close()
    yield address
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def emptied_postgres(migrated_postgres: str) -> str:
    engine = create_engine(migrated_postgres)
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            if table is not audit_frontier:
                connection.execute(table.delete())
        connection.execute(audit_frontier.update().values(frontier=Frontier().to_json()))
    engine.dispose()
    return migrated_postgres
