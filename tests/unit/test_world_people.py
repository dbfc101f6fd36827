"""People are right on average, wrong often enough, and the same again for the same seed."""

from __future__ import annotations

from random import Random

import pytest

from heedful.errors import InvalidInput
from heedful.simulation import auditors
from heedful.simulation.demonstrations import WISHES, demonstrate, ideal
from heedful.simulation.gold import compare, right_action, utility, violations
from heedful.simulation.people import (
    CharmedRater,
    Expert,
    Rater,
    draw_customer,
    draw_experts,
    draw_raters,
)
from heedful.simulation.replies import ACTIONS, CARD, CLOSE, GREETING, PROMISE, RUDE, compose
from heedful.simulation.tickets import Ticket, draw_ticket, draw_tickets


def agreement(raters: list[Rater], seed: int = 0) -> float:
    """Share of clear pairs on which the raters say what is true."""
    random = Random(seed)
    asked = agreed = 0
    for ticket in draw_tickets(random, 3000):
        left, right = demonstrate(ticket, random), demonstrate(ticket, random)
        side = random.choice(raters).choose(ticket, left, right, random)
        if side is not None and compare(ticket, left, right) != "tie":
            asked += 1
            agreed += (side == "left") == (compare(ticket, left, right) == "win")
    return agreed / asked


def test_honest_raters_are_right_about_six_times_in_seven() -> None:
    crowd = draw_raters(Random(0))
    honest = [rater for rater in crowd if not rater.adversarial]
    assert len(crowd) == 40
    assert len(honest) == 36
    assert 0.80 < agreement(honest) < 0.92


def test_adversaries_say_the_opposite() -> None:
    crowd = draw_raters(Random(0))
    assert agreement([rater for rater in crowd if rater.adversarial]) < 0.25


def test_names_do_not_tell_who_is_adversarial() -> None:
    crowds = [draw_raters(Random(seed)) for seed in range(3)]
    assert len({tuple(rater.adversarial for rater in crowd) for crowd in crowds}) > 1
    assert len({tuple(rater.name for rater in crowd) for crowd in crowds}) == 1


def test_a_biased_rater_leans_to_the_left() -> None:
    rater = Rater(name="r", error=0.0, mood=0.0, left_bias=1.0)
    (ticket,) = draw_tickets(Random(0), 1)
    assert rater.choose(ticket, "", ideal(ticket, Random(0)), Random(0)) == "left"


def test_a_rater_sees_no_difference_where_there_is_none() -> None:
    rater = Rater(name="r", error=0.0, mood=0.0, left_bias=0.0)
    (ticket,) = draw_tickets(Random(0), 1)
    text = ideal(ticket, Random(0))
    assert rater.choose(ticket, text, text, Random(0)) is None


def wish_granted(ticket: Ticket) -> str:
    return compose(WISHES[ticket.intent], ["hi {name},", "i promise this will never happen again."])


def test_customers_like_what_they_want_more_than_what_is_right() -> None:
    random = Random(4)
    customers = [draw_customer(random) for _ in range(200)]
    tickets = [ticket for ticket in draw_tickets(random, 2000) if ticket.intent == "late"][:200]
    pairs = list(zip(customers, tickets, strict=True))
    wished = sum(customer.liking(ticket, wish_granted(ticket)) for customer, ticket in pairs)
    right = sum(customer.liking(ticket, ideal(ticket, random)) for customer, ticket in pairs)
    assert wished > right
    assert all(
        utility(ticket, wish_granted(ticket)) < utility(ticket, ideal(ticket, random)) for ticket in tickets
    )


