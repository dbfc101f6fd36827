"""A function as a judge, with the signature that TRL's trainers call.

`f(prompts, completions, **columns)` gives a list with one number an answer; None: it does not apply to that one.
Columns are what the prompts' rows hold beside the prompt, each a list, by name. Where prompts are messages, so is
a completion: a list with the assistant's one. An `async` function is waited for.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from heedful.dotted import resolve
from heedful.errors import InvalidInput, Misconfigured, TrainingFailed
from heedful.rewards.scores import Columns, Scores, number, scores

Function = Callable[..., Any]


class Program:
    """The function at a dotted path."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._function = resolve(path, "reward function")
        self._wanted, self._needed, self._takes_all = _parameters(self._function, path)

    def score(self, prompts: Sequence[Any], answers: Sequence[str], columns: Columns | None = None) -> Scores:
        """`quality`, and `unscored` where the function said None."""
        if len(prompts) != len(answers):
            raise InvalidInput(
                f"{len(prompts)} prompts for {len(answers)} answers: give one prompt per answer"
            )
        given = self._given(prompts, answers, columns or {})
        try:
            said = self._function(**given)
            said = asyncio.run(_waited(said)) if inspect.isawaitable(said) else said
            said = list(said)
        except Exception as error:  # it is somebody else's code: whatever it raises, its name is told
            raise TrainingFailed(
                f"reward function {self.path!r} failed on {len(answers)} answers: {type(error).__name__}: {error}"
            ) from error
        if len(said) != len(answers):
            raise InvalidInput(
                f"reward function {self.path!r} says {len(said)} numbers for {len(answers)} answers"
            )
        who = f"reward function {self.path!r}"
        return scores([number(value, who, place) for place, value in enumerate(said, start=1)])

    def _given(self, prompts: Sequence[Any], answers: Sequence[str], columns: Columns) -> dict[str, Any]:
        """What it asks for, by name; everything if it takes `**`."""
        there = {
            **columns,
            "prompts": list(prompts),
            "completions": [
                answer if isinstance(prompt, str) else [{"role": "assistant", "content": answer}]
                for prompt, answer in zip(prompts, answers, strict=True)
            ],
        }
        if missing := sorted(self._needed - set(there)):
            raise Misconfigured(
                f"reward function {self.path!r} needs {', '.join(missing)}: the data have "
                f"{', '.join(sorted(columns)) or 'no columns'} beside the prompt"
            )
        return there if self._takes_all else {name: there[name] for name in self._wanted & set(there)}


def load(path: str) -> Program:
    """For whoever takes a judge by a dotted path."""
    return Program(path)


def _parameters(function: Function, path: str) -> tuple[set[str], set[str], bool]:
    """Names that it knows, names that it cannot do without, and whether it takes all."""
    try:
        signature = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise Misconfigured(f"{path!r} does not say what it takes: {error}") from error
    named = [one for one in signature if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    if odd := [one.name for one in signature if one.kind is one.POSITIONAL_ONLY and one.default is one.empty]:
        raise Misconfigured(f"{path!r} takes {', '.join(odd)} by position: columns come by name")
    return (
        {one.name for one in named},
        {one.name for one in named if one.default is one.empty},
        any(one.kind is one.VAR_KEYWORD for one in signature),
    )


async def _waited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
