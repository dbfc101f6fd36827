"""Rows join and leave a running batch, and what each says is its own affair; known blocks are the library's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from heedful.errors import InvalidInput
from heedful.lm import lora
from heedful.lm.continuous import Batch, Row, choose, roundly
from heedful.lm.decode import Sample, Sampler
from heedful.lm.load import Loaded
from heedful.lm.readers import AnyReader, Reader, SlotReader, reader_of
from heedful.lm.tiny import TinyShape, make_tiny

VOCABULARY = 330
COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
KNOWN: dict[str, tuple[Any, Any]] = {
    "llama": (LlamaForCausalLM, LlamaConfig(**COMMON)),
    "llama, biases, far positions": (
        LlamaForCausalLM,
        LlamaConfig(**COMMON, attention_bias=True, mlp_bias=True, rope_parameters=LLAMA3),
    ),
    "llama, tied": (LlamaForCausalLM, LlamaConfig(**COMMON, tie_word_embeddings=True)),
    "mistral": (MistralForCausalLM, MistralConfig(**COMMON, sliding_window=None)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**COMMON)),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**COMMON, head_dim=16)),
    "gpt2": (
        GPT2LMHeadModel,
        GPT2Config(vocab_size=VOCABULARY, n_positions=256, n_embd=32, n_layer=2, n_head=4),
    ),
}
UNKNOWN: dict[str, tuple[Any, Any]] = {
    "sliding window": (MistralForCausalLM, MistralConfig(**COMMON, sliding_window=8)),
    "some layers sliding": (
        Qwen2ForCausalLM,
        Qwen2Config(**COMMON, use_sliding_window=True, sliding_window=8, max_window_layers=1),
    ),
    "positions that change": (
        LlamaForCausalLM,
        LlamaConfig(**COMMON, rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}),
    ),
    "experts": (MixtralForCausalLM, MixtralConfig(**COMMON, num_local_experts=2)),
}


def made(kind: tuple[Any, Any]) -> Any:
    torch.manual_seed(0)
    model = kind[0](kind[1]).eval()
    # Random weights at their usual size say nearly nothing, and zero biases hide that they are left out.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0) if parameter.ndim == 2 else parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def rows_of(lengths: Sequence[int]) -> list[list[int]]:
    chance = np.random.default_rng(1)
    return [chance.integers(5, VOCABULARY, size=length).tolist() for length in lengths]


@torch.inference_mode()
def logits_step_by_step(reader: Reader, rows: Sequence[Sequence[int]], steps: int) -> Tensor:
    """What is said of the last `steps` tokens of each row, the rest of it read before: bsv."""
    starts = [len(row) - steps for row in rows]
    reader.arrange([None] * len(rows), starts)
    reader.join(
        [row[:start] for row, start in zip(rows, starts, strict=True)], [[i] for i in range(len(rows))]
    )
    said = []
    for step in range(steps):
        at = [start + step for start in starts]
        if not reader.fits(at):
            reader.arrange(range(len(rows)), at)
        said.append(reader.advance([row[one] for row, one in zip(rows, at, strict=True)], at))
    return torch.stack(said, 1)


@pytest.mark.parametrize("kind", KNOWN)
def test_known_blocks_say_what_the_librarys_model_says_at_every_step(kind: str) -> None:
    model = made(KNOWN[kind])
    rows, steps = rows_of([60, 41, 42, 130, 45, 41, 70, 90, 41, 200]), 40
    reader = reader_of(model)
    assert isinstance(reader, SlotReader)
    ours = logits_step_by_step(reader, rows, steps)
    for row, said in zip(rows, ours, strict=True):
        with torch.no_grad():
            whole = model(torch.tensor([row])).logits[0, -steps:]
        assert torch.allclose(said, whole, atol=1e-4, rtol=0), (said - whole).abs().max()


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@torch.inference_mode()
def test_answers_to_one_long_prompt_look_at_it_together_whoever_has_left(kind: str) -> None:
    """Eight answers of one prompt; the first leaves and its place is written over, then places are laid out anew."""
    model = made(KNOWN[kind])
    read, steps, left, moved = 100, 50, 5, 20
    beginning, *tails = rows_of([read, *[steps] * 8])
    reader = reader_of(model)
    reader.arrange([None] * 8, [read] * 8)
    reader.join([beginning], [range(8)])
    rows: list[int | None] = list(range(8))  # of each place
    said: list[list[Tensor]] = [[] for _ in tails]
    for step in range(steps):
        if step == left:
            rows[0] = None
        if step == moved:
            order = [3, 2, 1, None, 4, 7, 6, 5]
            rows = [None if place is None else rows[place] for place in order]
            reader.arrange(order, [0 if row is None else read + step for row in rows])
        at = [0 if row is None else read + step for row in rows]
        if not reader.fits(at):
            reader.arrange([None if row is None else place for place, row in enumerate(rows)], at)
        logits_bv = reader.advance([0 if row is None else tails[row][step] for row in rows], at)
        for row, logits in zip(rows, logits_bv, strict=True):
            if row is not None:
                said[row].append(logits)
    for row, tail in enumerate(tails):
        whole = model(torch.tensor([beginning + tail])).logits[0, read : read + len(said[row])]
        assert len(said[row]) == (left if row == 0 else steps)
        assert torch.allclose(torch.stack(said[row]), whole, atol=2e-4)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_other_types_of_weights_say_nearly_the_same(kind: str) -> None:
    model, rows = made(KNOWN[kind]), rows_of([60, 41, 130])
    exact = logits_step_by_step(reader_of(model), rows, 8).log_softmax(-1)
    rounded = logits_step_by_step(reader_of(model, torch.bfloat16), rows, 8).float().log_softmax(-1)
    assert (exact - rounded).abs().mean() < 0.1
    assert not torch.equal(exact, rounded)


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_is_not_known_is_asked_as_the_library_does_it(kind: str) -> None:
    model = made(UNKNOWN[kind])
    reader, rows = reader_of(model), rows_of([13, 9, 24])
    assert isinstance(reader, AnyReader)
    for row, said in zip(rows, logits_step_by_step(reader, rows, 6), strict=True):
        with torch.no_grad():
            whole = model(torch.tensor([row])).logits[0, -6:]
        assert torch.allclose(said, whole, atol=1e-3, rtol=0)
    with pytest.raises(InvalidInput, match="load it in that type"):
        reader_of(model, torch.bfloat16)


def test_adapters_are_read_with_the_weights() -> None:
    for kind in ("llama", "gpt2"):
        model = made(KNOWN[kind])
        lora.add(model, lora.Lora(rank=2))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_" in name:
                    parameter.normal_(std=0.1)
        (row,) = rows_of([20])
        for on in (True, False):
            with torch.no_grad():
                if on:
                    said = logits_step_by_step(reader_of(model), [row], 4)[0]
                    whole = model(torch.tensor([row])).logits[0, -4:]
                else:
                    with lora.without(model):
                        said = logits_step_by_step(reader_of(model), [row], 4)[0]
                        whole = model(torch.tensor([row])).logits[0, -4:]
            assert torch.allclose(said, whole, atol=1e-4, rtol=0)


# -- rows among others -------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["gpt2", "llama", "qwen3", "experts"])
def loaded(request: pytest.FixtureRequest) -> Loaded:
    tiny = make_tiny(
        ["hello my {product} broke", "[refund] hi {name}, sorry."] * 3,
        shape=TinyShape(width=32, layers=2, heads=2, positions=96, vocabulary=VOCABULARY),
    )
    return Loaded(made((KNOWN | UNKNOWN)[request.param]), tiny.tokenizer)


def asked(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": "my {product} broke " * (number % 7) + str(number)}]


def test_a_row_says_the_same_alone_in_a_crowd_and_when_it_joins_late(loaded: Loaded) -> None:
    prompts, limits = [asked(i) for i in range(40)], [5 + 11 * i % 37 for i in range(40)]
    seeds = [100 + i for i in range(40)]
    crowd = Sampler(loaded).sample(prompts, max_tokens=limits, seed=seeds)
    late = Sampler(loaded, rows=6).sample(prompts, max_tokens=limits, seed=seeds)
    alone = [
        Sampler(loaded).sample([prompts[i]], max_tokens=limits[i], seed=[seeds[i]])[0]
        for i in range(0, 40, 7)
    ]
    assert ids_of(crowd) == ids_of(late)
    assert ids_of(crowd)[::7] == ids_of(alone)
    assert len(set(ids_of(crowd))) > 30


def ids_of(groups: Sequence[Sequence[Sample]]) -> list[tuple[int, ...]]:
    return [sample.token_ids for group in groups for sample in group]


def test_an_answer_ends_before_the_first_stop_string_that_it_says(loaded: Loaded) -> None:
    free = Sampler(loaded).sample([asked(1)], 30, max_tokens=20, seed=3)[0]
    pieces = [one.text[at : at + 2] for one in free for at in range(3, len(one.text) - 1)]
    word = next(piece for piece in pieces if piece.isascii())
    ended = Sampler(loaded).sample([asked(1)], 30, max_tokens=20, seed=3, stop=[word, "never said"])[0]
    assert any(word in one.text for one in free)
    for one, other in zip(free, ended, strict=True):
        if word not in one.text:
            assert other == one
            continue
        assert other.finish_reason == "stop"
        assert other.text == one.text[: one.text.index(word)]
        assert other.token_ids == one.token_ids[: len(other.token_ids)]
        assert np.allclose(other.logprobs, one.logprobs[: len(other.token_ids)], atol=1e-4)
        said = [loaded.tokenizer.decode(other.token_ids[:to], skip_special_tokens=True) for to in (None, -1)]
        assert [word in text for text in said] == [True, False]  # the ids end with what completed it


def test_each_row_has_its_own_temperature() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log().expand(4, 3)
    uniform = torch.full((4,), 0.79)
    picked, logps = choose(logits, uniform, torch.tensor([0.0, 1.0, 0.5, 1.0]))
    # At 0.5 the shares are 25, 9 and 4 of 38: 0.66 and 0.89.
    assert picked.tolist() == [0, 1, 1, 1]
    assert logps.exp().tolist() == pytest.approx([1.0, 0.3, 9 / 38, 0.3])


def test_tokens_behind_the_last_whole_block_are_drawn_too() -> None:
    shares = torch.rand(1, 150).square()
    shares[0, [3, 64, 140, 149]] = 0.0
    uniform = torch.linspace(0, 1 - 2**-24, 30_000)
    picked, logps = choose(shares.log().expand(30_000, 150), uniform, 1.0)
    share = shares[0] / shares.sum()
    assert torch.allclose(torch.bincount(picked, minlength=150) / 30_000, share, atol=1e-4)
    assert torch.allclose(logps, share[picked].log(), atol=1e-5)
    assert picked.diff().min() >= 0


def test_what_would_make_training_lie_is_refused(loaded: Loaded) -> None:
    with pytest.raises(InvalidInput, match="training would lie"):
        Sampler(loaded).sample([asked(1)], top_p=0.9)
    with pytest.raises(InvalidInput, match="stop string is empty"):
        Sampler(loaded).sample([asked(1)], stop=[""])


def test_the_weights_are_those_of_now() -> None:
    loaded = Loaded(made(KNOWN["llama"]), make_tiny(["hello"] * 3, shape=TinyShape(positions=96)).tokenizer)
    sampler = Sampler(loaded)
    before = sampler.sample([asked(1)], max_tokens=8, seed=1)
    with torch.no_grad():
        loaded.model.base_model.layers[0].self_attn.q_proj.weight.neg_()
    assert sampler.sample([asked(1)], max_tokens=8, seed=1) != before


# -- how full the batch is ---------------------------------------------------------------------------------


class Counter:
    """A reader that says nothing and counts."""

    joins = True

    def __init__(self) -> None:
        self.live: list[tuple[int, int]] = []  # rows under way and places, of each step
        self.read: list[tuple[int, ...]] = []
        self.copied = 0
        self._places = 0

    def fits(self, read: Sequence[int]) -> bool:
        return len(read) == self._places

    def arrange(self, order: Sequence[int | None], read: Sequence[int]) -> None:
        self._places = len(order)

    def join(self, prompts: Sequence[Sequence[int]], places: Sequence[Sequence[int]]) -> None:
        self.read += [tuple(prompt) for prompt in prompts]

    def copy(self, source: int, length: int, places: Sequence[int]) -> None:
        self.copied += len(places)

    def advance(self, ids: Sequence[int], at: Sequence[int]) -> Tensor:
        self.live.append((sum(one > 0 for one in at), len(at)))
        return torch.zeros((len(ids), 8))


def test_a_thousand_rows_never_leave_the_batch_half_empty() -> None:
    chance = np.random.default_rng(0)
    reader = Counter()
    batch = Batch(reader, ends=(), say=str, most=64)
    rows = [Row((1, 2, 3), np.zeros(chance.geometric(1 / 94), dtype=np.float32)) for _ in range(1000)]
    rows = [Row((1, 2, number), row.draws) for number, row in enumerate(rows)]
    for row in rows:
        batch.add(row)
    done: list[Row] = []
    while batch:
        done += batch.step()
    assert sorted(map(id, done)) == sorted(map(id, rows))
    assert all(len(row.ids) == len(row.draws) for row in rows)
    full = [live for live, _ in reader.live]
    behind = next(step for step in range(len(full)) if all(one < 60 for one in full[step:]))
    assert min(full[:behind]) > 56
    assert all(live > places / 2 or places == 1 for live, places in reader.live)
    assert {places for _, places in reader.live} <= {roundly(rows) for rows in range(1, 65)}


def test_a_prompt_that_is_asked_often_is_read_once() -> None:
    reader = Counter()
    batch = Batch(reader, ends=(), say=str, most=16)
    for number in range(10):
        for copy in range(12):
            batch.add(Row((1, 2, number), np.zeros(20 + 3 * copy, dtype=np.float32)))
    while batch:
        batch.step()
    assert len(reader.read) == 10
    assert reader.copied > 0


def test_who_is_not_wanted_any_more_leaves() -> None:
    batch = Batch(Counter(), ends=(), say=str, most=4)
    rows = [Row((1, number), np.zeros(50, dtype=np.float32)) for number in range(8)]
    for row in rows:
        batch.add(row)
    batch.step()
    batch.drop(rows[0])
    batch.drop(rows[7])
    assert len(batch) == 6
    while batch:
        batch.step()
    assert [len(row.ids) for row in rows] == [1, 50, 50, 50, 50, 50, 50, 0]
