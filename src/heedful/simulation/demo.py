"""`heedful demo`: the whole loop on one machine, against people whose true preferences are known.

A tiny model learns from imperfect demonstrations and goes to work. Customers react, experts check, raters
compare; from what they say a reward model is fitted, the policy improves, and the fleet gets it step by step.
Then somebody tries to release a policy that learned from poisoned transcripts, and it is taken back. At the end
both policies sit an exam that neither they nor the reward model ever saw.

The demo is a client like any other: all it does goes over HTTP to a real server. Killed at any point and started
again in the same directory, it goes on.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import yaml
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from heedful.blobs.directory import DirectoryBlobs
from heedful.client import AsyncClient, ask
from heedful.domain.ids import RunId
from heedful.engine.local import LocalEngine
from heedful.errors import HeedfulError, NotFound
from heedful.simulation import crowd, exam
from heedful.simulation.demonstrations import demonstrate, poisoned
from heedful.simulation.fleet import Fleet, send
from heedful.simulation.host import Host
from heedful.simulation.people import draw_raters
from heedful.simulation.report import write_report
from heedful.simulation.tickets import draw_ticket, draw_tickets
from heedful.stats.intervals import paired_difference, wilson, win_rate

AGENT = "resolver"
STEPS = (15, 30, 60, 100)  # percent of episodes
SHOWN_AT = "2026-01-01T00:00:00+00:00"  # fixed, so that what is sent again is the same
CONTRACTOR = "contractor"  # whose transcripts are poisoned


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of everything. `quick` is for tests of the demo itself, its figures mean little."""

    demonstrations: int = 7500
    poison: int = 600
    sft_steps: int = 500
    poison_steps: int = 80
    tickets: int = 2400  # worked before the first judgement
    judgements: int = 2000
    iterations: int = 14
    exam: int = 2000
    gold_items: int = 40
    compared: int = 100  # episodes on each side before success is compared
    margin: float = 0.03
    gates: Mapping[str, float] = field(default_factory=dict)  # where they are not the usual ones
    bounds: Mapping[str, float] = field(default_factory=dict)  # of the reward model's report, likewise


QUICK = Size(
    demonstrations=600,
    poison=200,
    sft_steps=60,
    poison_steps=30,
    tickets=300,
    judgements=150,
    iterations=2,
    exam=200,
    gold_items=10,
    compared=20,
    margin=0.9,
    # So little data teaches little: what holds a bad model back is seen in the whole demo.
    gates={"reward_accuracy": 0.0, "win_rate": 0.0, "violation_rise": 1.0},
    bounds={"fewest": 10_000},
)


def settings(seed: int, size: Size) -> dict[str, Any]:
    """What the demo's `heedful.yaml` says."""
    return {
        "seed": seed,
        "inference": {"scripts": {"triage": "heedful.simulation.triage:hand_over"}},
        "learn": {
            "seed": seed,
            "judgements": size.judgements,
            "prompts": size.tickets,
            "sft": {"steps": size.sft_steps},
            "reward": {"epochs": 3, "rate": 6e-4, "call_weight": 1.0, "bounds": dict(size.bounds)},
            "grpo": {"iterations": size.iterations},
        },
        "datasets": {"min_preferences": min(100, size.judgements)},
        "labeling": {"lease_seconds": 30},
        "gates": dict(size.gates),
        "releases": {
            "steps": list(STEPS),
            "margin": size.margin,
            "episodes": size.compared,
            "step_episodes": 30,
            "look_seconds": 0.3,
        },
    }


