"""Read what came, or say where in it the trouble is.

What some part of the house could not keep is refused here, before anything looks at it: text that is not
Unicode, NUL characters (PostgreSQL takes none), numbers that JSON does not know, nesting that would
overflow somebody's stack. Good input costs one pass of a fast parser; only bad input is read a second time,
slowly, to find the field.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterator, Sequence
from email.message import Message as Header
from typing import Any

import orjson
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import Request

from heedful.errors import InvalidInput, Malformed

DEEPEST = 64  # objects and lists within one another
LARGE = 1 << 16  # bytes, above which reading would hold up the event loop
LONGEST_PATH = 200  # characters of a field's path that we repeat
MANY = 1000  # things wrong with one body: to look at each of a million would hold up everybody else


async def read(request: Request) -> Any:
    """The request's JSON; None for an empty body."""
    return await load(await request.body(), request.headers.get("content-type", ""))


async def load(body: bytes, content_type: str) -> Any:
    """The same for those who have the body already."""
    if not body:
        return None
    if content_type != "application/json":
        _json_only(content_type)
    if len(body) > LARGE:
        return await asyncio.to_thread(parse, body)
    return parse(body)


def _json_only(content_type: str) -> None:
    """A web page can send other types to this machine without asking its user's browser for leave."""
    header = Header()
    header["content-type"] = content_type or "nothing"
    if header.get_content_type() != "application/json":
        raise Malformed(
            f"content-type is {content_type or 'missing'!r}: send application/json", field="content-type"
        )


def parse(body: bytes) -> Any:
    """JSON as we take it, or `Malformed` with the field."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _blame(body, error) from None
    if b"\\u0000" in body:
        _refuse(value, _has_nul, "holds a NUL character: leave it out")
    if body.count(b"{") + body.count(b"[") > DEEPEST and _is_deep(value):
        deep = _too_deep(value)
        raise Malformed(f"{deep} is nested more than {DEEPEST} levels deep: send it flatter", field=deep)
    return value


def _blame(body: bytes, error: orjson.JSONDecodeError) -> Malformed:
    """The same body read leniently, to find what the strict parser did not like."""
    utf8 = True
    try:
        text = body.decode()
    except UnicodeDecodeError:
        utf8, text = False, body.decode(errors="replace")
    try:
        value = json.loads(text)
        if not utf8:
            _refuse(value, lambda one: "\ufffd" in one, "is not valid UTF-8: encode it again")
        _refuse(value, _no_unicode, "holds half a surrogate pair: that is no character")
        _refuse_numbers(value)
    except RecursionError:
        return Malformed(f"the body is nested more than {DEEPEST} levels deep: send it flatter", field="body")
    except Malformed as found:
        return found
    except ValueError:
        pass
    if not utf8:
        return Malformed("the body is not valid UTF-8: encode it again", field="body")
    return Malformed(f"the body is not JSON: {error}", field="body")


def _has_nul(text: str) -> bool:
    return "\0" in text


def _no_unicode(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


def _refuse(value: Any, bad: Callable[[str], bool], why: str) -> None:
    for path, one in _leaves(value):
        if isinstance(one, str) and bad(one):
            raise Malformed(f"{path} {why}", field=path)


def _refuse_numbers(value: Any) -> None:
    for path, one in _leaves(value):
        if isinstance(one, float) and not math.isfinite(one):
            raise Malformed(f"{path} is {one}, which JSON does not know: send a finite number", field=path)


def _leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value with its path; a bad key is found under the object that has it."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        path, one = waiting.pop()
        if isinstance(one, dict):
            for key, inner in one.items():
                yield _join(path, "a key"), key
                waiting.append((_join(path, key), inner))
        elif isinstance(one, list):
            waiting.extend((_join(path, place), inner) for place, inner in enumerate(one))
        else:
            yield path or "body", one


def _is_deep(value: Any) -> bool:
    """Whether there is anything below `DEEPEST` levels: one level after the other, without their paths."""
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for one in level
            for inner in (one.values() if type(one) is dict else one)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return False
    return True


def _too_deep(value: Any) -> str:
    """The path of the first thing below `DEEPEST` levels."""
    waiting: list[tuple[int, str, Any]] = [(1, "", value)]
    while waiting:
        depth, path, one = waiting.pop()
        if not isinstance(one, dict | list):
            continue
        if depth > DEEPEST:
            return path
        pairs = one.items() if isinstance(one, dict) else enumerate(one)
        waiting.extend((depth + 1, _join(path, key), inner) for key, inner in pairs)
    raise AssertionError("nothing is nested so deep")


def _join(path: str, key: object) -> str:
    """A path that may be repeated in an answer: short, and made of characters that any encoder takes."""
    piece = str(key).encode("utf-8", "replace").decode().replace("\0", "�")
    return (f"{path}.{piece}" if path else piece)[:LONGEST_PATH]


# -- what pydantic found ---------------------------------------------------------------------------------


def invalid(errors: Sequence[ErrorDetails], given: Any) -> InvalidInput:
    """The error that lies deepest in what was given: the shallower ones of a union only follow from it."""
    found = [(_path(error["loc"], given), error) for error in errors]
    path, worst = max(found, key=lambda pair: len(pair[0]))
    field = ".".join(map(str, path))[:LONGEST_PATH]
    said = worst["msg"]
    shown = repr(worst["input"])[:80] if isinstance(worst["input"], str | int | float | bool) else ""
    but = f", not {shown}" if shown and worst["type"] not in {"extra_forbidden", "missing"} else ""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return InvalidInput(f"{field or 'body'}: {said[:1].lower()}{said[1:]}{but}{more}", field=field or None)


def _path(loc: Sequence[str | int], given: Any) -> list[str | int]:
    """The error's place as the sender wrote it, without the names of a union's members: those are ours."""
    path: list[str | int] = []
    for place, piece in enumerate(loc):
        last = isinstance(given, dict) and place == len(loc) - 1  # missing, or not known
        try:
            given = given[piece]
        except (KeyError, IndexError, TypeError):
            if not last:
                continue
        path.append(piece)
    return path


def checked(shape: Any, given: Any) -> Any:
    """`given` as this pydantic shape, or `InvalidInput` with the field."""
    try:
        return shape.model_validate(given)
    except ValidationError as error:
        if error.error_count() > MANY:
            raise InvalidInput(
                f"{error.error_count()} things in it cannot be: send a part of it to hear which"
            ) from None
        raise invalid(error.errors(include_url=False), given) from None
