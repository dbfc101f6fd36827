"""The only file that picks adapters: settings in, parts out."""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass
from pathlib import Path
from random import Random, SystemRandom

import sqlalchemy as sa
import yaml

from heedful.blobs.directory import DirectoryBlobs
from heedful.domain.clock import WallClock
from heedful.domain.taxonomy import Taxonomy
from heedful.durable.dbos import DbosDurable
from heedful.durable.protocol import Durable
from heedful.engine.local import LocalEngine
from heedful.errors import Misconfigured
from heedful.inference.local import LocalInference
from heedful.inference.openai_http import OpenAIInference
from heedful.inference.protocol import Inference
from heedful.inference.scripted import ScriptedInference
from heedful.inference.upstreams import Upstreams
from heedful.road import Parts
from heedful.settings import Settings
from heedful.store.journal import Journal
from heedful.store.postgres import with_driver
from heedful.store.sql import SqlStore, open_store
from heedful.store.views import Views
from heedful.tracking.files import FilesTracking

SCRIPTS = "scripts"  # the upstream under which scripted policies are found


@dataclass(frozen=True, slots=True)
class Wired:
    """The parts, and what has to be closed when the process ends."""

    parts: Parts
    durable: Durable
    store: SqlStore

    def close(self) -> None:
        self.store.close()
        self.parts.journal.close()


def wire(settings: Settings) -> Wired:
    """Everything for a server: on SQLite this process owns the database from here on."""
    settings.data.mkdir(parents=True, exist_ok=True)
    store = open_store(database_url(settings), name=settings.server.name)
    blobs = DirectoryBlobs(settings.data / "blobs")
    named: dict[str, Inference] = {
        name: OpenAIInference(upstream, name=name) for name, upstream in settings.inference.upstreams.items()
    }
    named[SCRIPTS] = ScriptedInference(settings.inference.scripts)
    parts = Parts(
        store=store,
        views=Views(store),
        journal=Journal(
            settings.data / "journal" / settings.server.name, most_bytes=settings.gateway.journal_bytes
        ),
        blobs=blobs,
        engine=LocalEngine(settings.data / "runs"),
        tracking=FilesTracking(settings.data / "tracking"),
        inference=Upstreams(
            LocalInference(blobs.materialise, settings.data / "weights", timeout=settings.inference.timeout),
            named,
        ),
        taxonomy=taxonomy(settings),
        clock=WallClock(),
        random=SystemRandom() if settings.seed is None else Random(settings.seed),
        config=settings.digest,
        labeling=settings.labeling,
        datasets=settings.datasets,
        learn=settings.learn,
        gates=settings.gates,
        releases=settings.releases,
        watch=settings.watch,
        capture=settings.capture,
        metrics=settings.feedback.metrics,
        parked_days=settings.feedback.parked_days,
    )
    durable = DbosDurable(durable_engine(settings), executor=settings.server.name)
    return Wired(parts=parts, durable=durable, store=store)


def read(settings: Settings) -> tuple[SqlStore, Views]:
    """For looking only: no lock is taken and nothing can be written, so a running server does not mind."""
    store = open_store(database_url(settings), read_only=True)
    return store, Views(store)


def database_url(settings: Settings) -> str:
    return settings.database or f"sqlite:///{(settings.data / 'heedful.db').absolute()}"


def taxonomy(settings: Settings) -> Taxonomy:
    """Your own safety taxonomy, or the one that comes along."""
    own = settings.safety.taxonomy
    try:
        text = (
            own.read_text()
            if own
            else importlib.resources.files("heedful.domain").joinpath("taxonomy.yaml").read_text()
        )
    except OSError as error:
        raise Misconfigured(f"safety.taxonomy {own} does not read: {error}") from error
    return Taxonomy.parse(yaml.safe_load(text))


def durable_engine(settings: Settings) -> sa.Engine:
    """The workflow tables lie beside ours: a file of their own on SQLite, a schema of their own on PostgreSQL."""
    if settings.database is not None and not settings.database.startswith("sqlite"):
        return sa.create_engine(with_driver(sa.make_url(settings.database)), pool_pre_ping=True)
    return _sqlite(settings.data / "durable.db")


def _sqlite(path: Path) -> sa.Engine:
    try:
        import pysqlite3.dbapi2 as sqlite
    except ImportError:  # not on this platform: the linked library has to do
        import sqlite3 as sqlite
    return sa.create_engine(f"sqlite:///{path.absolute()}", module=sqlite)
