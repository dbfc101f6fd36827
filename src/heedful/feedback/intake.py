"""Complete a piece of feedback with what the sender cannot know, or refuse it with the reason.

The policy is taken from the turn that the feedback is about, never from what is live now: a thumb that comes
a week late still belongs to the weights that earned it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from heedful.domain.episode import Episode, Turn
from heedful.domain.feedback import Feedback, Violation
from heedful.domain.ids import EpisodeId, TurnId
from heedful.domain.taxonomy import Taxonomy
from heedful.errors import InvalidInput, NotFound

FUTURE = timedelta(minutes=5)  # how far ahead a sender's clock may run


def complete(
    said: Feedback,
    *,
    turns: Mapping[TurnId, Turn],
    episodes: Mapping[EpisodeId, Episode],
    taxonomy: Taxonomy,
    now: datetime,
) -> Feedback:
    """The feedback as it is stored: checked against its targets, stamped with time and policy."""
    for id in said.turns:
        if id not in turns:
            field = "turn" if id == said.turn else "said"
            raise NotFound(f"{field} names turn {id!r}, which is not known here", field=field)
    if said.episode is not None and said.episode not in episodes:
        raise NotFound(f"episode {said.episode!r} is not known here", field="episode")
    if said.at > now + FUTURE:
        raise InvalidInput(
            f"at is {said.at.isoformat()}, in the future: it is {now.isoformat()} here", field="at"
        )

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
