"""JSON lines in and out: how data reaches a task and how a task leaves rows behind."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from heedful.errors import InvalidInput

BUDGETS = ("seconds", "tokens", "money", "hourly", "save_seconds")


def read_records(path: Path, *needed: str) -> list[dict[str, Any]]:
    """Every line as a dictionary; a line without one of the `needed` keys is refused by its number."""
    if not path.is_file():
        raise InvalidInput(f"no file {str(path)!r}: give the path of a JSONL file")
    records = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise InvalidInput(f"{path}:{number} is not JSON: {error}") from error
            if not isinstance(record, dict):
                raise InvalidInput(
                    f"{path}:{number} is {str(record)[:40]!r}, and no table of names and values"
                )
            missing = [key for key in needed if key not in record]
            if missing:
                raise InvalidInput(f"{path}:{number} has no {', '.join(missing)}")
            records.append(record)
    return records


def key_of(spec: Mapping[str, Any], *files: Path | None) -> str:
    """Which run this is: what was asked for, and of which data. Where it is stopped is no part of it."""
    asked = {name: value for name, value in spec.items() if name not in BUDGETS}
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode())
    for file in files:
        digest.update(b"" if file is None else hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def rewrite(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """In place of what is there, whole or not at all."""
    beside = path.with_suffix(".tmp")
    write_records(beside, records)
    beside.replace(path)


def write_records(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as lines:
        for record in records:
            lines.write(json.dumps(record, ensure_ascii=False, sort_keys=True) + "\n")
