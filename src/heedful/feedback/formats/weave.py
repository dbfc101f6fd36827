"""Spans, each understood for itself, put together: which calls make an episode, whose they are, who answers whom.

A trace is an episode, or the conversation is that it belongs to. An agent's span is a scope: what lies in it is
that agent's work, and an agent inside it was called by the outer one. A turn answers the turn that was the last
to end before it began, looked for in its own scope first and then further out: so agents at work side by side do
not answer each other.

Spans are sent when they end, and an agent's ends last: an exporter sends the calls long before the agent that they
lie in. So each turn remembers under which span it lies that has not come yet, and when more of its trace comes,
the turns that are on record are woven in again (`before`): whose they are, what they answer and to whom they
speak may be known only now. What was said in them never changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from heapq import heappop, heappush
from typing import Any

from heedful.domain.episode import Episode, EpisodeState, Purpose, Turn
from heedful.domain.feedback import Feedback
from heedful.domain.ids import AgentId, EpisodeId, PersonId, ProductId, TurnId
from heedful.errors import InvalidInput
from heedful.feedback.formats import again, said
from heedful.feedback.formats.found import (
    LONGEST_VALUE,
    MODEL,
    RESPONSE,
    USER,
    Found,
    Names,
    Problem,
    Reading,
    foreign,
    in_time,
    kept_of,
    named,
    policy_id,
)
from heedful.feedback.formats.said import Opinion
from heedful.feedback.formats.spans import Call, Seen, Span

DEEPEST = 16  # agents within agents; those further out are not looked at


@dataclass(frozen=True, slots=True)
class _Context:
    """What the spans around one say about it, the nearest first."""

    scopes: tuple[tuple[str, str], ...] = ()  # the agent's span, and its name
    session: str | None = None
    user: str | None = None
    task: str | None = None
    judged: bool = False
    under: str | None = None  # the nearest span around it that is not here


@dataclass(slots=True, eq=False)
class _Draft:
    """A call on its way to a turn."""

    seen: Seen
    call: Call
    context: _Context
    id: TurnId
    agent: AgentId
    began: datetime
    ended: datetime
    place: int
    parent: _Draft | None = None
    addressee: str | None = None
    followers: list[_Draft] = field(default_factory=list)


def woven(
    spans: Iterable[Span],
    see: Callable[[Span], Seen],
    names: Names,
    reading: Reading,
    *,
    before: Iterable[Turn] = (),
) -> Found:
    """Everything that these spans tell, by `see`, and what they change about turns that were kept before."""
    problems: list[Problem] = []
    traces: dict[str, dict[str, Seen]] = {}
    for span in spans:
        try:
            seen = see(span)
        except InvalidInput as error:
            problems.append(Problem(where=span.where, reason=str(error)))
            continue
        problems += [Problem(where=span.where, reason=why) for why in seen.heard.troubles]
        traces.setdefault(span.trace, {}).setdefault(span.id, seen)
    kept = {one.id: one for one in before if again.goes_on(one, traces, names)}
    for turns in again.together(kept.values()):
        known, around = again.seen(turns), traces[turns[0].metadata["trace"]]
        told = around.get(known.span.id)
        if told is None or known.agent is not None:  # told a second time, it may be known less well
            around[known.span.id] = known if told is None else replace(known, heard=told.heard)
    made = [_Trace(one, names, reading, kept) for one in traces.values()]
    for trace in made:
        trace.weave(problems)
    all, places = _turns(made, reading)
    turns = [one for one in all if one.id not in kept]
    feedback = list(_feedback(made, all, names, reading, problems, places))
    pairs = ((kept[one.id], again.mended(kept[one.id], one, kept, all)) for one in all if one.id in kept)
    return Found(
        episodes=tuple(_episodes(made, reading)),
        turns=tuple(turns),
        feedback=tuple(feedback),
        mended=tuple((old, new) for old, new in pairs if old != new),
        problems=tuple(problems),
        places=places,
    )


class _Trace:
    def __init__(
        self, seen: Mapping[str, Seen], names: Names, reading: Reading, kept: Mapping[TurnId, Turn]
    ) -> None:
        self.seen = seen
        self._names = names
        self._reading = reading
        self.contexts = _contexts(seen)
        first = next(iter(seen.values())).span
        self.id = first.trace
        self.service = next((one.span.service for one in seen.values() if one.span.service), None)
        self.session = self._any("session")
        self.user = self._any("user")
        self.task = self._any("task")
        self.episode = names.episode(self.id, self.session)
        if kept:  # a trace stays in the episode in which it began
            homes = (kept[id].episode for one in seen if (id := names.turn(self.id, one)) in kept)
            self.episode = next(homes, self.episode)
        self.drafts: list[_Draft] = []

    def weave(self, problems: list[Problem]) -> None:
        for place, (id, one) in enumerate(self.seen.items()):
            if one.call is None or self.contexts[id].judged:
                continue
            try:
                self.drafts.append(self._draft(one, one.call, self.contexts[id], place))
            except InvalidInput as error:
                problems.append(Problem(where=one.span.where, reason=str(error)))
        self.drafts.sort(key=lambda draft: (draft.began, draft.ended, draft.place))
        _follow(self.drafts, self._handoffs())
        for draft in self.drafts:
            draft.addressee = draft.addressee or _addressee(draft)

    def _any(self, name: str) -> str | None:
        return next((value for one in self.seen.values() if (value := getattr(one, name))), None)

    def _draft(self, one: Seen, call: Call, context: _Context, place: int) -> _Draft:
        span, ended = one.span, one.span.ended or one.span.began
        if ended is None:
            raise InvalidInput("it has no time")
        around = context.scopes[0][1] if context.scopes else None
        name = one.agent or around or self._reading.agent or call.model
        return _Draft(
            seen=one,
            call=call,
            context=context,
            id=self._names.turn(span.trace, span.id),
            agent=AgentId(named(name, "agent")),
            began=min(span.began or ended, ended),
            ended=in_time(ended, self._reading),
            place=place,
        )

    def _handoffs(self) -> list[tuple[datetime, str | None, str, _Context]]:
        """When, from whom, to whom."""
        found = []
        for id, one in self.seen.items():
            if one.handoff is not None and one.span.began is not None:
                giver, taker = one.handoff
                found.append(
                    (
                        one.span.began,
                        giver and named(giver, "agent"),
                        named(taker, "agent"),
                        self.contexts[id],
                    )
                )
        return sorted(found, key=lambda one: one[0])


def _contexts(seen: Mapping[str, Seen]) -> dict[str, _Context]:
    """By span. Parents that are missing, or that are their own ancestors, end the way up."""
    found: dict[str, _Context] = {}
    for id in seen:
        way: list[str] = []
        walked: set[str] = set()
        at: str | None = id
        while at is not None and at in seen and at not in found and at not in walked:
            way.append(at)
            walked.add(at)
            at = seen[at].span.parent
        lost = at if at not in seen else None
        context = _Context(under=lost) if at is None or at not in found else found[at]
        for step in reversed(way):
            context = found[step] = _inside(seen[step], context)
    return found


def _inside(one: Seen, outer: _Context) -> _Context:
    scopes = outer.scopes
    if one.enacts and one.agent is not None:
        scopes = ((one.span.id, one.agent), *scopes)[:DEEPEST]
    elif one.scopes:
        scopes = (*one.scopes, *(scope for scope in scopes if scope not in one.scopes))[:DEEPEST]
    return _Context(
        scopes=scopes,
        session=one.session or outer.session,
        user=one.user or outer.user,
        task=one.task or outer.task,
        judged=one.judges or outer.judged,
        under=outer.under,
    )


class _Ended:
    """For each scope, the turn that was the last to end before now; now only goes forward."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[datetime, int, _Draft]]] = {}
        self._last: dict[str, tuple[datetime, int, _Draft]] = {}
        self._count = 0

    def add(self, keys: Iterable[str], draft: _Draft) -> None:
        self._count += 1
        for key in keys:
            heappush(self._waiting.setdefault(key, []), (draft.ended, self._count, draft))

    def before(self, key: str, now: datetime) -> _Draft | None:
        waiting = self._waiting.get(key, [])
        while waiting and waiting[0][0] <= now:
            one = heappop(waiting)
            if key not in self._last or one[:2] > self._last[key][:2]:
                self._last[key] = one
        last = self._last.get(key)
        return None if last is None else last[2]


