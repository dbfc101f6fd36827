"""How likely answers are to a model that does not change: computed once and kept, by model and answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor

from heedful.lm import digests
from heedful.lm.layout import Tree, micro_batches, pack
from heedful.lm.logprobs import answer_logprobs
from heedful.lm.loop import LoopSettings
from heedful.lm.optim import autocast, working


def log_likelihoods(
    model: Any, trees: Sequence[Tree], settings: LoopSettings, *, cache: Path | None = None
) -> Tensor:
    """log p of every answer as a whole, a; answers in the order of their trees. What `cache` knows is not asked."""
    name = f"{digests.of_model(model)[:24]}-{working(settings.precision, settings.device)}.safetensors"
    place = None if cache is None else cache / name
    known = _known(place)
    keys = [[digests.of_ids(tree.prompt, answer) for answer in tree.answers] for tree in trees]
    new = [one for one, own in enumerate(keys) if any(key not in known for key in own)]
    new.sort(key=lambda one: len(trees[one]))
    for some in micro_batches([len(trees[one]) for one in new], settings.micro_tokens):
        packed = pack([trees[new[one]] for one in some]).to(settings.device)
        with torch.inference_mode(), autocast(settings.precision, settings.device):
            sums = packed.sums(answer_logprobs(model, packed)).tolist()
        known |= zip((key for one in some for key in keys[new[one]]), sums, strict=True)
    if place is not None and new:
        _keep(place, known)
    return torch.tensor([known[key] for own in keys for key in own])


def _known(place: Path | None) -> dict[bytes, float]:
    if place is None or not place.exists():
        return {}
    stored = load_file(place)
    return dict(zip(map(bytes, stored["keys"]), stored["sums"].tolist(), strict=True))


def _keep(place: Path, known: dict[bytes, float]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    keys = np.frombuffer(b"".join(known), dtype=np.uint8).reshape(-1, digests.SAMPLE_BYTES)
    beside = place.with_suffix(".tmp")
    save_file({"keys": keys, "sums": np.array(list(known.values()), dtype=np.float32)}, beside)
    beside.replace(place)
