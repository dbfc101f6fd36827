"""Turn a conversation into the token ids that a model answers to, and answers into theirs.

What people write is data: text that looks like one of the tokenizer's control tokens is broken apart
first, so that a message can not open a turn of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from heedful.errors import InvalidInput

Message = Mapping[str, str]  # {"role": ..., "content": ...}


def prompt_ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """The ids up to where the answer starts."""
    if not messages:
        raise InvalidInput("a prompt needs at least one message", field="prompt")
    safe = [
        {"role": message["role"], "content": _disarmed(tokenizer, message["content"])} for message in messages
    ]
    if tokenizer.chat_template:
        text = tokenizer.apply_chat_template(safe, tokenize=False, add_generation_prompt=True)
    else:
        text = plain(safe)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def plain(messages: Sequence[Message]) -> str:
    """A conversation as plain text, for models that were never taught to chat."""
    turns = "".join(f"{message['role'].capitalize()}: {message['content']}\n" for message in messages)
    return turns + "Assistant:"


def prompts_ids(tokenizer: Any, prompts: Sequence[Sequence[Message]]) -> list[list[int]]:
    """`prompt_ids` of many prompts; equal prompts are encoded once."""
    known: dict[tuple[tuple[str, str], ...], list[int]] = {}
    rows = []
    for messages in prompts:
        key = tuple((message["role"], message["content"]) for message in messages)
        if key not in known:
            known[key] = prompt_ids(tokenizer, messages)
        rows.append(known[key])
    return rows


def answers_ids(tokenizer: Any, answers: Sequence[str], *, end: bool = True) -> list[list[int]]:
    """The ids of answers as the model would have written them, with the end token unless told otherwise."""
    if not answers:
        return []
    texts = [_disarmed(tokenizer, answer) for answer in answers]
    rows: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    tail = [tokenizer.eos_token_id] if end else []
    return [list(row) + tail for row in rows]


def answer_text(tokenizer: Any, ids: Sequence[int]) -> str:
    """What the ids say, without control tokens."""
    text: str = tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def _disarmed(tokenizer: Any, text: str) -> str:
    """The text with a zero-width space inside whatever would be read as a control token."""
    for token in tokenizer.all_special_tokens:
        if len(token) > 1 and token in text:
            text = text.replace(token, f"{token[0]}\u200b{token[1:]}")
    return text
