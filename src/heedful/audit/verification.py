"""Compare the log as it is stored now with what was recorded and signed.

A log that was edited by someone who also holds the signing key cannot be told from an honest one, and
neither can an edit after the last checkpoint that also rewrites the recorded hash: `Finding.anchored` says
how far the signatures reach.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from heedful.audit.checkpoints import Checkpoint, check
from heedful.audit.merkle import Frontier, leaf_hash


class Outcome(StrEnum):
    INTACT = "intact"
    CHANGED = "changed"  # an entry is not what its recorded hash says
    MISSING = "missing"  # an entry inside the log is gone
    OUT_OF_ORDER = "out of order"  # an entry stands at another's place, or twice
    TRUNCATED = "truncated"  # the log ends before a signed checkpoint
    REWRITTEN = "rewritten"  # entries agree with their recorded hashes, but not with a signed root
    FORGED = "forged"  # the entries are well, but a checkpoint bears no signature that we know


Entry = tuple[int, bytes, bytes]  # index from 0, bytes as stored now, leaf hash recorded when appended
Trouble = tuple[Outcome, int | None, int | None, str]  # what, first and last entry concerned, one sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The first thing that is wrong with the log, or that nothing is."""

    outcome: Outcome
    first: int | None = None  # index of the first entry concerned; None when none is
    last: int | None = None  # and of the last: the same when one entry is named
    read: int  # entries that were well before the first trouble
    anchored: int  # of those, entries that a signed checkpoint vouches for
    said: str  # one sentence for a person

    @property
    def intact(self) -> bool:
        return self.outcome is Outcome.INTACT


def verify(
    entries: Iterable[Entry], checkpoints: Iterable[Checkpoint], *, keys: Mapping[str, bytes]
) -> Finding:
    """Read the log once, in order, and name the first entry that is not as it was.

    A changed, missing or misplaced entry is named exactly; where bytes and recorded hash were rewritten
    together, the finding names the stretch between the two checkpoints around it.
    """
    given = list(checkpoints)
    forged = [checkpoint for checkpoint in given if not check(checkpoint, keys)]
    signed = deque(sorted((one for one in given if check(one, keys)), key=lambda one: one.size))
    tree, anchored, stream = Frontier(), 0, iter(entries)

    def found(trouble: Trouble) -> Finding:
        outcome, first, last, said = trouble
        return Finding(outcome=outcome, first=first, last=last, read=tree.size, anchored=anchored, said=said)

    while True:
        while signed and signed[0].size == tree.size:
            if signed[0].root != tree.root():
                return found(_rewritten(anchored, signed[0]))
            anchored = signed.popleft().size
        entry = next(stream, None)
        if entry is None:
            break
        trouble = _trouble(entry, tree.size, stream)
        if trouble is not None:
            return found(trouble)
        tree = tree.append(entry[2])
    if signed:
        return found(_truncated(tree.size, signed[-1]))
    if forged:
        said = f"the checkpoint over {forged[0].size} entries was not signed by our key {forged[0].key_id!r}"
        return found((Outcome.FORGED, None, None, said))
    said = f"{tree.size} entries are as they were appended; signatures reach to {anchored}"
    return found((Outcome.INTACT, None, None, said))


def _trouble(entry: Entry, expected: int, rest: Iterable[Entry]) -> Trouble | None:
    index, stored, recorded = entry
    if index < expected:
        return Outcome.OUT_OF_ORDER, index, index, f"entry {index} stands again where {expected} belongs"
    if index > expected:
        if any(later == expected for later, _, _ in rest):
            return Outcome.OUT_OF_ORDER, expected, expected, f"entry {index} stands where {expected} belongs"
        return Outcome.MISSING, expected, index - 1, f"entry {expected} is missing: {index} comes next"
    if leaf_hash(stored) != recorded:
        return Outcome.CHANGED, index, index, f"entry {index} is not what was hashed when it was appended"
    return None


def _rewritten(anchored: int, checkpoint: Checkpoint) -> Trouble:
    last = max(checkpoint.size - 1, anchored)
    said = f"among entries {anchored} to {last} something was rewritten together with its hash: "
    said += f"the root signed at {checkpoint.at.isoformat()} is another"
    return Outcome.REWRITTEN, anchored, last, said


def _truncated(size: int, checkpoint: Checkpoint) -> Trouble:
    said = f"the log ends after {size} entries, and {checkpoint.size} were signed for"
    return Outcome.TRUNCATED, size, checkpoint.size - 1, said
