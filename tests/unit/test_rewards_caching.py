"""What was scored once is not scored again, and the file stays within its size."""

from __future__ import annotations

import math
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from heedful.errors import InvalidInput
from heedful.lm import digests
from heedful.rewards.caching import Cached
from judges import ASKED, Doubting, LikesLength

OTHER = [{"role": "user", "content": "and now?"}]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "scores.db"


def asked(judge: LikesLength | Doubting) -> list[str]:
    return [answer for _, answers in judge.asked for answer in answers]


def test_asking_twice_costs_once_also_in_another_process_later(file: Path) -> None:
    judge = Doubting()
    first = Cached(judge, "m", file).score([ASKED] * 3, ["good", "bad one", "good"])
    assert asked(judge) == ["good", "bad one"]  # what is said twice in one call is asked once
    again = Doubting()
    second = Cached(again, "m", file).score([ASKED] * 3, ["good", "bad one", "good"])
    assert asked(again) == []
    assert set(first) == set(second) == {"quality", "doubt"}
    for name, values in first.items():
        assert values.tolist() == second[name].tolist()
    assert first["quality"].tolist() == [1.0, -2.0, 1.0]


def test_only_what_is_new_is_asked_and_stands_in_its_place(file: Path) -> None:
    judge = LikesLength()
    cached = Cached(judge, "m", file)
    cached.score([ASKED], ["bb"])
    assert cached.score([ASKED, ASKED, OTHER], ["a", "bb", "bb"])["quality"].tolist() == [1.0, 2.0, 2.0]
    assert asked(judge) == ["bb", "a", "bb"]


def test_another_model_knows_nothing_of_it(file: Path) -> None:
    Cached(LikesLength(), "one", file).score([ASKED], ["a"])
    other = LikesLength()
    Cached(other, "two", file).score([ASKED], ["a"])
    assert asked(other) == ["a"]


def test_scores_come_back_to_the_last_bit(file: Path) -> None:
    class Odd(LikesLength):
        def worth(self, answer: str) -> float:
            return math.nan if answer == "n" else math.inf if answer == "i" else math.pi / 7

    answers = ["a", "n", "i"]
    first = Cached(Odd(), "m", file).score([ASKED] * 3, answers)["quality"]
    second = Cached(LikesLength(), "m", file).score([ASKED] * 3, answers)["quality"]
    assert first.tobytes() == second.tobytes()


def test_the_longest_unused_goes_first(file: Path) -> None:
    cached = Cached(LikesLength(), "m", file, most=10)
    cached.score([ASKED] * 10, [f"{n}" for n in range(10)])
    cached.score([ASKED], ["0"])  # used again: it stays
    cached.score([ASKED] * 3, ["x", "y", "z"])
    with sqlite3.connect(file) as base:
        (held,) = base.execute("select count(*) from scores").fetchone()
    assert held == 9
    judge = LikesLength()
    Cached(judge, "m", file, most=10).score([ASKED] * 4, ["0", "x", "y", "z"])
    assert asked(judge) == []


def test_more_at_once_than_it_may_hold_is_still_answered(file: Path) -> None:
    cached = Cached(LikesLength(), "m", file, most=3)
    values = cached.score([ASKED] * 2000, [str(n) for n in range(2000)])["quality"]
    assert np.array_equal(values, [float(len(str(n))) for n in range(2000)])
    with sqlite3.connect(file) as base:
        assert base.execute("select count(*) from scores").fetchone()[0] <= 3


def test_several_may_share_it(file: Path) -> None:
    def work(start: int) -> list[float]:
        cached = Cached(LikesLength(), "m", file, most=100)
        answers = ["x" * n for n in range(start, start + 30)]
        found: list[float] = []
        for answer in answers:
            found += cached.score([ASKED], [answer])["quality"].tolist()
        return found

    with ThreadPoolExecutor(8) as pool:
        for start, found in enumerate(pool.map(work, range(8))):
            assert found == [float(n) for n in range(start, start + 30)]


def test_nothing_is_asked_as_it_is(file: Path) -> None:
    assert Cached(LikesLength(), "m", file).score([], [])["quality"].tolist() == []


def test_what_is_no_cache_is_refused_with_the_way_out(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("not a database, but long enough to look at" * 50)
    with pytest.raises(InvalidInput, match="Delete it, or name another"):
        Cached(LikesLength(), "m", file)
    with pytest.raises(InvalidInput, match="keeps nothing"):
        Cached(LikesLength(), "m", file, most=0)


def test_answers_without_prompts_are_refused(file: Path) -> None:
    with pytest.raises(InvalidInput, match="one prompt per answer"):
        Cached(LikesLength(), "m", file).score([], ["a"])


def test_a_sample_is_named_by_what_is_said_and_by_whom() -> None:
    said = digests.of_text(ASKED, "a")
    assert len(said) == digests.SAMPLE_BYTES
    assert digests.of_text([{**ASKED[0], "name": "x"}], "a") == said
    assert digests.of_text([{"role": "system", "content": ASKED[0]["content"]}], "a") != said
    assert digests.of_text(ASKED, "b") != said
    assert digests.of_text(ASKED, "\ud800") != said  # half a character is a name too


def test_a_directory_is_named_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = digests.of_directory(tmp_path)
    assert digests.of_directory(tmp_path) == first
    (tmp_path / "a").rename(tmp_path / "b")
    assert digests.of_directory(tmp_path) != first
    with pytest.raises(InvalidInput, match="no directory with files"):
        digests.of_directory(tmp_path / "nowhere")
