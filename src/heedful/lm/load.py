"""Load a causal language model and its tokenizer from a directory or the Hugging Face hub.

Weights come from safetensors only: a pickle runs code when it is opened. Code that ships with a model
is run only when the caller asks for it by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from heedful.errors import InvalidInput, Misconfigured

transformers_logging.disable_progress_bar()  # a task has its own; bars of files fill the logs of a server


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in evaluation mode (no dropout, ever: ratios would lie) and its tokenizer."""

    model: Any  # transformers.PreTrainedModel
    tokenizer: Any  # transformers.PreTrainedTokenizerFast


def load(
    source: str | Path,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    trust_remote_code: bool = False,
) -> Loaded:
    """The model and tokenizer at `source`, a local directory or a hub name."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(source), trust_remote_code=trust_remote_code)
        model = AutoModelForCausalLM.from_pretrained(
            str(source), dtype=dtype, use_safetensors=True, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInput(
            f"cannot load a causal language model from {str(source)!r}: {error}. It needs config.json, "
            "model.safetensors and tokenizer files; models with own code need trust_remote_code=true"
        ) from error
    if tokenizer.eos_token_id is None:
        raise Misconfigured(f"the tokenizer of {str(source)!r} has no end token: set eos_token in it")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return Loaded(model.to(device).eval(), tokenizer)


def save(loaded: Loaded, directory: Path) -> None:
    """Write both as an ordinary Hugging Face directory."""
    directory.mkdir(parents=True, exist_ok=True)
    loaded.model.save_pretrained(directory, safe_serialization=True)
    loaded.tokenizer.save_pretrained(directory)