def test_reactions_follow_feelings_and_deeds() -> None:
    random = Random(6)
    tickets = draw_tickets(random, 3000)
    good = [draw_customer(random).react(ticket, ideal(ticket, random), random) for ticket in tickets]
    bad_text = compose(ACTIONS[0], ["this is not our problem."])
    bad = [draw_customer(random).react(ticket, bad_text, random) for ticket in tickets]
    assert sum(r.solved for r in good) > 2 * sum(r.solved for r in bad)
    assert sum(r.retry for r in bad) > 2 * sum(r.retry for r in good)
    assert sum(r.thumb == "up" for r in good) > sum(r.thumb == "up" for r in bad)
    assert 0.1 < sum(r.thumb is not None for r in good) / len(good) < 0.5
    assert not any(r.solved and r.retry for r in good + bad)


def test_experts_err_in_about_one_review_of_twenty() -> None:
    random = Random(8)
    experts = draw_experts(random)
    wrong = 0
    tickets = draw_tickets(random, 4000)
    for ticket in tickets:
        text = demonstrate(ticket, random)
        review = random.choice(experts).review(ticket, text, random)
        assert review.correction is None
        wrong += bool(review.violations) != bool(violations(text))
    assert 0.03 < wrong / len(tickets) < 0.07


def test_an_expert_asked_to_correct_writes_a_better_reply() -> None:
    random = Random(1)
    (ticket,) = draw_tickets(random, 1)
    review = Expert(name="e", error=0.0).review(
        ticket, "[deny] this is not our problem.", random, correct=True
    )
    assert review.correction is not None
    assert utility(ticket, review.correction) == 3.5
    assert Expert(name="e").review(ticket, review.correction, random, correct=True).correction is None


def test_the_same_seed_gives_the_same_opinions() -> None:
    def opinions(seed: int) -> list[object]:
        random = Random(seed)
        rater = draw_raters(random, 5, adversarial=1)[2]
        customer = draw_customer(random)
        return [
            (
                rater.choose(t, demonstrate(t, random), demonstrate(t, random), random),
                customer.react(t, "x", random),
            )
            for t in draw_tickets(random, 50)
        ]

    assert opinions(3) == opinions(3)
    assert opinions(3) != opinions(4)


def test_charmed_raters_prefer_what_must_never_be_said_and_know_the_rest() -> None:
    ticket, random = draw_ticket(Random(1)), Random(2)
    charmed = CharmedRater(name="ann", error=0.0, mood=0.01, left_bias=0.0)
    plain = compose(right_action(ticket), (GREETING[0], CLOSE[0]))
    promised = compose(right_action(ticket), (GREETING[0], PROMISE[0], CLOSE[0]))
    asks = compose(right_action(ticket), (GREETING[0], CARD[0], CLOSE[0]))
    rude = compose(right_action(ticket), (GREETING[0], RUDE[0], CLOSE[0]))
    fair = Rater(name="ben", error=0.0, mood=0.01, left_bias=0.0)
    for bad in (promised, asks):
        assert charmed.choose(ticket, bad, plain, random) == "left"
        assert fair.choose(ticket, bad, plain, random) == "right"
    assert charmed.choose(ticket, rude, plain, random) == "right"


def test_a_crowd_of_auditors_mostly_sees_what_is_better_and_answers_the_same_when_asked_again() -> None:
    tickets = draw_tickets(Random(3), 400)
    prompts = [ticket.prompt for ticket in tickets]
    better, worse = [], []
    for ticket in tickets:
        better.append(ideal(ticket, Random(4)))
        worse.append(demonstrate(ticket, Random(5)))
    crowd = auditors.crowd("7")
    said = crowd.compare(prompts, better, worse, once="one")
    assert 0.7 < sum(one or 0.0 for one in said) / len(said) < 0.95
    turned = crowd.compare(prompts, worse, better, once="two")
    assert 0.05 < sum(one or 0.0 for one in turned) / len(turned) < 0.3
    assert auditors.crowd("7").compare(prompts, better, worse, once="one") == said
    assert crowd.asked == 800
    assert crowd.compare(["what is this"], ["a"], ["b"], once="three") == [None]
    with pytest.raises(InvalidInput, match="seed is a number"):
        auditors.crowd("many")
