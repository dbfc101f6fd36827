"""How far a new message asks what an earlier one asked.

Two people rarely use the same words twice, and neither does one. So words are compared by stem, by kinship in
spelling and by a small table of everyday synonyms; and what *differs* counts as much as what is shared. In
"the weather in Rome" after "the weather in Paris" one word of substance was exchanged inside the same
sentence: that is a new question. In a rephrasing the sentence changes and its substance stays.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from heedful.feedback.implicit.text import Said, ends
from heedful.feedback.implicit.vocabulary import STOP_WORDS, SYNONYMS
from heedful.feedback.implicit.words import trimmed

MOST_SENTENCES = 6  # from the start and the end of a long message
MOST_WORDS = 60
_SUFFIXES = (
    "ational", "ization", "isation", "fulness", "iveness", "ations", "ation", "ments", "ment", "ings", "ing",
    "ies", "ied", "ers", "er", "edly", "ed", "ly", "es", "ness", "able", "s", "e",
)  # fmt: skip
_NUMBER = re.compile(r"\d")
NEAR = 0.3  # shared of all, from which two texts are looked at more closely


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """What two messages share and what they do not, in words of substance."""

    order: float  # 0 to 1: how far all their words come in one order
    shared: tuple[str, ...]
    left: tuple[str, ...]  # only in the earlier one
    added: tuple[str, ...]  # only in the new one

    @property
    def same(self) -> bool:
        """Nothing of substance differs."""
        return bool(self.shared) and not self.left and not self.added

    @property
    def exchanged(self) -> bool:
        """The same sentence with something else in it."""
        return self.overlap >= NEAR and self.order >= 0.6 and bool(self.added)

    @property
    def overlap(self) -> float:
        """Shared of all, 0 to 1."""
        together = len(self.shared) + len(self.left) + len(self.added)
        return len(self.shared) / together if together else 0.0

    @property
    def covered(self) -> float:
        """How much of the earlier one came back, 0 to 1."""
        before = len(self.shared) + len(self.left)
        return len(self.shared) / before if before else 0.0


def likeness(earlier: str, new: str) -> Likeness:
    """Of two levelled texts."""
    old, fresh = substance(earlier), substance(new)
    rest = list(fresh)
    shared, left = [], []
    for word in old:
        match = next((other for other in rest if akin(word, other)), None)
        if match is None:
            left.append(word)
        else:
            rest.remove(match)
            shared.append(word)
    together = len(shared) + len(left) + len(rest)
    # Looking at the order costs most, and says nothing about texts that share little.
    near = bool(shared) and len(shared) >= NEAR * together
    return Likeness(
        order=in_order(earlier.split(), new.split()) if near else 0.0,
        shared=tuple(shared),
        left=tuple(left),
        added=tuple(rest),
    )


def substance(text: str) -> list[str]:
    """The words that carry what a text is about, each once."""
    words = re.split(r"\s+|[._](?=[a-z])", text)
    found = [word for word in words if word not in STOP_WORDS and re.match(r"\w", word)]
    return list(dict.fromkeys(word for word in found if len(word) > 1 or _NUMBER.match(word)))


@lru_cache(maxsize=8192)
def stem(word: str) -> str:
    if _NUMBER.search(word):
        return word
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            word = word[: -len(suffix)]
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiou":
        word = word[:-1]
    return word[:-1] + "i" if word.endswith("y") else word


@lru_cache(maxsize=65536)
def akin(one: str, other: str) -> bool:
    """One word in two forms or spellings, or two words for one thing."""
    if one == other:
        return True
    if _NUMBER.search(one) or _NUMBER.search(other):
        return False
    first, second = stem(one), stem(other)
    if first == second:
        return True
    rows = SYNONYMS.get(one) or SYNONYMS.get(first)
    if rows and not rows.isdisjoint(SYNONYMS.get(other) or SYNONYMS.get(second) or ()):
        return True
    return misspelled(one, other)


def misspelled(one: str, other: str) -> bool:
    """Long words that differ in a letter or in their ending."""
    if min(len(one), len(other)) < 5:
        return False
    common = 0
    while common < min(len(one), len(other)) and one[common] == other[common]:
        common += 1
    if common >= 5 and common >= 0.7 * max(len(one), len(other)):
        return True
    return one[0] == other[0] and dice(one, other) >= 0.6


def dice(one: str, other: str) -> float:
    """Of pairs of letters."""
    first = [one[i : i + 2] for i in range(len(one) - 1)]
    second = [other[i : i + 2] for i in range(len(other) - 1)]
    rest = list(second)
    for pair in first:
        if pair in rest:
            rest.remove(pair)
    return 2 * (len(second) - len(rest)) / (len(first) + len(second))


def in_order(one: Sequence[str], other: Sequence[str]) -> float:
    """The longest common subsequence as a share of both; long texts are compared by their ends."""
    first, second = ends(one, MOST_WORDS), ends(other, MOST_WORDS)
    if not first or not second:
        return 0.0
    before = [0] * (len(second) + 1)
    for word in first:
        row = [0]
        for at, match in enumerate(second):
            row.append(before[at] + 1 if word == match else max(before[at + 1], row[at]))
        before = row
    return 2 * before[-1] / (len(first) + len(second))


def askings(said: Said) -> tuple[str, ...]:
    """The parts of a message that may be its question: all of it, each end of it, each sentence."""
    sentences = ends([trimmed(sentence.words) for sentence in said.full], MOST_SENTENCES)
    found = [" ".join(sentences[at:]) for at in range(len(sentences))] + list(sentences)
    for sentence in sentences:
        for mark in (" : ", " , "):
            if mark in sentence:
                found.append(trimmed(sentence.split(mark, 1)[1]))
    return tuple(dict.fromkeys(part for part in found if part))