def _follow(drafts: Sequence[_Draft], handoffs: Sequence[tuple[datetime, str | None, str, _Context]]) -> None:
    """Give each turn the one that it answers, and those who handed over their addressee."""
    ended = _Ended()
    waiting = list(reversed(handoffs))

    def hand_over(until: datetime | None) -> None:
        while waiting and (until is None or waiting[-1][0] < until):
            at, giver, taker, context = waiting.pop()
            keys = [f"agent {giver}"] if giver else _keys(context)
            turn = next((found for key in keys if (found := ended.before(key, at)) is not None), None)
            if turn is not None and turn.addressee is None and turn.agent != taker:
                turn.addressee = taker

    for draft in drafts:
        hand_over(draft.began)
        keys = _keys(draft.context)
        found = (ended.before(key, draft.began) for key in keys)
        draft.parent = next((one for one in found if one is not None), None)
        if draft.parent is not None:
            draft.parent.followers.append(draft)
        ended.add([*keys, f"agent {draft.agent}"], draft)
    hand_over(None)


def _keys(context: _Context) -> list[str]:
    return [*(f"span {id}" for id, _ in context.scopes), "trace"]


def _addressee(draft: _Draft) -> str | None:
    """Whoever goes on with what was said: another agent, the agent itself, the one that called it, or the user."""
    other = next((one.agent for one in draft.followers if one.agent != draft.agent), None)
    if other is not None:
        return other
    if any(answer.tool_calls for answer in draft.call.answers):
        return draft.agent if draft.followers else None
    if draft.followers:
        return None
    callers = (named(name, "agent") for _, name in draft.context.scopes[1:])
    return next((one for one in callers if one != draft.agent), USER)


