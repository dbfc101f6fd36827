"""Workflows on DBOS, which keeps its own tables in SQLite or PostgreSQL.

DBOS looks for its past by executor id and application version. Both are set: the executor is the server's name,
because a server takes over from its dead predecessor, the version because by default it is a hash of source
code, and then an upgrade would orphan every release that is under way. `VERSION` is raised when a workflow's
steps change.

Two live servers of one name would each take up what the other is doing. On SQLite the owner's lock rules that
out; on PostgreSQL a server holds a lock on its name from `launch` until it ends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig, SetWorkflowID
from dbos import error as dbos_errors

from heedful.durable.protocol import FlowState, FlowStatus, Json, Workflow
from heedful.errors import (
    Conflict,
    Corrupt,
    InvalidInput,
    Misconfigured,
    NotAllowed,
    NotFound,
    TrainingFailed,
)

VERSION = "1"
LOCK = 0x48656564  # "Heed": beside an executor's hash, so that other locks of this number do not matter
STATES = {
    "PENDING": FlowState.RUNNING,
    "ENQUEUED": FlowState.WAITING,
    "DELAYED": FlowState.WAITING,
    "SUCCESS": FlowState.DONE,
    "ERROR": FlowState.FAILED,
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": FlowState.FAILED,
    "CANCELLED": FlowState.CANCELLED,
}


# What would fail again. Anything else may have been a moment's trouble: a network, a lock, somebody faster.
FINAL = (InvalidInput, NotFound, NotAllowed, Misconfigured, Corrupt, TrainingFailed)


class DbosFlow:
    @property
    def id(self) -> str:
        return str(DBOS.workflow_id)

    def step(self, name: str, do: Callable[[], Json], *, attempts: int = 3) -> Json:
        options: Any = {
            "name": name,
            "retries_allowed": attempts > 1,
            "max_attempts": attempts,
            "interval_seconds": 1.0,
            "should_retry": lambda error: not isinstance(error, FINAL),
        }
        try:
            return DBOS.run_step(options, do)
        except dbos_errors.DBOSMaxStepRetriesExceeded as error:
            raise error.errors[-1] from error  # what went wrong, not how often

    def sleep(self, seconds: float) -> None:
        DBOS.sleep(seconds)

    def receive(self, topic: str, *, timeout: float) -> Json | None:
        return DBOS.recv(topic, timeout_seconds=timeout)


class DbosDurable:
    """One per process: DBOS keeps its registry in the process."""

    def __init__(self, engine: sa.Engine, *, executor: str = "heedful", version: str = VERSION) -> None:
        logging.getLogger("dbos").setLevel(logging.WARNING)
        config: DBOSConfig = {
            "name": "heedful",
            "system_database_engine": engine,
            "application_version": version,
            "executor_id": executor,
            "enable_otlp": False,
            "log_level": "WARNING",
            "notification_listener_polling_interval_sec": 0.2,
            "use_listen_notify": False,
        }
        self._engine = engine
        self._executor = executor
        self._alone: sa.Connection | None = None
        if engine.dialect.name == "sqlite":
            sa.event.listen(engine, "connect", _prepare_sqlite)
        self._dbos = DBOS(config=config)
        self._flows: dict[str, Callable[..., Json]] = {}

    def register(self, name: str, workflow: Workflow) -> None:
        def entry(*arguments: Json) -> Json:
            return workflow(DbosFlow(), *arguments)

        entry.__qualname__ = entry.__name__ = name
        self._flows[name] = DBOS.workflow(name=name, max_recovery_attempts=1000)(entry)

    def launch(self) -> None:
        if self._engine.dialect.name == "postgresql":
            self._alone = _alone(self._engine, self._executor)
        DBOS.launch()

    def start(self, name: str, id: str, *arguments: Json) -> None:
        with SetWorkflowID(id):
            DBOS.start_workflow(self._flows[name], *arguments)

    def send(self, id: str, topic: str, message: Json) -> None:
        try:
            DBOS.send(id, message, topic)
        except dbos_errors.DBOSNonExistentWorkflowError as error:
            raise NotFound(f"no workflow {id!r} is known here") from error

    def cancel(self, id: str) -> None:
        DBOS.cancel_workflow(id)

    def status(self, id: str) -> FlowStatus | None:
        found = DBOS.get_workflow_status(id)
        return None if found is None else _status(found)

    def statuses(self, name: str | None = None) -> Sequence[FlowStatus]:
        return [_status(one) for one in DBOS.list_workflows(name=name)]

    def close(self) -> None:
        DBOS.destroy(workflow_completion_timeout_sec=0)
        if self._alone is not None:
            self._alone.close()
        self._engine.dispose()


def _alone(engine: sa.Engine, executor: str) -> sa.Connection:
    """A connection that holds the lock on this name: it ends with the process, however that ends."""
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    locked = sa.text("SELECT pg_try_advisory_lock(:space, hashtext(:name))")
    if connection.execute(locked, {"space": LOCK, "name": executor}).scalar_one():
        return connection
    connection.close()
    raise Conflict(
        f"a server of the name {executor!r} works on this database: give this one its own server.name"
    )


def _prepare_sqlite(connection: Any, _: Any) -> None:
    """As DBOS prepares connections of its own: whoever writes waits for a turn instead of failing."""
    connection.isolation_level = "IMMEDIATE"
    for setting in ("busy_timeout=30000", "foreign_keys=ON", "journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {setting}")


def _status(found: Any) -> FlowStatus:
    return FlowStatus(
        id=found.workflow_id,
        name=found.name,
        state=STATES[str(getattr(found.status, "value", found.status))],
        result=found.output,
        error=None if found.error is None else str(found.error),
    )
