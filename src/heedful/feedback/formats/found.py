"""What was found in somebody else's log: episodes, turns, feedback, and what could not be used.

A turn needs a policy, and what answered here was none of ours. So each agent and model that is met gets one
record, `<agent>@imported:<model>`, an external policy of an upstream that no settings can have. Feedback is
then about something that has a name, `heedful why` walks as it always does, and people can see how yesterday's
model did beside today's. It can never go out: `road.release` refuses it, it has version 0 and so takes no
number from the agent's own versions, and its turns were allotted by nobody, so that no release counts them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from heedful.domain.capture import Capture
from heedful.domain.content import Message, ToolCall
from heedful.domain.episode import Episode, Purpose, Turn
from heedful.domain.feedback import Feedback
from heedful.domain.ids import ID_PATTERN, AgentId, EpisodeId, PolicyId, TenantId, TurnId
from heedful.domain.models import External, Policy, Standing
from heedful.errors import InvalidInput

IMPORTED = "imported"  # the upstream of policies that answered elsewhere
USER = "user"  # whom agents speak to when it is no agent
MODEL = "model"  # under which a turn's metadata name the model
RESPONSE = "gen_ai.response.id"  # and the answer, as the model's server named it
LONGEST_VALUE = 4096  # characters of one value in the metadata
LONGEST_ID = 112  # an id may have 128; the rest is for the numbers of further answers
AHEAD = timedelta(days=1)  # how far a foreign clock may run before ours

_ID = re.compile(ID_PATTERN)
_FOREIGN = re.compile(r"[^A-Za-z0-9._:/@-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that could not be used, and why. Its neighbours were."""

    where: str  # as the sender can find it: "line 17", "span 00f067aa0ba902b7"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Our values. A piece of feedback that names a turn and an episode is about the turn, or about the episode
    if the turn turns out to be none: what was judged need not have been one call of a model."""

    episodes: tuple[Episode, ...] = ()
    turns: tuple[Turn, ...] = ()
    feedback: tuple[Feedback, ...] = ()
    mended: tuple[tuple[Turn, Turn], ...] = ()  # as they are on record, and as they are now known
    problems: tuple[Problem, ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)  # by id: where it stood, for problems found later

    def __bool__(self) -> bool:
        return bool(self.episodes or self.turns or self.feedback or self.mended or self.problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """How foreign ids become ours."""

    source: str
    alone: bool = False  # a span's id is unique without its trace's

    def turn(self, trace: str, span: str) -> TurnId:
        return TurnId(foreign(self.source, span) if self.alone else foreign(self.source, trace, span))

    def episode(self, trace: str, session: str | None) -> EpisodeId:
        if session is not None:
            return EpisodeId(foreign(self.source, "session", session))
        return EpisodeId(foreign(self.source, trace))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Under which circumstances a log is read."""

    tenant: TenantId
    now: datetime
    agent: AgentId | None = None  # where the log names none; without it the model's name has to do
    over: bool = True  # the episodes have ended; False for what is still being told
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # of scores, by their name


def joined(parts: Iterable[Found]) -> Found:
    """All of it; an episode that is told of twice is the first one."""
    parts = list(parts)
    episodes = {one.id: one for part in reversed(parts) for one in reversed(part.episodes)}
    return Found(
        episodes=tuple(reversed(episodes.values())),
        turns=tuple(one for part in parts for one in part.turns),
        feedback=tuple(one for part in parts for one in part.feedback),
        problems=tuple(one for part in parts for one in part.problems),
        places={id: place for part in parts for id, place in part.places.items()},
    )


def foreign(*parts: str) -> str:
    """The same parts give the same id: joined when that is an id, else their digest behind the first."""
    text = ":".join(parts)
    if len(text) <= LONGEST_ID and _ID.fullmatch(text):
        return text
    return f"{parts[0]}:{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:40]}"


