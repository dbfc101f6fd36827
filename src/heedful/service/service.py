"""What everything behind the door works with."""

from __future__ import annotations

from dataclasses import dataclass, field

from heedful.domain.ids import EpisodeId, TurnId
from heedful.road import Parts
from heedful.service.door.auth import Door
from heedful.service.intake.ingest import Ingest
from heedful.service.intake.recorder import Recorder
from heedful.service.loop import Loop
from heedful.service.state.fleet import Fleet
from heedful.service.state.holds import Holds
from heedful.service.state.metrics import Metrics
from heedful.service.state.remembered import Remembered
from heedful.service.state.sources import Sources
from heedful.service.state.tree import Tree


@dataclass(frozen=True, slots=True)
class Service:
    """Made once for each app; pages and the gateway take from it what they need."""

    parts: Parts
    loop: Loop
    fleet: Fleet
    door: Door
    metrics: Metrics
    tree: Tree
    sources: Sources
    ingest: Ingest
    recorder: Recorder
    holds: Holds = field(default_factory=Holds)
    begun: Remembered[EpisodeId] = field(default_factory=Remembered)
    seen: Remembered[TurnId] = field(default_factory=Remembered)
