"""What a policy truly is worth: its answers to held-out tickets, measured against the people's true preferences.

`run` is a task for the engine, because it needs torch; the judging is done by the one who asked for the exam.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from heedful.simulation.gold import acts_right, utility, violations
from heedful.simulation.tickets import Ticket, draw_tickets

MAX_TOKENS = 64
GEMM = 1024  # rows and columns of the reference product


def held_out(seed: int, count: int) -> list[Ticket]:
    """Tickets that nobody has met: drawn from a stream of their own."""
    return draw_tickets(Random(f"exam {seed}"), count)


def run(
    spec: dict[str, Any], work: Path, track: Callable[[int, Mapping[str, float]], None]
) -> dict[str, Any]:
    """Answers of the policy in `spec["model"]`, one a line, and the time of a reference matrix product."""
    import torch

    from heedful.lm.decode import Sampler
    from heedful.lm.load import load

    torch.set_num_threads(1)
    tickets = held_out(spec["seed"], spec["tickets"])
    samples = Sampler(load(spec["model"])).sample(
        [ticket.prompt for ticket in tickets], 1, max_tokens=MAX_TOKENS, seed=spec["seed"] + 1
    )
    (work / "answers.json").write_text(json.dumps([one[0].text for one in samples]))
    return {"answers": str(work / "answers.json"), "gemm_seconds": gemm_seconds()}


def gemm_seconds() -> float:
    """Of a product of two matrices of a thousand rows: how fast this machine is."""
    import time

    import torch

    left, right = torch.randn(2, GEMM, GEMM)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        torch.mm(left, right)
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def answers(paper: Mapping[str, Any]) -> list[str]:
    """What a policy wrote, from the result of its exam."""
    written: list[str] = json.loads(Path(paper["answers"]).read_text())
    return written


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """Per ticket: the true worth of the answer, whether its action was right, whether it broke a rule."""

    worth: Sequence[float]
    right: Sequence[bool]
    broken: Sequence[bool]


def marks(tickets: Sequence[Ticket], answers: Sequence[str]) -> Marks:
    pairs = list(zip(tickets, answers, strict=True))
    return Marks(
        worth=[utility(ticket, answer) for ticket, answer in pairs],
        right=[acts_right(ticket, answer) for ticket, answer in pairs],
        broken=[bool(violations(answer)) for _, answer in pairs],
    )
