"""A directory as one blob: the list of its files, in a fixed order.

A manifest may come from anyone who may put bytes. It is therefore read as hostile: a name that would lead out
of the directory is refused before a single file is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePosixPath

from heedful.errors import InvalidInput

KIND = "heedful tree 1"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def digest_of(data: bytes) -> str:
    return f"sha256:{sha256(data).hexdigest()}"


def checked(digest: str) -> str:
    """The digest, if it is one: digests become file names, and must not name anything else."""
    if not DIGEST.fullmatch(digest):
        raise InvalidInput(f"{digest!r} is not a digest: it must read sha256: and 64 hexadecimal digits")
    return digest


@dataclass(frozen=True, slots=True)
class File:
    """One file of a tree."""

    name: str  # relative, with forward slashes
    size: int  # bytes
    digest: str

    def __post_init__(self) -> None:
        if self.name != str(PurePosixPath(self.name)) or self.name == ".":
            raise InvalidInput(f"{self.name!r} is not the plain relative name of a file")
        parts = PurePosixPath(self.name).parts
        if self.name.startswith("/") or ".." in parts or "\\" in self.name or "\0" in self.name:
            raise InvalidInput(f"the name {self.name!r} leads out of the tree")
        if not self.name.isprintable():
            raise InvalidInput(f"the name {self.name!r} has characters that do not print")
        if self.size < 0:
            raise InvalidInput(f"{self.name!r} cannot have {self.size} bytes")
        checked(self.digest)


def written(files: Sequence[File]) -> bytes:
    """The manifest's bytes: the same files give the same bytes in whatever order they come."""
    if not files:
        raise InvalidInput("a tree without files is not kept: there is nothing in it")
    listed = sorted(files, key=lambda file: file.name)
    rows = [{"digest": file.digest, "name": file.name, "size": file.size} for file in listed]
    text = json.dumps({"files": rows, "kind": KIND}, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def read(data: bytes, digest: str) -> tuple[File, ...]:
    """The files that a manifest lists; refuses bytes that are not a manifest or list something unsafe."""
    try:
        content = json.loads(data)
        if content["kind"] != KIND:
            raise ValueError(f"its kind is {content['kind']!r}")
        files = tuple(File(row["name"], row["size"], row["digest"]) for row in content["files"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidInput(f"blob {digest} is not a tree: get its bytes instead") from error
    names = {file.name for file in files}
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    if not files or len(names) != len(files) or names & folders:
        raise InvalidInput(f"the tree {digest} is empty or gives two things the same name")
    return files