# -- our values ----------------------------------------------------------------------------------------------


def _turns(traces: Sequence[_Trace], reading: Reading) -> tuple[list[Turn], dict[str, str]]:
    turns: list[Turn] = []
    places: dict[str, str] = {}
    for trace in traces:
        for draft in trace.drafts:
            made = list(_of_draft(draft, trace, reading))
            turns += made
            places |= {one.id: draft.seen.span.where for one in made}
    return turns, places


def _of_draft(draft: _Draft, trace: _Trace, reading: Reading) -> Iterator[Turn]:
    span, call, context = draft.seen.span, draft.call, draft.context
    told = draft.seen.agent or (context.scopes[0][1] if context.scopes else None)
    seconds = (draft.ended - draft.began).total_seconds()
    kept = {
        **call.metadata,
        MODEL: call.model,
        "trace": span.trace,
        "span": span.id,
        **({"agent": told} if told else {}),
        **({"scopes": again.written(context.scopes)} if context.scopes else {}),
        **({"under": context.under} if context.under else {}),
    }
    for index, answer in enumerate(call.answers):
        yield Turn(
            id=TurnId(f"{draft.id}/{index}") if index else draft.id,
            tenant=reading.tenant,
            episode=trace.episode,
            agent=draft.agent,
            at=draft.ended,
            request=call.request,
            answer=answer.text,
            policy=policy_id(draft.agent, call.model),
            index=index,
            sibling_of=draft.id if index else None,
            tool_calls=answer.tool_calls,
            addressee=draft.addressee,
            parent=None if draft.parent is None else draft.parent.id,
            finish=answer.finish,
            sampling=call.sampling,
            latency=round(seconds, 6) if seconds > 0 else None,
            usage=call.usage if len(call.answers) == 1 else replace(call.usage, answer_tokens=None),
            purpose=Purpose.IMPORTED,
            capture=kept_of(call.request, answer.text, answer.tool_calls),
            metadata={name: value[:LONGEST_VALUE] for name, value in kept.items()},
        )


