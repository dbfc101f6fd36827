"""What a shop's engineer can check about a reply without knowing which action is right; for `policy_sim.py`.

Written from what replies look like, as one would for an agent of one's own. Nothing of the world's truth is used.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

SAYS = {
    "refund": r"\bmoney is on its way\b|\brefunded\b",
    "credit": r"\bstore credit\b",
    "deny": r"\bcan not take\b|\bno longer possible\b",
    "replace": r"\bnew \S+ is on its way\b|\breplacement\b",
    "repair": r"\brepair\b|\bworkshop\b",
    "track": r"\bparcel arrives\b|\bfollow your parcel\b",
    "escalate": r"\bmanager\b",
    "return": r"\ba label\b|\bsend the parcel back\b",
    "cancel": r"\bis cancelled\b|\bstopped your order\b",
    "verify": r"\bblocked the charge\b|\bbank team\b",
}
CALL = re.compile(r"\s*\[([a-z]+)\]")


def states(completions: Sequence[Any], **_: Any) -> list[float]:
    """1 where the prose says what the call does."""
    return [float(called in said) for called, said, _ in map(_read, completions)]


def others(completions: Sequence[Any], **_: Any) -> list[float]:
    """Actions that the prose speaks of and the call does not do."""
    return [float(len(said - {called})) for called, said, _ in map(_read, completions)]


def repeats(completions: Sequence[Any], **_: Any) -> list[float]:
    """Sentences that were there already."""
    return [float(len(told) - len(set(told))) for _, _, told in map(_read, completions)]


def _read(completion: Any) -> tuple[str, set[str], list[str]]:
    """The call, the actions that the prose speaks of, and its sentences."""
    text = completion if isinstance(completion, str) else completion[-1]["content"]
    call = CALL.match(text)
    prose = text[call.end() :] if call else text
    said = {action for action, words in SAYS.items() if re.search(words, prose)}
    told = [sentence.strip() for sentence in re.split(r"[.,]", prose) if sentence.strip()]
    return (call.group(1) if call else ""), said, told
