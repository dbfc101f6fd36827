"""Run a command on one answer, within walls.

The command, and whatever code of an answer it runs, may be hostile or broken: it gets an empty folder, a clean
environment, limits on everything and no network (`rewards/cell.py` builds the walls). A machine that gives no
walls is told so before the first answer; going on without them is a setting, never a fallback.
"""

from __future__ import annotations

import functools
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from heedful.errors import Misconfigured

CELL = Path(__file__).with_name("cell.py")
GRACE = 10.0  # seconds beyond the limit that the walls themselves may take
TAIL = 65_536  # bytes of each output that are looked at
MEGABYTE = 1 << 20
FILES = 256  # open at once
SYSTEM = (
    *("/bin", "/sbin", "/usr", "/lib", "/lib32", "/lib64", "/libx32"),
    *(f"/etc/{name}" for name in ("alternatives", "group", "ld.so.cache", "localtime", "passwd")),
)
STOPS = {
    "time": "did not end in time (`seconds`)",
    "SIGXCPU": "used up its processor time (`cpu_seconds`)",
    "SIGXFSZ": "wrote more than it may (`disk_mb`)",
}

One = TypeVar("One")
Out = TypeVar("Out")


class SandboxSettings(BaseModel):
    """What a command may use, and how many run at once."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    isolation: Literal["full", "none"] = "full"
    """full: no network, no files but those shown, no other process, no privilege. none: only the limits and the
    clean environment; for code that you trust, on machines without user namespaces."""

    seconds: float = Field(10.0, gt=0, le=86_400)
    """By the clock, for everything the command does."""

    cpu_seconds: int = Field(10, ge=1)
    """Of processor, for each of its processes."""

    memory_mb: int = Field(1024, ge=16)
    """Address space of each of its processes."""

    disk_mb: int = Field(64, ge=1)
    """Most that its folder holds, and that it may print."""

    processes: int = Field(64, ge=1)
    """At once, threads included; only with isolation."""

    parallel: int = Field(2, ge=1)
    """Commands that run side by side."""

    readable: tuple[Path, ...] = ()
    """Files and folders that it sees, read-only, beside the system's and this Python's."""

    environment: dict[str, str] = Field(default_factory=dict)
    """Variables that it gets beside PATH, HOME, TMPDIR and LANG. Nothing else is inherited."""

    def beside(self, folder: Path) -> SandboxSettings:
        """The same, with files named from `folder`."""
        return self.model_copy(update={"readable": tuple(folder / path for path in self.readable)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended, and the last that it said."""

    code: int | None  # exit status; None: it was stopped
    stopped: str | None  # "time", or the name of the signal; None: it ended by itself
    output: str
    complaint: str  # its standard error

    @property
    def words(self) -> str:
        """The same for people."""
        said = [line for line in (self.complaint or self.output).splitlines() if line.strip()]
        how = f"ended with status {self.code}"
        if self.stopped is not None:
            how = STOPS.get(self.stopped, f"was ended by {self.stopped}")
        return f"{how}: {said[-1][:200]}" if said else how


def run(command: Sequence[str], text: str, limits: SandboxSettings) -> Ended:
    """Give it `text` to read; when this returns, no process and no file of it is left."""
    told, tells = os.pipe()
    with (
        os.fdopen(told, "rb") as report,
        tempfile.TemporaryDirectory(prefix="heedful-cell-", ignore_cleanup_errors=True) as folder,
        _unnamed(text) as given,
        _unnamed() as output,
        _unnamed() as complaint,
    ):
        with os.fdopen(tells, "wb"):
            cell = subprocess.Popen(
                [sys.executable, "-I", "-S", str(CELL)],
                stdin=given,
                stdout=output,
                stderr=complaint,
                pass_fds=(tells,),
                start_new_session=True,
                env={"CELL": json.dumps(_order(command, folder, tells, limits))},
            )
        _wait(cell, report, limits.seconds + GRACE)
        line = report.readline() if not report.closed else b""
        what: dict[str, Any] = json.loads(line) if line else {"stopped": "SIGKILL"}
        if "refused" in what:
            raise Misconfigured(what["refused"])
        return Ended(
            code=what.get("code"),
            stopped=what.get("stopped"),
            output=_tail(output),
            complaint=_tail(complaint),
        )


def require(limits: SandboxSettings) -> None:
    """Refuse walls that this machine cannot build."""
    if limits.isolation == "full" and (why := trouble()):
        raise Misconfigured(
            f"this machine does not let a command be isolated ({why}): allow user namespaces, "
            "or say `isolation: none` if you trust the command and what it runs"
        )


def side_by_side(work: Callable[[One], Out], on: Iterable[One], limits: SandboxSettings) -> list[Out]:
    """In order; the first error ends what has not begun."""
    with ThreadPoolExecutor(limits.parallel, thread_name_prefix="sandbox") as pool:
        waiting = [pool.submit(work, one) for one in on]
        try:
            return [one.result() for one in waiting]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@functools.cache
def trouble() -> str | None:
    """Why no command can be isolated here; looked up once."""
    if sys.platform != "linux":
        return "it needs Linux"
    try:
        run(["true"], "", SandboxSettings())
    except Misconfigured as error:
        return str(error)
    return None


def _order(command: Sequence[str], folder: str, report: int, limits: SandboxSettings) -> dict[str, Any]:
    """What the cell is told; sizes in bytes."""
    isolated = limits.isolation == "full"
    home = "/tmp" if isolated else folder
    disk = limits.disk_mb * MEGABYTE
    bounds = {
        "AS": (limits.memory_mb * MEGABYTE,) * 2,
        "CPU": (limits.cpu_seconds, limits.cpu_seconds + 1),  # first a signal with a name, then the end
        "FSIZE": (disk, disk),
        "NOFILE": (FILES, FILES),
        "CORE": (0, 0),
    }
    path = [str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]
    return {
        "command": list(command),
        "environment": {"PATH": ":".join(path), "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8"}
        | limits.environment,
        "isolation": limits.isolation,
        "limits": bounds | ({"NPROC": (limits.processes,) * 2} if isolated else {}),
        "seconds": limits.seconds,
        "disk": disk,
        "root": folder,
        "shown": _shown(limits.readable),
        "report": report,
        "parent": os.getpid(),
    }


def _shown(readable: Iterable[Path]) -> list[str]:
    """Absolute paths; where a link leads lies beside the link."""
    asked = [Path(path) for path in (*SYSTEM, sys.prefix, sys.base_prefix)] + [
        path.absolute() for path in readable
    ]
    return sorted({str(path) for path in asked} | {str(path.resolve()) for path in asked})


def _wait(cell: subprocess.Popen[bytes], report: IO[bytes], seconds: float) -> None:
    """Until it has ended and everything with it."""
    poll = select.poll()
    poll.register(report, select.POLLIN)
    try:
        poll.poll(seconds * 1000)  # a word, or the end: both are soon followed by the cell's own
        cell.wait(GRACE)
    except subprocess.TimeoutExpired:
        pass
    finally:
        if cell.poll() is None:
            report.close()  # nobody wants to know any more: it sees that, and clears up
            try:
                cell.wait(GRACE)
            except subprocess.TimeoutExpired:
                cell.kill()
                cell.wait()


def _unnamed(text: str = "") -> IO[bytes]:
    """A file without a name; the command may open it again, whoever it is."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - whoever asks closes it
    os.fchmod(file.fileno(), 0o666)
    file.write(text.encode(errors="surrogatepass"))
    file.seek(0)
    return file


def _tail(file: IO[bytes]) -> str:
    file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
    return file.read().decode(errors="replace")
