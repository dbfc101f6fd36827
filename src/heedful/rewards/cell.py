"""The walls around one command: a script of its own, which runs it, waits for it and leaves nothing behind.

Started by `rewards/sandbox.py` as `python -I -S cell.py`, so it knows only the standard library. The order comes
in the environment variable CELL; standard input and both outputs are the command's own; what became of it goes
to the file descriptor `report` as a line of JSON. When the other end of that is closed, nobody waits any more
and everything ends.

With isolation the command lives in namespaces of its own (user, mount, process, network, IPC): it sees the
folders that it was shown, read-only, an empty /tmp in memory, no process but its own and no network, and has
no privilege even if we run as root. Its first process is ours; when that one ends, the kernel ends all others,
whatever they did to hide. Without isolation the command keeps the limits and the clean environment, and its
descendants are still found and ended, for they become children of this script.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
NEW_MOUNTS, NEW_IPC, NEW_USER, NEW_PROCESSES, NEW_NETWORK = (
    0x20000,
    0x8000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
NO_SETUID, NO_DEVICES, NO_PROGRAMS, BIND, RECURSIVE, PRIVATE = 2, 4, 8, 0x1000, 0x4000, 0x40000
DIE_WITH_PARENT, DUMPABLE, ADOPT_ORPHANS, NO_NEW_PRIVILEGES = 1, 4, 36, 38  # prctl
MOUNT_SETATTR, AT_RECURSIVE, READ_ONLY, HERE = 442, 0x8000, 1, -100  # the same number on every processor
DETACH = 2
NOBODY = 65534  # who root becomes
INSIDE = 1000  # the command's user and group, as it sees them
DEVICES = ("null", "zero", "full", "random", "urandom")
LINKS = {"shm": "/tmp", "fd": "/proc/self/fd"} | {
    name: f"/proc/self/fd/{number}" for number, name in enumerate(("stdin", "stdout", "stderr"))
}


def main() -> int:
    order = json.loads(os.environ["CELL"])
    os.set_inheritable(order["report"], False)
    os.umask(0o022)
    try:
        if os.getppid() != order["parent"]:
            return 0  # orphaned before it began
        _prctl(ADOPT_ORPHANS, 1)
        if order["isolation"] == "none":
            first = _forked(lambda: _command(order))
        else:
            _enter_namespaces()
            first = _forked(lambda: _first_process(order))
        _watch(first, order)
    except OSError as error:
        _tell(order, refused=_words(error))
    finally:
        _end_descendants()
    return 0


def _watch(first: int, order: dict[str, Any]) -> None:
    """Until it ends, time is over, or nobody wants to know any more."""
    ended = os.pidfd_open(first)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(order["report"], 0)  # closed at the other end: POLLERR comes unasked
    happened = [fd for fd, _ in poll.poll(order["seconds"] * 1000)]
    if not happened:
        _tell(order, stopped="time")
    elif ended in happened and order["isolation"] == "none":
        _tell_end(order, os.waitpid(first, 0)[1])


def _tell_end(order: dict[str, Any], status: int) -> None:
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        _tell(order, code=code)
    else:
        _tell(order, stopped=signal.Signals(-code).name if -code in list(signal.Signals) else str(-code))


def _tell(order: dict[str, Any], **what: Any) -> None:
    with contextlib.suppress(OSError):  # nobody may want to know any more
        os.write(order["report"], (json.dumps(what) + "\n").encode())


def _end_descendants() -> None:
    """Orphans come to us, so that killing our children again and again reaches everyone."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while True:
        try:
            for child in children.read_text().split():
                os.kill(int(child), signal.SIGKILL)
            os.waitpid(-1, 0)
        except ProcessLookupError:
            continue
        except ChildProcessError:
            return


# -- with isolation -----------------------------------------------------------------------------------------


def _enter_namespaces() -> None:
    """The next child is the first process of a world of its own; in it we are whoever owns it."""
    root = os.geteuid() == 0
    if root:
        os.setgroups([])
    user, group = os.geteuid(), os.getegid()
    own, asked, answered = os.getpid(), os.pipe(), os.pipe()

    def write_maps() -> None:  # from outside, where root may still name other users
        os.read(asked[0], 1)
        Path(f"/proc/{own}/setgroups").write_text("deny")
        for kind, outside in (("uid", user), ("gid", group)):
            lines = f"0 0 1\n{INSIDE} {NOBODY} 1\n" if root else f"{INSIDE} {outside} 1\n"
            Path(f"/proc/{own}/{kind}_map").write_text(lines)
        os.write(answered[1], b"y")

    helper = _forked(write_maps)
    os.close(answered[1])
    _must("unshare", LIBC.unshare(NEW_USER | NEW_PROCESSES | NEW_NETWORK | NEW_IPC))
    os.write(asked[1], b"x")
    mapped = os.read(answered[0], 1)
    os.waitpid(helper, 0)
    for end in (*asked, answered[0]):
        os.close(end)
    if not mapped:
        raise OSError(1, "this user may not name users in a namespace")