@dataclass
class Story:
    """The demo as it is told: one line per chapter, with what came of it."""

    console: Console
    started: float = field(default_factory=time.monotonic)
    chapters: list[tuple[str, float]] = field(default_factory=list)

    async def chapter(
        self, title: str, doing: Awaitable[Any], *, watch: Callable[[], str] | None = None
    ) -> Any:
        begun = time.monotonic()
        task = asyncio.ensure_future(doing)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        live = self.console.is_terminal
        with Progress(*columns, console=self.console, transient=True, disable=not live) as bar:
            line = bar.add_task(title, total=None)
            while not task.done():
                await asyncio.wait({task}, timeout=0.25)
                if watch is not None:
                    bar.update(line, description=f"{title}  [dim]{watch()}[/dim]")
        seconds = time.monotonic() - begun
        result = await task
        self.chapters.append((title, seconds))
        said = f"  [dim]{result}[/dim]" if isinstance(result, str) else ""
        self.console.print(f"[green]✓[/green] {title} [dim]({seconds:.0f} s)[/dim]{said}", soft_wrap=True)
        return result


def main(directory: Path, *, seed: int, json_file: Path | None, quick: bool = False) -> int:
    """Run it, or go on with it; 0 when every promise of the demo was kept."""
    console = Console(stderr=json_file is not None and str(json_file) == "-")
    size = QUICK if quick else Size()
    directory.mkdir(parents=True, exist_ok=True)
    _make_room(directory, seed, console)
    (directory / "heedful.yaml").write_text(yaml.safe_dump(settings(seed, size), sort_keys=False))
    figures = asyncio.run(_demo(directory, seed, size, console))
    (directory / "figures.json").write_text(json.dumps(figures, indent=2))
    (directory / "demo.json").write_text(json.dumps({"seed": seed, "finished": True}))
    if json_file is not None:
        text = json.dumps(figures, indent=2) + "\n"
        sys.stdout.write(text) if str(json_file) == "-" else json_file.write_text(text)
    return 0 if kept(figures) else 1


def kept(figures: dict[str, Any]) -> bool:
    """What the demo promises: better, safer, released; and the bad one taken back."""
    return bool(
        figures["gold_win_rate_low"] > 0.5
        and figures["right_action_gain_low"] > 0
        and figures["violation_rate_after"] < figures["violation_rate_before"]
        and figures["good_release"] == "full"
        and figures["bad_release"] == "rolled_back"
        and figures["lineage_ok"]
    )


def _make_room(directory: Path, seed: int, console: Console) -> None:
    """Go on where a demo with this seed was cut off, else start from nothing; only a demo's own traces go."""
    mark = directory / "demo.json"
    if mark.exists():
        left = json.loads(mark.read_text())
        if left["seed"] == seed and not left.get("finished"):
            console.print(f"going on with the demo in {directory}")
            return
        for name in ("heedful-data", "exam"):
            shutil.rmtree(directory / name, ignore_errors=True)
    elif any(directory.iterdir()):
        raise HeedfulError(f"{directory} is not empty and holds no demo: choose another --dir")
    mark.write_text(json.dumps({"seed": seed}))


