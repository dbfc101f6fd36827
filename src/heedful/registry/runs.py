"""Execute a run: write down what goes in, have it done elsewhere, keep what comes out.

A run is named by the step of the loop that asked for it. Asked for again after a crash, a finished run is
handed back as it was, and one that was cut off goes on under the same name, with the inputs and the spec that
it began with: what is written down is what ran, whatever the settings or the world have become in the
meantime.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from heedful.blobs.protocol import Blobs
from heedful.domain.clock import Clock
from heedful.domain.ids import Digest, RunId, TenantId
from heedful.domain.models import Run, RunState
from heedful.engine.protocol import Engine, Progress
from heedful.errors import HeedfulError
from heedful.store.protocol import Batch, Store
from heedful.tracking.protocol import Track, Tracking

NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")  # of a tracked run, which may become a file
Spec = Callable[[Mapping[str, Path]], dict[str, Any]]  # from where each input lies to the task's spec


def execute(
    task: str,
    spec: Spec,
    *,
    id: RunId,
    tenant: TenantId,
    files: Mapping[str, Digest],
    trees: Mapping[str, Digest],
    store: Store,
    blobs: Blobs,
    engine: Engine,
    tracking: Tracking,
    clock: Clock,
    progress: Progress | None = None,
) -> Run:
    """The finished run. What its result names inside the work directory is kept in the blobs."""
    run = store.get(Run, tenant, id)
    if run is not None and run.state is RunState.DONE:
        return run
    begun = {} if run is None else run.inputs
    files, trees = (
        {name: begun.get(name, digest) for name, digest in some.items()} for some in (files, trees)
    )
    places = _lay_out(engine.work(id) / "inputs", files, trees, blobs)
    if run is None:
        order = spec(places)
        run = Run(
            id=id,
            tenant=tenant,
            task=task,
            spec=_plain(order),
            started_at=clock.now(),
            inputs={**files, **trees},
        )
        store.commit(Batch(add=(run,)))
    track = tracking.start(NOT_IN_NAMES.sub("-", id), run.spec)
    try:
        result = engine.run(task, run.spec, run=id, progress=_both(track, progress))
    except HeedfulError as error:
        track.finish("failed")
        failed = replace(run, state=RunState.FAILED, ended_at=clock.now(), error=str(error))
        store.commit(Batch(swap=((run, failed),)))
        raise
    track.finish()
    work = engine.work(id)
    done = replace(
        run,
        state=RunState.DONE,
        ended_at=clock.now(),
        error=None,
        outputs={name: Digest(_keep(blobs, place)) for name, place in _places(result, work)},
        figures=dict(_figures(result)),
    )
    store.commit(Batch(swap=((run, done),)))
    return done


def _both(track: Track, progress: Progress | None) -> Progress:
    """What a task tracks is kept, and handed on to whoever looks."""

    def report(step: int, values: Mapping[str, float]) -> None:
        track.log(step, values)
        if progress is not None:
            progress(step, values)

    return report


def _figures(result: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a result; those of a nested table under dotted names."""
    for name, value in result.items():
        if isinstance(value, Mapping):
            yield from _figures(value, f"{path}{name}.")
        elif isinstance(value, int | float):
            yield f"{path}{name}", float(value)


def _places(result: Mapping[str, Any], work: Path) -> list[tuple[str, Path]]:
    """The files and directories that a result names: those that lie in the work directory."""
    named = ((name, Path(value)) for name, value in result.items() if isinstance(value, str))
    return [(name, place) for name, place in named if place.is_relative_to(work) and place.exists()]


def _keep(blobs: Blobs, path: Path) -> str:
    return blobs.put_tree(path) if path.is_dir() else blobs.put_bytes(path.read_bytes())


def _plain(order: Mapping[str, Any]) -> dict[str, Any]:
    return {key: str(value) if isinstance(value, Path) else value for key, value in order.items()}


def _lay_out(
    root: Path, files: Mapping[str, Digest], trees: Mapping[str, Digest], blobs: Blobs
) -> dict[str, Path]:
    root.mkdir(parents=True, exist_ok=True)
    places = {name: root / name for name in (*files, *trees)}
    for name, digest in files.items():
        places[name].write_bytes(blobs.get_bytes(digest))
    for name, digest in trees.items():
        if not places[name].exists():
            blobs.materialise(digest, places[name])
    return places
