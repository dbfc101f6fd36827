"""Low-rank adapters: few weights move, and the model without them is its own reference."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from pydantic import BaseModel, ConfigDict, Field


class Lora(BaseModel):
    """How large the adapters are."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rank: int = Field(16, ge=1)
    """Rank of each adapter."""

    alpha: float = Field(32.0, gt=0)
    """What they are scaled by, over the rank."""


def add(model: Any, settings: Lora) -> None:
    """Adapters on every projection of the blocks; everything else stands still from now on."""
    model.requires_grad_(False)
    turned = any(type(module).__name__ == "Conv1D" for module in model.modules())  # GPT-2 keeps them so
    config = LoraConfig(
        r=settings.rank,
        fan_in_fan_out=turned,
        lora_alpha=settings.alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    inject_adapter_in_model(config, model)


@contextmanager
def without(model: Any) -> Iterator[None]:
    """While this lasts, the model is what it was before."""
    layers = _layers(model)
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def merge(model: Any) -> None:
    """Add the adapters to the weights and take them off: an ordinary model again."""
    for name, layer in [(n, m) for n, m in model.named_modules() if isinstance(m, BaseTunerLayer)]:
        layer.merge()
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, layer.get_base_layer())
    model.requires_grad_(True)


def _layers(model: Any) -> list[BaseTunerLayer]:
    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
