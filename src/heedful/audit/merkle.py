"""The Merkle tree of RFC 6962, section 2.1, and RFC 9162, section 2.1, over leaf hashes.

A leaf hashes with the prefix 0x00 and a node with 0x01, so that no node can pass for an entry. Proofs are
made in one pass over the leaves and keep only a few hashes, because a log may be longer than memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice

from heedful.errors import Corrupt, InvalidInput

EMPTY_ROOT = sha256(b"").digest()  # the root of a tree without leaves
HASH_BYTES = 32

Span = tuple[int, int]  # leaves from the first up to, not including, the second


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """All that must be remembered of a tree to append to it: the roots of its complete subtrees.

    A tree of n leaves has one for each bit that is set in n, so that a billion entries need thirty hashes
    at most. A store keeps it in one row and replaces that row in the transaction that adds the entry.
    """

    size: int = 0  # leaves so far
    peaks: tuple[bytes, ...] = ()  # from the largest subtree, on the left, to the smallest

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.peaks) != self.size.bit_count():
            raise InvalidInput(f"a tree of {self.size} leaves does not have {len(self.peaks)} peaks")
        if any(len(peak) != HASH_BYTES for peak in self.peaks):
            raise InvalidInput(f"a peak is a hash of {HASH_BYTES} bytes")

    def append(self, leaf: bytes) -> Frontier:
        """The tree with one more leaf hash on its right."""
        if len(leaf) != HASH_BYTES:
            raise InvalidInput(f"a leaf hash has {HASH_BYTES} bytes, not {len(leaf)}: pass leaf_hash(data)")
        peaks, hashed, complete = list(self.peaks), leaf, self.size
        while complete & 1:  # the last two subtrees are equally large: they become one
            hashed = node_hash(peaks.pop(), hashed)
            complete >>= 1
        return Frontier(self.size + 1, (*peaks, hashed))

    def root(self) -> bytes:
        if not self.peaks:
            return EMPTY_ROOT
        hashed = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            hashed = node_hash(peak, hashed)
        return hashed

    def to_json(self) -> str:
        return json.dumps({"size": self.size, "peaks": [peak.hex() for peak in self.peaks]})

    @classmethod
    def from_json(cls, text: str) -> Frontier:
        try:
            data = json.loads(text)
            return cls(int(data["size"]), tuple(bytes.fromhex(peak) for peak in data["peaks"]))
        except (ValueError, KeyError, TypeError, InvalidInput) as error:
            raise Corrupt(f"the stored frontier of the audit log cannot be read: {error}") from error


def frontier(leaves: Iterable[bytes]) -> Frontier:
    tree = Frontier()
    for leaf in leaves:
        tree = tree.append(leaf)
    return tree


def root(leaves: Iterable[bytes]) -> bytes:
    return frontier(leaves).root()


def inclusion_proof(leaves: Iterable[bytes], index: int, size: int) -> tuple[bytes, ...]:
    """Why leaf `index` is in the tree of the first `size` leaves (RFC 6962, section 2.1.1)."""
    if not 0 <= index < size:
        raise InvalidInput(f"leaf {index} is not in a tree of {size} leaves")
    return _hashed(_path(index, 0, size), leaves)


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the proof leads from the leaf to the root (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    node, last, hashed = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            hashed = node_hash(sibling, hashed)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            hashed = node_hash(hashed, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and hashed == root


def consistency_proof(leaves: Iterable[bytes], earlier: int, later: int) -> tuple[bytes, ...]:
    """Why the tree of `earlier` leaves is the beginning of that of `later` (RFC 6962, section 2.1.2)."""
    if not 0 <= earlier <= later:
        raise InvalidInput(f"a tree of {earlier} leaves cannot be the beginning of one of {later}")
    if earlier == 0:  # outside the RFC: every tree begins with nothing, and nothing needs no proof
        return ()
    return _hashed(_growth(earlier, 0, later, whole=True), leaves)


def verify_consistency(
    earlier: int, later: int, earlier_root: bytes, later_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether the proof shows that nothing before `earlier` was changed (RFC 9162, section 2.1.4.2)."""
    if not 0 <= earlier <= later:
        return False
    if earlier == later:
        return not proof and earlier_root == later_root
    if earlier == 0:
        return not proof and earlier_root == EMPTY_ROOT
    if not proof:
        return False
    rest = list(proof)
    if earlier.bit_count() == 1:  # the earlier tree is one complete subtree, which the proof leaves out
        rest.insert(0, earlier_root)
    node, last = earlier - 1, later - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    was = now = rest[0]
    for sibling in rest[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            was, now = node_hash(sibling, was), node_hash(sibling, now)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            now = node_hash(now, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and was == earlier_root and now == later_root


def _path(index: int, start: int, end: int) -> list[Span]:
    """The subtrees beside the way from the leaf to the root, the lowest first."""
    if end - start == 1:
        return []
    middle = start + _split(end - start)
    if index < middle:
        return [*_path(index, start, middle), (middle, end)]
    return [*_path(index, middle, end), (start, middle)]


def _growth(earlier: int, start: int, end: int, *, whole: bool) -> list[Span]:
    """The subtrees that make up both roots; `whole` while the verifier already knows this one's hash."""
    if earlier == end:
        return [] if whole else [(start, end)]
    middle = start + _split(end - start)
    if earlier <= middle:
        return [*_growth(earlier, start, middle, whole=whole), (middle, end)]
    return [*_growth(earlier, middle, end, whole=False), (start, middle)]


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def _hashed(spans: Sequence[Span], leaves: Iterable[bytes]) -> tuple[bytes, ...]:
    """The roots of disjoint spans, in the order asked for, from one pass over the leaves."""
    stream, position, roots = iter(leaves), 0, {}
    for start, end in sorted(spans):
        tree = frontier(islice(stream, start - position, end - position))
        if tree.size != end - start:
            raise InvalidInput(f"the proof needs {end} leaves, and the log ends before")
        roots[start, end], position = tree.root(), end
    return tuple(roots[span] for span in spans)