def _episodes(traces: Sequence[_Trace], reading: Reading) -> Iterator[Episode]:
    grouped: dict[EpisodeId, list[_Trace]] = {}
    for trace in traces:
        if trace.drafts:
            grouped.setdefault(trace.episode, []).append(trace)
    for id, group in grouped.items():
        drafts = [draft for trace in group for draft in trace.drafts]
        first = group[0]
        where = {"conversation": first.session} if first.session else {"trace": first.id}
        yield Episode(
            id=id,
            tenant=reading.tenant,
            started_at=min(draft.began for draft in drafts),
            product=_opt(ProductId, next((one.service for one in group if one.service), None), "product"),
            user=_opt(PersonId, next((one.user for one in group if one.user), None), "user"),
            task_type=next((one.task[:200] for one in group if one.task), None),
            purpose=Purpose.IMPORTED,
            state=EpisodeState.DONE if reading.over else EpisodeState.OPEN,
            ended_at=max(draft.ended for draft in drafts) if reading.over else None,
            metadata={name: value[:LONGEST_VALUE] for name, value in where.items()},
        )


def _opt(kind: Any, name: str | None, what: str) -> Any:
    return None if name is None else kind(named(name, what))


def _feedback(
    traces: Sequence[_Trace],
    turns: Sequence[Turn],
    names: Names,
    reading: Reading,
    problems: list[Problem],
    places: dict[str, str],
) -> Iterator[Feedback]:
    answers = {turn.metadata[RESPONSE]: turn.id for turn in reversed(turns) if RESPONSE in turn.metadata}
    here = {trace.id: trace for trace in traces}
    for trace in traces:
        for one in trace.seen.values():
            for opinion in one.heard.opinions:
                try:
                    turn, episode = _about(opinion, answers, here, names)
                    made = said.feedback(
                        _scaled(replace(opinion, at=in_time(opinion.at, reading)), reading),
                        tenant=reading.tenant,
                        source=names.source,
                        turn=turn,
                        episode=episode,
                    )
                except InvalidInput as error:
                    problems.append(Problem(where=one.span.where, reason=str(error)))
                    continue
                places[made.id] = one.span.where
                yield made


def _scaled(opinion: Opinion, reading: Reading) -> Opinion:
    scale = reading.scales.get(opinion.name)
    if scale is None:
        return opinion
    return replace(opinion, metadata={**opinion.metadata, "min": scale[0], "max": scale[1]})


def _about(
    opinion: Opinion, answers: Mapping[str, TurnId], here: Mapping[str, _Trace], names: Names
) -> tuple[TurnId | None, EpisodeId | None]:
    """The turn, and the episode in case the turn is none."""
    target = opinion.target
    if target.response is not None:
        # If it is none of these, the model's server was our own gateway: its answers have the turn's id.
        return answers.get(target.response, TurnId(foreign(target.response))), None
    trace = None if target.trace is None else here.get(target.trace)
    episode = None
    if trace is not None:
        episode = trace.episode
    elif target.trace is not None or target.session is not None:
        episode = names.episode(target.trace or "", target.session)
    if target.span is not None:
        return names.turn(target.trace or "", target.span), episode
    if trace is not None and trace.session is not None and trace.drafts and target.session is None:
        return trace.drafts[-1].id, None  # one exchange of a longer conversation: what it ended with
    return None, episode
