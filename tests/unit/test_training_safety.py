"""A step that is not safe leaves no trace; one that is, is what was foretold."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from heedful.lm.optim import Stepper
from heedful.training.constraint import ConstraintSettings, Price
from heedful.training.safety import FEWEST, SafetySettings, SafeUpdater, Unsafe


def run(steps: int = 0, **settings: float) -> tuple[nn.Linear, Stepper, SafeUpdater]:
    """A small model, some steps into its training."""
    torch.manual_seed(0)
    model = nn.Linear(6, 3)
    stepper = Stepper([(1e-2, model.parameters())], steps=100, warmup=3, decay=0.01)
    updater = SafeUpdater(stepper, SafetySettings.model_validate(settings))
    updater.begin()
    for _ in range(steps):
        ask(model)
        assert updater.update().unsafe is None
    return model, stepper, updater


def ask(model: nn.Linear, factor: float = 1.0) -> None:
    """Gather the gradient of some loss."""
    (model(torch.randn(8, 6)).square().mean() * factor).backward()


def everything(model: nn.Linear, stepper: Stepper) -> list[Tensor]:
    weights = [weight.detach().clone() for weight in model.parameters()]
    memory = stepper.state()
    return weights + [memory[name].clone() for name in sorted(memory)]


def test_what_is_proposed_is_what_is_done() -> None:
    for steps in (0, 1, 7):
        model, stepper, _ = run(steps)
        ask(model, 50.0)  # longer than it is cut to
        before = [weight.detach().clone() for weight in model.parameters()]
        moves, moments = zip(*stepper.proposed(), strict=True)
        stepper.update()
        for weight, start, move in zip(model.parameters(), before, moves, strict=True):
            assert torch.allclose(weight - start, move, atol=1e-7)
        second = [value for name, value in stepper.state().items() if name.endswith("exp_avg_sq")]
        for moment, kept in zip(moments, second, strict=True):
            assert torch.allclose(moment, kept / (1 - 0.95 ** (steps + 1)), rtol=1e-4)


def test_a_weight_without_a_gradient_is_passed_by() -> None:
    model, stepper, _ = run()
    model(torch.randn(2, 6)).sum().backward()
    model.bias.grad = None
    moves, _ = zip(*stepper.proposed(), strict=True)
    assert moves[0].abs().max() > 0
    assert moves[1].abs().max() == 0


def nan(model: nn.Linear) -> None:
    ask(model, float("nan"))


def infinite(model: nn.Linear) -> None:
    ask(model)
    assert model.weight.grad is not None
    model.weight.grad[0, 0] = float("inf")


def thousandfold(model: nn.Linear) -> None:
    ask(model, 1000.0)


@pytest.mark.parametrize(
    ("poison", "reason"),
    [(nan, Unsafe.NOT_A_NUMBER), (infinite, Unsafe.NOT_A_NUMBER), (thousandfold, Unsafe.LENGTH)],
)
def test_a_step_that_is_left_out_leaves_no_trace(poison: Callable[[nn.Linear], None], reason: Unsafe) -> None:
    model, stepper, updater = run(FEWEST)
    before, taken = everything(model, stepper), stepper.taken
    poison(model)
    assert updater.update().unsafe is reason
    assert all(torch.equal(one, other) for one, other in zip(everything(model, stepper), before, strict=True))
    assert stepper.taken == taken
    assert updater.left_out == {reason: 1}
    twin, _, others = run(FEWEST)
    for one, safe in ((model, updater), (twin, others)):
        torch.manual_seed(5)
        ask(one)
        assert safe.update().unsafe is None
    assert torch.equal(model.weight, twin.weight)


@pytest.mark.parametrize("credit", [1000.0, float("nan")])
def test_a_credit_that_cannot_be_is_left_out_from_the_first_step_on(credit: float) -> None:
    model, _, updater = run()
    ask(model)
    assert updater.update(credit).unsafe is Unsafe.CREDIT
    ask(model)
    assert updater.update(3.0).unsafe is None


def test_a_few_in_a_row_end_the_run_and_a_good_one_starts_anew() -> None:
    model, _, updater = run(patience=3)
    ended = []
    for poison in (nan, nan, ask, nan, nan, nan):
        poison(model)
        updater.update()
        ended.append(updater.spent)
    assert ended == [False] * 5 + [True]
    assert updater.left_out[Unsafe.NOT_A_NUMBER] == 5


def test_drift_is_foretold_from_what_earlier_steps_did() -> None:
    """Here the distance is half the squared displacement times a constant that nobody told."""
    model, stepper, updater = run(drift=1e9)
    start = [weight.detach().clone() for weight in model.parameters()]
    told, came = [], []
    for _ in range(12):
        ask(model)
        moves, moments = zip(*stepper.proposed(), strict=True)
        distance = 40.0 * sum(
            float((moment * (weight.detach() + move - begun).square()).sum())
            for moment, weight, move, begun in zip(moments, model.parameters(), moves, start, strict=True)
        )
        told.append(updater.update().drift)
        updater.saw(distance)
        came.append(distance)
    assert told[0] == 0.0
    assert told[1:] == pytest.approx(came[1:], rel=1e-3)


def test_what_would_go_too_far_is_left_out_until_an_iteration_begins() -> None:
    model, _, updater = run(drift=0.5)
    ask(model)
    assert updater.update().unsafe is None
    updater.saw(0.02)
    reasons = []
    for _ in range(12):
        ask(model)
        reasons.append(updater.update().unsafe)
    assert Unsafe.DRIFT in reasons
    updater.begin()
    ask(model)
    assert updater.update().unsafe is None


def test_a_step_towards_violations_is_left_out_and_one_away_from_them_is_not() -> None:
    for sign, reason in ((1.0, Unsafe.VIOLATION), (-1.0, None)):
        model, stepper, updater = run(violation=0.001)
        ask(model)
        moves, _ = zip(*stepper.proposed(), strict=True)
        updater.begin(violation=[sign * 100.0 * move for move in moves])
        verdict = updater.update()
        assert verdict.unsafe is reason
        assert verdict.violation * sign > 0


def test_a_batch_whose_reward_has_jumped_teaches_nothing_and_the_next_one_does() -> None:
    model, _, updater = run()
    reasons = []
    for reward in (0.0, 0.9, -0.5, float("nan"), 1.2):
        updater.begin(reward)
        ask(model)
        reasons.append(updater.update().unsafe)
    assert reasons == [None, None, Unsafe.JUDGE, Unsafe.JUDGE, None]


# -- the price of a violation --------------------------------------------------------------------------------


def price(**settings: float) -> Price:
    return Price(ConstraintSettings.model_validate({"bound": 0.05} | settings))


def test_the_price_rises_above_the_bound_and_falls_below_it() -> None:
    found = price()
    found.saw([1.0] * 30 + [0.0] * 70)
    risen = found.value
    assert risen > 1.0
    for _ in range(3):
        found.saw([0.0] * 1000)
    assert found.value < risen


def test_a_share_that_only_seems_small_is_not() -> None:
    few, many = price(), price()
    few.saw([0.0] * 20)
    many.saw([0.0] * 2000)
    assert few.limit > 0.05 > many.limit
    assert few.value > 1.0 > many.value


def test_the_price_keeps_to_its_limits() -> None:
    found = price(most=5.0)
    for _ in range(50):
        found.saw([1.0] * 50)
    assert found.value == pytest.approx(5.0, rel=1e-9)
    for _ in range(3):
        found.saw([0.0] * 5000)
    assert 0 < found.value < 5.0


def test_the_price_waits_and_forgets() -> None:
    found = price(delay=2, window=1)
    found.saw([1.0] * 10)
    found.saw([1.0] * 10)
    assert found.value == 1.0
    found.saw([0.0] * 1000)
    assert found.value < 1.0


def test_the_price_settles_where_the_bound_is_met() -> None:
    """A world in which violations fall in proportion to the price."""
    found = price(rate=0.3)
    for _ in range(60):
        bad = round(4000 * 0.3 / (1.0 + found.value))
        found.saw([0.9] * bad + [0.1] * (4000 - bad))
    assert found.limit == pytest.approx(0.05, rel=0.15)
    assert found.value == pytest.approx(5.0, rel=0.4)


def test_a_price_goes_on_where_it_was() -> None:
    one, other = price(), price()
    one.saw([1.0] * 5 + [0.0] * 5)
    other.restore(one.state())
    for found in (one, other):
        found.saw([0.0, 1.0])
    assert one.value == other.value
    assert one.limit == other.limit
