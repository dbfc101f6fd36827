"""`POST /v1/traces`: OpenTelemetry's exporters send here what agents do that do not pass the gateway.

JSON and protobuf, plain or packed; the answer says how many spans could not be used, and why. Spans that are no
calls of a model only say where those belong: they are no errors, and are not kept. What the exporter may send
again (503, 429) it sends again, and whatever was kept the first time is then a duplicate.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from email.message import Message as Header

from heedful import road
from heedful.access.caller import Caller
from heedful.access.permissions import Action, may
from heedful.domain.episode import Turn
from heedful.errors import Malformed, TooLarge
from heedful.feedback.formats import genai, otlp
from heedful.feedback.formats.found import Reading
from heedful.feedback.formats.spans import Span
from heedful.road import Parts
from heedful.service.door.front import Arrival, HotRoute, Reply
from heedful.service.pages.imports import allowed

PATH = "/v1/traces"
JSON, PROTOBUF = "application/json", "application/x-protobuf"
LARGEST = 32 * 2**20  # bytes of one request, unpacked
PACKED: Mapping[str, int] = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
LATELY = 500  # turns on record that may become clearer by what comes
REASONS = 3  # that are said of many


def routes(parts: Parts) -> list[HotRoute]:
    async def take(arrival: Arrival) -> Reply:
        protobuf = _is_protobuf(arrival.headers.get("content-type", ""))
        encoding = arrival.headers.get("content-encoding", "identity")
        answer = await asyncio.to_thread(_taken, parts, arrival.caller, arrival.body, encoding, protobuf)
        return Reply(200, answer, (("content-type", PROTOBUF if protobuf else JSON),))

    return [HotRoute(method="POST", path=PATH, action=Action.WORK, handler=take)]


def _taken(parts: Parts, caller: Caller, body: bytes, encoding: str, protobuf: bool) -> bytes:
    """Read, understood, kept: the answer's body."""
    whole = unpacked(body, encoding)
    spans, unread = otlp.of_protobuf(whole) if protobuf else otlp.of_json_bytes(whole)
    reading = Reading(tenant=caller.tenant, now=parts.clock.now(), over=False)
    found = allowed(caller, genai.read(spans, reading, before=_before(parts, caller, spans)))
    about_ours = may(caller, Action.SAY)
    taken = road.take_in(parts, caller.tenant, found, actor=caller.actor, about_ours=about_ours)
    problems = [*unread, *taken.problems]
    reasons = list(dict.fromkeys(f"{one.where}: {one.reason}" for one in problems))
    more = f" (and {len(reasons) - REASONS} more)" if len(reasons) > REASONS else ""
    return otlp.answer(
        protobuf=protobuf,
        rejected=len({one.where for one in problems}),
        why="; ".join(reasons[:REASONS]) + more,
    )


def _before(parts: Parts, caller: Caller, spans: Sequence[Span]) -> list[Turn]:
    """Turns on record of the traces that these spans go on to tell."""
    where = {"episode": genai.homes(spans)}
    return (
        parts.store.find(Turn, caller.tenant, where=where, newest_first=True, limit=LATELY) if spans else []
    )


def _is_protobuf(content_type: str) -> bool:
    header = Header()
    header["content-type"] = content_type or "nothing"
    kind = header.get_content_type()
    if kind not in (JSON, PROTOBUF):
        raise Malformed(
            f"content-type is {content_type[:100] or 'missing'!r}: send {PROTOBUF} or {JSON}",
            field="content-type",
        )
    return kind == PROTOBUF


def unpacked(body: bytes, encoding: str, *, most: int = LARGEST) -> bytes:
    """The body as it was before it was packed, and never more of it than `most` bytes."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in PACKED:
        raise Malformed(
            f"content-encoding is {encoding[:60]!r}: send {', '.join(PACKED)} or none",
            field="content-encoding",
        )
    unpacking = zlib.decompressobj(PACKED[encoding])
    try:
        whole = unpacking.decompress(body, most)
    except zlib.error as error:
        raise Malformed(f"the body is not {encoding}: {error}", field="body") from error
    if unpacking.unconsumed_tail or (not unpacking.eof and len(whole) >= most):
        raise TooLarge(
            f"unpacked the body has more than {most} bytes: send fewer spans at a time", field="body"
        )
    if not unpacking.eof or unpacking.unused_data:
        raise Malformed(f"the body does not end where its {encoding} does", field="body")
    return whole
