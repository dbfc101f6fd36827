"""Who sends too slowly is cut short, and nobody else."""

from __future__ import annotations

import asyncio
import time

import pytest

from heedful.errors import TooSlow
from heedful.service.door.patience import Patience

pytestmark = pytest.mark.anyio


def make(seconds: float = 0.1) -> Patience:
    return Patience(seconds, "too slow: send it again")


async def within(patience: Patience, seconds: float) -> str:
    with patience.wait():
        await asyncio.sleep(seconds)
    return "done"


async def test_only_the_late_are_cut_short_and_each_in_its_time() -> None:
    patience, begun = make(), time.monotonic()

    async def late(after: float) -> float:
        await asyncio.sleep(after)
        with pytest.raises(TooSlow, match="send it again"):
            await within(patience, 10)
        return time.monotonic() - begun

    first, quick, second = await asyncio.gather(late(0.0), within(patience, 0.02), late(0.15))
    assert quick == "done"
    assert 0.09 < first < 0.15
    assert 0.24 < second < 0.35


async def test_what_ends_in_time_is_left_alone_ever_after() -> None:
    patience = make(0.05)
    assert await within(patience, 0.0) == "done"
    await asyncio.sleep(0.2)  # the timer has looked, and found nobody
    assert await within(patience, 0.0) == "done"
    with pytest.raises(TooSlow):
        await within(patience, 10)


async def test_an_error_or_a_cancellation_from_elsewhere_is_what_it_was() -> None:
    patience = make(5.0)
    with pytest.raises(KeyError), patience.wait():
        raise KeyError("x")
    waiting = asyncio.create_task(within(patience, 10))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not patience._waits


async def test_cancelled_and_late_at_once_is_cancelled() -> None:
    """A timeout around it that ends at the same moment must still see its own cancellation."""
    patience = make(0.05)

    async def block() -> None:
        with patience.wait():
            time.sleep(0.1)  # noqa: ASYNC251  both are over when the loop looks again
            await asyncio.sleep(10)

    with pytest.raises((TimeoutError, TooSlow)):
        async with asyncio.timeout(0.05):
            await block()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


def test_one_loop_after_another() -> None:
    patience = make(0.05)
    for _ in range(2):
        with pytest.raises(TooSlow):
            asyncio.run(within(patience, 10))