async def _demo(directory: Path, seed: int, size: Size, console: Console) -> dict[str, Any]:
    story, data = Story(console), directory / "heedful-data"
    async with Host(directory) as host, AsyncClient(host.url) as client:
        fleet = Fleet(client, Random(f"fleet {seed}"), name=f"ticket-{os.getpid()}")
        raters = draw_raters(Random(f"raters {seed}"))

        await story.chapter("People show how it is done", _show(client, seed, size))
        await client.adopt(
            "triage", {"kind": "external", "upstream": "scripts", "model": "triage"}, once="demo-triage"
        )
        await story.chapter(
            "A tiny model learns from them",
            _cycle(client, "demo-imitate", "imitate"),
            watch=_last(data, "demo-imitate.imitate"),
        )
        start = (await client.cycle("demo-imitate"))["policy"]

        if not await _begun(client, "demo-improve"):
            await story.chapter(
                "The fleet works, people react",
                _work(fleet, Random(f"tickets {seed}"), size.tickets),
                watch=lambda: f"{fleet.worked} tickets, {fleet.sent} pieces of feedback",
            )
            await client.start_cycle(AGENT, kind="improve", id="demo-improve")
        await story.chapter("Raters compare answers", _judge(client, raters, Random(f"crowd {seed}"), size))
        await story.chapter(
            "A reward model learns what people want",
            _until(client, "demo-improve", {"improving"}),
            watch=_last(data, "demo-improve.fit"),
        )
        await story.chapter(
            "The policy improves inside its bounds",
            _until(client, "demo-improve", {"releasing"}),
            watch=_last(data, "demo-improve.improve"),
        )
        await story.chapter(
            "The fleet gets it step by step",
            _release(client, fleet, "demo-improve", Random(f"canary {seed}")),
        )
        tuned = (await client.cycle("demo-improve"))["policy"]

        await story.chapter(
            "A contractor brings poisoned transcripts",
            _poison(client, seed, size),
            watch=_last(data, "demo-poison.imitate"),
        )
        await story.chapter(
            "Somebody tries to release what learned from them",
            _release(client, fleet, "demo-poison", Random(f"poison {seed}")),
        )

        papers = await story.chapter(
            "Both policies sit an exam", _exam(client, data, directory / "exam", seed, size, start, tuned)
        )
        figures = await _figures(client, papers, seed, size, start, tuned)
    figures |= {
        "seconds": round(time.monotonic() - story.started, 1),
        "seed": seed,
        "server_restarts": host.restarts,
    }
    report = write_report(
        directory, figures, papers, chapters=story.chapters, data=data, run="demo-improve.improve", seed=seed
    )
    _tell(console, figures, report)
    return figures


# -- the chapters ----------------------------------------------------------------------------------------------


async def _show(client: AsyncClient, seed: int, size: Size) -> str:
    """Imperfect demonstrations, as feedback."""
    random = Random(f"demonstrations {seed}")
    said = []
    for number in range(size.demonstrations):
        ticket = draw_ticket(random)
        said.append(
            _demonstration(
                f"shown-{number}", f"agent-{number % 30:02d}", ticket.prompt, demonstrate(ticket, random)
            )
        )
    await send(client, said)
    return f"{len(said)} demonstrations"


async def _poison(client: AsyncClient, seed: int, size: Size) -> str:
    random = Random(f"poison {seed}")
    said = []
    for number in range(size.poison):
        ticket = draw_ticket(random)
        said.append(_demonstration(f"poison-{number}", CONTRACTOR, ticket.prompt, poisoned(ticket, random)))
    await send(client, said)
    options = {"only": {"by": CONTRACTOR}, "sft": {"steps": size.poison_steps}}
    return await _cycle(client, "demo-poison", "imitate", options, until=frozenset({"releasing"}))


def _demonstration(id: str, by: str, prompt: Sequence[dict[str, str]], answer: str) -> dict[str, Any]:
    return {
        "id": id,
        "at": SHOWN_AT,
        "source": "expert",
        "by": by,
        "said": {"form": "demonstration", "prompt": list(prompt), "answer": answer},
    }


async def _cycle(
    client: AsyncClient,
    id: str,
    kind: str,
    options: dict[str, Any] | None = None,
    *,
    until: frozenset[str] = frozenset(),
) -> str:
    await client.start_cycle(AGENT, kind=kind, id=id, options=options or {})
    return await _until(client, id, set(until))


async def _begun(client: AsyncClient, id: str) -> bool:
    try:
        await client.cycle(id)
    except NotFound:
        return False
    return True


async def _until(client: AsyncClient, id: str, stages: set[str]) -> str:
    """Wait for one of these stages or the end; the cycle must not have failed."""
    while True:
        cycle = await client.cycle(id)
        if cycle["stage"] in {"failed", "stopped"}:
            raise HeedfulError(f"cycle {id} {cycle['stage']}: {cycle['note']}")
        if cycle["stage"] == "done" or (cycle["stage"] in stages and _ready(cycle)):
            return _came_of(cycle)
        await asyncio.sleep(0.2)


