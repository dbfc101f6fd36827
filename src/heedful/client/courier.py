"""A thread that carries what waits in the spool to the server, as soon as the server takes it.

It is a thread for both clients: an event loop may be over before everything is sent, and a file is nobody's to
await. What the server will never take (a fault of the piece itself) is put aside with the reason, and the rest
goes on; for everything else it waits, longer each time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import httpx

from heedful.client.calls import FEEDBACK_PATH
from heedful.client.patience import Patience, passing, tried, tried_by_piece
from heedful.client.plan import Blocking, Call, Came, Plan, Wait
from heedful.client.spool import Line, Spool, SpoolFile
from heedful.errors import Busy, HeedfulError, NotKnown, Unavailable
from heedful.wire import Kept

T = TypeVar("T")
log = logging.getLogger("heedful.client")

AT_ONCE = 500  # pieces of feedback in one request
LOOK_AGAIN = 30.0  # seconds, after which files of others may have become ours
FAILURES = 5  # of a server that breaks at one piece, before the piece is put aside
EXIT_SECONDS = 2.0  # for what waits when the program ends
LAST_REQUEST = 1.0  # more, for one that is on its way then


class Courier(Blocking):
    """Begins with the first `wake`, or at once when the spool is not empty; ends with `close`."""

    def __init__(self, spool: Spool, *, url: str, headers: Mapping[str, Mapping[str, str]], timeout: float):
        """`headers` by path; those of "" are for every path that is not named."""
        self._spool = spool
        self._url = url
        self._headers = headers
        self._timeout = timeout
        self._patience = Patience(first=0.2, longest=5.0)
        self._ends: float | None = None  # when it has to be over, once somebody said that it ends
        self._thread: threading.Thread | None = None
        if spool.waiting:
            self.wake()

    def wake(self) -> None:
        """There is something to carry. After a fork the child has a thread of its own."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._work, name="heedful-courier", daemon=True)
            self._thread.start()

    def flush(self, seconds: float) -> bool:
        """Wait until nothing waits, but no longer than this. Whether nothing does."""
        until = time.monotonic() + seconds
        while self._spool.waiting:
            left = until - time.monotonic()
            if left <= 0:
                return False
            with self._spool.changed:
                self._spool.changed.wait(min(left, 0.1))
        return True

    def close(self, seconds: float = EXIT_SECONDS) -> None:
        """Send what can still be sent; the rest stays in its file for the next process."""
        with self._spool.changed:
            self._ends = time.monotonic() + seconds
            self._spool.changed.notify_all()
        if self._thread is None or not self._thread.is_alive():
            self._spool.close()
        else:
            self._thread.join(seconds + LAST_REQUEST)  # it lets go of the files itself

    def run(self, plan: Plan[T]) -> T:
        came: Came = None
        while True:
            try:
                step = plan.send(came)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Wait):
                self._pause(step.seconds)
                came = None
            else:
                came = self._attempt(step)

    # -- the thread --------------------------------------------------------------------------------------

    def _work(self) -> None:
        attempt = 0
        with httpx.Client(base_url=self._url, timeout=self._timeout, trust_env=False) as self._http:
            while not self._over():
                found = self._spool.next()
                if found is None:
                    if self._ends is not None:
                        break
                    self._idle()
                    continue
                try:
                    self._carry(*found, one_by_one=attempt >= FAILURES)
                    attempt = 0
                except (HeedfulError, OSError) as error:
                    attempt += 1
                    if attempt == 1:
                        log.warning("feedback waits", extra={"reason": str(error)})
                    wait = error.retry_after if isinstance(error, Busy) else 0.0
                    self._pause(wait + self._patience.jittered(attempt))
        self._spool.close()

    def _over(self) -> bool:
        return self._ends is not None and time.monotonic() >= self._ends

    def _idle(self) -> None:
        with self._spool.changed:
            if self._spool.waiting or self._ends is not None:
                return  # said between our look and now
            self._spool.changed.wait(LOOK_AGAIN)
        if not self._spool.waiting:
            self._spool.adopt()

    def _pause(self, seconds: float) -> None:
        """Whoever ends the program ends this too, after one more attempt."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._ends is not None:
                time.sleep(min(left, 0.05))
                return
            with self._spool.changed:
                self._spool.changed.wait(min(left, 0.2))

    def _attempt(self, call: Call[Any]) -> httpx.Response | httpx.TransportError:
        headers = self._headers.get(call.path, self._headers[""])
        try:
            return self._http.request(call.method, call.path, json=call.body, headers=headers)
        except httpx.TransportError as error:
            return error

    # -- carrying ----------------------------------------------------------------------------------------

    def _carry(self, file: SpoolFile, lines: Sequence[Line], *, one_by_one: bool) -> None:
        """The first of these lines, as many as go together. Raises when it has to be tried again."""
        together = [lines[0]]
        if lines[0].path == FEEDBACK_PATH and not one_by_one:
            for line in lines[1:AT_ONCE]:
                if line.path != FEEDBACK_PATH:
                    break
                together.append(line)
        try:
            reasons = self._sent(together)
        except (Busy, Unavailable, NotKnown):
            raise  # no fault of theirs
        except HeedfulError as error:
            if len(together) > 1:  # one of them is at fault: which?
                for line in together:
                    self._carry(file, [line], one_by_one=True)
                return
            if error.status == HeedfulError.status and not one_by_one:
                raise  # the server broke: perhaps it does not the next time
            reasons = [str(error)]
        for line, reason in zip(together, reasons, strict=True):
            if reason is not None:
                self._spool.refuse(file, line, reason)
        self._spool.done(file, together[-1].end)

    def _sent(self, lines: Sequence[Line]) -> list[str | None]:
        """For each why it was refused; None when it was taken."""
        once = Patience(attempts=1)
        if lines[0].path != FEEDBACK_PATH:
            self.run(tried(_call(lines[0].path, lines[0].body, lambda _: None), once))
            return [None]
        call = _call(FEEDBACK_PATH, [line.body for line in lines], _results)
        kept = self.run(tried_by_piece(call, once))
        if passing(kept):
            raise Busy("the server takes no more for the moment")
        return [None if one.error is None else one.error.message for one in kept]


def _call(path: str, body: Any, read: Any) -> Call[Any]:
    return Call(method="POST", path=path, body=body, read=read)


def _results(response: httpx.Response) -> list[Kept]:
    try:
        return [Kept.model_validate(one) for one in response.json()["results"]]
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"what answers at {response.url} is no server of Heedful: {error!r}") from error
