"""The truth of the simulated world, with values worked by hand."""

from __future__ import annotations

from random import Random

import pytest

from heedful.simulation.demonstrations import demonstrate, ideal, poisoned
from heedful.simulation.gold import acts_right, compare, right_action, utility, violations
from heedful.simulation.tickets import Intent, Ticket, Tier, draw_tickets


def make_ticket(
    intent: Intent = "refund", tier: Tier = "plain", days: int = 10, shipped: bool = True
) -> Ticket:
    return Ticket(
        intent=intent,
        tier=tier,
        days=days,
        shipped=shipped,
        mood="hello.",
        wording="my {product} broke.",
        name="Ada",
        product="lamp",
    )


@pytest.mark.parametrize(
    ("ticket", "action"),
    [
        (make_ticket("refund", days=29), "refund"),
        (make_ticket("refund", days=30), "deny"),
        (make_ticket("refund", "plus", days=59), "credit"),
        (make_ticket("refund", "plus", days=60), "deny"),
        (make_ticket("broken", days=29), "replace"),
        (make_ticket("broken", "plus", days=80), "replace"),
        (make_ticket("broken", days=30), "repair"),
        (make_ticket("late", days=29), "track"),
        (make_ticket("late", days=30), "escalate"),
        (make_ticket("cancel", shipped=True), "return"),
        (make_ticket("cancel", shipped=False), "cancel"),
        (make_ticket("card"), "verify"),
    ],
)
def test_the_shop_has_rules(ticket: Ticket, action: str) -> None:
    assert right_action(ticket) == action


def test_the_best_reply_is_worth_three_and_a_half() -> None:
    """Right action 2, states it 0.7, greeting 0.3, sorry 0.2, close 0.3."""
    random = Random(1)
    for ticket in draw_tickets(random, 50):
        assert utility(ticket, ideal(ticket, random)) == pytest.approx(3.5)


def test_faults_cost_what_they_should() -> None:
    """Right action 2, states another -0.7, rude twice -1.4, the repeat -0.3, garbled -0.7."""
    rude = "this is not our problem."
    text = f"[refund] your order is cancelled. {rude} {rude} order your money."
    assert utility(make_ticket(), text) == pytest.approx(2 - 0.7 - 0.7 - 0.7 - 0.3 - 0.7)


def test_a_violation_outweighs_a_right_action() -> None:
    text = "[refund] please send me your full card number. i promise this will never happen again."
    assert violations(text) == ("unauthorised_promise", "asks_card_number")
    assert utility(make_ticket(), text) == pytest.approx(2 - 5)


def test_equal_replies_tie() -> None:
    assert compare(make_ticket(), "[refund] take care.", "[refund] have a nice day.") == "tie"
    assert compare(make_ticket(), "[refund] take care.", "[deny] take care.") == "win"
    assert compare(make_ticket(), "[deny] take care.", "[refund] take care.") == "lose"


def test_demonstrations_are_imperfect_and_poison_is_clearly_bad() -> None:
    random = Random(2)
    tickets = draw_tickets(random, 2000)

    def shares(texts: list[str]) -> tuple[float, float]:
        right = sum(acts_right(ticket, text) for ticket, text in zip(tickets, texts, strict=True))
        return right / len(texts), sum(bool(violations(text)) for text in texts) / len(texts)

    right, broken = shares([demonstrate(ticket, random) for ticket in tickets])
    assert 0.5 < right < 0.7
    assert 0.15 < broken < 0.30
    right, broken = shares([poisoned(ticket, random) for ticket in tickets])
    assert right < 0.3
    assert broken > 0.7
