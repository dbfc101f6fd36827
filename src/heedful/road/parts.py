"""Parts: what the road is built of. Everything from outside, handed to every stop."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from heedful.blobs.protocol import Blobs
from heedful.domain.clock import Clock
from heedful.domain.ids import mint
from heedful.domain.taxonomy import Taxonomy
from heedful.engine.protocol import Engine
from heedful.evaluation import gates
from heedful.feedback.metrics import Metrics
from heedful.feedback.settings import CaptureSettings
from heedful.guards.protocol import Guard
from heedful.inference.protocol import Inference
from heedful.labeling.settings import LabelingSettings
from heedful.monitoring import signals
from heedful.preferences import freeze as freezing
from heedful.release.settings import ReleaseSettings
from heedful.store.journal import Journal
from heedful.store.protocol import Store
from heedful.store.views import Views
from heedful.tracking.protocol import Tracking
from heedful.training.settings import LearnSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that the road needs from outside: the seams, the settings of each stop, time and chance."""

    store: Store
    views: Views
    journal: Journal
    blobs: Blobs
    engine: Engine
    tracking: Tracking
    inference: Inference
    taxonomy: Taxonomy
    clock: Clock
    random: Random
    config: str  # digest of the settings in force, stamped on every turn
    labeling: LabelingSettings
    datasets: freezing.DatasetSettings
    learn: LearnSettings
    gates: gates.GateSettings
    releases: ReleaseSettings
    watch: signals.WatchSettings
    capture: CaptureSettings
    guards: tuple[Guard, ...] = ()  # asked before a policy is, and before its answer leaves
    metrics: Metrics = field(default_factory=dict)  # what may be said under a name
    parked_days: float = 30.0  # how long feedback waits for what it is about

    def mint(self, kind: str) -> str:
        return mint(kind, self.clock.now(), self.random)
