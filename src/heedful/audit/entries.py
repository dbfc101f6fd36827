"""The one byte string that an audit entry is.

The bytes are hashed and should be stored as they are: a database that parses JSON may write 1e2 back as 100,
and the entry would look changed although nobody touched it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from heedful.errors import InvalidInput


def canonical(entry: Mapping[str, object]) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces: equal entries give equal bytes.

    Takes what JSON can say and nothing else: a date or a set has to be made into text by whoever knows how.
    """
    _must_be_json(entry, "entry")
    text = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"the entry holds text that UTF-8 cannot say: {error}") from error


def _must_be_json(value: object, where: str) -> None:
    # json.dumps would turn a key of 1 into "1" in silence, and two different entries into the same bytes.
    if value is None or isinstance(value, (str, int)):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidInput(f"{where} is {value}, which JSON cannot say: make it text", field=where)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise InvalidInput(f"{where} has the key {key!r}: keys must be text", field=where)
            _must_be_json(inner, f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for place, inner in enumerate(value):
            _must_be_json(inner, f"{where}.{place}")
    else:
        raise InvalidInput(f"{where} is a {type(value).__name__}, not JSON: make it text", field=where)
