"""Correction: the user says that the answer is wrong, or names the fact or the wish that it went against.

Where no phrase says so, the shape may: a statement (no question, no request) that turns down something which
stands in the answer, puts another number in its place, or says an earlier wish once more. "No" opens a
correction only if the agent did not ask: after a question it is an answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from heedful.feedback.implicit.similarity import akin, likeness, substance
from heedful.feedback.implicit.view import View, requests
from heedful.feedback.implicit.vocabulary import STOP_WORDS
from heedful.feedback.implicit.words import cue, says, trimmed

PHRASES = (("says_wrong", 0.9), ("you_failed", 0.85), ("i_said", 0.85), ("should_be", 0.8))

_NEGATED = re.compile(r"\b(?:not|never|no|nor|nicht|kein\w*|nao|pas|nunca)\b")
_OTHER_THAN = re.compile(
    r"(?:^| )(?:not|rather than|instead of|nicht|no|pas|nao) (?:(?:the|an?|in|on|at|for|to|by|from|my|der|die|das|el|la|le|o|de) )*([\w.]+)"
)
_FIRST_PERSON = re.compile(r"^(?:i|we|my|our|me|mine|ich|wir|yo|je|eu|one of us)\b")
_POINTS = re.compile(r"^(?:{})\b".format("|".join(("it", "that", "this", "its", "there", "these", "those", "they", "the", "he", "she", "in", "es", "das", "eso", "c est", "son", "isso", "sao"))))
_PROGRESS = re.compile(r"(?:added|done|did|tried|now|just|changed|fixed|renamed|updated|installed)\b")
_NUMBER = re.compile(r"\d[\d.,:/]*")


def correction(view: View) -> float:
    if view.agent is None or says("own_fault", view.parts):
        return 0.0
    told = [sentence for sentence in view.new.sentences if not sentence.asked]
    raw = [sentence.words for sentence in told if not says("hearsay", [sentence.words])]
    own = [trimmed(part) for part in raw]
    sure = max((sure for name, sure in PHRASES if says(name, own)), default=0.0)
    sure = sure or _asked_as_question(view)
    sure = sure or _by_shape(view, raw, own)
    return sure * 0.6 if view.was_asked and sure < 0.85 else sure


def _asked_as_question(view: View) -> float:
    """"Why did you change the header?", "Shouldn't it be 12?", "Are you sure? I get 391." """
    asked = [trimmed(sentence.words) for sentence in view.new.sentences if sentence.asked]
    if says("you_failed", asked):
        return 0.75
    if says("asked_back", asked) and (len(view.parts) > len(asked) or any(len(part.split()) > 3 and re.match(r"(?:is|are|was|were|should|did|does) not", part) for part in asked)):
        told = [sentence for sentence in view.new.sentences if not sentence.asked]
        return 0.65 if not told or any(_NUMBER.search(s.words) or _NEGATED.search(s.words) for s in told) else 0.0
    return 0.0


def _by_shape(view: View, raw: Sequence[str], own: Sequence[str]) -> float:
    plain = [part for sentence in view.new.sentences if not requests(sentence) for part in [trimmed(sentence.words)] if part in own]
    if not view.was_asked and says("opening_no", raw):
        return 0.8
    if any(cue("actually").search(part) and not cue("own_mind").search(cue("actually").sub("", part, count=1)) for part in raw if part and not _asked(view, part)):
        return 0.75
    if _turned_down(view, plain):
        return 0.8
    if re.fullmatch(r"\*?[\w.' ]{1,30}\*", view.new.whole):
        return 0.75
    if view.was_offered or view.new.asks:
        return 0.0
    if any(likeness(one.said.whole, view.new.whole).exchanged for one in view.earlier):
        return 0.0  # the same request about something else
    if _denied(view, plain):
        return 0.7
    if _renumbered(view, plain):
        return 0.65
    if _said_again(view):
        return 0.65
    if plain and len(plain) == len(view.parts):
        return max(_held_against(part, view) for part in plain)
    return 0.0


def _held_against(part: str, view: View) -> float:
    """A bare statement on the matter, by someone who was not asked: the more of the answer is in it, the surer."""
    if _PROGRESS.match(part) or says("hearsay", [part]) or says("praise", [part]) or says("goes_on", [part]):
        return 0.0
    words = substance(part)
    answer = [word for word in words if any(akin(word, other) for other in view.answer_words)]
    request = [word for word in words if any(akin(word, other) for other in view.asked_words)]
    if len(words) <= len(answer):
        return 0.0  # it only says the answer again
    weight = min(2, len(answer)) + 0.5 * min(2, len(request))
    weight += 0.5 * bool(re.match(r"(?:that|this|those|these) (?:is|are|was|were) (?!for|my|what|so)", part))
    weight += 0.5 * bool(re.search(r"\b(?:not|no|never|still|only|more than|less than|too|way|none|twice|already)\b", part))
    weight += 1.5 * bool(re.match(r"you (?:gave|put|used|wrote|sent|booked|made|took|picked|set|added|changed|called|counted|listed|translated|have)\b", part))
    weight -= bool(re.search(r"\b(?:i|we|my|our|us|mine)\b", part))
    return min(0.75, 0.5 + 0.1 * weight) if weight >= 1 else 0.0


def _asked(view: View, part: str) -> bool:
    return any(sentence.asked for sentence in view.new.sentences if sentence.words == part)


def _turned_down(view: View, told: Sequence[str]) -> bool:
    """"Tuesday, not Thursday": what is turned down stands in the answer, what is meant stands beside it."""
    for part in told:
        for match in _OTHER_THAN.finditer(part):
            rest = substance(part[: match.start()] + part[match.end() :])
            if match[1] not in STOP_WORDS and match[1] in view.answer_words and rest and not _FIRST_PERSON.match(part):
                return True
    return False


def _denied(view: View, told: Sequence[str]) -> bool:
    """A statement with "not" about something that stands in the answer, and not about the user."""
    for part in told:
        for clause in part.split(" , "):
            negation = _NEGATED.search(clause)
            if negation is None or _FIRST_PERSON.match(clause) or says("failing", [clause[negation.end() :]]):
                continue
            if any(akin(word, other) for word in substance(clause) for other in view.answer_words):
                return True
            if re.match(r"(?:that|this|it|those|these) (?:is|are|was) not (?:an? |the |very )?\w+", clause) and substance(clause):
                return True
    return False


def _renumbered(view: View, told: Sequence[str]) -> bool:
    """"It's 36.": a number stands where the answer had another."""
    before = set(_NUMBER.findall(" ".join(view.answer_words)))
    known = before | set(_NUMBER.findall(" ".join(view.asked_words)))
    if not before:
        return False
    return any(
        set(_NUMBER.findall(part)) - known and (_POINTS.match(part) or any(akin(w, o) for w in substance(part) for o in view.answer_words if not w[0].isdigit()) or len(part.split()) <= 2)
        and not _FIRST_PERSON.match(part)
        for part in told
    )


def _said_again(view: View) -> bool:
    """A wish from before that the answer does not show, said once more on its own."""
    words = substance(" ".join(sentence.words for sentence in view.new.full))
    if not words or len(view.new.whole.split()) > 10 or says("goes_on", view.parts):
        return False
    if not all(word in view.asked_words for word in words):
        return False
    return bool(_NEGATED.search(view.new.whole)) or not any(
        akin(word, other) for word in words for other in view.answer_words
    )
