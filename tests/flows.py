"""Programs that the durable tests run and kill: DBOS is one per process, so each scenario has one of its own.

What happened is left in a folder, line by line.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy

from heedful.durable.dbos import DbosDurable
from heedful.durable.protocol import Durable, Flow, FlowState, FlowStatus
from heedful.errors import Conflict, InvalidInput, NotFound, Unavailable

STEPS = 10
PATIENCE = 60.0
ENDED = frozenset({FlowState.DONE, FlowState.FAILED, FlowState.CANCELLED})


def engine(url: str) -> sqlalchemy.Engine:
    if not url.startswith("sqlite"):
        return sqlalchemy.create_engine(url)
    import pysqlite3.dbapi2

    return sqlalchemy.create_engine(url, module=pysqlite3.dbapi2)


def note(folder: Path, line: str) -> None:
    """One line, whole or not at all, whatever kills us."""
    file = os.open(folder / "notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{line}\n".encode())
    os.close(file)


def ended(durable: Durable, id: str) -> FlowStatus:
    give_up = time.monotonic() + PATIENCE
    while (found := durable.status(id)) is None or found.state not in ENDED:
        assert time.monotonic() < give_up, f"{id} did not end: {found}"
        time.sleep(0.02)
    return found


def counting(folder: Path) -> Callable[..., Any]:
    """A workflow of steps, each with an effect that is keyed by the step's name."""

    def workflow(flow: Flow, steps: int) -> int:
        def do(name: str) -> int:
            note(folder, f"begin {name}")
            time.sleep(0.03)
            effect = folder / "effects" / name
            effect.parent.mkdir(exist_ok=True)
            effect.touch()
            time.sleep(0.01)
            return 1

        total = 0
        for number in range(steps):
            name = f"{flow.id}.{number:02}"
            total += flow.step(name, lambda name=name: do(name))  # type: ignore[misc]
        return total

    return workflow


def kill_me(durable: Durable, folder: Path) -> None:
    durable.register("count", counting(folder))
    durable.launch()
    durable.start("count", "w", STEPS)
    note(folder, f"result {ended(durable, 'w').result}")


def waiting(flow: Flow, answer: str) -> str:
    """Version one: what the process ran that was killed."""
    flow.step("before", lambda: 1)
    flow.step("mark", lambda: note(Path(answer), "waits"))
    heard = flow.receive("go", timeout=PATIENCE)
    return f"first {heard}"


def waiting_rewritten(flow: Flow, answer: str) -> str:
    """The same steps in other words, after an upgrade."""
    step = flow.step("before", lambda: 2)
    flow.step("mark", lambda: note(Path(answer), "waits again"))
    words = ["then", flow.receive("go", timeout=PATIENCE), f"after {step}"]
    return " ".join(map(str, words))


def before_upgrade(durable: Durable, folder: Path) -> None:
    durable.register("wait", waiting)
    durable.launch()
    durable.start("wait", "w", str(folder))
    while not (folder / "notes").exists():
        time.sleep(0.02)
    os.kill(os.getpid(), 9)


def after_upgrade(durable: Durable, folder: Path) -> None:
    durable.register("wait", waiting_rewritten)
    durable.launch()
    durable.send("w", "go", "heard")
    note(folder, f"result {ended(durable, 'w').result}")


def leave(durable: Durable, folder: Path) -> None:
    """A step leaves with `SystemExit`, as when the server is asked to end; the next process takes it up."""

    def workflow(flow: Flow) -> str:
        def do() -> str:
            note(folder, "begin step")
            if (folder / "notes").read_text().count("begin step") == 1:
                raise SystemExit
            return "done by the next"

        return str(flow.step("leave", do))

    durable.register("leave", workflow)
    durable.launch()
    if durable.status("w") is None:
        durable.start("leave", "w")
        while not (folder / "notes").exists():
            time.sleep(0.02)
        time.sleep(0.2)
        found = durable.status("w")
        note(folder, f"state {found.state if found else None}")
    else:
        note(folder, f"result {ended(durable, 'w').result}")


def story(durable: Durable, folder: Path) -> None:
    """Everything that needs no kill."""
    tries: dict[str, int] = {}

    def trying(error: Exception, until: int) -> Callable[[Flow], int]:
        def workflow(flow: Flow) -> int:
            def do() -> int:
                tries[flow.id] = tries.get(flow.id, 0) + 1
                if tries[flow.id] <= until:
                    raise error
                return tries[flow.id]

            return int(flow.step("try", do, attempts=2))

        return workflow

    def hearing(flow: Flow, late: float) -> list[Any]:
        flow.sleep(late)
        return [flow.receive("a", timeout=10), flow.receive("a", timeout=10), flow.receive("b", timeout=0.1)]

    def napping(flow: Flow, seconds: float) -> int:
        flow.sleep(seconds)
        return int(flow.step("after", lambda: tries.setdefault("after a cancel", 1)))

    durable.register("count", counting(folder))
    durable.register("hear", hearing)
    durable.register("final", trying(InvalidInput("the prompt is empty", field="prompt"), 9))
    durable.register("moment", trying(Unavailable("the disk is away"), 1))
    durable.register("lasting", trying(Unavailable("the disk is away"), 9))
    durable.register("nap", napping)
    durable.launch()

    durable.start("hear", "late", 0.3)
    durable.send("late", "a", {"n": 1})
    durable.send("late", "a", {"n": 2})
    durable.start("count", "twice", 3)
    durable.start("count", "twice", 3)
    for name in ("final", "moment", "lasting"):
        durable.start(name, name)
    durable.start("nap", "cancelled", 0.5)
    time.sleep(0.2)
    durable.cancel("cancelled")
    ids = ("late", "twice", "final", "moment", "lasting", "cancelled")
    known = {id: ended(durable, id) for id in ids}
    durable.start("count", "twice", 3)  # long after it ended
    try:
        durable.send("nobody", "a", 1)
        unknown = "was sent"
    except NotFound as error:
        unknown = str(error)
    said = {
        "known": {id: [str(one.state), one.result, one.error] for id, one in known.items()},
        "tries": tries,
        "again": str(ended(durable, "twice").result),
        "unknown": unknown,
        "nobody": durable.status("nobody") is None,
        "counts": sorted(one.id for one in durable.statuses("count")),
        "all": sorted(one.id for one in durable.statuses()),
    }
    (folder / "story.json").write_text(json.dumps(said))


def stay(durable: Durable, folder: Path) -> None:
    """Works until it is killed; or says why not."""
    try:
        durable.launch()
    except Conflict as error:
        note(folder, f"refused: {error}")
        return
    note(folder, "works")
    time.sleep(PATIENCE)


def main(scenario: str, database: str, folder: str, executor: str = "heedful") -> None:
    log = os.open(Path(folder) / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, 2)
    durable = DbosDurable(engine(database), executor=executor)
    globals()[scenario](durable, Path(folder))
    durable.close()
