"""Kill each live source in turn: the others lose nothing, and it is back and reported within 5 seconds.

Four sources give numbered events side by side to a sink that now and then fails. In a random order each is killed
again and again: by an exception, a cancellation, a hang, or an end. Then every number that a source gave is looked
for at the sink.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

from heedful.client import Report, State, collect
from heedful.wire import Kept

NAMES = ("interactions", "task_results", "safety_monitor", "efficiency_meter")
DEATHS = ("raises", "is cancelled", "hangs", "ends")
EVERY = 0.002  # seconds between a source's events
STALL_AFTER = 1.0  # seconds
BOUND = 5.0  # seconds until a killed source is back
ROUNDS, ROUNDS_QUICK = 12, 3  # in each every source dies each death once
SINK_FAILS = 0.05  # share of its calls, before or after it took what it was given


class Stream:
    """Goes on where it was, as an agent's own stream does; dies when it is told to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.given = 0
        self.death: str | None = None

    async def __call__(self) -> AsyncIterator[dict[str, Any]]:
        while True:
            await asyncio.sleep(EVERY)
            death, self.death = self.death, None
            match death:
                case None:
                    self.given += 1
                    id = f"{self.name}-{self.given}"
                    yield {"id": id, "turn": "t", "said": {"form": "flag", "reason": id}}
                case "raises":
                    raise RuntimeError("killed")
                case "is cancelled":
                    task = asyncio.current_task()
                    assert task is not None
                    task.cancel()
                case "hangs":
                    await asyncio.Event().wait()
                case _:
                    return


class Sink:
    """A server in small: keeps an id once, and fails at times, also when it has kept what came."""

    def __init__(self, chance: random.Random) -> None:
        self.kept: Counter[str] = Counter()
        self._chance = chance

    async def __call__(self, said: Sequence[dict[str, Any]]) -> list[Kept]:
        await asyncio.sleep(0.005)
        if self._chance.random() < SINK_FAILS:
            raise ConnectionError("before")
        fresh = [one["id"] for one in said if one["id"] not in self.kept]
        self.kept.update(fresh)
        if self._chance.random() < SINK_FAILS:
            raise ConnectionError("after")
        return [Kept(id=one["id"], status="kept" if one["id"] in fresh else "duplicate") for one in said]


async def torment(rounds: int, seed: int) -> dict[str, Any]:
    chance, loop = random.Random(seed), asyncio.get_running_loop()
    streams, sink = {name: Stream(name) for name in NAMES}, Sink(chance)
    told: list[tuple[str, State]] = []
    backs: list[float] = []
    unreported = disturbed = 0

    def on_report(name: str, report: Report) -> None:
        told.append((name, report.state))

    collector = collect(
        dict(streams), sink, stall_after=STALL_AFTER, within=0.05, on_report=on_report, random=chance
    )
    async with collector:
        for _ in range(rounds):
            kills = [(name, death) for name in NAMES for death in DEATHS]
            chance.shuffle(kills)
            for name, death in kills:
                await asyncio.sleep(0.05)
                told.clear()
                before = {other: stream.given for other, stream in streams.items()}
                streams[name].death, killed = death, loop.time()
                while streams[name].death is not None:  # noqa: ASYNC110
                    await asyncio.sleep(EVERY)
                reached = streams[name].given
                while streams[name].given == reached and loop.time() < killed + 2 * BOUND:  # noqa: ASYNC110
                    await asyncio.sleep(EVERY)
                backs.append(loop.time() - killed)
                unreported += told != [(name, State.WAITING), (name, State.RUNNING)]
                disturbed += sum(streams[other].given == before[other] for other in NAMES)
    wanted = {f"{name}-{n + 1}" for name, stream in streams.items() for n in range(stream.given)}
    return {
        "kills": len(backs),
        "n": len(wanted),
        "lost": len(wanted - set(sink.kept)),
        "doubled": sum(sink.kept.values()) - len(sink.kept) + len(set(sink.kept) - wanted),
        "disturbed": disturbed,  # times that another source stood still meanwhile
        "unreported": unreported,
        "worst_back_s": round(max(backs), 3),
        "bound_s": BOUND,
        "stall_after_s": STALL_AFTER,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{ROUNDS_QUICK} rounds of {ROUNDS}")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    logging.getLogger("heedful").setLevel(logging.CRITICAL)  # every death is logged, and here they are many
    found = asyncio.run(torment(ROUNDS_QUICK if chosen.quick else ROUNDS, chosen.seed))
    nothing = not any(found[name] for name in ("lost", "doubled", "disturbed", "unreported"))
    result = {**found, "ok": nothing and found["worst_back_s"] <= BOUND}
    print(f"RESULT {json.dumps(result)}")
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
