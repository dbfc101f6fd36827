"""Correction: the user says that the answer is wrong, or names the fact or the wish that it went against.

Where no phrase says so, the shape may: a statement (no question, no request) that turns down something which
stands in the answer, puts another number in its place, or says an earlier wish once more. "No" opens a
correction only if the agent did not ask: after a question it is an answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from heedful.feedback.implicit.answered import instructs, wanted
from heedful.feedback.implicit.similarity import akin, likeness, substance
from heedful.feedback.implicit.view import View, requests
from heedful.feedback.implicit.vocabulary import STOP_WORDS
from heedful.feedback.implicit.words import cue, says, trimmed

PHRASES = (("says_wrong", 0.9), ("you_failed", 0.85), ("i_said", 0.85), ("should_be", 0.8))

_NEGATED = re.compile(r"\b(?:not|never|no|nor|nicht|kein\w*|nao|pas|nunca)\b")
_OTHER_THAN = re.compile(
    r"(?:^| )(?:not|rather than|instead of|nicht|no|pas|nao) "
    r"(?:(?:the|an?|in|on|at|for|to|by|from|my|der|die|das|el|la|le|o|de) )*([\w.]+)"
)
_OF_THEMSELVES = re.compile(r"^(?:i|we|my|our|me|mine|ich|wir|yo|je|eu|one of us)\b")
_POINTS_AT = re.compile(
    r"^(?:it|that|this|its|there|these|those|they|the|he|she|in|es|das|eso|c est|son|isso|sao)\b"
)
_POINTS_OUT = re.compile(r"(?:that|this|those|these) (?:is|are|was|were) (?!for|my|what|so|not|how|why)")
_SHOULD_IT_NOT = re.compile(r"(?:is|are|was|were|should|did|does) (?:not|it not)\b")
_PROGRESS = re.compile(r"(?:added|done|did|tried|now|just|changed|fixed|renamed|updated|installed)\b")
_STRESSED = re.compile(r"\b(?:not|no|never|still|only|more than|less than|too|way|none|twice|already)\b")
_YOU_DID = re.compile(
    r"you (?:gave|put|used|wrote|sent|booked|made|took|picked|set|added|changed|called|counted|listed|"
    r"translated|have)\b"
)
_PERSONAL = re.compile(r"\b(?:i|we|my|our|us|mine)\b")
_NUMBER = re.compile(r"\d[\d.,:/]*")
_COUNT = re.compile(r"\d[\d.,:/]*|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)\b")
_COUNTED = re.compile(rf"(?:that|this|it|these|those|there) (?:is|are|was|were) ({_COUNT.pattern})")
_I_COUNT = re.compile(r"^i (?:count|counted|get|got|make it|make that|come to|see|find) ")
_IS_ONLY = re.compile(
    r"(?:(?:it|that|he|she|they|those) (?:is|was|are|were) )?(?:(?:in|on|at|the|an?|from) )*([\w.' ]+)"
)
_REPORTS = re.compile(r"\b(?:now|still|but|after)\b")
_MISSED = re.compile(
    r"\bnot (?:quite |really |exactly )?(?:what|the (?:thing|question)) i (?:am|was|meant|asked|want|wanted|need)\b"
)
_AMAZED = re.compile(r"\b(?:so (?:long|early|late|many|much|old|big|small|far|fast)|wow|huh|amazing)\b")
_WISHES = re.compile(r"\b(?:please|this time|next time|change (?:it|that)|would do|make it)\b")
_NEXT = re.compile(r"(?:and|also|plus|now|then|next|what about|how about)\b")
_LONE = 2  # words of a name that is put in the place of another
_REACTIONS = (
    *("positive", "praise", "delight", "dislike", "worked", "gratitude"),
    *("goes_on", "redo", "another", "resigned"),
)


def correction(view: View) -> float:
    if view.agent is None or says("own_fault", view.parts):
        return 0.0
    told = [sentence.words for sentence in view.new.sentences if not sentence.asked]
    told = [part for part in told if not says("hearsay", [part])]
    cores = [trimmed(part) for part in told]
    sure = max((sure for name, sure in PHRASES if says(name, cores)), default=0.0)
    if view.new.asks and _MISSED.search(view.new.whole):
        return 0.6  # it was beside the question, which follows
    sure = sure or _asked_back(view) or _opened(view, told) or _shaped(view, cores)
    return sure * 0.6 if view.was_asked and sure < 0.85 else sure


def _asked_back(view: View) -> float:
    """ "Why did you change the header?", "Shouldn't it be 12?", "Are you sure? I get 391." """
    asked = [trimmed(s.words) for s in view.new.sentences if s.asked and not says("goes_on", [s.words])]
    if says("you_failed", asked):
        return 0.75
    if not says("asked_back", asked):
        return 0.0
    told = [sentence.words for sentence in view.new.sentences if not sentence.asked]
    offered = any(
        (_SHOULD_IT_NOT.match(part) and len(part.split()) > 3) or ("surely" in part and _NUMBER.search(part))
        for part in asked
    )
    return 0.65 if offered or any(_NUMBER.search(part) or _NEGATED.search(part) for part in told) else 0.0


def _opened(view: View, told: Sequence[str]) -> float:
    """By "no" or by "actually"."""
    if not view.was_asked and says("opening_no", told):
        return 0.8
    for part in told:
        rest = cue("actually").sub("", part, count=1)
        if rest != part and not says("own_mind", [rest]):
            return 0.75
    return 0.0


def _shaped(view: View, cores: Sequence[str]) -> float:
    plain = [trimmed(sentence.words) for sentence in view.new.sentences if not requests(sentence)]
    plain = [part for part in plain if part in cores]
    if _turned_down(view, plain):
        return 0.8
    if _contrasted(view):
        return 0.7
    if re.fullmatch(r"\*?[\w.' ]{1,30}\*", view.new.whole):
        return 0.75  # "3.10*"
    if view.was_offered or view.new.asks or any(_PROGRESS.match(part) for part in cores):
        return 0.0
    if any(likeness(one.said.whole, view.new.whole).exchanged for one in view.earlier):
        return 0.0  # the same request about something else
    if _denied(view, plain) or says("since_changed", plain):
        return 0.7
    if _renumbered(view, plain) or _said_again(view):
        return 0.65
    if _renamed(view):
        return 0.6
    if plain and len(plain) == len(view.parts):
        return max(_held_against(part, view) for part in plain)
    return 0.0


def _turned_down(view: View, told: Sequence[str]) -> bool:
    """ "Tuesday, not Thursday": what is turned down stands in the answer, what is meant stands beside it."""
    for part in told:
        for match in _OTHER_THAN.finditer(part):
            beside = substance(part[: match.start()] + part[match.end() :])
            if match[1] in STOP_WORDS or match[1] not in view.answer_words or _OF_THEMSELVES.match(part):
                continue
            if beside:
                return True
    return False


def _denied(view: View, told: Sequence[str]) -> bool:
    """A statement with "not" about something that stands in the answer, and not about the user."""
    if _WISHES.search(view.new.whole):
        return False
    for clause in (clause for part in told for clause in part.split(" , ")):
        negation = _NEGATED.search(clause)
        if negation is None or _OF_THEMSELVES.match(clause) or says("failing", [clause[negation.end() :]]):
            continue
        if any(akin(word, other) for word in substance(clause) for other in view.answer_words):
            return True
        if re.match(r"(?:that|this|it|those|these) (?:is|are|was) not \w+", clause) and substance(clause):
            return True
    return False


def _renumbered(view: View, told: Sequence[str]) -> bool:
    """ "It's 36.": a number stands where the answer had another."""
    if _NEXT.match(view.new.whole) or _WISHES.search(view.new.whole):
        return False
    before = set(_COUNT.findall(" ".join(view.answer_words)))
    known = before | set(_COUNT.findall(" ".join(view.asked_words)))
    wished = set(_COUNT.findall(" ".join(view.asked_words)))
    forms = {one[0].isdigit() for one in before}
    named = [word for word in view.answer_words if not word[0].isdigit()]
    for part in told if before else ():
        if wished and (match := _COUNTED.match(part)) and match[1] not in wished:
            return True
        counted = bool(_I_COUNT.match(part))
        other = set(_COUNT.findall(part)) - known
        if not any(one[0].isdigit() in forms for one in other) or (
            _OF_THEMSELVES.match(part) and not counted
        ):
            continue
        if counted or _POINTS_AT.match(part) or len(part.split()) <= 2 or _COUNT.match(part):
            return True
        if any(akin(word, other) for word in substance(part) for other in named):
            return True
    return False


def _contrasted(view: View) -> bool:
    """ "Morning, not evening", and nothing else."""
    parts = view.new.whole.split(" , not ")
    return (
        len(parts) == 2
        and not view.new.asks
        and not view.was_asked
        and len(view.new.whole.split()) <= 7
        and all(substance(part) for part in parts)
        and not any(_OF_THEMSELVES.match(part) for part in parts)
    )


def _renamed(view: View) -> bool:
    """ "It's Canberra.": a name alone, after a question that wanted one and an answer that had another."""
    if not view.earlier or wanted(view.earlier[-1].said) not in ("person", "place", "time", "name"):
        return False
    match = _IS_ONLY.fullmatch(view.cores[0]) if len(view.cores) == 1 else None
    if match is None or any(says(name, [match[1]]) for name in _REACTIONS):
        return False
    words = substance(match[1])
    known = {*view.answer_words, *view.asked_words}
    return 0 < len(words) == len(match[1].split()) <= _LONE and not any(
        akin(word, other) for word in words for other in known
    )


def _said_again(view: View) -> bool:
    """A wish from before that the answer does not show, said once more on its own or before a word on it."""
    if len(view.parts) > 1 and not view.new.asks and len(view.parts[0].split()) <= _LONE:
        head = substance(view.cores[0])
        if head and all(word in view.asked_words and word not in view.answer_words for word in head):
            return True
    words = substance(view.new.quoting)
    if not words or view.new.attached or len(view.new.whole.split()) > 10 or says("goes_on", view.parts):
        return False
    if not all(word in view.asked_words for word in words):
        return False
    answered = [word for word in words if any(akin(word, other) for other in view.answer_words)]
    return bool(_NEGATED.search(view.new.whole)) or len(answered) < len(words)


def _held_against(part: str, view: View) -> float:
    """A bare statement on the matter, by someone who was not asked: the more of the answer is in it, the surer."""
    if says("hearsay", [part]) or says("praise", [part]) or says("goes_on", [part]):
        return 0.0
    words = substance(part)
    answer = [word for word in words if any(akin(word, other) for other in view.answer_words)]
    request = [word for word in words if any(akin(word, other) for other in view.asked_words)]
    if len(words) <= len(answer):
        return 0.0  # it only says the answer again
    weight = min(2, len(answer)) + 0.5 * min(2, len(request))
    if _POINTS_OUT.match(part) and not says("positive", [part]):
        weight += 1.0 if len(part.split()) <= 6 else 0.5
    weight += 0.5 * bool(_STRESSED.search(part)) + 1.5 * bool(_YOU_DID.match(part))
    weight -= 1.0 * bool(_AMAZED.search(part))
    weight -= 1.0 * bool(_PERSONAL.search(part))
    if view.agent is not None and instructs(view.agent) and _REPORTS.search(part):
        weight -= 1.5  # what came of the instruction is told
    return min(0.75, 0.5 + 0.1 * weight) if weight >= 1 else 0.0
