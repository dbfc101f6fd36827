"""Judges whose every score can be told by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heedful.errors import InvalidInput

ASKED = [{"role": "user", "content": "where is my parcel?"}]
WORTH = {"good": 1.0, "bad": -2.0}


class Judge:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[Any], list[str]]] = []

    def score(self, prompts: Sequence[Any], answers: Sequence[str]) -> Mapping[str, NDArray[np.float64]]:
        self.asked.append((list(prompts), list(answers)))
        return {"quality": np.array([self.worth(answer) for answer in answers])}

    def worth(self, answer: str) -> float:
        raise NotImplementedError


class LikesLength(Judge):
    """One for every character."""

    def worth(self, answer: str) -> float:
        return float(len(answer))


class ReadsWords(Judge):
    """What is said once counts once, however it is said."""

    def worth(self, answer: str) -> float:
        return sum(worth for word, worth in WORTH.items() if word in answer.lower())


class Doubting(ReadsWords):
    """Doubts whatever is long."""

    def score(self, prompts: Sequence[Any], answers: Sequence[str]) -> Mapping[str, NDArray[np.float64]]:
        doubt = np.array([min(len(answer) / 100, 1.0) for answer in answers])
        return {**super().score(prompts, answers), "doubt": doubt}


class ShortSighted(ReadsWords):
    """Refuses a call with anything longer than forty characters in it."""

    def worth(self, answer: str) -> float:
        if len(answer) > 40:
            raise InvalidInput(f"{len(answer)} characters: 40 at most")
        return super().worth(answer)


def likes_length(directory: Path) -> LikesLength:
    return LikesLength()


def doubting(directory: Path) -> Doubting:
    return Doubting()


def placed(directory: Path, *, device: str) -> LikesLength:
    assert device == "cuda:1"
    return LikesLength()
