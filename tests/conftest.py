"""What every test may ask for: real databases of its own, and quiet, reproducible surroundings.

A service that is not installed skips a test with one line; with CI=true it fails it, because a green
build that tested nothing is worse than a red one.
"""

from __future__ import annotations

import os

# Before anything imports torch or tokenizers: one thread per process is fastest when tests run side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test talks to anyone

import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, TypeVar

import hypothesis
import pytest
import sqlalchemy

from _services import NotHere, Server, postgres, redis
from chromium import chromium

T = TypeVar("T")

hypothesis.settings.register_profile("heedful", deadline=None, print_blob=True)  # cores are shared and noisy
hypothesis.settings.load_profile("heedful")

SERVICES = {
    "postgres": "postgres",
    "redis": "redis",
    "browser": "browser",
}  # a fixture's first word -> the marker it brings


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that asks for a service's fixture carries its marker: `-m "not postgres"` just works."""
    for item in items:
        for name in getattr(item, "fixturenames", ()):
            if marker := SERVICES.get(name.partition("_")[0]):
                item.add_marker(marker)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        torch = pytest.importorskip("torch", reason="needs torch and a CUDA device")
        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


@pytest.fixture
def anyio_backend() -> str:
    """Async tests are marked `@pytest.mark.anyio` and run on the loop that the server uses."""
    return "asyncio"


@contextmanager
def here(service: AbstractContextManager[T]) -> Iterator[T]:
    """The service; or the test is skipped, and with CI=true failed, because it is not installed."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(service)
        except NotHere as error:
            if os.environ.get("CI") == "true":
                pytest.fail(f"CI=true and {error}", pytrace=False)
            pytest.skip(str(error))
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A private PostgreSQL for this test process, started when first asked for: leave it running."""
    with here(postgres()) as server:
        yield server


@pytest.fixture
def postgres_to_kill() -> Iterator[Server]:
    """A PostgreSQL for this one test, which may `kill`, `stop` and `start` it."""
    with here(postgres()) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres_server: Server) -> str:
    """The server's own database, for creating others in: use `postgres_database` for data."""
    return postgres_server.url


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[str]:
    """The SQLAlchemy URL of a new, empty database for this one test, dropped afterwards."""
    name = f"test_{secrets.token_hex(6)}"
    admin = sqlalchemy.create_engine(
        postgres_url, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.pool.NullPool
    )
    with admin.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    yield sqlalchemy.make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(sqlalchemy.text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    """A private redis-server for this test process, started when first asked for; nothing on disk."""
    with here(redis()) as server:
        yield server


@pytest.fixture
def redis_to_kill() -> Iterator[Server]:
    """A redis-server for this one test, which may `kill`, `stop` and `start` it: every write is synced."""
    with here(redis(durable=True)) as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(redis_server: Server) -> str:
    """The server's URL, with whatever earlier tests left in it: use `redis_database` for an empty one."""
    return redis_server.url


@pytest.fixture
def redis_database(redis_url: str) -> str:
    """A redis:// URL whose database is empty when the test starts."""
    from redis import Redis

    with Redis.from_url(redis_url) as client:
        client.flushall()
    return redis_url


@pytest.fixture(scope="module")  # no longer: its event loop and those of async tests exclude each other
def browser() -> Iterator[Any]:
    """A real Chromium, driven by playwright: every test opens pages in a context of its own."""
    with here(chromium()) as found:
        yield found