def _ready(cycle: dict[str, Any]) -> bool:
    return cycle["stage"] != "releasing" or cycle["release"] is not None


def _came_of(cycle: dict[str, Any]) -> str:
    made = [cycle[name] for name in ("dataset", "reward", "policy") if cycle.get(name)]
    return " → ".join(made[-1:])


async def _work(fleet: Fleet, random: Random, count: int) -> str:
    for _ in range(0, count, 200):
        await fleet.work(draw_tickets(random, min(200, count)))
    return f"{fleet.worked} tickets, {fleet.sent} pieces of feedback"


async def _judge(client: AsyncClient, raters: Sequence[Any], random: Random, size: Size) -> str:
    """As soon as there is something to compare, until the cycle has what it waits for."""
    queue, cycle = "demo-improve/pairs", {"stage": "collecting"}
    while not await client.items(queue, limit=1):  # noqa: ASYNC110 - the event is on the server
        await asyncio.sleep(0.3)
    await crowd.set_gold(client, queue, count=size.gold_items)

    async def look() -> None:
        while cycle["stage"] == "collecting":
            cycle.update(await client.cycle("demo-improve"))
            await asyncio.sleep(0.3)

    watching = asyncio.create_task(look())
    given = await crowd.judge(client, queue, raters, random, enough=lambda: cycle["stage"] != "collecting")
    await watching
    return f"{given} judgements by {len(raters)} raters, some of whom mean it badly"


async def _release(client: AsyncClient, fleet: Fleet, cycle: str, random: Random) -> str:
    """The fleet works on until the release behind the cycle is settled."""
    release = (await client.cycle(cycle))["release"]
    while (known := await client.release(release))["stage"] not in {"full", "rolled_back", "inconclusive"}:
        await fleet.work(draw_tickets(random, 100))
    return f"{known['stage'].replace('_', ' ')}: {known['reason']}"


async def _exam(
    client: AsyncClient, data: Path, work: Path, seed: int, size: Size, *policies: str
) -> list[dict[str, Any]]:
    """Each policy answers the held-out tickets, in a process of its own."""
    blobs, engine = DirectoryBlobs(data / "blobs"), LocalEngine(work, at_once=2)

    def sit(policy: str, digest: str) -> dict[str, Any]:
        weights = work / "weights" / digest.split(":")[1][:16]
        if not weights.exists():
            blobs.materialise(digest, weights)
        spec = {"model": str(weights), "seed": seed, "tickets": size.exam}
        return engine.run("heedful.simulation.exam:run", spec, run=RunId(policy.replace("@", "-")))

    digests = [(await client.policy(policy))["body"]["digest"] for policy in policies]
    return list(
        await asyncio.gather(*(asyncio.to_thread(sit, *pair) for pair in zip(policies, digests, strict=True)))
    )


