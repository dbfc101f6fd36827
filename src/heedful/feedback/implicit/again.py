"""Repeat and rephrase: the user asks once more, in the same words or in others.

A repeat has to come back whole. A rephrasing is either announced ("what I meant is"), or it brings the
substance of the earlier question back, most often after an answer that did not give what was wanted: `WEIGHTS`
says how much each observation counts for or against it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from heedful.feedback.implicit.answered import fit
from heedful.feedback.implicit.similarity import Likeness, akin, askings, likeness, substance
from heedful.feedback.implicit.text import Said
from heedful.feedback.implicit.view import Earlier, View
from heedful.feedback.implicit.words import says

STALE = timedelta(hours=6)  # asked again after that, a question is a new one

_POINTING = re.compile(r"\b(?:it|this|those|these|them|one|ones|so)\b")
_CASE = re.compile(
    r"\b(?:suppose|say i|imagine|if i|for example|i have|i am|i live|i would|my|mine|i want|i need|we have|i got)\b"
)


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
        if sure := rephrased(one, view):
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


def rephrased(earlier: Earlier, view: View) -> float:
    parts = view.parts
    announced = says("rephrase", [*parts, *view.cores])
    alikes = [likeness(old, part) for old in askings(earlier.said) for part in askings(view.new)]
    top = max(alikes, key=lambda alike: (alike.overlap, alike.covered), default=None)
    if top is None:
        return 0.0
    if announced and not view.was_asked:
        if not top.shared:
            return 0.6 if len(view.new.whole.split()) > 6 else 0.0
        return min(0.95, 0.75 + 0.3 * top.overlap)
    if not top.shared and not view.requests:
        return 0.0
    if earlier is not view.earlier[-1] and len(top.shared) < 2:
        return 0.0  # after other talk, it takes more
    if (view.new.attached and view.new.attached != earlier.said.attached) or any(
        alike.exchanged for alike in alikes
    ):
        return 0.0
    chance = 1 / (1 + math.exp(-score(features(top, earlier, view))))
    return min(0.85, chance) if chance >= SURE else 0.0


SURE = 0.75  # what is only likely is left out: a wrong sign blames an answer that was right

# Fitted to the conversations in tests/data/implicit_dev.jsonl and rounded; `strange` and `another_try` are set by
# hand, because those conversations seldom change their subject after an answer that missed it.
WEIGHTS: Mapping[str, float] = {
    "bias": -8.0,
    "overlap": 0.6,
    "shared": 1.3,
    "added": 0.75,
    "contained": 1.0,
    "built_on": -1.2,
    "strange": -2.8,
    "another_try": -1.5,
    "unanswered": 1.8,
    "goes_on": -1.1,
    "opens_on": -0.4,
    "asks": 2.5,
    "case": 1.3,
    "told": 0.6,
    "short": -1.4,
    "was_asked": -1.0,
    "lacking": 1.9,
    "about": 1.9,
    "defines": 0.9,
    "general": 1.4,
}


def features(alike: Likeness, earlier: Earlier, view: View) -> dict[str, float]:
    """What is seen of a message beside an earlier one and its answer, named as in `WEIGHTS`.

    `added` counts for a rephrasing: who asks again explains, who goes on is short. `case` is the user's own case,
    `strange` a message that is tied to nothing before it.
    """
    answer = substance(earlier.answer.quoting)
    built_on = [word for word in alike.added if any(akin(word, other) for other in answer)]
    seen = fit(earlier.said, earlier.answer)
    return {
        "bias": 1.0,
        "overlap": alike.overlap,
        "shared": min(3, len(alike.shared)),
        "added": min(4, len(alike.added)),
        "built_on": 0.0 if seen.missed else min(2, len(built_on)),
        "unanswered": float(says("unanswered", view.parts)),
        "goes_on": float(says("goes_on", view.parts)),
        "opens_on": float(says("goes_on", view.parts[:1])),
        "strange": float(not (alike.shared or built_on or _POINTING.search(view.new.whole))),
        "contained": float(len(alike.shared) >= 2 and len(alike.added) <= 1),
        "another_try": float(says("redo", view.parts)),
        "asks": float(view.requests),
        "case": float(bool(_CASE.search(view.new.whole))),
        "told": float(len(view.new.sentences) > 1),
        "short": float(len(view.new.whole.split()) <= 5),
        "was_asked": float(view.was_asked),
        "lacking": float(seen.lacking),
        "about": float(seen.about),
        "defines": float(seen.defines),
        "general": float(seen.general or seen.evades),
    }


def score(seen: Mapping[str, float]) -> float:
    return sum(WEIGHTS[name] * value for name, value in seen.items())
