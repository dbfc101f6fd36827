"""Two ways to go: giving up on the conversation, and getting past the agent to a person or to a competitor."""

from __future__ import annotations

import re
from datetime import timedelta

from heedful.feedback.implicit.similarity import likeness
from heedful.feedback.implicit.text import Said
from heedful.feedback.implicit.view import View
from heedful.feedback.implicit.words import says

SILENCE = timedelta(minutes=30)  # shorter, people are only busy
LONG_SILENCE = timedelta(hours=6)
NOTE = 25  # words at most of a note that the user is gone

_CANCEL = re.compile(
    r"\b(?:cancel|close|terminate|delete|end|(?:cancel|clos|terminat|delet|end)l?ing) (?:\w+ )?(?:my|our|the|this) "
)
_TASK = re.compile(r"\b(?:write|draft|compose|translate|rewrite|role ?play|dialogue)\b")


def escalate(view: View) -> float:
    whole = view.new.whole
    own = [part for part in view.own if len(part.split()) <= 40]
    if says("no_escalation", [whole]) or not own:
        return 0.0
    person = says("person_only", view.clauses) or says("reach_person", own)
    # An opening message has nobody to get past: only a plain demand for a person counts.
    if view.agent is None:
        return 0.7 if person and not _TASK.search(whole) else 0.0
    if any(_TASK.search(one.said.whole) for one in view.earlier) and not says("person_only", view.clauses):
        return 0.0  # the threat is in what is being written
    if person:
        return 0.9
    if says("complaint", own) or says("leaving", own):
        return 0.85
    if says("cancel", own) and not _came_for(view):
        return 0.7
    return 0.0


def _came_for(view: View) -> bool:
    """What the user came for is no threat."""
    return any(_CANCEL.search(one.said.whole) for one in view.earlier)


def abandon(view: View) -> float:
    whole = view.new.whole
    if says_left(view.new):
        return 0.8
    if view.agent is None:
        return 0.0
    own = view.own
    alone = says("elsewhere", own) and not says("rephrase", view.parts)
    if says("tell_me", own) or (says("solved", own) and not alone):
        return 0.0
    if view.was_offered and not view.stuck and re.match(r"(?:no|yes|yeah|nah|sure)\b", whole):
        return 0.0  # an answer to the agent
    asks = view.new.sentences[-1].asked if view.new.sentences else False
    if says("give_up", own) and not (asks and len(view.parts) > 1):
        return 0.9
    if asks:
        return silent(view)
    if alone and (
        view.stuck or says("resigned", view.clauses) or not says("praise", own) or says("no_thanks", [whole])
    ):
        return 0.8 if view.stuck else 0.65
    resigned = says("resigned", view.clauses)
    if says("myself", own) and (resigned or view.stuck or says("trouble", view.cores[:-1])):
        return 0.7 if resigned else 0.55
    if resigned and view.stuck:
        return 0.65
    return silent(view)


def says_left(said: Said) -> bool:
    """A note that the user is gone, by whoever keeps the conversation."""
    return says("left", [said.whole]) and len(said.whole.split()) <= NOTE


def silent(view: View) -> float:
    """The agent asked or refused, nothing came for long, and what came then is about something else."""
    if view.waited is None or view.waited < SILENCE or view.agent is None or not view.earlier:
        return 0.0
    if not (view.was_asked or view.stuck or says("wanted", [view.agent.whole])):
        return 0.0
    before = (view.earlier[-1].said.whole, view.agent.whole)
    if any(likeness(one, view.new.whole).overlap > 0.2 for one in before):
        return 0.0
    return 0.7 if view.waited >= LONG_SILENCE else 0.55