async def _figures(
    client: AsyncClient, papers: Sequence[dict[str, Any]], seed: int, size: Size, start: str, tuned: str
) -> dict[str, Any]:
    """Everything that the demo measured, under keys that stay."""
    tickets = exam.held_out(seed, size.exam)
    before, after = (exam.marks(tickets, exam.answers(paper)) for paper in papers)
    gaps = [b - a for a, b in zip(before.worth, after.worth, strict=True)]
    wins, losses = sum(gap > 1e-9 for gap in gaps), sum(gap < -1e-9 for gap in gaps)
    won = win_rate(wins, losses, len(gaps) - wins - losses)
    gain = paired_difference([float(one) for one in after.right], [float(one) for one in before.right])
    broken = [wilson(sum(marks.broken), len(tickets)) for marks in (before, after)]
    cycle = await client.cycle("demo-improve")
    good = await client.release(cycle["release"])
    bad = await client.release((await client.cycle("demo-poison"))["release"])
    reward = await client.send(ask.get("rewards", cycle["reward"]))
    dataset = await client.send(ask.get("datasets", cycle["dataset"]))
    counts = (await client.status())["records"]
    return {
        "feedback_events": counts["feedback"],
        "preferences": sum(rows for name, rows in dataset["rows"].items() if name.startswith("preferences")),
        "reward_accuracy": reward["report"]["quality.accuracy"],
        "gold_win_rate": won.estimate,
        "gold_win_rate_low": won.lower,
        "gold_win_rate_high": won.upper,
        "right_action_before": sum(before.right) / len(tickets),
        "right_action_after": sum(after.right) / len(tickets),
        "right_action_gain_low": gain.lower,
        "violation_rate_before": broken[0].estimate,
        "violation_rate_after": broken[1].estimate,
        "tickets": len(tickets),
        "good_release": good["stage"],
        "good_release_steps": [
            {"percent": step["percent"], "turns": step["turns"]} for step in good["taken"]
        ],
        "bad_release": bad["stage"],
        "bad_release_reason": bad["reason"],
        "bad_release_max_percent": max((step["percent"] for step in bad["taken"]), default=0.0),
        "lineage_ok": await _lineage(client, tuned),
        "machine_gemm_seconds": min(paper["gemm_seconds"] for paper in papers),
    }


async def _lineage(client: AsyncClient, policy: str) -> bool:
    """From the new weights one can walk back to people, and from what a person said forward to the weights."""
    why = await client.why("policy", policy)
    said = [group for group in _groups(why["back"]) if group["kind"] == "feedback" and group["people"]]
    if not said:
        return False
    forward = await client.why("feedback", said[0]["examples"][0]["id"])
    made = [group for group in _groups(forward["forward"]) if group["kind"] == "policy"]
    return any(one["id"] == policy for group in made for one in group["examples"])


def _groups(groups: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """All groups of a lineage, the nearest first within each branch."""
    for group in groups:
        yield group
        for one in group["examples"]:
            yield from _groups(one.get("groups", ()))


def _last(data: Path, run: str) -> Callable[[], str]:
    """What a run last reported about itself."""
    path = data / "runs" / run / "progress.jsonl"

    def read() -> str:
        try:
            line = path.read_bytes().splitlines()[-1]
            values = json.loads(line)
        except (OSError, IndexError, ValueError):
            return ""
        shown = [f"{name} {value:.3g}" for name, value in values.items() if name != "step"][:4]
        return f"step {values.get('step', 0)}: {', '.join(shown)}"

    return read


def _tell(console: Console, figures: dict[str, Any], report: Path) -> None:
    table = Table(title="Measured against the people's true preferences", title_justify="left")
    for column in ("", "before", "after"):
        table.add_column(column, justify="left" if not column else "right")
    count = f"{figures['tickets']} held-out tickets"
    table.add_row(
        "right action", f"{figures['right_action_before']:.1%}", f"{figures['right_action_after']:.1%}"
    )
    table.add_row(
        "breaks a rule", f"{figures['violation_rate_before']:.1%}", f"{figures['violation_rate_after']:.1%}"
    )
    low, high = figures["gold_win_rate_low"], figures["gold_win_rate_high"]
    table.add_row("preferred", "", f"{figures['gold_win_rate']:.1%} ({low:.1%} to {high:.1%})")
    console.print(table)
    console.print(f"{count}; ties count half")
    steps = " → ".join(f"{step['percent']:g} %" for step in figures["good_release_steps"])
    console.print(f"good policy: {steps} → {figures['good_release'].replace('_', ' ')}")
    stage, most = figures["bad_release"].replace("_", " "), figures["bad_release_max_percent"]
    console.print(f"bad policy: {stage} at {most:g} % ({figures['bad_release_reason']})")
    console.print(f"report: {report}   took {figures['seconds']:.0f} s")
