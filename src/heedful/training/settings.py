"""What the loop asks of training. Torch-free, so that the server can read and check it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class LearnSettings(BaseModel):
    """When and how a policy learns. The tables go to the tasks as they are, which check them."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    sft: dict[str, Any] = Field(default_factory=dict)
    """For `heedful.training.sft`: steps, batch, rate …"""

    reward: dict[str, Any] = Field(default_factory=dict)
    """For `heedful.rewards.fit`: epochs, rate …"""

    algorithm: Literal["grpo", "ppo"] = "grpo"
    """How a policy practises."""

    grpo: dict[str, Any] = Field(default_factory=dict)
    """For `heedful.training.grpo`: iterations, group, kl …"""

    ppo: dict[str, Any] = Field(default_factory=dict)
    """For `heedful.training.ppo`: iterations, kl_target, critic_rate …"""

    @property
    def practice(self) -> dict[str, Any]:
        """What the chosen algorithm is told."""
        return {"grpo": self.grpo, "ppo": self.ppo}[self.algorithm]

    prompts: int = Field(2000, ge=1)
    """Prompts that a policy practises on, taken from recent live turns."""

    judgements: int = Field(1500, ge=1)
    """Judged pairs that a cycle waits for."""

    wait_seconds: float = Field(3600.0, gt=0)
    """How long a cycle waits for its judgements before it stops and says so."""

    seed: int = 0
    """For everything random in training."""
