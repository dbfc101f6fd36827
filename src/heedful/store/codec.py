"""Records to JSON and back, and the digest that tells two records apart.

A number that JSON cannot say (a loss that became NaN) is written as text, because a `null` in its place could
never be read back.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from heedful.domain.feedback import Feedback, Parked
from heedful.errors import Corrupt, InvalidInput
from heedful.store.protocol import Record


@cache
def _kind_of(record_type: Any) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", record_type.__name__).lower()


def kind_of(record_type: type) -> str:
    """`RewardModel` -> "reward_model"."""
    return _kind_of(record_type)


@cache
def adapter(record_type: Any) -> TypeAdapter[Any]:
    return TypeAdapter(record_type)


FINITE = frozenset({Feedback, Parked})  # kinds that refuse a number that JSON cannot say


def encode(record: Record) -> bytes:
    """The record as JSON, fields in their own order."""
    if type(record) in FINITE:
        # In half the time: there is more of these than of everything else.
        with suppress(orjson.JSONEncodeError):  # integers of more than 64 bits, half a surrogate pair
            return orjson.dumps(record, default=_plain, option=orjson.OPT_UTC_Z)
    try:
        return to_json(record, inf_nan_mode="strings", fallback=_plain)
    except PydanticSerializationError as error:
        raise InvalidInput(f"the {kind_of(type(record))} cannot be written as JSON: {error}") from error


def _plain(value: object) -> object:
    if isinstance(value, Mapping):  # one that is not a dict
        return dict(value)
    raise InvalidInput(f"a {type(value).__name__} cannot be kept: {value!r:.100}")


def decode(record_type: Any, body: str | bytes) -> Any:
    try:
        return adapter(record_type).validate_json(body)
    except (ValidationError, InvalidInput) as error:
        raise Corrupt(f"a stored {kind_of(record_type)} does not read: {error}") from error


@cache
def stamped(record_type: Any) -> frozenset[str]:
    """Fields that we write at ingest: they are not part of what the caller sent."""
    return frozenset(f.name for f in dataclasses.fields(record_type) if f.metadata.get("stamp"))


def digest(record: Record, body: bytes | None = None) -> str:
    """SHA-256 over what the caller sent, in canonical form: sorted keys, no spaces, no stamped fields.

    `body` is the record's own encoding, for those who have it already.
    """
    if isinstance(record, Parked):  # what was sent is the feedback; that it had to wait is ours
        return digest(record.feedback)
    said = orjson.loads(encode(record) if body is None else body)
    kind: Any = type(record)
    for name in stamped(kind):
        del said[name]
    return hashlib.sha256(canonical(said)).hexdigest()


def canonical(value: Any) -> bytes:
    """Equal values give equal bytes."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def same(one: str | bytes, other: str | bytes) -> bool:
    """Whether two encodings say the same, whatever order their keys came in."""
    return one == other or canonical(orjson.loads(one)) == canonical(orjson.loads(other))
