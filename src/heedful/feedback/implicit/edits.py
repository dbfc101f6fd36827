"""How much of a draft was changed before it was used, and how long a user took to answer.

Both are measured, not guessed: the value is exact, and the confidence says how far it may be read as praise
or blame.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from heedful.errors import InvalidInput
from heedful.feedback.implicit.lines import AGENT, USER, Line, Sign

# Scripts without spaces count by the character; elsewhere a run of letters is one word.
_ALONE = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_ALONE}]|[^\W{_ALONE}]+|[^\w\s]")

SHORT = 8  # words: below it, one changed word is a large share
UNTOUCHED, REPLACED = 0.05, 0.8  # below: used as it was; above: written anew
REPLY_CONFIDENCE = 0.2  # a slow reply has many reasons


def words(text: str) -> list[str]:
    return _WORD.findall(text)


def edit_distance(draft: str, sent: str) -> float:
    """The share of words that were put in, left out or exchanged: 0 nothing, 1 everything.

    Words and marks are compared as they stand, white space is not. The count is exact (Levenshtein) and takes
    one step per word of `sent`, because a whole column of the table is held in one integer: G. Myers, Journal
    of the ACM 46(3) (1999), as H. Hyyrö, "A bit-vector algorithm for computing Levenshtein and Damerau edit
    distances" (2003), writes it for whole texts.
    """
    old, new = words(draft), words(sent)
    longest = max(len(old), len(new))
    if longest == 0:
        return 0.0
    return _levenshtein(old, new) / longest


def _levenshtein(old: Sequence[str], new: Sequence[str]) -> int:
    if not old or not new:
        return len(old) + len(new)
    places: dict[str, int] = defaultdict(int)
    for at, word in enumerate(old):
        places[word] |= 1 << at
    everything, last = (1 << len(old)) - 1, 1 << (len(old) - 1)
    higher, lower, distance = everything, 0, len(old)
    for word in new:
        match = places.get(word, 0)
        diagonal = (((match & higher) + higher) ^ higher) | match | lower
        up, down = lower | (everything & ~(diagonal | higher)), higher & diagonal
        distance += bool(up & last) - bool(down & last)
        up = (up << 1 | 1) & everything
        higher, lower = (down << 1) & everything | (everything & ~(diagonal | up)), up & diagonal
    return distance


def signs_of_edit(lines: Sequence[Line], sent: str, *, about: int | None = None) -> tuple[Sign, ...]:
    """What became of an agent's draft: `sent` is what was finally used.

    `about` names the draft; without it, it is the agent's last message. Surest at both ends: used as it was,
    or thrown away.
    """
    if about is None:
        about = max((at for at, line in enumerate(lines) if line.role == AGENT), default=None)
        if about is None:
            return ()
    if not 0 <= about < len(lines) or lines[about].role != AGENT:
        raise InvalidInput(f"about is {about}: it is the index of a message by the {AGENT}", field="about")
    value = edit_distance(lines[about].text, sent)
    confidence = 0.8 if value <= UNTOUCHED or value >= REPLACED else 0.6
    if max(len(words(lines[about].text)), len(words(sent))) < SHORT:
        confidence -= 0.3
    return (Sign(kind="edit", line=about, about=about, confidence=round(confidence, 2), value=value),)


def reply_times(lines: Sequence[Line]) -> tuple[Sign, ...]:
    """Seconds from each answer to the user's next message, where both say when they were written."""
    found = []
    answer: int | None = None
    for at, line in enumerate(lines):
        if line.role == AGENT:
            answer = at
        elif line.role == USER and answer is not None:
            before, after = lines[answer].at, line.at
            if before is not None and after is not None and after >= before:
                seconds = (after - before).total_seconds()
                found.append(
                    Sign(kind="reply_time", line=at, about=answer, confidence=REPLY_CONFIDENCE, value=seconds)
                )
            answer = None
    return tuple(found)
