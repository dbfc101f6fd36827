"""Verdicts, corrections, checks and demonstrations become the rows that models learn from.

Every row keeps the ids of the feedback behind it. A weight says how much a row should move a model: it is the
verdict's confidence above a coin toss, so a contradictory item is nearly silent and an adversary is not loud.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from heedful.domain.episode import Turn
from heedful.domain.feedback import Correction, Demonstration, Feedback, Violation
from heedful.domain.ids import PreferenceId, TurnId
from heedful.domain.labeling import Verdict
from heedful.domain.preference import Label, Objective, Preference, Shown

CORRECTION_WEIGHT = 0.6  # a rewrite is usually, not always, above an answer that was already good


def row_id(*parts: str) -> PreferenceId:
    """The same evidence gives the same row, whenever and wherever it is built."""
    return PreferenceId("row_" + hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:26])


def from_choice_verdicts(
    verdicts: Iterable[Verdict], turns: Mapping[TurnId, Turn], others: Mapping[str, TurnId]
) -> list[Preference]:
    """`others` gives, per verdict id, the turn that was not chosen."""
    rows = []
    for verdict in verdicts:
        if verdict.chosen is None or verdict.id not in others:
            continue
        chosen, rejected = turns[verdict.chosen], turns[others[verdict.id]]
        rows.append(
            Preference(
                id=row_id("choice", verdict.id),
                objective=verdict.objective,
                prompt=chosen.request,
                chosen=chosen.answer,
                rejected=rejected.answer,
                weight=round(2 * verdict.confidence - 1, 6),
                feedback=verdict.feedback,
                verdict=verdict.id,
                turns=(chosen.id, rejected.id),
            )
        )
    return rows


def from_corrections(said: Iterable[Feedback], turns: Mapping[TurnId, Turn]) -> list[Preference]:
    rows = []
    for one in said:
        if not isinstance(one.said, Correction) or one.turn is None or one.turn not in turns:
            continue
        turn = turns[one.turn]
        if one.said.text.strip() == turn.answer.strip():
            continue  # nothing was changed
        rows.append(
            Preference(
                id=row_id("correction", one.id),
                objective=Objective.QUALITY,
                prompt=turn.request,
                chosen=one.said.text,
                rejected=turn.answer,
                weight=CORRECTION_WEIGHT * one.confidence,
                feedback=(one.id,),
                turns=(turn.id,),
                product=one.product,
                segment=one.segment,
                language=one.language,
            )
        )
    return rows


def from_checks(said: Iterable[Feedback], turns: Mapping[TurnId, Turn]) -> list[Label]:
    """One label per checked turn; checks that contradict each other weigh less."""
    by_turn: dict[TurnId, list[Feedback]] = {}
    for one in said:
        if isinstance(one.said, Violation) and one.turn is not None and one.turn in turns:
            by_turn.setdefault(one.turn, []).append(one)
    rows = []
    for id, checks in by_turn.items():
        broken = [one for one in checks if isinstance(one.said, Violation) and one.said.category]
        share = sum(one.confidence for one in broken) / max(sum(one.confidence for one in checks), 1e-9)
        if share == 0.5:
            continue
        checks.sort(key=lambda one: one.id)  # not in the order they came: the same evidence is the same row
        categories = sorted(one.said.category or "" for one in broken if isinstance(one.said, Violation))
        rows.append(
            Label(
                id=row_id("check", id, *sorted(one.id for one in checks)),
                prompt=turns[id].request,
                answer=turns[id].answer,
                violation=share > 0.5,
                weight=round(abs(2 * share - 1), 6),
                feedback=tuple(one.id for one in checks),
                category=categories[0] if share > 0.5 else None,
                turn=id,
            )
        )
    return rows


def from_demonstrations(said: Iterable[Feedback]) -> list[Shown]:
    return [
        Shown(
            id=row_id("demonstration", one.id),
            prompt=one.said.prompt,
            answer=one.said.answer,
            weight=one.confidence,
            feedback=(one.id,),
        )
        for one in said
        if isinstance(one.said, Demonstration)
    ]
