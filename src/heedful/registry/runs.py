"""Execute a run: write down what goes in, have it done elsewhere, keep what comes out.

A run is named by the step of the loop that asked for it. Asked for again after a crash, a finished run is
handed back as it was, and one that was cut off goes on under the same name, with the data that it began with:
what is written down is what ran, whatever the world has said in the meantime. Asked for with another order, be
it another task, other settings or other weights, it is refused: nobody takes what one order made for what
another would have made.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from heedful.blobs.protocol import Blobs
from heedful.domain.clock import Clock
from heedful.domain.ids import Digest, RunId, TenantId
from heedful.domain.models import Run, RunState
from heedful.engine.protocol import Engine, Progress
from heedful.errors import Conflict, HeedfulError
from heedful.store.protocol import Batch, Store
from heedful.tracking.protocol import Track, Tracking

NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")  # of a tracked run, which may become a file
LONGEST_NAME = 128  # of a tracked run
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
    """The finished run. What its result names inside the work directory is kept in the blobs.

    Raises `Conflict` when the run is known and was another order.
    """
    run = store.get(Run, tenant, id)
    inputs = engine.work(id) / "inputs"
    order = spec({name: inputs / name for name in (*files, *trees)})
    if run is not None:
        _same_order(run, task, order, trees)
        if run.state is RunState.DONE:
            return run
        files = {name: run.inputs.get(name, digest) for name, digest in files.items()}
    _lay_out(inputs, files, trees, blobs)
    if run is None:
        run = Run(
            id=id,
            tenant=tenant,
            task=task,
            spec=_plain(order),
            started_at=clock.now(),
            inputs={**files, **trees},
        )
        store.commit(Batch(add=(run,)))
    track = tracking.start(_tracked_as(id), run.spec)
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


def _same_order(run: Run, task: str, order: Mapping[str, Any], trees: Mapping[str, Digest]) -> None:
    """Refuses another task, other settings, other weights. Where inputs lie, and what the files among them hold
    by now, makes no other order: a house may move between two tries, and a step that is repeated finds newer data.
    """
    placed = {name for name, value in order.items() if isinstance(value, Path)}
    weights = {name: digest for name, digest in run.inputs.items() if name in trees}
    known, asked = _said(run.spec, placed, weights), _said(order, placed, trees)
    names = sorted(name for name in known.keys() | asked.keys() if known.get(name) != asked.get(name))
    if names or task != run.task:
        raise Conflict(
            f"run {run.id!r} is {_told(run.task, known, names)} and is asked for again as "
            f"{_told(task, asked, names)}: give the new one another name, or ask for what was begun"
        )


def _said(order: Mapping[str, Any], placed: Container[str], trees: Mapping[str, Digest]) -> dict[str, Any]:
    settings = {name: value for name, value in order.items() if name not in placed}
    said: dict[str, Any] = json.loads(json.dumps(settings))  # as it comes back from the store
    return said | {f"weights of {name}": digest for name, digest in trees.items()}


def _told(task: str, said: Mapping[str, Any], names: Sequence[str]) -> str:
    told = ", ".join(f"{name}: {json.dumps(said[name]) if name in said else 'unset'}" for name in names)
    return f"{task} ({told})" if told else task


def _tracked_as(id: RunId) -> str:
    name = NOT_IN_NAMES.sub("-", id)
    if len(name) <= LONGEST_NAME:
        return name
    mark = hashlib.sha256(id.encode()).hexdigest()[:16]
    return f"{name[: LONGEST_NAME - len(mark) - 1]}-{mark}"


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


def _lay_out(root: Path, files: Mapping[str, Digest], trees: Mapping[str, Digest], blobs: Blobs) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for name, digest in files.items():
        (root / name).write_bytes(blobs.get_bytes(digest))
    for name, digest in trees.items():
        if not (root / name).exists():
            blobs.materialise(digest, root / name)
