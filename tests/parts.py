"""Real small parts for tests: a SQLite file, a directory of blobs, scripts that answer, an engine."""

from __future__ import annotations

import importlib
import importlib.resources
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import yaml

from heedful.blobs.directory import DirectoryBlobs
from heedful.domain.clock import WallClock
from heedful.domain.content import Message
from heedful.domain.ids import RunId
from heedful.domain.taxonomy import Taxonomy
from heedful.engine.protocol import Progress
from heedful.evaluation.gates import GateSettings
from heedful.feedback.settings import CaptureSettings
from heedful.inference.scripted import ScriptedInference
from heedful.inference.upstreams import Upstreams
from heedful.labeling.settings import LabelingSettings
from heedful.monitoring.signals import WatchSettings
from heedful.preferences.freeze import DatasetSettings
from heedful.release.settings import ReleaseSettings
from heedful.road import Parts
from heedful.store.journal import Journal
from heedful.store.sql import open_store
from heedful.store.views import Views
from heedful.tracking.files import FilesTracking
from heedful.training.settings import LearnSettings

SCRIPTS = {"echo": f"{__name__}:echo", "shout": f"{__name__}:shout"}


def echo(messages: Sequence[Message]) -> str:
    """Says what was said last."""
    return f"You said: {messages[-1].text}"


def shout(messages: Sequence[Message]) -> str:
    """Another policy, so that tests can tell which one answered."""
    return messages[-1].text.upper()


class HereEngine:
    """Runs a task in this very process: the shortest adapter."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def run(
        self, task: str, spec: Mapping[str, Any], *, run: RunId, progress: Progress | None = None
    ) -> dict[str, Any]:
        module, name = task.split(":")
        work = self.work(run)
        work.mkdir(parents=True, exist_ok=True)
        result: dict[str, Any] = getattr(importlib.import_module(module), name)(
            dict(spec), work, progress or (lambda step, values: None)
        )
        return result

    def work(self, run: RunId) -> Path:
        return self._root / run

    def close(self) -> None:
        return None


def make_parts(directory: Path, **overrides: Any) -> Parts:
    """Parts over `directory`, each replaceable by its name; close with `parts.store.close()`."""
    store = overrides.get("store") or open_store(
        overrides.pop("url", f"sqlite:///{directory / 'heedful.db'}")
    )
    scripted = ScriptedInference(SCRIPTS)
    taxonomy = importlib.resources.files("heedful.domain").joinpath("taxonomy.yaml").read_text()
    defaults: dict[str, Any] = {
        "store": store,
        "views": Views(store),
        "journal": Journal(directory / "journal"),
        "blobs": DirectoryBlobs(directory / "blobs"),
        "engine": HereEngine(directory / "runs"),
        "tracking": FilesTracking(directory / "tracking"),
        "inference": Upstreams(scripted, {"scripts": scripted}),
        "taxonomy": Taxonomy.parse(yaml.safe_load(taxonomy)),
        "clock": WallClock(),
        "random": Random(0),
        "config": "test",
        "labeling": LabelingSettings(),
        "datasets": DatasetSettings(),
        "learn": LearnSettings(),
        "gates": GateSettings(),
        "releases": ReleaseSettings(),
        "watch": WatchSettings(),
        "capture": CaptureSettings(),
    }
    return Parts(**(defaults | overrides))
