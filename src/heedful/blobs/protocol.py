"""The seam to where large, unchanging things lie."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Blobs(Protocol):
    """Bytes and directories under the digest of their content: "sha256:" and 64 hexadecimal digits.

    Every adapter keeps these promises (tests/contract/test_blobs.py):
    - the same bytes, or a directory with the same names and bytes, always have the same digest, in every
      adapter; times, owners and permissions are not content;
    - after a put returns, the content survives the death of the caller and of the machine, unless the
      adapter's own docstring says otherwise;
    - whoever puts what is already there changes nothing, unless it was damaged: then it is healed; any
      number may put at once, and one that is killed leaves nothing that looks complete;
    - `has` of a tree means all of it is there: a tree becomes visible after its last file;
    - what is read is checked against its digest: damaged content raises `Corrupt` with the digest and the
      file's name, and is never handed out;
    - links, special files and names that lead out of the tree are refused, both ways;
    - a materialised directory appears whole or not at all, and is for reading: its files may share their
      bytes with the store.

    Raises `NotFound` for a digest that is not there, `InvalidInput` for what is not a digest or not a plain
    directory, `Conflict` when something already stands where a tree should go, and `Unavailable` when the
    other side cannot be reached or written.
    """

    def put_bytes(self, data: bytes) -> str:
        """Keep these bytes; returns their digest."""
        ...

    def put_tree(self, path: Path) -> str:
        """Keep every file below this directory; returns the digest of the manifest that lists them."""
        ...

    def get_bytes(self, digest: str) -> bytes: ...

    def materialise(self, digest: str, to: Path) -> None:
        """Make the directory `to`, which must be missing or empty, out of a tree that was put."""
        ...

    def has(self, digest: str) -> bool:
        """Whether it is there; says nothing about damage, which only reading finds."""
        ...
