"""Stop 3: what people said becomes a dataset, which never changes again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from heedful.domain.capture import Capture
from heedful.domain.episode import Turn
from heedful.domain.feedback import Choice, Feedback, current
from heedful.domain.ids import AgentId, DatasetId, Digest, TenantId, TurnId
from heedful.domain.labeling import Verdict
from heedful.domain.preference import Dataset, Preference, Row
from heedful.preferences import build
from heedful.preferences import freeze as freezing
from heedful.road.parts import Parts
from heedful.road.records import act
from heedful.store.protocol import Batch, Link, Ref

JUDGING = ("choice", "correction", "violation")  # forms of feedback that a reward model learns from


def freeze_judged(parts: Parts, tenant: TenantId, agent: AgentId) -> Dataset:
    """What people think of one agent's answers, so far: verdicts, corrections and checks."""
    feedback = current(parts.store.find(Feedback, tenant, where={"form": JUDGING}, limit=None))
    verdicts = parts.store.find(Verdict, tenant, limit=None)
    wanted = {id for one in feedback for id in one.turns} | {one.chosen for one in verdicts if one.chosen}
    found = parts.store.get_many(Turn, tenant, sorted(wanted))
    turns = {TurnId(id): turn for id, turn in found.items() if turn.agent == agent and _has_text(turn)}
    theirs = [one for one in verdicts if one.chosen in turns]
    lost = {id: turn for id, turn in _not_chosen(feedback, theirs).items() if turn in turns}
    rows: list[Row] = [
        *build.from_choice_verdicts(theirs, turns, lost),
        *build.from_corrections(filter(_has_text, feedback), turns),
        *build.from_checks(feedback, turns),
    ]
    return _freeze(parts, tenant, f"{agent}-judged", rows)


def freeze_shown(
    parts: Parts, tenant: TenantId, name: str, *, only: Mapping[str, Any] | None = None
) -> Dataset:
    """What people showed, so far: demonstrations. `only` narrows them by indexed fields, such as who they are by."""
    where = {**(only or {}), "form": "demonstration"}
    shown = filter(_has_text, current(parts.store.find(Feedback, tenant, where=where, limit=None)))
    return _freeze(parts, tenant, name, build.from_demonstrations(shown))


def _has_text(said: Turn | Feedback) -> bool:
    """Nothing is learned from what was kept without its words, or has lost them since."""
    return said.capture is not Capture.METADATA


def _freeze(parts: Parts, tenant: TenantId, name: str, rows: Sequence[Row]) -> Dataset:
    """Rows that never change again. The same evidence gives the same dataset."""
    frozen = freezing.frozen(rows, holdout=parts.datasets.holdout)
    id = DatasetId(f"{name}@{frozen.digest.split(':')[1][:12]}")
    known = parts.store.get(Dataset, tenant, id)
    if known is not None:
        return known
    sources = sorted({source for row in rows for source in row.feedback})
    dataset = Dataset(
        id=id,
        tenant=tenant,
        name=name,
        digest=frozen.digest,
        files={name: Digest(parts.blobs.put_bytes(content)) for name, content in frozen.files.items()},
        rows=frozen.rows,
        made_from=Digest(parts.blobs.put_bytes(json.dumps(sources).encode())),
        frozen_at=parts.clock.now(),
        notes={"duplicates": str(frozen.dropped)},
    )
    made = Ref(kind="dataset", id=id)
    links = [Link(made=made, source=Ref(kind="feedback", id=source)) for source in sources]
    weighed = {row.verdict for row in rows if isinstance(row, Preference) and row.verdict is not None}
    links += [Link(made=made, source=Ref(kind="verdict", id=verdict)) for verdict in sorted(weighed)]
    parts.store.commit(
        Batch(
            add=(dataset,), links=tuple(links), acts=(act(parts, tenant, "loop", "dataset.frozen", dataset),)
        )
    )
    return dataset


def _not_chosen(feedback: Iterable[Feedback], verdicts: Iterable[Verdict]) -> dict[str, TurnId]:
    """Per verdict on a pair, the turn that lost."""
    shown = {one.id: one.said.shown for one in feedback if isinstance(one.said, Choice)}
    lost = {}
    for verdict in verdicts:
        seen = next((shown[id] for id in verdict.feedback if id in shown), ())
        rest = [turn for turn in seen if turn != verdict.chosen]
        if verdict.chosen is not None and len(rest) == 1:
            lost[str(verdict.id)] = rest[0]
    return lost