def _first_process(order: dict[str, Any]) -> None:
    """Build what the command sees, start it, wait for it; our own end ends everything in here."""
    try:
        _prctl(DIE_WITH_PARENT, signal.SIGKILL)
        _prctl(DUMPABLE, 0)
        _build_root(order)
        told, tells = os.pipe()
        command = _forked(lambda: _command(order, tells))
        os.close(tells)
        if trouble := os.read(told, 4096):
            raise OSError(0, trouble.decode())
        status = None
        while status is None:
            ended, how = os.wait()
            status = how if ended == command else None
        _tell_end(order, status)
    except OSError as error:
        _tell(order, refused=_words(error))


def _build_root(order: dict[str, Any]) -> None:
    """A new root: folders that were shown, the harmless devices, and /tmp to write in."""
    root = Path(order["root"])
    _must("unshare", LIBC.unshare(NEW_MOUNTS))
    _mount("none", "/", None, RECURSIVE | PRIVATE)
    _mount("tmpfs", root, "tmpfs", NO_SETUID | NO_DEVICES, "size=1m,mode=755")
    for folder in ("tmp", "proc", "dev"):
        (root / folder).mkdir()
    _mount("tmpfs", root / "tmp", "tmpfs", NO_SETUID | NO_DEVICES, f"size={order['disk']},mode=777")
    for path in sorted([*order["shown"], *(f"/dev/{name}" for name in DEVICES)]):
        _show(Path(path), root)
    for name, target in LINKS.items():
        (root / "dev" / name).symlink_to(target)
    with contextlib.suppress(OSError):  # in many containers it cannot be had; then /proc stays empty
        _mount("proc", root / "proc", "proc", NO_SETUID | NO_DEVICES | NO_PROGRAMS)
    _set_read_only(root, True, AT_RECURSIVE)
    _set_read_only(root / "tmp", False, 0)
    os.chdir(root)
    _must("pivot_root", LIBC.pivot_root(b".", b"."))
    _must("umount2", LIBC.umount2(b".", DETACH))
    os.chdir("/tmp")


def _show(path: Path, root: Path) -> None:
    """The same path in the new root: a link as a link, anything else as itself."""
    target = root / path.relative_to("/")
    if os.path.lexists(target) or not os.path.lexists(path):
        return  # a folder around it is shown already, or there is nothing
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        target.symlink_to(path.readlink())
        return
    if path.is_dir():
        target.mkdir()
    else:
        target.touch()
    _mount(path, target, None, BIND | RECURSIVE)


def _set_read_only(path: Path, wanted: bool, flags: int) -> None:
    """struct mount_attr: set, clear, propagation, user namespace."""
    change = (ctypes.c_uint64 * 4)(READ_ONLY if wanted else 0, 0 if wanted else READ_ONLY, 0, 0)
    done = LIBC.syscall(MOUNT_SETATTR, HERE, bytes(path), flags, ctypes.byref(change), ctypes.sizeof(change))
    _must("mount_setattr (Linux 5.12)", done)


# -- the command itself -------------------------------------------------------------------------------------


def _command(order: dict[str, Any], tells: int | None = None) -> None:
    """Limits, no privileges, and then it is the command."""
    isolated = tells is not None
    try:
        os.setsid()
        if isolated and os.geteuid() == 0:
            os.setresgid(INSIDE, INSIDE, INSIDE)
            os.setresuid(INSIDE, INSIDE, INSIDE)
        _prctl(NO_NEW_PRIVILEGES, 1)
        if not isolated:
            _prctl(DIE_WITH_PARENT, signal.SIGKILL)
            os.chdir(order["root"])
        for name, wanted in order["limits"].items():
            kind = getattr(resource, f"RLIMIT_{name}")
            most = resource.getrlimit(kind)[1]  # may not be raised
            soft, hard = (one if most == resource.RLIM_INFINITY else min(one, most) for one in wanted)
            resource.setrlimit(kind, (soft, hard))
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)  # Python turned them off
        os.execvpe(order["command"][0], order["command"], order["environment"])
    except OSError as error:
        words = f"{order['command'][0]} cannot be started: {error.strerror}"
        if tells is None:
            _tell(order, refused=words)
        else:
            os.write(tells, words.encode())


# -- the system ---------------------------------------------------------------------------------------------


def _forked(work: Callable[[], None]) -> int:
    """A child that does this and nothing else."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    return child


def _mount(
    source: str | Path, target: str | Path, kind: str | None, flags: int, data: str | None = None
) -> None:
    texts = [text if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    done = LIBC.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3])
    _must(f"mount {target}", done)


def _prctl(option: int, value: int) -> None:
    _must("prctl", LIBC.prctl(option, ctypes.c_ulong(value), 0, 0, 0))


def _must(what: str, done: int) -> None:
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _words(error: OSError) -> str:
    return " ".join(filter(None, (error.strerror, error.filename))) or str(error)


if __name__ == "__main__":
    sys.exit(main())
