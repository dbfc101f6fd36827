"""What is left of a policy's choice of words, and what is done when it runs out."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from heedful.lm.decode import Sample
from heedful.training.breadth import DEAREST, Breadth, BreadthSettings, Keeper, breadth


def sample(*ids: int, logprob: float = -1.0) -> Sample:
    return Sample(" ".join(map(str, ids)), ids, (logprob,) * len(ids), "stop")


def of(share: float) -> Breadth:
    return Breadth(entropy=2.0 * share, distinct=0.5 * share, alike=0.0)


def test_by_hand() -> None:
    found = breadth([[sample(1, 2, 3), sample(1, 2, 4)], [sample(1, 2, 3, logprob=-4.0), sample(5)]])
    assert found.entropy == pytest.approx((3 + 3 + 12 + 1) / 10)
    assert found.distinct == pytest.approx(3 / 6)  # 12, 23, 24 of six pairs
    assert found.alike == 1.0  # both prompts' first answers are the same


def test_entropy_is_what_drawing_from_a_known_distribution_gives() -> None:
    rare, often = math.log(0.25), math.log(0.75)
    groups = [[sample(1, logprob=often)] * 3 + [sample(2, logprob=rare)]]
    assert breadth(groups).entropy == pytest.approx(-(0.75 * often + 0.25 * rare))


def test_answers_of_one_token_have_no_pairs() -> None:
    assert breadth([[sample(1), sample(2)]]).distinct == 0.0


def test_distance_gets_dearer_while_breadth_is_low_and_cheaper_again_after() -> None:
    keeper = Keeper(BreadthSettings(floor=0.5, gain=2.0))
    factors = []
    for share in (1.0, 0.8, 0.4, 0.3, 0.6, 0.9, 1.2):
        keeper.saw(of(share))
        factors.append(keeper.factor)
    assert factors == [1, 1, 2, 4, 2, 1, 1]
    assert not keeper.collapsed


def test_the_scarcer_kind_counts() -> None:
    keeper = Keeper(BreadthSettings(floor=0.5))
    keeper.saw(of(1.0))
    keeper.saw(Breadth(entropy=2.0, distinct=0.1, alike=0.0))
    assert keeper.left == pytest.approx(0.2)
    assert keeper.factor == 1.5


def test_hardly_anything_left_is_a_collapse_and_the_price_has_an_end() -> None:
    keeper = Keeper(BreadthSettings(floor=0.5, least=0.1, gain=10.0))
    for share in (1.0, 0.2, 0.2, 0.2, 0.05):
        assert not keeper.collapsed
        keeper.saw(of(share))
    assert keeper.collapsed
    assert keeper.factor == DEAREST


def test_a_keeper_goes_on_where_it_was() -> None:
    whole, cut = Keeper(BreadthSettings()), Keeper(BreadthSettings())
    for share in (1.0, 0.2):
        whole.saw(of(share))
        cut.saw(of(share))
    again = Keeper(BreadthSettings())
    again.restore(cut.state())
    for keeper in (whole, again):
        keeper.saw(of(0.1))
    assert again.state() == whole.state()


def test_a_start_without_any_entropy_is_not_held_against_the_policy() -> None:
    keeper = Keeper(BreadthSettings())
    keeper.saw(Breadth(entropy=0.0, distinct=0.0, alike=1.0))
    keeper.saw(Breadth(entropy=0.0, distinct=0.0, alike=1.0))
    assert not keeper.collapsed


@pytest.mark.parametrize("wrong", [{"floor": 1.0}, {"least": -0.1}, {"gain": 1.0}, {"width": 1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        BreadthSettings.model_validate(wrong)
