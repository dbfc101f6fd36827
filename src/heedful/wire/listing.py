"""Every shape there is: for docs and tests."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from heedful.wire import (
    answers,
    chat,
    episodes,
    feedback,
    fields,
    keys,
    labeling,
    messages,
    releases,
    retention,
    said,
)

SUBJECTS = (fields, messages, said, feedback, episodes, labeling, releases, retention, keys, answers, chat)


def shapes() -> Iterator[type[BaseModel]]:
    """Subject by subject."""
    for subject in SUBJECTS:
        for value in vars(subject).values():
            ours = isinstance(value, type) and value.__module__ == subject.__name__
            if ours and issubclass(value, BaseModel):
                yield value
