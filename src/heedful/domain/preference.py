"""What a reward model learns from: this answer rather than that one, under one objective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from heedful.domain.content import Message
from heedful.domain.ids import (
    DatasetId,
    Digest,
    FeedbackId,
    PreferenceId,
    ProductId,
    TenantId,
    TurnId,
    VerdictId,
)
from heedful.errors import InvalidInput


class Objective(StrEnum):
    QUALITY = "quality"
    SAFETY = "safety"
    EFFICIENCY = "efficiency"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    id: PreferenceId
    objective: Objective
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    weight: float
    feedback: tuple[FeedbackId, ...]  # provenance, down to each judgement
    margin: float | None = None
    tie: bool = False  # equally good; which one stands first means nothing
    verdict: VerdictId | None = None
    turns: tuple[TurnId, ...] = ()  # chosen, rejected; only those that are turns
    product: ProductId | None = None
    segment: str | None = None
    language: str | None = None

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise InvalidInput(f"weight is {self.weight}: it is 0 or more", field="weight")


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One answer by itself, checked: did it break the taxonomy?"""

    id: PreferenceId
    prompt: tuple[Message, ...]
    answer: str
    violation: bool
    weight: float
    feedback: tuple[FeedbackId, ...]
    category: str | None = None
    turn: TurnId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An answer that a person wrote as an example."""

    id: PreferenceId
    prompt: tuple[Message, ...]
    answer: str
    weight: float
    feedback: tuple[FeedbackId, ...]


Row = Preference | Label | Shown


class Split(StrEnum):
    TRAIN = "train"
    HOLDOUT = "holdout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Frozen and content-addressed: the same rows in the same splits have the same digest, anywhere."""

    id: DatasetId
    tenant: TenantId
    name: str
    digest: Digest  # of the rows and splits, and nothing else
    files: Mapping[str, Digest]  # "preferences.train", "labels.holdout" …: JSON lines in the blobs
    rows: Mapping[str, int]  # how many in each file
    made_from: Digest  # JSON list in the blobs: every feedback id that went in
    frozen_at: datetime
    parent: DatasetId | None = None
    license: str | None = None
    notes: Mapping[str, str] = field(default_factory=dict)  # what was kept and dropped, and why
