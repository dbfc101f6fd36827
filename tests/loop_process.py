"""One server's loop, with a fleet and people around it: what the crash test starts and kills."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

from factories import TENANT
from flows import engine, note
from heedful import road
from heedful.domain.clock import WallClock
from heedful.domain.ids import CycleId, QueueId
from heedful.domain.labeling import Queue
from heedful.domain.models import Cycle
from heedful.durable.dbos import DbosDurable
from heedful.labeling.settings import LabelingSettings
from heedful.road import Parts
from heedful.worker import Worker
from roadside import AGENT, PretendingEngine, judge_all, make_parts, work_tickets

CYCLE = CycleId("cycle_1")
QUEUE = QueueId(f"{CYCLE}/pairs")
PATIENCE = 60.0


def parts_in(folder: Path) -> Parts:
    slow = PretendingEngine(folder / "runs", seconds=0.3)
    parts = make_parts(folder, engine=slow, clock=WallClock(), judgements=20)
    return replace(parts, labeling=LabelingSettings(gold_share=0.0, lease_seconds=1.0))


def main(place: str) -> None:
    """Until the cycle has ended; every change in the store is a line in the notes."""
    folder = Path(place)
    os.dup2(os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT), 2)
    parts = parts_in(folder)
    durable = DbosDurable(engine(f"sqlite:///{folder / 'durable.db'}"))
    worker = Worker(parts, durable)
    events = asyncio.new_event_loop()
    threading.Thread(target=events.run_forever, daemon=True).start()
    worker.launch(events)
    worker.start_cycle(TENANT, AGENT, kind="improve", actor="ann", options={}, id=CYCLE)
    _surround(parts, folder)
    worker.close()
    parts.store.close()


def _surround(parts: Parts, folder: Path) -> None:
    known, give_up, tickets = None, time.monotonic() + PATIENCE, os.getpid() * 100_000
    while time.monotonic() < give_up:
        cycle = parts.store.get(Cycle, TENANT, CYCLE)
        if cycle is not None and cycle.ended_at is not None:
            note(folder, f"ended {cycle.stage} {cycle.note}")
            return
        if parts.store.get(Queue, TENANT, QUEUE) is not None:
            judge_all(parts, QUEUE, f"rater_{os.getpid()}")
        standing = road.on_duty(parts, TENANT)[AGENT]
        if standing.release is not None:
            work_tickets(parts, 20, start=tickets)
            tickets += 20
        counts = parts.views.tallies(TENANT) | {"stage": cycle.stage if cycle else None}
        if counts != known:
            note(folder, str(counts))
            known = counts
        time.sleep(0.02)
