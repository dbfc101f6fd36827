"""What a reference said is kept for the same weights, the same answer and the same arithmetic, and for no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra `train`")

from heedful.lm import reference
from heedful.lm.layout import Tree
from heedful.lm.loop import LoopSettings
from heedful.lm.tiny import TinyShape, make_tiny

TREES = [Tree([1, 2, 3], ([4, 5], [6])), Tree([7], ([8, 9],))]


def test_each_precision_has_its_own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_tiny(["a b c d"] * 3, shape=TinyShape(width=16, layers=1, heads=2, vocabulary=300)).model
    settings = [LoopSettings(precision=precision) for precision in ("float32", "bfloat16")]
    exact, rough = (reference.log_likelihoods(model, TREES, one, cache=tmp_path) for one in settings)
    assert not exact.equal(rough)
    assert len(list(tmp_path.iterdir())) == 2

    def nobody(*_: Any) -> Any:
        raise AssertionError("asked again")

    monkeypatch.setattr(reference, "answer_logprobs", nobody)
    assert reference.log_likelihoods(model, TREES, settings[0], cache=tmp_path).equal(exact)
    assert reference.log_likelihoods(model, TREES, settings[1], cache=tmp_path).equal(rough)
