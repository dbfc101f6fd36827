"""Regenerate: another try is asked for, and nothing new is said.

The phrases are wide; what narrows them is that nothing else may be in the message. A word of substance that
was not in the conversation before, or a wish ("but shorter", "about mountains"), makes it a new request.
"""

from __future__ import annotations

import re
from functools import cache

from heedful.feedback.implicit.similarity import akin, substance
from heedful.feedback.implicit.view import View
from heedful.feedback.implicit.words import cue, says

_PAST = re.compile(
    r"\b(?:i|we|he|she|they) (?:have |had |already )*(?:tried|did|redid|rewrote|wrote|asked|will|should|"
    r"must|can|could not|keep)\b"
)

_TO_COMPARE = re.compile(r"^(?:i |so |to )(?:\w+ ){0,5}(?:compare|choose|pick)\b")
_WISH = re.compile(
    r"^(?:make|add|use|keep(?! going)|include|mention|but|with|without|this time|focus|shorter|longer|more|less|"
    r"remember)\b"
)
_QUESTION = re.compile(
    r"(?:how (?!about)|why|when|where|who|which|does|do (?!you (?:have|know|see)|it|that|this|over|another|"
    r"a)|is (?!there)|what (?!else|other|about))"
)


def regenerate(view: View) -> float:
    if view.agent is None or says("own_fault", view.parts) or says("rephrase", view.parts):
        return 0.0
    anew, another = _found("redo", view), _found("another", view)
    found = anew or another
    if not found or says("praise", view.pieces):
        return 0.0
    others = [part for part in view.pieces if part not in found]
    if view.was_asked and (_offers(view) or not (anew or says("dislike", others))):
        return 0.0  # "another one?" "yes, another one"
    if any(_says_more(part) for part in others) or any(_wish(part) for part in found):
        return 0.0
    quoted = set(view.new.quoting.split()) - set(view.new.whole.split())
    if any(_novel(part, view) for part in [*found, " ".join(quoted)]):
        return 0.0
    return 0.85 if anew and not others else 0.75


def _says_more(part: str) -> bool:
    """More than that the last try was not liked."""
    if _TO_COMPARE.search(part):
        return False
    return bool(_WISH.match(part)) or (len(substance(part)) > 2 and not says("dislike", [part]))


def _found(name: str, view: View) -> list[str]:
    return [
        part
        for part in view.pieces
        if cue(name).search(part) and not _PAST.search(part) and not _QUESTION.match(part)
    ]


def _wish(part: str) -> bool:
    """Something is asked for behind the words for trying again: "but shorter", "about mountains"."""
    matches = [cue(name).search(part) for name in ("redo", "another")]
    return any(match is not None and cue("change").search(part, match.end()) for match in matches)


def _offers(view: View) -> bool:
    return view.agent is not None and bool(
        re.search(r"\b(?:another|more|again|next|else)\b", view.agent.sentences[-1].words)
    )


def _novel(part: str, view: View) -> bool:
    """A word of substance that is neither a word for trying again nor known already."""
    known = [*view.asked_words, *view.answer_words]
    return any(
        not _is_tool(word) and not any(akin(word, other) for other in known) for word in substance(part)
    )


@cache
def _tools() -> frozenset[str]:
    """Every word that the tables of trying again are made of."""
    written = " ".join(cue(name).pattern for name in ("redo", "another"))
    return frozenset(re.findall(r"[a-z]{2,}", written))


def _is_tool(word: str) -> bool:
    return word in _tools() or any(
        len(tool) >= 4 and len(word) >= 4 and (word.startswith(tool) or tool.startswith(word))
        for tool in _tools()
    )
