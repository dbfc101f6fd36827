"""The baseline is of answers to other prompts, wherever rows of one prompt stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from heedful.errors import InvalidInput
from heedful.lm.layout import Tree
from heedful.lm.records import write_records
from heedful.training import kto
from heedful.training.kto import _elsewhere


def trees(prompts: str) -> list[Tree]:
    return [Tree([ord(prompt)], ([100 + place],)) for place, prompt in enumerate(prompts)]


@pytest.mark.parametrize("prompts", ["ab", "abc", "aab", "abb", "aabba", "abab", "aaaab", "baaaa"])
def test_no_answer_is_compared_with_its_own_prompt(prompts: str) -> None:
    for place, tree in enumerate(_elsewhere(trees(prompts))):
        assert tree.prompt == [ord(prompts[place])]
        assert prompts[tree.answers[0][0] - 100] != prompts[place]


def test_where_all_prompts_differ_it_is_the_next_ones_answer() -> None:
    assert [tree.answers[0][0] for tree in _elsewhere(trees("abcd"))] == [101, 102, 103, 100]


def test_one_prompt_alone_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    assert _elsewhere(trees("aaa")) == _elsewhere([]) == []
    write_records(
        tmp_path / "rows.jsonl", [{"prompt": "ask", "answer": "yes", "up": bool(n)} for n in (0, 1)]
    )
    asked: dict[str, Any] = {"model": "nowhere", "thumbs": str(tmp_path / "rows.jsonl")}
    with pytest.raises(InvalidInput, match="all thumbs are about one prompt"):
        kto.run(asked, tmp_path, lambda *_: None)
