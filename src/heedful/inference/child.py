"""The process that holds the weights: answers over a local socket, all who ask in one running batch.

It is the only part of serving that imports torch. One thread computes; the event loop only takes requests in
and hands answers out. Between two tokens requests join the batch of their model, and leave it when they are
done: nobody waits for another's answer to end. Models take turns, a token each.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
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
    top_p: float = 1.0
    stop: Sequence[str] = ()


class Engine:
    """One model, and the batch that all who ask for it share."""

    def __init__(self, directory: str) -> None:
        from heedful.lm.decode import Sampler
        from heedful.lm.load import load

        self._sampler = Sampler(load(directory), rows=LARGEST_BATCH)
        self._batch = self._sampler.batch()
        self._asked: dict[int, tuple[Waiting, list[Any]]] = {}  # by the request: its rows
        self._of: dict[int, Waiting] = {}  # by the row: its request

    @property
    def busy(self) -> bool:
        return bool(self._asked)

    def take(self, one: Waiting) -> None:
        """Its answers join those that are under way; raises when it cannot be answered."""
        rows = self._sampler.rows(
            [one.messages] * one.n,
            temperature=one.temperature,
            top_p=one.top_p,
            max_tokens=one.max_tokens,
            seed=[(one.seed + copy) % 2**63 for copy in range(one.n)],
            stop=one.stop,
        )
        self._asked[id(one)] = (one, [row for (row,) in rows])
        for (row,) in rows:
            self._of[id(row)] = one
            self._batch.add(row)

    def drop(self, one: Waiting) -> None:
        """Nobody waits for it any more."""
        _, rows = self._asked.pop(id(one), (one, []))
        for row in rows:
            if self._of.pop(id(row), None) is not None and row.finish is None:
                self._batch.drop(row)

    def step(self) -> list[tuple[Waiting, list[dict[str, Any]]]]:
        """One more token for all; those whose answers are all there."""
        done = []
        # Two answers to one request may end with the same token.
        for one in {id(one): one for one in (self._of.pop(id(row)) for row in self._batch.step())}.values():
            _, rows = self._asked[id(one)]
            if all(row.finish is not None for row in rows):
                del self._asked[id(one)]
                done.append((one, [_wire(self._sampler.said(row)) for row in rows]))
        return done

    def fail(self) -> list[Waiting]:
        """After a step that broke: an empty batch, and those who were in it."""
        lost = [one for one, _ in self._asked.values()]
        self._asked, self._of, self._batch = {}, {}, self._sampler.batch()
        return lost


class Engines:
    """Engines by directory; of those at rest the least recently used one is dropped first."""

    def __init__(self) -> None:
        self._loaded: OrderedDict[str, Engine] = OrderedDict()

    def get(self, directory: str) -> Engine:
        if directory not in self._loaded:
            self._loaded[directory] = Engine(directory)
            idle = [name for name, engine in self._loaded.items() if not engine.busy and name != directory]
            for name in idle[: max(0, len(self._loaded) - MODELS_KEPT)]:
                del self._loaded[name]
        self._loaded.move_to_end(directory)
        return self._loaded[directory]

    def drop(self, one: Waiting) -> None:
        if one.model in self._loaded:
            self._loaded[one.model].drop(one)

    def busy(self) -> list[Engine]:
        return [engine for engine in self._loaded.values() if engine.busy]


def _wire(sample: Any) -> dict[str, Any]:
    return {
        "text": sample.text,
        "finish": sample.finish_reason,
        "ids": list(sample.token_ids),
        "logprobs": [round(value, 6) for value in sample.logprobs],
    }


class Desk:
    """The computing thread, and what the event loop tells it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._orders: queue.SimpleQueue[Callable[[Engines], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._compute, name="compute", daemon=True)
        self._thread.start()

    async def answers(self, one: Waiting) -> list[dict[str, Any]]:
        """Whoever gives up waiting is not computed for."""
        self._orders.put(lambda engines: self._take(engines, one))
        try:
            return await one.done
        except asyncio.CancelledError:
            self._orders.put(lambda engines: engines.drop(one))
            raise

    async def prepare(self, model: str) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()

        def load(engines: Engines) -> None:
            try:
                engines.get(model)
            except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits is told
                self._tell(ready, error)
            else:
                self._tell(ready, None)

        self._orders.put(load)
        await ready

    def close(self) -> None:
        self._orders.put(None)

    # -- on the thread -----------------------------------------------------------------------------------

    def _compute(self) -> None:
        engines = Engines()
        while True:
            busy = engines.busy()
            while not busy or not self._orders.empty():
                order = self._orders.get()
                if order is None:
                    return
                order(engines)
                busy = engines.busy()
            for engine in busy:
                self._step(engine)

    def _take(self, engines: Engines, one: Waiting) -> None:
        if one.done.cancelled():
            return
        try:
            engines.get(one.model).take(one)
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits is told
            self._tell(one.done, error)

    def _step(self, engine: Engine) -> None:
        try:
            for one, answers in engine.step():
                self._tell(one.done, answers)
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits is told
            for one in engine.fail():
                self._tell(one.done, error)

    def _tell(self, waiting: asyncio.Future[Any], said: Any) -> None:
        def settle() -> None:
            if waiting.done():
                return
            if isinstance(said, Exception):
                waiting.set_exception(said)
            else:
                waiting.set_result(said)

        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(settle)


def build() -> web.Application:
    desks: list[Desk] = []

    async def complete(request: web.Request) -> web.Response:
        asked = await request.json()
        done: asyncio.Future[list[dict[str, Any]]] = asyncio.get_running_loop().create_future()
        try:
            return web.json_response({"answers": await desks[0].answers(Waiting(done=done, **asked))})
        except InvalidInput as error:
            return web.json_response({"error": str(error), "field": error.field}, status=InvalidInput.status)
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever asked is told
            return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=500)

    async def prepare(request: web.Request) -> web.Response:
        try:
            await desks[0].prepare((await request.json())["model"])
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever asked is told
            return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=500)
        return web.json_response({})

    async def lifespan(app: web.Application) -> Any:
        desks.append(Desk())
        yield
        desks.pop().close()

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
    # Who has given up waiting is not computed for: `handler_cancellation` takes them out.
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
