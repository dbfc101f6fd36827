"""Short names of what a computed number depends on: the model that said it, and the sample that it is about."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heedful.errors import InvalidInput

SAMPLE_BYTES = 16


def of_model(model: Any) -> str:
    """Of the weights that it answers with."""
    import torch  # here, so that whoever only names texts does without it

    whole = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        whole.update(name.encode())
        whole.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return whole.hexdigest()


def of_file(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def of_directory(root: Path) -> str:
    """Of every file in it with its name: of a saved model, the weights and all that it reads them with."""
    files = sorted(file for file in root.rglob("*") if file.is_file())
    if not files:
        raise InvalidInput(f"{str(root)!r} is no directory with files in it: give the directory of a model")
    whole = hashlib.sha256()
    for file in files:
        whole.update(f"{file.relative_to(root).as_posix()}\0{of_file(file)}".encode())
    return whole.hexdigest()


def of_ids(prompt: Sequence[int], answer: Sequence[int]) -> bytes:
    """Of a sample as a model reads it."""
    return _short(np.asarray([len(prompt), *prompt, *answer], dtype=np.int64).tobytes())


def of_text(prompt: Sequence[Mapping[str, Any]], answer: str) -> bytes:
    """Of a sample as people read it; only what is said, and by whom."""
    said = [[message["role"], message["content"]] for message in prompt]
    return _short(json.dumps([said, answer], ensure_ascii=False).encode("utf-8", "surrogatepass"))


def _short(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=SAMPLE_BYTES).digest()
