"""Names of things: short prefix, then time, then chance, so that ids sort by when they were made.

A caller may bring its own id (that is what makes a retry safe), so an id is only ever compared, never parsed.
"""

from __future__ import annotations

import re
from datetime import datetime
from random import Random
from typing import NewType

from heedful.errors import InvalidInput

TenantId = NewType("TenantId", str)
ProductId = NewType("ProductId", str)
AgentId = NewType("AgentId", str)  # a role in the fleet, such as "resolver"
PersonId = NewType("PersonId", str)  # a rater, a user, or the program that speaks for them
EpisodeId = NewType("EpisodeId", str)
TurnId = NewType("TurnId", str)
FeedbackId = NewType("FeedbackId", str)
DeadLetterId = NewType("DeadLetterId", str)
QueueId = NewType("QueueId", str)
ItemId = NewType("ItemId", str)
AssignmentId = NewType("AssignmentId", str)
VerdictId = NewType("VerdictId", str)
PreferenceId = NewType("PreferenceId", str)
DatasetId = NewType("DatasetId", str)
RewardModelId = NewType("RewardModelId", str)
PolicyId = NewType("PolicyId", str)
RunId = NewType("RunId", str)
CycleId = NewType("CycleId", str)
ReleaseId = NewType("ReleaseId", str)
AlertId = NewType("AlertId", str)
IncidentId = NewType("IncidentId", str)
KeyId = NewType("KeyId", str)
Digest = NewType("Digest", str)  # "sha256:" and 64 hex digits

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}$"
_ID = re.compile(ID_PATTERN)
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # base 32 without letters that read like digits
_PAIRS = [
    one + other for one in _ALPHABET for other in _ALPHABET
]  # two digits at a time: every request has an id


def mint(kind: str, at: datetime, random: Random) -> str:
    """A new id such as `turn_01jd…`: 48 bits of milliseconds, then 80 of chance."""
    number = (int(at.timestamp() * 1000) << 80) | random.getrandbits(80)
    return f"{kind}_{''.join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])}"


def check_id(value: str, field: str) -> str:
    """The id as it came, or `InvalidInput` that says what an id looks like."""
    if not _ID.fullmatch(value):  # `match` would let a line break at the end pass
        shown = value if len(value) <= 60 else value[:60] + "…"
        raise InvalidInput(
            f"{field} is {shown!r}: an id has 1 to 128 letters, digits or . _ : / @ - "
            "and starts with a letter or digit",
            field=field,
        )
    return value
