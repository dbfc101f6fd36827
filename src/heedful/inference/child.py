"""The process that holds the weights: answers over a local socket, batching whatever waits together.

It is the only part of serving that imports torch. One thread computes; the event loop only takes requests in
and hands answers out. A batch holds requests of one model and one temperature; the next batch starts as soon
as the last one is done, so that under load batches fill by themselves and at rest nobody waits.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from heedful.errors import InvalidInput
from heedful.lifeline import die_with_parent

LARGEST_BATCH = 64  # answers computed together
MODELS_KEPT = 4
BACKLOG = 2048  # connections that may wait to be taken: a crowd comes at once when a child has just started


@dataclass
class Waiting:
    model: str
    messages: list[dict[str, Any]]
    n: int
    temperature: float
    max_tokens: int | None
    seed: int
    done: asyncio.Future[list[dict[str, Any]]]

    @property
    def kind(self) -> tuple[str, float, int | None]:
        return (self.model, self.temperature, self.max_tokens)


class Models:
    """Samplers by directory, the least recently used one dropped first."""

    def __init__(self) -> None:
        self._loaded: OrderedDict[str, Any] = OrderedDict()

    def get(self, directory: str) -> Any:
        if directory not in self._loaded:
            from heedful.lm.decode import Sampler
            from heedful.lm.load import load

            self._loaded[directory] = Sampler(load(directory))
            while len(self._loaded) > MODELS_KEPT:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(directory)
        return self._loaded[directory]


def sample(models: Models, batch: Sequence[Waiting]) -> list[list[dict[str, Any]]]:
    """One pass of the model over a batch; runs on the computing thread."""
    first = batch[0]
    sampler = models.get(first.model)
    seeds = [(one.seed + copy) % 2**63 for one in batch for copy in range(one.n)]
    prompts = [one.messages for one in batch for _ in range(one.n)]
    flat = sampler.sample(prompts, 1, temperature=first.temperature, max_tokens=first.max_tokens, seed=seeds)
    answers = iter(flat)
    return [[_wire(next(answers)[0]) for _ in range(one.n)] for one in batch]


def answered(models: Models, batch: Sequence[Waiting]) -> list[list[dict[str, Any]] | Exception]:
    """What each request gets: one that cannot be answered does not take its neighbours along."""
    try:
        return list(sample(models, batch))
    except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits is told
        if len(batch) == 1:
            return [error]
        return [answered(models, [one])[0] for one in batch]


def _wire(sample: Any) -> dict[str, Any]:
    return {
        "text": sample.text,
        "finish": sample.finish_reason,
        "ids": list(sample.token_ids),
        "logprobs": [round(value, 6) for value in sample.logprobs],
    }


class Batcher:
    """Collects what waits, computes it, answers it; one batch at a time."""

    def __init__(self) -> None:
        self._waiting: list[Waiting] = []
        self._news = asyncio.Event()
        self._models = Models()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="compute")

    def put(self, one: Waiting) -> None:
        self._waiting.append(one)
        self._news.set()

    async def prepare(self, model: str) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._models.get, model)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._news.wait()
            batch = self._next()
            if not batch:
                self._news.clear()
                continue
            answers = await loop.run_in_executor(self._thread, answered, self._models, batch)
            for one, answer in zip(batch, answers, strict=True):
                if one.done.done():
                    continue
                if isinstance(answer, Exception):
                    one.done.set_exception(answer)
                else:
                    one.done.set_result(answer)

    def _next(self) -> list[Waiting]:
        self._waiting = [one for one in self._waiting if not one.done.cancelled()]
        if not self._waiting:
            return []
        kind, room = self._waiting[0].kind, LARGEST_BATCH
        batch: list[Waiting] = []
        for one in self._waiting:
            if one.kind == kind and (one.n <= room or not batch):
                batch.append(one)
                room -= one.n
        taken = set(map(id, batch))
        self._waiting = [one for one in self._waiting if id(one) not in taken]
        return batch


def build() -> web.Application:
    batcher = Batcher()

    async def complete(request: web.Request) -> web.Response:
        asked = await request.json()
        done: asyncio.Future[list[dict[str, Any]]] = asyncio.get_running_loop().create_future()
        batcher.put(Waiting(done=done, **asked))
        try:
            return web.json_response({"answers": await done})
        except InvalidInput as error:
            return web.json_response({"error": str(error)}, status=InvalidInput.status)
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever asked is told
            return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=500)

    async def prepare(request: web.Request) -> web.Response:
        try:
            await batcher.prepare((await request.json())["model"])
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever asked is told
            return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=500)
        return web.json_response({})

    async def lifespan(app: web.Application) -> Any:
        task = asyncio.create_task(batcher.run())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_post("/complete", complete)
    app.router.add_post("/prepare", prepare)
    app.cleanup_ctx.append(lifespan)
    return app


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", required=True)
    arguments = parser.parse_args()
    die_with_parent()
    import torch

    torch.set_num_threads(1)
    # Who has given up waiting is not computed for: `handler_cancellation` takes them out of the queue.
    web.run_app(
        build(),
        path=arguments.socket,
        backlog=BACKLOG,
        print=None,
        handle_signals=False,
        handler_cancellation=True,
    )


if __name__ == "__main__":
    main()
