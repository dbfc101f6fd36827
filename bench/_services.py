"""Private PostgreSQL and Redis servers for tests and benches: started, used, thrown away.

A system server is never touched, so that a test may kill its server, fill it or fail in the middle
without anyone else noticing. Durability is left as it is in production (fsync on): several figures
are about exactly that.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

START_SECONDS = 60.0  # generous: a shared core can be asleep for a while
PORT_TRIES = 5


class NotHere(Exception):
    """The server's programs are not installed: the message says which and how to get them."""


@dataclass(slots=True)
class Server:
    """One private server: its URL, and a handle for tests that stop or kill it on purpose."""

    url: str
    folder: Path
    command: Sequence[str]
    ready: Callable[[int], bool]  # does the server with this process id take connections?
    farewell: signal.Signals  # asks it to leave now without waiting for its clients
    as_user: str | None = None  # whom the server runs as; None is whoever runs us
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start, and return when it answers. Also restarts a server that was killed, on its old data."""
        give_up = time.monotonic() + START_SECONDS
        self.process = self._launch()
        while not self.ready(self.process.pid):
            time.sleep(0.02)
            if self.process.poll() is None and time.monotonic() < give_up:
                continue
            self.kill()
            # The last children of a killed PostgreSQL need a moment to notice that it is gone.
            if not (
                self.log.rstrip().rpartition("FATAL")[2].count("still in use") and time.monotonic() < give_up
            ):
                raise RuntimeError(f"{self.command[0]} did not start; its log ends:\n{self.log[-2000:]}")
            self.process = self._launch()

    def _launch(self) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [*_tied_to_us(self.as_user, self.farewell), *self.command],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # ctrl-C is for the tests, which then stop their servers
            )

    def kill(self) -> None:
        """kill -9, as a power cut would: children of the server notice and leave by themselves."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(self.farewell)

    def _end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


@contextmanager
def postgres() -> Iterator[Server]:
    """A fresh PostgreSQL cluster on a free loopback port, with a password nobody else knows."""
    initdb = _postgres_program("initdb")
    as_user = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    with _folder("heedful-pg-", as_user) as folder:
        password = secrets.token_urlsafe(16)
        secret = folder / "password"
        secret.write_text(password)
        if as_user:
            shutil.chown(secret, as_user)
        subprocess.run(
            [
                *(
                    *_tied_to_us(as_user, signal.SIGINT),
                    str(initdb),
                    f"--pgdata={folder / 'data'}",
                    "--username=heedful",
                ),
                *(
                    "--encoding=UTF8",
                    "--no-locale",
                    "--auth=scram-sha-256",
                    f"--pwfile={secret}",
                    "--no-sync",
                ),
            ],
            cwd=folder,
            check=True,
            capture_output=True,
        )
        secret.unlink()

        def server(port: int) -> Server:
            return Server(
                url=f"postgresql+psycopg://heedful:{password}@127.0.0.1:{port}/postgres",
                folder=folder,
                command=[
                    *(str(initdb.with_name("postgres")), "-D", str(folder / "data"), "-p", str(port)),
                    *("-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"),
                    *("-c", "max_connections=200", "-c", "fsync=on", "-c", "synchronous_commit=on"),
                ],
                # PostgreSQL itself writes "ready" into its pid file when it takes connections.
                ready=lambda pid: _says_ready(folder / "data" / "postmaster.pid", pid),
                farewell=signal.SIGINT,
                as_user=as_user,
            )

        with _running(server) as running:
            yield running


@contextmanager
def redis(*, durable: bool = False) -> Iterator[Server]:
    """A fresh redis-server on a free loopback port; `durable` makes it sync every write before it answers."""
    program = shutil.which("redis-server")
    if program is None:
        raise NotHere("redis-server is not installed (Debian: apt-get install redis-server)")
    with _folder("heedful-redis-", None) as folder:
        password = secrets.token_urlsafe(16)
        config = folder / "redis.conf"

        def server(port: int) -> Server:
            config.write_text(
                f"bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {folder}\n"
                f'save ""\nappendonly {"yes" if durable else "no"}\nappendfsync always\n'
            )
            return Server(
                url=f"redis://:{password}@127.0.0.1:{port}/0",
                folder=folder,
                command=[program, str(config)],
                ready=lambda _: _answers(port, password),
                farewell=signal.SIGTERM,
            )

        with _running(server) as running:
            yield running


@contextmanager
def _running(server: Callable[[int], Server]) -> Iterator[Server]:
    """Started on a free port; tried again when another program took the port in between."""
    for last in (False,) * (PORT_TRIES - 1) + (True,):
        started = server(_free_port())
        try:
            started.start()
        except RuntimeError:
            if last:
                raise
        else:
            break
    try:
        yield started
    finally:
        started.stop()


@contextmanager
def _folder(prefix: str, owner: str | None) -> Iterator[Path]:
    """A private folder directly under the temporary one: pytest's own cannot be entered by another user."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    if owner:
        shutil.chown(folder, owner, owner)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _postgres_program(name: str) -> Path:
    """Debian keeps PostgreSQL's server programs off the PATH, one folder per version: the newest is taken."""
    on_path = shutil.which(name)
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    if debian:
        return debian[-1]
    if on_path:
        return Path(on_path)
    raise NotHere("PostgreSQL's server programs are not installed (Debian: apt-get install postgresql)")


def _tied_to_us(as_user: str | None, farewell: signal.Signals) -> list[str]:
    """Run as that user, and be ended by the kernel when we die without saying goodbye."""
    who = [f"--reuid={as_user}", f"--regid={as_user}", "--init-groups"] if as_user else []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        if as_user:
            raise NotHere("setpriv is not installed, and PostgreSQL cannot run as root (Debian: util-linux)")
        return []
    return [setpriv, f"--pdeathsig={farewell.name.removeprefix('SIG')}", *who, "--"]


def _says_ready(pid_file: Path, pid: int) -> bool:
    """Ready, and written by this very process: a killed server leaves its file behind."""
    try:
        lines = pid_file.read_text().splitlines()
        return lines[0] == str(pid) and lines[7].strip() == "ready"
    except (OSError, IndexError):
        return False


def _answers(port: int, password: str) -> bool:
    """Redis accepts connections before it has read its data back: only a PONG says that it is ready."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
            probe.sendall(f"AUTH {password}\r\nPING\r\nQUIT\r\n".encode())
            reply = b""
            while more := probe.recv(256):
                reply += more
    except OSError:
        return False
    return b"+PONG" in reply


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
