"""Put rows into splits and give the whole one digest: same rows, same digest, on any machine.

Rows are split by prompt, not one by one: two rows of one prompt on both sides would leak the answer. The
split is a hash of the prompt, so a row never changes sides when a dataset grows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from heedful.domain.content import Message
from heedful.domain.ids import Digest
from heedful.domain.preference import Label, Preference, Row, Shown, Split

FILES = {Preference: "preferences", Label: "labels", Shown: "demonstrations"}
WRITERS: Mapping[type, TypeAdapter[Any]] = {kind: TypeAdapter(kind) for kind in FILES}


class DatasetSettings(BaseModel):
    """What a dataset must look like before anything is learned from it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    holdout: float = Field(0.15, gt=0, lt=1)
    """Share of prompts that are kept for checking."""

    min_preferences: int = Field(100, ge=1)
    """Below this many preferences a cycle waits for more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """The bytes of every file, ready for the blobs."""

    digest: Digest
    files: Mapping[str, bytes]  # "preferences.train" …: JSON lines
    rows: Mapping[str, int]
    dropped: int  # exact duplicates


def prompt_key(prompt: Sequence[Message]) -> str:
    said = [[message.role, message.text] for message in prompt]
    return hashlib.sha256(json.dumps(said, ensure_ascii=False).encode()).hexdigest()


def split_of(prompt: Sequence[Message], *, holdout: float) -> Split:
    return Split.HOLDOUT if int(prompt_key(prompt)[:8], 16) / 2**32 < holdout else Split.TRAIN


def frozen(rows: Iterable[Row], *, holdout: float) -> Frozen:
    """Rows in a fixed order, each once, in one file per kind and split."""
    written = [
        (
            f"{FILES[type(row)]}.{split_of(row.prompt, holdout=holdout)}",
            row.id,
            WRITERS[type(row)].dump_json(row),
        )
        for row in rows
    ]
    unique = sorted(set(written))
    lines: dict[str, list[bytes]] = {}
    for name, _, line in unique:
        lines.setdefault(name, []).append(line)
    files = {name: b"\n".join(content) + b"\n" for name, content in sorted(lines.items())}
    whole = hashlib.sha256()
    for name, content in files.items():
        whole.update(f"{name}:{hashlib.sha256(content).hexdigest()}\n".encode())
    return Frozen(
        digest=Digest("sha256:" + whole.hexdigest()),
        files=files,
        rows={name: len(content) for name, content in lines.items()},
        dropped=len(written) - len(unique),
    )
