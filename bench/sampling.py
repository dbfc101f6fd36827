"""Sampling against the library's `generate`: useful tokens per second, with the same weights on one thread.

Models are those of `trainer.py`, with random weights. Prompts have a lognormal length of mean 127; answers end at
lengths of their own, of mean `--new`, because every row has its own limit. Both sides get the same prompts and limits,
sample at temperature 1 from the whole vocabulary, and take turns. `generate` works through the prompts `--batch` at a
time, as they come, and stops when all rows of a batch are done; only what its rows say up to their own ends counts.

The fixed comparison is one batch of prompts of 128 and answers of `--new` tokens: there no row ends early, and what
is left is the speed of a step. Ratios are medians of rounds, so that what else the machine does falls on both.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from heedful.lm.decode import Sampler
from heedful.lm.load import Loaded
from trainer import FIRST, SHAPES, Shape, length, loaded

FLOOR = 4.0  # times the tokens of `generate` in a second
FIXED_PROMPT = 128
WARM = 4  # tokens of a first answer that nobody counts


@dataclass(frozen=True, slots=True)
class Work:
    """What is asked: words of each prompt, and how many tokens its answer has."""

    prompts: Sequence[Sequence[int]]
    limits: Sequence[int]


def mixed(shape: Shape, rows: int, new: int, seed: int) -> Work:
    chance = random.Random(seed)
    prompts = [_words(shape, length(chance, 128, 8, 448), chance) for _ in range(rows)]
    return Work(prompts, [length(chance, new, 4, 4 * new) for _ in range(rows)])


def fixed(shape: Shape, rows: int, new: int, seed: int) -> Work:
    chance = random.Random(seed)
    return Work([_words(shape, FIXED_PROMPT, chance) for _ in range(rows)], [new] * rows)


def _words(shape: Shape, count: int, chance: random.Random) -> list[int]:
    span = math.log(shape.vocabulary - FIRST)
    return [
        FIRST + min(shape.vocabulary - FIRST - 1, int(math.exp(chance.random() * span))) for _ in range(count)
    ]


# -- both sides ----------------------------------------------------------------------------------------------


def ours(made: Loaded, work: Work, batch: int, seed: int) -> int:
    """The number of tokens said."""
    asked = [
        [{"role": "user", "content": " ".join(f"w{word}" for word in prompt)}] for prompt in work.prompts
    ]
    samples = Sampler(made, rows=batch).sample(asked, max_tokens=work.limits, seed=seed)
    return sum(len(group[0].token_ids) for group in samples)


class OwnLimits(StoppingCriteria):  # type: ignore[misc]  # the library's classes are untyped
    """A row is done when it has as many tokens as it may have."""

    def __init__(self, prompt: int, limits: Sequence[int]) -> None:
        self._ends = torch.tensor([prompt + limit for limit in limits])

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        return input_ids.shape[1] >= self._ends


def peers(made: Loaded, work: Work, batch: int, seed: int) -> int:
    torch.manual_seed(seed)
    end, said = made.tokenizer.eos_token_id, 0
    for start in range(0, len(work.prompts), batch):
        prompts, limits = work.prompts[start : start + batch], work.limits[start : start + batch]
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        out = made.model.generate(
            ids,
            attention_mask=mask,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=max(limits),
            pad_token_id=0,
            stopping_criteria=StoppingCriteriaList([OwnLimits(width, limits)]),
        )
        for row, limit in zip(out[:, width:].tolist(), limits, strict=True):
            said += min(limit, row.index(end) + 1 if end in row else limit)
    return said


def in_turns(
    sides: dict[str, Callable[[int], int]], rounds: int, seed: int, title: str
) -> dict[str, list[float]]:
    """Tokens per second of each side in each round."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds):
        for name, side in sides.items():
            begun = time.perf_counter()
            tokens = side(seed + turn)
            found[name].append(tokens / (time.perf_counter() - begun))
            print(f"{title} {name} {tokens} tokens, {found[name][-1]:.0f}/s", flush=True)
    return found


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(1)
    torch.manual_seed(chosen.seed)
    shape = SHAPES[chosen.shape]
    made = loaded(shape, "cpu")
    if chosen.bf16:
        made.model.to(torch.bfloat16)
    works = {
        "": mixed(shape, chosen.prompts or 4 * chosen.batch, chosen.new, chosen.seed),
        "fixed_": fixed(shape, chosen.batch, chosen.new, chosen.seed),
    }
    warm = fixed(shape, min(8, chosen.batch), WARM, chosen.seed)
    result: dict[str, Any] = {
        "shape": chosen.shape,
        "bf16": chosen.bf16,
        "batch": chosen.batch,
        "new": chosen.new,
        "prompts": len(works[""].prompts),
    }
    for title, work in works.items():
        sides: dict[str, Callable[[int], int]] = {
            "ours": lambda seed, work=work: ours(made, work, chosen.batch, seed)  # type: ignore[misc]
        }
        ours(made, warm, chosen.batch, 0)
        if chosen.peer:
            sides["peer"] = lambda seed, work=work: peers(made, work, chosen.batch, seed)  # type: ignore[misc]
            peers(made, warm, chosen.batch, 0)
        found = in_turns(sides, chosen.rounds, chosen.seed, title or "mixed_")
        result[f"{title}tokens_per_s"] = round(statistics.median(found["ours"]))
        if chosen.peer:
            result[f"{title}peer_tokens_per_s"] = round(statistics.median(found["peer"]))
            ratios = [one / other for one, other in zip(found["ours"], found["peer"], strict=True)]
            result[f"{title}ratio"] = round(statistics.median(ratios), 2)
    result["floor"] = FLOOR
    result["ok"] = not chosen.peer or result["ratio"] >= FLOOR
    return result


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=("small", "large", "long"), default="small")
    parser.add_argument("--batch", type=int, default=64, help="rows under way at once")
    parser.add_argument("--new", type=int, default=94, help="tokens of an answer, on average")
    parser.add_argument("--prompts", type=int, default=0, help="four batches of them when 0")
    parser.add_argument("--bf16", type=int, choices=(0, 1), default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--peer", action="store_true", help="measure `generate` too")
    parser.add_argument("--quick", action="store_true", help="two batches of prompts, two rounds, both sides")
    chosen = parser.parse_args(given)
    if chosen.quick:
        chosen.prompts, chosen.rounds, chosen.peer = 2 * chosen.batch, 2, True
    result = run(chosen)
    print(f"RESULT {json.dumps(result)}")
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