def named(text: str, what: str) -> str:
    """A name that people chose, as an id: "Triage Agent" is `Triage-Agent`."""
    plain = "-".join(text.split())
    if _ID.fullmatch(plain):
        return plain
    if not text.strip():
        raise InvalidInput(f"the {what} has no name")
    rest = _FOREIGN.sub("-", plain).strip("-._:/@")[:80]
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{rest or what}-{digest}"


def policy_id(agent: AgentId, model: str) -> PolicyId:
    """Of what answered for this agent elsewhere."""
    text = f"{agent}@{IMPORTED}:{named(model, MODEL)}"
    return PolicyId(text if _ID.fullmatch(text) else foreign(IMPORTED, agent, model))


def policy_of(turn: Turn) -> Policy:
    """The record behind an imported turn's policy."""
    return Policy(
        id=turn.policy,
        tenant=turn.tenant,
        agent=turn.agent,
        version=0,
        body=External(upstream=IMPORTED, model=turn.metadata.get(MODEL, turn.policy)),
        created_at=turn.at,
        standing=Standing.RETIRED,
        notes={"imported": "it answered elsewhere: only its answers are known here"},
    )


def responses(found: Found) -> set[str]:
    """How the servers of the models named their answers: ids of ours, where that server is our gateway."""
    told = {one.metadata[RESPONSE] for one in found.turns if RESPONSE in one.metadata}
    return {id for id in told | {one.turn for one in found.feedback if one.turn} if _ID.fullmatch(id)}


def without(found: Found, ours: Mapping[str, Turn]) -> Found:
    """The same without the answers that our gateway gave: what belongs to those belongs to its own turns."""
    own = {one.id for one in ours.values() if one.purpose is not Purpose.IMPORTED}
    same: dict[TurnId, TurnId] = {}
    for one in found.turns:
        answer = TurnId(one.metadata.get(RESPONSE, ""))
        if answer in own:
            same[one.id] = TurnId(f"{answer}/{one.index}") if one.index else answer
    if not same:
        return found

    def moved(id: TurnId | None) -> TurnId | None:
        return None if id is None else same.get(id, id)

    return replace(
        found,
        turns=tuple(replace(one, parent=moved(one.parent)) for one in found.turns if one.id not in same),
        feedback=tuple(replace(one, turn=moved(one.turn)) for one in found.feedback),
    )


def placed(
    found: Found, turns: Mapping[str, Turn], episodes: Mapping[str, Episode], *, about_ours: bool
) -> tuple[list[Feedback], list[Problem]]:
    """Each piece of feedback about the one thing that is known, of those that it names.

    Without `about_ours` it may only be about what was brought: whoever tells what happened elsewhere is not
    therefore somebody whose word about our own answers counts.
    """
    said: list[Feedback] = []
    problems: list[Problem] = []
    for one in found.feedback:
        turn = turns.get(one.turn or "")
        episode = None if turn is not None else episodes.get(one.episode or "")
        target: Turn | Episode | None = turn or episode
        if not about_ours and (target is None or target.purpose is not Purpose.IMPORTED):
            what = one.turn or one.episode
            why = "it is not known here" if target is None else "it was answered here: give feedback on it"
            problems.append(Problem(where=found.places.get(one.id, one.id), reason=f"{what!r}: {why}"))
            continue
        if episode is not None:
            said.append(replace(one, turn=None))
        else:
            said.append(replace(one, episode=None) if one.turn is not None else one)
    return said, problems


def kept_of(request: Sequence[Message], answer: str, calls: Sequence[ToolCall]) -> Capture:
    """How much of a turn there is: many instrumentations do not tell what was said."""
    return Capture.FULL if request or answer or calls else Capture.METADATA


def in_time(at: datetime, reading: Reading) -> datetime:
    """The moment, if it can have been."""
    if at > reading.now + AHEAD:
        raise InvalidInput(f"it happened at {at.isoformat()}, and here it is {reading.now.isoformat()}")
    return at
