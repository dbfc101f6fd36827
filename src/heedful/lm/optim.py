"""One optimiser step, as every training task takes it: warm-up, decay, clipping, a check for nonsense."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from heedful.errors import TrainingFailed

Precision = Literal["auto", "float32", "bfloat16"]
Schedule = Literal["linear", "cosine", "constant"]


def multiplier(
    step: int, *, steps: int, warmup: int, floor: float = 0.1, schedule: Schedule = "linear"
) -> float:
    """Share of the full learning rate at `step` (from 0): up in a line, then down to `floor`."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))
    return 1.0 - (1.0 - floor) * progress


class Stepper:
    """AdamW with a schedule over one or more groups of parameters, each with its highest rate."""

    def __init__(
        self,
        groups: Sequence[tuple[float, Iterable[nn.Parameter]]],
        *,
        steps: int,
        warmup: int = 0,
        floor: float = 0.1,
        clip: float = 1.0,
        decay: float = 0.0,
        schedule: Schedule = "linear",
    ) -> None:
        self._rates = [rate for rate, _ in groups]
        moving = [[parameter for parameter in group if parameter.requires_grad] for _, group in groups]
        self._parameters = [parameter for group in moving for parameter in group]
        # Betas and epsilon as in the published RLHF reproductions: 1e-8 makes early steps rash.
        self._optimiser = torch.optim.AdamW(
            [{"params": group} for group in moving],
            lr=self._rates[0],
            betas=(0.9, 0.95),
            eps=1e-5,
            weight_decay=decay,
            fused=True,
        )
        self._clip = clip
        self._plan: dict[str, Any] = {"steps": steps, "warmup": warmup, "floor": floor, "schedule": schedule}
        self.taken = 0

    def step(self, loss: Tensor) -> float:
        """Backward and update; raises when the loss or the gradient is not a number."""
        loss.backward()
        norm = float(self.update())
        self.check(norm)
        return norm

    def update(self) -> Tensor:
        """Update from gradients that are already there; their norm, which nobody has waited for yet."""
        norm = nn.utils.clip_grad_norm_(self._parameters, self._clip)
        share = multiplier(self.taken, **self._plan)
        for group, rate in zip(self._optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * share
        self._optimiser.step()
        self.forget()
        self.taken += 1
        return norm

    @property
    def weights(self) -> list[nn.Parameter]:
        """All that it moves."""
        return self._parameters

    def gradient_length(self) -> float:
        """Of the gathered gradients, before they are cut to a length."""
        found = [one.grad for one in self._parameters if one.grad is not None]
        return float(nn.utils.get_total_norm(found)) if found else 0.0

    @torch.no_grad()
    def proposed(self) -> Iterator[tuple[Tensor, Tensor]]:
        """By how much `update` would move each weight, and the second moment that it would divide by; one after the
        other, so that they are never all in memory."""
        share = multiplier(self.taken, **self._plan)
        cut = min(1.0, self._clip / (self.gradient_length() + 1e-6))
        for group, rate in zip(self._optimiser.param_groups, self._rates, strict=True):
            first, second = group["betas"]
            for weight in group["params"]:
                if weight.grad is None:  # the optimiser passes it by
                    yield torch.zeros_like(weight), torch.zeros_like(weight)
                    continue
                known = self._optimiser.state.get(weight, {})
                mean, square = (
                    known[name].clone() if name in known else torch.zeros_like(weight)
                    for name in ("exp_avg", "exp_avg_sq")
                )
                step = float(known.get("step", 0)) + 1
                gradient = weight.grad * cut
                mean.lerp_(gradient, 1 - first).mul_(-rate * share / (1 - first**step))
                square.mul_(second).addcmul_(gradient, gradient, value=1 - second).div_(1 - second**step)
                move = mean.div_(torch.sqrt(square, out=gradient).add_(group["eps"]))
                yield move.sub_(weight, alpha=rate * share * group["weight_decay"]), square

    def forget(self) -> None:
        """Drop gradients that were gathered."""
        self._optimiser.zero_grad(set_to_none=True)

    def check(self, norm: float) -> None:
        if not math.isfinite(norm):
            raise TrainingFailed(
                f"the gradient at step {self.taken} is {norm}: lower the learning rate or look at the data"
            )

    def state(self) -> dict[str, Tensor]:
        """The optimiser's memory, under names that stay the same."""
        found = self._optimiser.state_dict()["state"]
        return {f"{place}.{name}": value for place, one in found.items() for name, value in one.items()}

    def restore(self, state: Mapping[str, Tensor], taken: int) -> None:
        memory: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            place, name = key.split(".")
            memory.setdefault(int(place), {})[name] = value
        groups = self._optimiser.state_dict()["param_groups"]
        self._optimiser.load_state_dict({"state": memory, "param_groups": groups})
        self.taken = taken


def autocast(precision: Precision, device: str = "cpu") -> AbstractContextManager[object]:
    """bfloat16 where it pays, else nothing (and the context is None).

    "auto" asks what the processor is, not how fast it happens to be now: the same machine must give the
    same weights twice. On a CPU without instructions for it bfloat16 is emulated and up to fifty times slower.
    """
    if working(precision, device) == "bfloat16":
        return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)
    return nullcontext()


def working(precision: Precision, device: str = "cpu") -> Literal["float32", "bfloat16"]:
    """What is computed in, where "auto" is decided."""
    if precision == "auto":
        return "bfloat16" if halves(torch.device(device).type) else "float32"
    return precision


def halves(kind: str) -> bool:
    """Whether this kind of device multiplies bfloat16 faster than float32."""
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def freeze_embeddings(model: Any) -> None:
    """Keep every embedding table (of tokens, of positions) where it is."""
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.requires_grad_(False)
