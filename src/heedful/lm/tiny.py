"""Make a tiny language model from nothing but a few thousand texts, in a second.

It lets the whole road run on one CPU core: for the demo, for tests, and for a first look at one's own
data. The shape is GPT-2's (layer norm, learned positions) with ReLU: on a CPU fewer, plainer kernels
beat a newer design at this size.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from heedful.lm.load import Loaded

PAD, END, SYSTEM, USER, ASSISTANT = "<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL = (PAD, END, SYSTEM, USER, ASSISTANT)

TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


class TinyShape(BaseModel):
    """How large the tiny model is."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    width: int = Field(128, ge=8)
    """Size of the hidden state."""

    layers: int = Field(3, ge=1)
    """Transformer blocks."""

    heads: int = Field(4, ge=1)
    """Attention heads per block; must divide the width."""

    positions: int = Field(128, ge=16)
    """Longest prompt and answer together, in tokens."""

    vocabulary: int = Field(1024, ge=300)
    """At most so many tokens; 256 of them are the bytes."""


def make_tokenizer(texts: Iterable[str], *, vocabulary: int = 1024) -> Any:
    """Byte-level BPE trained on the spot: a common word is one token and any text at all round-trips.

    A space belongs to the word after it, and nothing is merged across words, so that tokens stay words.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?[^ ]+| +"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = TEMPLATE
    return wrapped


def make_tiny(texts: Iterable[str], *, shape: TinyShape | None = None, seed: int = 0) -> Loaded:
    """A fresh model with random weights and a tokenizer made for these texts."""
    shape = shape or TinyShape()
    tokenizer = make_tokenizer(texts, vocabulary=shape.vocabulary)
    config = GPT2Config(
        vocab_size=-(-len(tokenizer) // 16) * 16,
        n_positions=shape.positions,
        n_embd=shape.width,
        n_layer=shape.layers,
        n_head=shape.heads,
        activation_function="relu",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(config)
    return Loaded(model.eval(), tokenizer)
