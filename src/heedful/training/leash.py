"""The price of a nat of distance, moved so that the policy stays about as far from its start as is asked.

Ziegler et al. 2019, "Fine-tuning language models from human preferences", section 2.2: in proportion to the error,
which is cut to a fifth.
"""

from __future__ import annotations

LARGEST = 0.2  # error that counts
GAIN = 0.5  # change of the price for an error of one, per iteration


class Leash:
    """`target` in nats per answer; None: the price stays what it is."""

    def __init__(self, price: float, target: float | None) -> None:
        self.price, self._target = price, target

    def saw(self, nats: float) -> None:
        """How far answers of an iteration were from the start, on average."""
        if self._target is not None:
            error = max(-LARGEST, min(LARGEST, nats / self._target - 1.0))
            self.price *= 1.0 + GAIN * error
