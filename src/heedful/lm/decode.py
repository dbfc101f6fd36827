"""Sample answers in batches.

What makes it several times faster than a stock generation loop on a CPU: rows that are done leave the batch and
others take their places (`continuous.py`), a prompt asked n times is read once, known blocks are computed by hand
with a static cache (`readers.py`), and a token is drawn by a search in the cumulative distribution.

Every row draws its own uniform numbers, fixed by the seed before anything runs: what a row says does not
depend on which rows share its batch (up to rounding).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from heedful.errors import InvalidInput
from heedful.lm.chat import Message, answer_text, prompts_ids
from heedful.lm.continuous import BELOW_ONE, Batch, Row
from heedful.lm.load import Loaded
from heedful.lm.readers import reader_of

MOST = 256  # tokens of an answer when nobody says how many


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer as it was drawn.

    The ids and their log-probabilities are all that was drawn: with the end token where there is one, and with
    the tokens that complete a stop string. The text ends before either.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]  # of each token, at the temperature of sampling, by the weights that drew it
    finish_reason: Literal["stop", "length"]


class Sampler:
    """Draws answers from one model. Not safe for two threads at once.

    `dtype` is that of the weights it reads with, the model's own when it is None: in bfloat16 a processor that
    knows it is several times faster.
    """

    def __init__(self, loaded: Loaded, *, rows: int = 256, dtype: torch.dtype | None = None) -> None:
        self._loaded = loaded
        self._rows = rows  # answers in flight at once
        self._dtype = dtype
        self._ends = _end_ids(loaded)

    def sample(
        self,
        prompts: Sequence[Sequence[Message]],
        n: int = 1,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_tokens: int | Sequence[int] | None = 64,
        seed: int | Sequence[int] = 0,
        stop: Sequence[str] = (),
    ) -> list[list[Sample]]:
        """`n` answers to each prompt. Temperature 0 takes the likeliest token each time.

        One seed for all, or one per prompt: then what a prompt gets does not depend on its neighbours.
        `max_tokens`, for all or per prompt; None means as many as the model has room for, 256 at most. An answer
        ends before the first of the `stop` strings that it says.
        """
        rows = self.rows(
            prompts,
            n,
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            seed=seed,
            stop=stop,
        )
        batch = self.batch()
        # The longest first: neighbours are alike, and the last ones under way are short.
        for group in sorted(rows, key=lambda group: len(group[0].prompt), reverse=True):
            for row in group:
                batch.add(row)
        while batch:
            batch.step()
        return [[self.said(row) for row in group] for group in rows]

    def batch(self) -> Batch:
        """An empty batch, with the weights as they are now."""
        with torch.inference_mode():
            reader = reader_of(self._loaded.model, self._dtype)
        return Batch(reader, ends=self._ends, say=self._say, most=self._rows)

    def rows(
        self,
        prompts: Sequence[Sequence[Message]],
        n: int = 1,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_tokens: int | Sequence[int] | None = 64,
        seed: int | Sequence[int] = 0,
        stop: Sequence[str] = (),
    ) -> list[list[Row]]:
        """What `sample` puts into a batch: `n` rows for each prompt, that nobody has begun."""
        if n < 1 or temperature < 0:
            raise InvalidInput(f"cannot sample n={n}, temperature={temperature}")
        if top_p != 1:
            raise InvalidInput(
                f"top_p={top_p}: only 1 is sampled here. With the tail cut off, log-probabilities would not be "
                "those of what was drawn, and training would lie: lower the temperature instead",
                field="top_p",
            )
        if not all(stop):
            raise InvalidInput("a stop string is empty: leave it out", field="stop")
        ids = prompts_ids(self._loaded.tokenizer, prompts)
        limits = self._limits(ids, max_tokens)
        if isinstance(seed, int):
            uniforms = list(np.random.default_rng(seed).random((len(ids), n, max(limits, default=0))))
        else:
            uniforms = [
                np.random.default_rng(one).random((n, limit)) for one, limit in zip(seed, limits, strict=True)
            ]
        # A number just under one would be rounded to it, where nothing is left to draw.
        draws = [np.minimum(one, BELOW_ONE).astype(np.float32) for one in uniforms]
        return [
            [Row(tuple(prompt), own[:limit], temperature, tuple(stop)) for own in drawn]
            for prompt, limit, drawn in zip(ids, limits, draws, strict=True)
        ]

    def said(self, row: Row) -> Sample:
        """The answer of a row that is done."""
        text = self._say(row.ids[:-1] if row.finish == "end" else row.ids)
        cuts = [at for at in map(text.find, row.stop) if at >= 0]
        return Sample(
            text[: min(cuts)] if cuts else text,
            tuple(row.ids),
            tuple(row.logps),
            "length" if row.finish == "length" else "stop",
        )

    def _say(self, ids: Sequence[int]) -> str:
        return answer_text(self._loaded.tokenizer, ids)

    def _limits(self, prompts: Sequence[Sequence[int]], max_tokens: int | Sequence[int] | None) -> list[int]:
        """How many tokens each answer may have."""
        room = _positions(self._loaded.model)
        if max_tokens is None:
            limits = [MOST if room is None else max(1, min(MOST, room - len(one))) for one in prompts]
        elif isinstance(max_tokens, int):
            limits = [max_tokens] * len(prompts)
        else:
            limits = list(max_tokens)
        for prompt, limit in zip(prompts, limits, strict=True):
            if not prompt:
                raise InvalidInput("a prompt has no tokens: there is nothing to answer", field="prompt")
            if limit < 1:
                raise InvalidInput(f"cannot sample max_tokens={limit}", field="max_tokens")
            if room is not None and len(prompt) + limit > room:
                raise InvalidInput(
                    f"a prompt of {len(prompt)} tokens and {limit} for the answer exceed the model's {room}"
                )
        return limits


def _end_ids(loaded: Loaded) -> set[int]:
    """Every token that ends an answer: the tokenizer's, and those the model's own settings name."""
    ends = {loaded.tokenizer.eos_token_id}
    named = getattr(getattr(loaded.model, "generation_config", None), "eos_token_id", None)
    if named is not None:
        ends |= {named} if isinstance(named, int) else set(named)
    return ends


def _positions(model: Any) -> int | None:
    """How many positions the model has; None where it says nothing."""
    limit = getattr(model.config, "max_position_embeddings", None)
    return int(limit) if limit else None
