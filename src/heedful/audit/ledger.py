"""Checkpoints in a file of their own, one JSON object a line, and the key that signs them.

The file lies outside the database, so that whoever edits the one does not edit the other in passing. Copy it,
and better the key as well, to where the owner of the database cannot write.
"""

from __future__ import annotations

import json
import os
import secrets
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from heedful.audit.checkpoints import Checkpoint
from heedful.errors import Corrupt, InvalidInput, NotFound

NEW_KEY_BYTES = 32


def append(path: Path, checkpoint: Checkpoint) -> None:
    """Returns when the line is on the disk."""
    with path.open("a") as file:
        file.write(json.dumps(to_json(checkpoint), sort_keys=True) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[Checkpoint]:
    """Every checkpoint of the file, oldest first; none when there is no file."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(from_json(json.loads(line)))
        except (ValueError, KeyError, TypeError, InvalidInput) as error:
            raise Corrupt(f"line {number} of {path} is not a checkpoint: {error}") from error
    return found


def to_json(checkpoint: Checkpoint) -> dict[str, object]:
    return {
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "at": checkpoint.at.isoformat(),
        "key_id": checkpoint.key_id,
        "signature": checkpoint.signature.hex(),
    }


def from_json(said: dict[str, str]) -> Checkpoint:
    return Checkpoint(
        size=int(said["size"]),
        root=bytes.fromhex(said["root"]),
        at=datetime.fromisoformat(said["at"]),
        key_id=said["key_id"],
        signature=bytes.fromhex(said["signature"]),
    )


def make_key(path: Path) -> bytes:
    """The key in this file, made on first use and readable by its owner only."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read_key(path)
    with os.fdopen(file, "w") as out:
        out.write(secrets.token_hex(NEW_KEY_BYTES) + "\n")
        out.flush()
        os.fsync(out.fileno())
    return read_key(path)


def read_key(path: Path) -> bytes:
    try:
        return bytes.fromhex(path.read_text().strip())
    except FileNotFoundError as error:
        raise NotFound(f"there is no audit key at {path}: `heedful audit checkpoint` makes one") from error
    except ValueError as error:
        raise Corrupt(f"{path} is not an audit key: it holds hex digits") from error


def key_id(key: bytes) -> str:
    """A name for the key that tells nothing about it."""
    return sha256(b"heedful audit key\n" + key).hexdigest()[:12]
