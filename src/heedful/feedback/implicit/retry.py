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

_PAST = re.compile(r"\b(?:i|we|he|she|they) (?:have |had |already )*(?:tried|did|redid|rewrote|wrote|asked|will|should|must|can|could not|keep)\b")

_REQUEST = re.compile(r"^(?:make|add|use|keep|include|mention|but|with|without|this time|focus|shorter|longer|more|less|remember)\b")
_QUESTION = re.compile(r"(?:how (?!about)|why|when|where|who|which|does|do (?!you (?:have|know|see)|it|that|this|over|another|a)|is (?!there)|what (?!else|other|about))")


def regenerate(view: View) -> float:
    if view.agent is None or says("own_fault", view.parts) or says("rephrase", view.parts):
        return 0.0
    anew, another = _found("redo", view), _found("another", view)
    found = anew or another
    if not found or says("praise", view.pieces):
        return 0.0
    others = [part for part in view.pieces if part not in found]
    disliked = says("dislike", others)
    if view.was_asked and (_offers(view) or not (anew or disliked)):
        return 0.0  # "another one?" "yes, another one"
    if any(len(substance(part)) > 2 and not says("dislike", [part]) for part in others):
        return 0.0
    if any(_wish(name, part) for name in ("redo", "another") for part in found) or any(_REQUEST.search(part) for part in others):
        return 0.0
    quoted = " ".join(word for part in view.new.full for word in part.words.split() if word not in view.new.whole)
    if any(_novel(part, view) for part in [*found, quoted]):
        return 0.0
    return 0.85 if anew and not others else 0.75


def _found(name: str, view: View) -> list[str]:
    return [
        part
        for part in view.pieces
        if cue(name).search(part) and not _PAST.search(part) and not _QUESTION.match(part)
    ]


def _wish(name: str, part: str) -> bool:
    """Something is asked for behind the words for trying again: "but shorter", "about mountains"."""
    match = cue(name).search(part)
    return match is not None and bool(cue("change").search(part, match.end()))


def _offers(view: View) -> bool:
    return view.agent is not None and bool(re.search(r"\b(?:another|more|again|next|else)\b", view.agent.sentences[-1].words))


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
