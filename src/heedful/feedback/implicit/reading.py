"""Read a conversation and say what the user's behaviour tells about the agent's answers.

A message gives one sign at most. "No, I said Tuesday. Get me a manager!" shows a correction and an escalation,
but it is one reaction to one answer: counted twice it would weigh twice. The order below says which word holds:
who asks for a person is past correcting, who gives up is past asking again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from heedful.errors import InvalidInput
from heedful.feedback.implicit.again import asked_again
from heedful.feedback.implicit.blame import correction
from heedful.feedback.implicit.leaving import LONG_SILENCE, abandon, escalate, says_left
from heedful.feedback.implicit.lines import AGENT, USER, Line, Sign
from heedful.feedback.implicit.praise import thanks
from heedful.feedback.implicit.retry import regenerate
from heedful.feedback.implicit.text import heard
from heedful.feedback.implicit.view import Earlier, View

LOOK_BACK = 8  # of the user's messages
SURE = 0.5  # below it nothing is said


def signs(lines: Sequence[Line], *, now: datetime | None = None) -> tuple[Sign, ...]:
    """What each of the user's messages shows, in order, and whether the user has left since."""
    found: list[Sign] = []
    for at, line in enumerate(lines):
        if line.role == USER:
            found += latest(lines[: at + 1])
    return (*found, *unanswered(lines, now=now))


def latest(lines: Sequence[Line], *, now: datetime | None = None) -> tuple[Sign, ...]:
    """What the last message of the user shows; with what followed it, whether the user has left since."""
    return unanswered(lines, now=now) or _last_shown(lines)


def unanswered(lines: Sequence[Line], *, now: datetime | None = None) -> tuple[Sign, ...]:
    """The user left while the agent waited: a message after the last answer says so, or `now` is much later."""
    if now is not None and now.utcoffset() is None:
        raise InvalidInput(f"now is {now.isoformat()}, without a time zone: add one", field="now")
    last = max((at for at, line in enumerate(lines) if line.role == USER), default=len(lines))
    answers = [at for at in range(last + 1, len(lines)) if lines[at].role == AGENT]
    if not answers:
        return ()
    for at in range(last + 1, len(lines)):
        if says_left(heard(lines[at].text)):
            about = max((answer for answer in answers if answer < at), default=at if at in answers else None)
            return (Sign(kind="abandon", line=at, about=about, confidence=0.7),)
    said_at = lines[answers[-1]].at
    if now is None or said_at is None or now - said_at < LONG_SILENCE:
        return ()
    view = View(new=heard(""), agent=heard(lines[answers[-1]].text), agent_before=None, earlier=())
    if not (view.was_offered or view.refused):
        return ()
    return (Sign(kind="abandon", line=answers[-1], about=answers[-1], confidence=0.55),)


def _last_shown(lines: Sequence[Line]) -> tuple[Sign, ...]:
    at = next((at for at in reversed(range(len(lines))) if lines[at].role == USER), None)
    if at is None:
        return ()
    answers = [i for i in range(at) if lines[i].role == AGENT][-2:]
    answer = answers[-1] if answers else None
    view = _view(lines, at, answers)
    kind, confidence, about = _decided(view, answer)
    if confidence < SURE:
        return ()
    return (Sign(kind=kind, line=at, about=about, confidence=round(confidence, 2)),)


def _view(lines: Sequence[Line], at: int, answers: Sequence[int]) -> View:
    now, before = lines[at].at, lines[answers[-1]].at if answers else None
    return View(
        new=heard(lines[at].text),
        agent=heard(lines[answers[-1]].text) if answers else None,
        agent_before=heard(lines[answers[0]].text) if len(answers) == 2 else None,
        earlier=_earlier(lines[:at]),
        waited=None if now is None or before is None else now - before,
        at=now,
    )


def _decided(view: View, answer: int | None) -> tuple[str, float, int | None]:
    for kind, rule in (("escalate", escalate), ("abandon", abandon)):
        if (sure := rule(view)) >= SURE:
            return kind, sure, answer
    again = asked_again(view)
    if again is not None and again.kind == "repeat":
        return again.kind, again.confidence, again.about
    if view.refilled:
        return "", 0.0, answer
    for kind, rule in (("thanks", thanks), ("regenerate", regenerate)):
        if (sure := rule(view)) >= SURE:
            return kind, sure, answer
    corrected = correction(view)
    if again is not None and again.confidence > corrected:
        return again.kind, again.confidence, again.about
    return "correction", corrected, answer


def _earlier(before: Sequence[Line]) -> list[Earlier]:
    """The user's messages that an answer followed, oldest first."""
    found: list[Earlier] = []
    about: int | None = None
    for at in reversed(range(len(before))):
        line = before[at]
        if line.role == AGENT:
            about = at
        elif line.role == USER and about is not None:
            answer = heard(before[about].text)
            found.append(Earlier(said=heard(line.text), answer=answer, about=about, at=line.at))
            if len(found) == LOOK_BACK:
                break
    return found[::-1]
