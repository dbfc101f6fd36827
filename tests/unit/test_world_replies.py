"""Replies are put together and taken apart without loss; what nobody would say is garbled."""

from __future__ import annotations

from random import Random

from heedful.simulation.demonstrations import demonstrate, ideal, poisoned
from heedful.simulation.replies import ACTIONS, SENTENCES, compose, parse
from heedful.simulation.tickets import draw_tickets, filled, ticket_of


def test_every_sentence_is_found_again_behind_every_call() -> None:
    for action in ACTIONS:
        reply = parse(compose(action, SENTENCES))
        assert reply.action == action
        assert [part.text for part in reply.parts] == list(SENTENCES)


def test_what_people_write_is_never_garbled() -> None:
    random = Random(3)
    for ticket in draw_tickets(random, 300):
        for write in (demonstrate, ideal, poisoned):
            assert parse(write(ticket, random)).count("garbled") == 0


def test_dissolved_prose_is_garbled() -> None:
    assert parse("[refund] sorry sorry sorry about the.").count("garbled") == 1
    assert parse("[refund] your money is on its way").count("garbled") == 1


def test_an_unknown_or_missing_call_is_no_action() -> None:
    assert parse("[explode] take care.").action is None
    assert parse("take care. [refund]").action is None
    assert parse("").action is None


def test_any_text_can_be_taken_apart() -> None:
    for text in ("\x00\n[", "]]]", "....", "{name},", "[refund", "\U0001f600 [refund] .", "a" * 5000):
        parse(text)


def test_a_ticket_is_read_back_from_its_text() -> None:
    for ticket in draw_tickets(Random(5), 200):
        found = ticket_of(ticket.text)
        assert found is not None
        assert (found.intent, found.tier, found.days) == (ticket.intent, ticket.tier, ticket.days)
        assert (found.shipped, found.mood, found.wording) == (ticket.shipped, ticket.mood, ticket.wording)


def test_a_message_of_someone_else_is_no_ticket() -> None:
    for text in (
        "",
        "hello",
        "plus 2 x yes : hello. cancel my order.",
        "gold 2 1 yes : hello. cancel my order.",
    ):
        assert ticket_of(text) is None


def test_slots_are_filled_from_the_ticket() -> None:
    (ticket,) = draw_tickets(Random(0), 1)
    assert filled("hi {name}, your {product}", ticket) == f"hi {ticket.name}, your {ticket.product}"


def test_the_same_seed_draws_the_same_world() -> None:
    assert draw_tickets(Random(9), 50) == draw_tickets(Random(9), 50)
    assert draw_tickets(Random(9), 50) != draw_tickets(Random(10), 50)
