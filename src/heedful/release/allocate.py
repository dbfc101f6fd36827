"""Which policy answers this unit: decided by a hash, so nobody has to remember it.

A unit falls into a bucket between 0 and 1, by the release's salt and its own name. Whoever lies below the
release's percentage meets the new policy. When the percentage rises, everyone who was in stays in; with
another salt, the next release draws other units first.
"""

from __future__ import annotations

import hashlib

from heedful.domain.episode import Allocation
from heedful.domain.ids import PolicyId
from heedful.domain.release import Release


def bucket(salt: str, unit: str) -> float:
    """In [0, 1), the same for ever."""
    return int.from_bytes(hashlib.sha256(f"{salt}\x00{unit}".encode()).digest()[:6], "big") / 2**48


def allocate(live: PolicyId, release: Release | None, unit: str) -> Allocation:
    """The live policy, or the canary when a release is under way and the unit lies in its share."""
    if release is None or release.percent <= 0:
        return Allocation(policy=live, probability=1.0, unit=unit, bucket=bucket("", unit))
    share = release.percent / 100
    place = bucket(release.salt, unit)
    canary = place < share
    return Allocation(
        policy=release.policy if canary else live,
        probability=share if canary else 1 - share,
        unit=unit,
        bucket=place,
        release=release.id,
        arm="canary" if canary else "control",
        percent=release.percent,
    )
