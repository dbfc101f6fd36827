"""Blobs in a folder of a file system.

A blob is written beside its place, synced, and renamed into it, so that a name never stands for half a file.
Files are only ever read: they are made read-only, and a materialised tree shares them by hard link unless
`link` is off or the file systems differ.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from heedful.blobs import manifest
from heedful.errors import Conflict, Corrupt, InvalidInput, NotFound, Unavailable
from heedful.synced import sync

CHUNK = 1 << 20  # bytes read at once
READ_ONLY = 0o444


class DirectoryBlobs:
    """Keeps each blob at <root>/sha256/<two digits>/<the other 62>, and half-written ones in <root>/incoming.

    Safe for many processes on one file system. What a killed writer leaves in `incoming` is never read;
    `sweep` removes it.
    """

    def __init__(self, root: Path, *, link: bool = True) -> None:
        self._root = root
        self._incoming = root / "incoming"
        self._link = link  # whether a materialised file may be a hard link to ours

    def put_bytes(self, data: bytes) -> str:
        with _translated("write to", self._root), self._arriving() as arriving:
            with arriving.open("wb") as target:
                target.write(data)
            return self._settle(arriving, manifest.digest_of(data))

    def put_tree(self, path: Path) -> str:
        with _translated("keep", path):
            files = [self._put_file(path, found) for found in _plain_files(path)]
            return self.put_bytes(manifest.written(files))

    def get_bytes(self, digest: str) -> bytes:
        place = self._place(digest)
        with _translated("read", place):
            if not place.is_file():
                raise NotFound(f"there is no blob {digest} under {self._root}")
            data = place.read_bytes()
        if manifest.digest_of(data) != digest:
            raise _damaged(digest, place)
        return data

    def materialise(self, digest: str, to: Path) -> None:
        files = manifest.read(self.get_bytes(digest), digest)
        with _translated("make", to):
            if to.is_symlink() or (to.exists() and (not to.is_dir() or any(to.iterdir()))):
                raise Conflict(f"{to} is there already: remove it or choose another place")
            to.parent.mkdir(parents=True, exist_ok=True)
            building = Path(tempfile.mkdtemp(prefix=f".{to.name}.", dir=to.parent))
            try:
                for file in files:
                    self._materialise_file(file, building / file.name, tree=digest)
                building.chmod(0o755)
                building.replace(to)
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    raise Conflict(f"{to} was made by somebody else in the meantime") from error
                raise
            finally:
                shutil.rmtree(building, ignore_errors=True)

    def has(self, digest: str) -> bool:
        with _translated("look into", self._root):
            return self._place(digest).is_file()

    def sweep(self) -> int:
        """Remove what killed writers left, and say how many files; call it while nobody puts."""
        with _translated("tidy", self._incoming):
            left = list(self._incoming.iterdir()) if self._incoming.is_dir() else []
            for file in left:
                file.unlink()
        return len(left)

    def _place(self, digest: str) -> Path:
        name = manifest.checked(digest).removeprefix("sha256:")
        return self._root / "sha256" / name[:2] / name[2:]

    @contextmanager
    def _arriving(self) -> Iterator[Path]:
        """A new empty file to write to, gone afterwards unless it was renamed into its place."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._incoming)
        os.close(handle)
        arriving = Path(name)
        try:
            yield arriving
        finally:
            arriving.unlink(missing_ok=True)

    def _put_file(self, tree: Path, found: Path) -> manifest.File:
        with self._arriving() as arriving, _opened(found) as source, arriving.open("wb") as target:
            digest, size = _copied(source, target)
            target.flush()
            self._settle(arriving, digest)
        return manifest.File(found.relative_to(tree).as_posix(), size, digest)

    def _settle(self, arriving: Path, digest: str) -> str:
        """Give a written file its name, unless a good one has it; durable either way when this returns."""
        place = self._place(digest)
        if not (place.is_file() and _digest(place) == digest):
            sync(arriving)
            arriving.chmod(READ_ONLY)
            place.parent.mkdir(parents=True, exist_ok=True)
            arriving.replace(place)
        # Always: whoever renamed the file or made a folder just now may not have synced it yet.
        for folder in (place.parent, place.parent.parent, self._root, self._root.parent):
            sync(folder)
        return digest

    def _materialise_file(self, file: manifest.File, to: Path, *, tree: str) -> None:
        place = self._place(file.digest)
        if not place.is_file():
            raise Corrupt(f"blob {file.digest}, {file.name!r} of tree {tree}, is gone from {self._root}")
        to.parent.mkdir(parents=True, exist_ok=True)
        if self._link and _linked(place, to):
            digest, size = _digest(place), place.stat().st_size
        else:
            with place.open("rb") as source, to.open("xb") as target:
                digest, size = _copied(source, target)
            to.chmod(READ_ONLY)
        if (digest, size) != (file.digest, file.size):
            raise _damaged(file.digest, place, f", {file.name!r} of tree {tree},")


def _damaged(digest: str, place: Path, part: str = "") -> Corrupt:
    return Corrupt(f"blob {digest}{part} is damaged: the bytes in {place} have another digest")


@contextmanager
def _translated(verb: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"could not {verb} {path}: {error}") from error


def _plain_files(tree: Path) -> Iterator[Path]:
    """Every file below a directory; refuses what is neither a file nor a directory, links included."""
    if tree.is_symlink() or not tree.is_dir():
        raise InvalidInput(f"{tree} is not a directory")
    for entry in sorted(tree.iterdir()):
        if entry.is_symlink():
            raise InvalidInput(f"{entry} is a symbolic link: a tree holds plain files only")
        if entry.is_dir():
            yield from _plain_files(entry)
        elif entry.is_file():
            yield entry
        else:
            raise InvalidInput(f"{entry} is neither a file nor a directory")


def _opened(path: Path) -> BinaryIO:
    # Not through a link that took the file's place since we looked, nor waiting for a pipe to speak.
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise InvalidInput(f"{path} is not a plain file any more")
    return os.fdopen(handle, "rb")


def _copied(source: BinaryIO, target: BinaryIO) -> tuple[str, int]:
    """Digest and size of what went from one to the other."""
    hashed, size = sha256(), 0
    while chunk := source.read(CHUNK):
        hashed.update(chunk)
        size += target.write(chunk)
    return f"sha256:{hashed.hexdigest()}", size


def _digest(path: Path) -> str:
    hashed = sha256()
    with path.open("rb") as source:
        while chunk := source.read(CHUNK):
            hashed.update(chunk)
    return f"sha256:{hashed.hexdigest()}"


def _linked(place: Path, to: Path) -> bool:
    try:
        to.hardlink_to(place)
    except OSError:  # another file system, too many links, or one that has none: a copy will do
        return False
    return True
