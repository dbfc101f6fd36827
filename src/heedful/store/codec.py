"""Records to canonical JSON and back, and the digest that tells two records apart."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from heedful.store.protocol import Record


def kind_of(record_type: type) -> str:
    """`RewardModel` -> "reward_model"."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", record_type.__name__).lower()


@cache
def adapter(record_type: Any) -> TypeAdapter[Any]:
    return TypeAdapter(record_type)


def encode(record: Record) -> bytes:
    """The record as JSON, fields in their own order."""
    return adapter(type(record)).dump_json(record)


def decode(record_type: Any, body: str | bytes) -> Any:
    return adapter(record_type).validate_json(body)


@cache
def stamped(record_type: type) -> frozenset[str]:
    """Fields that we write at ingest: they are not part of what the caller sent."""
    return frozenset(f.name for f in dataclasses.fields(record_type) if f.metadata.get("stamp"))


def digest(record: Record) -> str:
    """SHA-256 over what the caller sent, in canonical form: sorted keys, no spaces, no stamped fields."""
    plain = adapter(type(record)).dump_python(record, mode="json", exclude=set(stamped(type(record))))
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()
