"""A dead letter heard once more: as it was kept, or as somebody has put it right."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from heedful import road
from heedful.domain.feedback import DeadLetter, Feedback
from heedful.domain.ids import FeedbackId, TenantId
from heedful.errors import HeedfulError, InvalidInput, Malformed
from heedful.road import Heard, Parts
from heedful.service.door import body, errors
from heedful.service.intake.recorder import JOURNAL, Entry
from heedful.store import codec
from heedful.wire import FeedbackIn, Kept


def replayed(parts: Parts, tenant: TenantId, letter: DeadLetter, payload: str, *, actor: str) -> list[Heard]:
    """As a person asks for it: what cannot even be read stays dead."""
    try:
        if letter.origin == JOURNAL:
            entry = Entry.of_line(payload.encode())
            begun = () if entry.episode is None else (entry.episode,)
            road.replay_turns(parts, tenant, letter.id, entry.turns, begun, actor=actor)
            return [Heard(id=FeedbackId(letter.id), kept=True)]
        pieces = understood(parts, tenant, payload)
    except HeedfulError as error:
        return [Heard(id=FeedbackId(letter.id), kept=False, error=error)]
    return road.replay(parts, tenant, letter.id, pieces, actor=actor)


def understood(parts: Parts, tenant: TenantId, payload: str) -> list[Feedback]:
    """A dead letter's feedback: as we had read it already, or as somebody sent it, one piece or a list."""
    try:
        sent = from_json(payload)
    except ValueError as error:
        raise Malformed(f"the payload is not JSON: {error}", field="payload") from error
    pieces = sent if isinstance(sent, list) else [sent]
    if not pieces:
        raise InvalidInput("the payload is an empty list", field="payload")
    return [_piece(parts, tenant, one) for one in pieces]


def _piece(parts: Parts, tenant: TenantId, one: Any) -> Feedback:
    if isinstance(one, dict) and one.get("tenant") == tenant and "received_at" in one:
        kept: Feedback = codec.decode(Feedback, codec.canonical(one))
        return kept
    sent: FeedbackIn = body.checked(FeedbackIn, one)
    return sent.to_domain(tenant=tenant, id=sent.id or parts.mint("feedback"), at=parts.clock.now())


def said(heard: Heard) -> Kept:
    """What became of one piece, as the wire says it."""
    error = None if heard.error is None else errors.describe(heard.error)
    return Kept(id=heard.id, status="error" if error else heard.standing, error=error)
