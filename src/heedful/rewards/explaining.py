"""Which sentences raised a score, and which lowered it: each is left out once, and the answer scored again.

Occlusion (Zeiler and Fergus 2014, section 3) asks the model that really judges and needs nothing but its
scores. What two sentences say alike it cannot tell apart: leaving one of them out changes little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from heedful.errors import InvalidInput
from heedful.rewards.judge import Judge, Prompt, scores
from heedful.rewards.sentences import pieces


@dataclass(frozen=True, slots=True)
class Piece:
    """A sentence, or the opening call."""

    text: str
    effect: float  # how much higher the score is with it than without it


@dataclass(frozen=True, slots=True)
class Explanation:
    """One answer; its pieces put together are the answer."""

    score: float
    pieces: tuple[Piece, ...]

    def strongest(self) -> Piece | None:
        return max(self.pieces, key=lambda piece: abs(piece.effect), default=None)


def explain(
    judge: Judge, prompt: Prompt, answers: Sequence[str], *, name: str = "quality"
) -> list[Explanation]:
    """For each answer to one prompt. Everything is scored in one call, so the prompt is read once."""
    if not answers:
        raise InvalidInput("no answer to explain: give one at least")
    cut = [pieces(answer) for answer in answers]
    asked = [
        text for answer, parts in zip(answers, cut, strict=True) for text in (answer, *_without_each(parts))
    ]
    left = iter(scores(judge, [prompt] * len(asked), asked, name).tolist())
    found = []
    for parts in cut:
        whole = next(left)
        found.append(Explanation(whole, tuple(Piece(part, whole - next(left)) for part in parts)))
    return found


def _without_each(parts: Sequence[str]) -> list[str]:
    return ["".join((*parts[:place], *parts[place + 1 :])) for place in range(len(parts))]
