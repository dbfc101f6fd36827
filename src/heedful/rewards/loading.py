"""The reward model that lies in a directory, of whichever kind it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from heedful.errors import InvalidInput
from heedful.rewards.judge import Fitted

CARD = "reward.json"


def load(directory: str | Path, *, device: str = "cpu") -> Fitted:
    """Ready to score; `device` says where, for those that can choose."""
    match card_in(Path(directory)).get("kind"):
        case "sparse":
            from heedful.rewards.sparse import model as sparse

            return sparse.load(directory)
        case "ensemble":
            from heedful.rewards import ensemble

            return ensemble.load(directory, device=device)
        case _:
            from heedful.rewards import model

            return model.load(directory, device=device)


def card_in(directory: Path) -> dict[str, Any]:
    """What a reward model says of itself."""
    try:
        card = json.loads((directory / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{str(directory)!r} is not the directory of a reward model: {error}") from error
    if not isinstance(card, dict):
        raise InvalidInput(f"{str(directory / CARD)!r} holds no table")
    return card
