"""The run's side of an audit: which prompts people are shown, what is answered to them, and which weights are kept.

What is drawn for a look depends on the run's seed and the iteration alone: a run that is looked at goes the same way as
one that is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np

from heedful.dotted import resolve
from heedful.lm.decode import Sampler
from heedful.lm.load import Loaded
from heedful.training.audit import Audit, Look
from heedful.training.online import OnlineSettings

OWN = 0xA0D17  # a stream of chance beside that of the run


class Watched:
    """A policy that people look at."""

    def __init__(
        self,
        settings: OnlineSettings,
        policy: Loaded,
        start: Loaded,
        rows: Sequence[Mapping[str, Any]],
    ) -> None:
        assert settings.audit is not None
        self._settings, self._audit_settings, self._rows = settings, settings.audit, rows
        self._policy = policy
        self._audit = Audit(settings.audit, resolve(settings.audit.auditor, "auditor")(settings.audit.asked))
        self.best = Loaded(deepcopy(policy.model), policy.tokenizer)  # the weights that people liked best
        self._samplers = {"policy": Sampler(policy), "start": Sampler(start), "best": Sampler(self.best)}
        self.asked = 0
        self._seen_at = 0.0  # nats from the start, at the last look

    @property
    def kept(self) -> int:
        """Iteration of the best weights."""
        return self._audit.best

    @property
    def over(self) -> bool:
        return self._audit.over

    @property
    def answered(self) -> bool:
        """Whether people ever said anything."""
        return self._audit.heard

    @property
    def brake(self) -> float | None:
        """How far the policy may go: less where nobody looks."""
        return self._audit_settings.brake if self._audit.answered else self._settings.brake

    def due(self, iteration: int, kl: float) -> bool:
        """Whether people should look now: after so many iterations, after so much of a way, and at the end."""
        if iteration == 0:
            return False
        if iteration % self._audit_settings.every == 0 or iteration == self._settings.iterations:
            return True
        return abs(kl - self._seen_at) >= self._audit_settings.nats

    def look(self, iteration: int, *, kl: float, reward: float) -> Look:
        """Have people compare the policy as it is now."""
        chance = np.random.default_rng((self._settings.seed, OWN, iteration))
        pairs = self._audit_settings.pairs
        chosen = chance.choice(len(self._rows), size=pairs, replace=pairs > len(self._rows))
        prompts = [self._rows[one]["prompt"] for one in chosen]
        first = pairs // 4

        def answers(who: str, some: Sequence[Any]) -> list[str]:
            groups = self._samplers[who].sample(
                some,
                temperature=self._settings.temperature,
                max_tokens=self._settings.max_tokens,
                seed=int(chance.integers(2**31)),
            )
            return [group[0].text for group in groups]

        look = self._audit.look(
            iteration,
            prompts,
            answers("policy", prompts),
            answers("start", prompts[:first]),
            answers("best", prompts[first:]),
            kl=kl,
            reward=reward,
        )
        self.asked += look.asked
        self._seen_at = kl
        if look.best == iteration:
            self.best.model.load_state_dict(self._policy.model.state_dict())
        return look

    def state(self) -> dict[str, Any]:
        """All that it knows between iterations, but for the weights."""
        return {"audit": self._audit.state(), "asked": self.asked, "seen_at": self._seen_at}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._audit.restore(state["audit"])
        self.asked, self._seen_at = state["asked"], state["seen_at"]
