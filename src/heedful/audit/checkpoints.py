"""How the audit log stood at a moment, signed.

The signature is an HMAC: whoever can check can also sign, so that the key must not lie where the log lies.
A hash chain alone shows edits but not a cut tail; a checkpoint kept elsewhere shows both.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from heedful.audit.entries import canonical
from heedful.audit.merkle import HASH_BYTES, Frontier
from heedful.errors import InvalidInput, Misconfigured

KEY_BYTES = 16  # the least that a signing key may have


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Somebody holding the key said: at this time the log had this many entries and this root."""

    size: int  # entries in the log
    root: bytes
    at: datetime  # with a time zone
    key_id: str  # which key signed, so that keys can be changed
    signature: bytes

    def __post_init__(self) -> None:
        if self.size < 0:
            raise InvalidInput(f"a checkpoint over {self.size} entries cannot be", field="size")
        if len(self.root) != HASH_BYTES:
            raise InvalidInput(f"a root has {HASH_BYTES} bytes, not {len(self.root)}", field="root")
        if self.at.tzinfo is None:
            raise InvalidInput(f"the checkpoint's time {self.at} has no time zone: say which", field="at")


def sign(tree: Frontier, *, at: datetime, key_id: str, key: bytes) -> Checkpoint:
    return sign_root(tree.size, tree.root(), at=at, key_id=key_id, key=key)


def sign_root(size: int, root: bytes, *, at: datetime, key_id: str, key: bytes) -> Checkpoint:
    if len(key) < KEY_BYTES:
        raise Misconfigured(
            f"the audit key {key_id!r} has {len(key)} bytes: use {KEY_BYTES} random ones or more"
        )
    unsigned = Checkpoint(size=size, root=root, at=at, key_id=key_id, signature=b"")
    signature = hmac.digest(key, _said(unsigned), "sha256")
    return Checkpoint(size=size, root=root, at=at, key_id=key_id, signature=signature)


def check(checkpoint: Checkpoint, keys: Mapping[str, bytes]) -> bool:
    """Whether one of our keys signed exactly this; False as well when we do not hold that key."""
    key = keys.get(checkpoint.key_id)
    if key is None:
        return False
    return hmac.compare_digest(hmac.digest(key, _said(checkpoint), "sha256"), checkpoint.signature)


def _said(checkpoint: Checkpoint) -> bytes:
    # In UTC, because a database may hand the same moment back in another time zone.
    said = {
        "at": checkpoint.at.astimezone(UTC).isoformat(),
        "key_id": checkpoint.key_id,
        "root": checkpoint.root.hex(),
        "size": checkpoint.size,
    }
    return b"heedful audit checkpoint 1\n" + canonical(said)
