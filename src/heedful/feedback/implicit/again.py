"""Repeat and rephrase: the user asks once more, in the same words or in others.

A repeat has to come back whole. A rephrasing is either announced ("what I meant is"), or it brings the
substance of the earlier question back without adding much: `WEIGHTS` says how much each observation counts for
or against it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from heedful.feedback.implicit.similarity import Likeness, akin, askings, likeness, substance
from heedful.feedback.implicit.text import Said
from heedful.feedback.implicit.view import Earlier, View, evasive, requests
from heedful.feedback.implicit.words import says

STALE = timedelta(hours=6)  # asked again after that, a question is a new one

_POINTING = re.compile(r"\b(?:it|that|this|those|these|them|there|he|she|they)\b")
_FOCUS: Mapping[str, re.Pattern[str]] = {
    "amount": re.compile(
        r"\b(?:how (?:many|much|long|often|far|old|big|tall|fast|soon|large|cold|hot|high|expensive)|cost|"
        r"price)\b"
    ),
    "time": re.compile(r"\b(?:when|what time|what date|which date|deadline|until when)\b"),
    "place": re.compile(r"\b(?:where|which (?:file|place|page|menu))\b"),
    "person": re.compile(r"(?:^|\. )(?:\w+ ){0,2}(?:who|whom|whose)\b"),
    "reason": re.compile(r"\b(?:why|how come|causes?|reason|what makes)\b"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    kind: str
    confidence: float
    about: int


def asked_again(view: View) -> Again | None:
    """The last earlier message that this one repeats, else the last one that it rephrases."""
    fresh = [one for one in reversed(view.earlier) if not _stale(one, view)]
    for one in fresh:
        if sure := repeated(one.said, view):
            return Again(kind="repeat", confidence=sure, about=one.about)
    for one in fresh:
        if sure := rephrased(one.said, view):
            return Again(kind="rephrase", confidence=sure, about=one.about)
    return None


def _stale(one: Earlier, view: View) -> bool:
    return one.at is not None and view.at is not None and view.at - one.at > STALE


def repeated(earlier: Said, view: View) -> float:
    olds, news = askings(earlier), askings(view.new)
    if not olds or not news or (view.new.attached and view.new.attached != earlier.attached):
        return 0.0
    announced = says("ask_again", view.parts)
    for old in olds[: 1 + len(earlier.full)]:
        if len(old.split()) < 3 or 2 * len(substance(old)) < len(substance(olds[0])):
            continue
        for part in news:
            alike = likeness(old, part)
            if not alike.same or alike.order < 0.7 or len(part.split()) < 3:
                continue
            beside = [word for word in substance(news[0]) if word not in substance(part)]
            if len(beside) <= (8 if announced else 4):
                return 0.9 if part == news[0] or announced else 0.85
    return 0.0


def rephrased(earlier: Said, view: View) -> float:
    parts = view.parts
    announced = says("rephrase", [*parts, *view.cores])
    alikes = [
        alike
        for old in askings(earlier)
        for part in askings(view.new)
        if (alike := likeness(old, part)).shared
    ]
    if announced and not view.was_asked:
        if not alikes:
            return 0.6 if len(view.new.whole.split()) > 6 else 0.0
        return min(0.95, 0.75 + 0.3 * max(alike.overlap for alike in alikes))
    if (
        not alikes
        or says("goes_on", parts[:1])
        or (view.new.attached and view.new.attached != earlier.attached)
    ):
        return 0.0
    if any(alike.exchanged for alike in alikes):
        return 0.0
    if not any(requests(sentence) for sentence in view.new.sentences):
        return 0.0
    top = max(alikes, key=lambda alike: (alike.overlap, alike.covered))
    chance = 1 / (1 + math.exp(-score(features(top, earlier, view))))
    return min(0.85, chance) if chance >= 0.5 else 0.0


WEIGHTS: Mapping[str, float] = {
    "bias": -4.0,
    "overlap": 2.0,
    "covered": 1.0,
    "shared": 1.3,
    "added": -0.3,
    "built_on": -0.6,
    "pointing": -0.4,
    "focus_moved": -0.8,
    "unanswered": 1.2,
    "goes_on": -1.5,
    "evasive": 0.8,
}


def features(alike: Likeness, earlier: Said, view: View) -> dict[str, float]:
    answer = view.answer_words
    built_on = [word for word in alike.added if any(akin(word, other) for other in answer)]
    before, now = _focus(earlier), _focus(view.new)
    return {
        "bias": 1.0,
        "overlap": alike.overlap,
        "covered": alike.covered,
        "shared": min(3, len(alike.shared)),
        "added": min(4, len(alike.added)),
        "built_on": min(2, len(built_on)),
        "pointing": float(bool(_POINTING.search(view.new.whole))),
        "focus_moved": float(before != now),
        "unanswered": float(says("unanswered", view.parts)),
        "goes_on": float(says("goes_on", view.parts)),
        "evasive": float(view.agent is not None and evasive(view.agent)),
    }


def score(seen: Mapping[str, float]) -> float:
    return sum(WEIGHTS[name] * value for name, value in seen.items())


def _focus(said: Said) -> str:
    return next((name for name, pattern in _FOCUS.items() if pattern.search(said.whole)), "way")
