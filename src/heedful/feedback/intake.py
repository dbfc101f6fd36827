"""Complete a piece of feedback with what the sender cannot know, or refuse it with the reason.

The policy is taken from the turn that the feedback is about, never from what is live now: a thumb that comes
a week late still belongs to the weights that earned it. And what it is about may come later than the feedback
itself: that is no reason to refuse it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

import orjson

from heedful.domain.feedback import Feedback, Violation
from heedful.domain.ids import EpisodeId, PolicyId, TurnId
from heedful.domain.taxonomy import Taxonomy
from heedful.errors import InvalidInput, NotFound
from heedful.feedback import metrics as metric
from heedful.feedback.metrics import Metrics

FUTURE = timedelta(minutes=5)  # how far ahead a sender's clock may run


class Answered(Protocol):
    """What feedback needs to know of a turn."""

    @property
    def episode(self) -> EpisodeId: ...
    @property
    def policy(self) -> PolicyId: ...


def sent(said: Feedback) -> str:
    """A digest of what the sender said: the same whenever it is sent, whatever we have made of it since."""
    try:
        return hashlib.sha256(orjson.dumps(said, default=dict, option=orjson.OPT_SORT_KEYS)).hexdigest()
    except TypeError as error:  # half a surrogate pair, or something in `metadata` that is no text
        raise InvalidInput(f"the feedback cannot be written as JSON: {error}") from error


def check(said: Feedback, *, taxonomy: Taxonomy, metrics: Metrics, now: datetime) -> None:
    """Nothing, or what is wrong with it whatever it is about."""
    if said.at > now + FUTURE:
        raise InvalidInput(
            f"at is {said.at.isoformat()}, in the future: it is {now.isoformat()} here", field="at"
        )
    if isinstance(said.said, Violation) and said.said.category is not None:
        taxonomy.category(said.said.category)
    metric.check(said, metrics)


def missing(
    said: Feedback, *, turns: Mapping[TurnId, Answered], episodes: Container[EpisodeId]
) -> tuple[TurnId | EpisodeId, ...]:
    """What it is about and is not here yet."""
    absent: tuple[TurnId | EpisodeId, ...] = tuple([id for id in said.turns if id not in turns])
    if said.episode is not None and said.episode not in episodes:
        return (*absent, said.episode)
    return absent


def complete(
    said: Feedback,
    *,
    turns: Mapping[TurnId, Answered],
    episodes: Container[EpisodeId],
    taxonomy: Taxonomy,
    now: datetime,
) -> Feedback:
    """The feedback as it is stored, stamped with time and policy; it was checked before."""
    for id in said.turns:
        if id not in turns:
            field = "turn" if id == said.turn else "said"
            raise NotFound(f"{field} names turn {id!r}, which is not known here", field=field)
    if said.episode is not None and said.episode not in episodes:
        raise NotFound(f"episode {said.episode!r} is not known here", field="episode")

    form = said.said
    if isinstance(form, Violation) and form.category is not None:
        category = taxonomy.category(form.category)
        form = replace(
            form, severity=form.severity or category.severity, taxonomy=form.taxonomy or taxonomy.version
        )

    targets = [turns[id] for id in said.turns]
    policies = {turn.policy for turn in targets}
    homes = {turn.episode for turn in targets}
    episode = said.episode
    if episode is None and len(homes) == 1:
        episode = targets[0].episode
    if episode is not None and homes and episode not in homes:
        raise InvalidInput(
            f"episode is {episode!r}, but the feedback is about a turn of {', '.join(sorted(homes))}",
            field="episode",
        )
    return replace(
        said,
        said=form,
        episode=episode,
        received_at=now,
        policy=policies.pop() if len(policies) == 1 else None,
    )
