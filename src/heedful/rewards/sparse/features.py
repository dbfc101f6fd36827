"""What a text shows without understanding it: its n-grams of characters, and three dozen figures of its surface.

No language is assumed. A figure is a logarithm of a count or a share, so that none of them is far from the others;
they are brought to mean 0 and deviation 1 by the texts that are learned from, and then made small beside the n-grams,
because a penalty treats all weights alike.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log1p
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from heedful.errors import InvalidInput

Floats = NDArray[np.float64]
Message = Mapping[str, str]

NGRAMS = (1, 4)  # characters, within words
FEWEST = 5  # texts that an n-gram must stand in
MOST = 200_000  # n-grams kept, the most frequent ones
RARE = 1  # a word in this many texts or fewer is rare: a name, or a slip of the pen
LONG = 6  # letters; a word beyond it is long
SURFACE = 0.1  # size of a surface figure's deviation, beside n-grams whose squares add up to 1
MINIMAL = 1e-3  # a figure that varies less than this says nothing

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_SENTENCE_END = re.compile(r"[.!?。！？]+\s+|\n+")
_REPEATED = re.compile(r"(\w)\1\1")
_LINK = re.compile(r"https?://|www\.")
_NO_SPACE = re.compile(r"[.,!?][^\W\d_]")
_EARLY_SPACE = re.compile(r"\s[.,!?]")
_CLOSED = ".!?\"'”)。！？"


def surface(text: str, prompt: str, known: frozenset[str]) -> dict[str, float]:
    """Figures of one text by name; `known` are the words that are not rare."""
    written = _WORD.findall(text)
    words = [word.casefold() for word in written]
    different = set(words)
    sentences = [part.strip() for part in _SENTENCE_END.split(text.strip()) if part.strip()]
    rare = sum(word not in known for word in words)
    asked = {word.casefold() for word in _WORD.findall(prompt)}

    def share(count: float, of: int = len(words)) -> float:
        return count / max(of, 1)

    return {
        "characters": log1p(len(text)),
        "words": log1p(len(words)),
        "different_words": log1p(len(different)),
        "sentences": log1p(len(sentences)),
        "lines": log1p(text.count("\n")),
        "variety": share(len(different)),
        "characters_a_word": log1p(share(len(text))),
        "words_a_sentence": log1p(share(len(words), len(sentences))),
        "word_length": share(sum(map(len, words))),
        "long": share(sum(len(word) > LONG for word in words)),
        "different_long": log1p(sum(len(word) > LONG for word in different)),
        "rare": share(rare),
        "rare_words": log1p(rare),
        "commas": log1p(text.count(",")),
        "commas_a_word": share(text.count(",")),
        "other_marks": share(sum(map(text.count, ";:-()"))),
        "questions": log1p(text.count("?")),
        "exclamations": log1p(text.count("!")),
        "quotes": log1p(text.count('"')),
        "digits": log1p(sum(map(str.isdigit, text))),
        "capitals": share(sum(map(str.isupper, text)), len(text)),
        "shouted": share(sum(len(word) > 1 and word.isupper() for word in written)),
        "opens_with_capital": float(text[:1].isupper()),
        "sentences_with_capital": share(sum(part[0].isupper() for part in sentences), len(sentences)),
        "closed": float(text.rstrip()[-1:] in _CLOSED and bool(text.strip())),
        "no_space_after_mark": log1p(len(_NO_SPACE.findall(text))),
        "space_before_mark": log1p(len(_EARLY_SPACE.findall(text))),
        "letters_thrice": log1p(len(_REPEATED.findall(text))),
        "links": log1p(len(_LINK.findall(text))),
        "of_the_prompt": share(len(different & asked), len(asked)),
    }


NAMES = tuple(surface("", "", frozenset()))


@dataclass(frozen=True, slots=True)
class Reader:
    """Turns texts into rows of features, always the same ones."""

    ngrams: tuple[str, ...]
    idf_n: Floats
    known: frozenset[str]
    mean_s: Floats
    std_s: Floats

    @property
    def width(self) -> int:
        return len(self.ngrams) + len(NAMES)

    def read(self, prompts: Sequence[Sequence[Message]], answers: Sequence[str]) -> sparse.csr_matrix:
        """One row per answer, af: its n-grams, then its surface. What comes twice is read once."""
        if len(prompts) != len(answers):
            raise InvalidInput(
                f"{len(prompts)} prompts for {len(answers)} answers: give one prompt per answer"
            )
        if not answers:
            return sparse.csr_matrix((0, self.width))
        asked = list(zip(map(spoken, prompts), answers, strict=True))
        lines = {sample: line for line, sample in enumerate(dict.fromkeys(asked))}
        read_lf = self._read(list(lines))
        return read_lf[[lines[sample] for sample in asked]]

    def _read(self, samples: Sequence[tuple[str, str]]) -> sparse.csr_matrix:
        figures = np.array([list(surface(text, prompt, self.known).values()) for prompt, text in samples])
        surface_ls = (figures - self.mean_s) / self.std_s * SURFACE
        if not self.ngrams:
            return sparse.csr_matrix(surface_ls)
        counted = _counter(vocabulary=self.ngrams).transform(text for _, text in samples)
        return sparse.hstack([_weighted(counted, self.idf_n), surface_ls], format="csr")

    def names(self) -> list[str]:
        """Of the features, in their order."""
        return [*map(repr, self.ngrams), *NAMES]


def reader_of(prompts: Sequence[Sequence[Message]], answers: Sequence[str]) -> Reader:
    """Made from the texts that are learned from; each counts once, however often it was judged."""
    once = dict.fromkeys((spoken(prompt), answer) for prompt, answer in zip(prompts, answers, strict=True))
    texts = [answer for _, answer in once]
    found = Counter(word for text in texts for word in {one.casefold() for one in _WORD.findall(text)})
    known = frozenset(word for word, count in found.items() if count > RARE)
    values_as = np.array([list(surface(text, prompt, known).values()) for prompt, text in once])
    ngrams, idf_n = _ngrams(texts)
    std_s = values_as.std(0)
    return Reader(ngrams, idf_n, known, values_as.mean(0), np.where(std_s < MINIMAL, 1.0, std_s))


def spoken(prompt: Sequence[Message]) -> str:
    """What a prompt says last: that is what is answered."""
    return next((message["content"] for message in reversed(prompt) if message["role"] != "system"), "")


def _ngrams(texts: Sequence[str]) -> tuple[tuple[str, ...], Floats]:
    """The n-grams worth knowing, and how much each occurrence of them tells."""
    try:
        counter = _counter(min_df=min(FEWEST, len(texts)), max_features=MOST).fit(texts)
    except ValueError:  # texts that have no n-gram in common are read by their surface alone
        return (), np.zeros(0)
    ngrams = tuple(counter.get_feature_names_out())
    frequency_n = np.asarray((counter.transform(texts) > 0).sum(0)).ravel()
    return ngrams, np.log((1 + len(texts)) / (1 + frequency_n)) + 1


def _counter(**how: Any) -> Any:
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer(analyzer="char_wb", ngram_range=NGRAMS, dtype=np.float64, **how)


def _weighted(counted: Any, idf_n: Floats) -> Any:
    """tf-idf with the logarithm of counts, every row of length 1 (Salton and Buckley 1988)."""
    from sklearn.preprocessing import normalize

    counted.data = 1 + np.log(counted.data)
    return normalize(counted.multiply(idf_n).tocsr())
