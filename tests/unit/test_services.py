"""The services that tests start for themselves: real, private, empty, and as durable as in production."""

from __future__ import annotations

import sqlalchemy
from redis import Redis

from _services import Server


def values(url: str, statement: str) -> list[object]:
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool)
    with engine.begin() as connection:
        result = connection.execute(sqlalchemy.text(statement))
        return list(result.scalars()) if result.returns_rows else []


def test_postgres_syncs_what_it_commits(postgres_url: str) -> None:
    assert values(postgres_url, "SHOW fsync") == ["on"]
    assert values(postgres_url, "SHOW synchronous_commit") == ["on"]
    assert int(str(values(postgres_url, "SHOW server_version_num")[0])) >= 140_000


def test_each_test_has_a_database_of_its_own(postgres_database: str, postgres_url: str) -> None:
    assert postgres_database != postgres_url
    assert values(postgres_database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == []
    values(postgres_database, "CREATE TABLE left_behind (x int)")


def test_a_killed_postgres_comes_back_with_what_it_acknowledged(postgres_to_kill: Server) -> None:
    values(postgres_to_kill.url, "CREATE TABLE kept (x int)")
    values(postgres_to_kill.url, "INSERT INTO kept VALUES (7)")
    postgres_to_kill.kill()
    postgres_to_kill.start()
    assert values(postgres_to_kill.url, "SELECT x FROM kept") == [7]


def test_a_killed_redis_that_syncs_comes_back_with_what_it_acknowledged(redis_to_kill: Server) -> None:
    with Redis.from_url(redis_to_kill.url) as client:
        client.xadd("episodes", {"id": "e1"})
    redis_to_kill.kill()
    redis_to_kill.start()
    with Redis.from_url(redis_to_kill.url) as client:
        assert client.xlen("episodes") == 1


def test_redis_is_empty_and_answers(redis_database: str) -> None:
    with Redis.from_url(redis_database) as client:
        assert client.dbsize() == 0
        client.xadd("episodes", {"id": "e1"})
        assert client.xlen("episodes") == 1


def test_redis_is_empty_again_for_the_next_test(redis_database: str) -> None:
    with Redis.from_url(redis_database) as client:
        assert client.dbsize() == 0
