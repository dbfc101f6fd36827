"""Sampling and log-probabilities agree with the library's own model, whatever shares the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from heedful.errors import InvalidInput
from heedful.lm.chat import answers_ids, prompt_ids, prompts_ids
from heedful.lm.continuous import choose
from heedful.lm.decode import Sampler
from heedful.lm.heads import CallFinder, ScalarHeads
from heedful.lm.layout import Tree, pack
from heedful.lm.load import Loaded
from heedful.lm.logprobs import answer_logprobs
from heedful.lm.tiny import TinyShape, make_tiny

PROMPTS = [
    [{"role": "user", "content": text}]
    for text in ("hello", "my {product} broke and i am sad", "refund", "a b c d e f g h")
]


class OtherGpt2(GPT2LMHeadModel):  # type: ignore[misc]  # same sums, but the fast path does not know it
    pass


def make(kind: str) -> Loaded:
    tiny = make_tiny(
        ["hello my {product} broke", "[refund] hi {name}, sorry."] * 3,
        shape=TinyShape(width=32, layers=2, heads=2, positions=96, vocabulary=330),
        seed=2,
    )
    torch.manual_seed(0)
    model: Any = tiny.model
    if kind == "llama":
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=model.config.vocab_size,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=96,
                eos_token_id=tiny.tokenizer.eos_token_id,
            )
        ).eval()
    elif kind == "gpt2-library":
        other = OtherGpt2(model.config)
        other.load_state_dict(model.state_dict())
        model = other.eval()
    # Random weights at their usual size say nearly nothing: make them opinionated, and make some rows end.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(4.0)
    return Loaded(model, tiny.tokenizer)


@pytest.fixture(scope="module", params=["gpt2", "gpt2-library", "llama"])
def loaded(request: pytest.FixtureRequest) -> Loaded:
    return make(request.param)


def test_likeliest_tokens_are_those_of_generate(loaded: Loaded) -> None:
    samples = Sampler(loaded).sample(PROMPTS, temperature=0, max_tokens=12)
    for messages, (sample,) in zip(PROMPTS, samples, strict=True):
        row = torch.tensor([prompt_ids(loaded.tokenizer, messages)])
        whole = loaded.model.generate(
            row, attention_mask=torch.ones_like(row), do_sample=False, max_new_tokens=12, pad_token_id=0
        )
        assert sample.token_ids == tuple(whole[0, row.shape[1] :].tolist())


def test_sampled_logprobs_are_those_of_a_full_forward(loaded: Loaded) -> None:
    groups = Sampler(loaded, rows=64).sample(PROMPTS, 20, temperature=0.7, max_tokens=16, seed=4)
    prompts = prompts_ids(loaded.tokenizer, [prompt for prompt in PROMPTS for _ in range(20)])
    flat = [sample for group in groups for sample in group]
    rows = pack([Tree(*one) for one in zip(prompts, [[sample.token_ids] for sample in flat], strict=True)])
    with torch.no_grad():
        logps = answer_logprobs(loaded.model, rows, temperature=0.7)
    drawn = torch.tensor([logp for sample in flat for logp in sample.logprobs])
    assert torch.allclose(logps, drawn, atol=1e-4)


def test_a_row_says_the_same_whatever_shares_its_batch(loaded: Loaded) -> None:
    wide = Sampler(loaded, rows=64).sample(PROMPTS, 5, max_tokens=16, seed=9)
    narrow = Sampler(loaded, rows=5).sample(PROMPTS, 5, max_tokens=16, seed=9)
    assert [[s.token_ids for s in group] for group in wide] == [
        [s.token_ids for s in group] for group in narrow
    ]
    again = Sampler(loaded, rows=64).sample(PROMPTS, 5, max_tokens=16, seed=9)
    assert wide == again
    other = Sampler(loaded, rows=64).sample(PROMPTS, 5, max_tokens=16, seed=10)
    assert wide != other


def test_an_answer_ends_at_its_end_token_or_is_cut() -> None:
    loaded = make("gpt2")
    end = loaded.tokenizer.eos_token_id
    groups = Sampler(loaded, rows=64).sample(PROMPTS, 60, max_tokens=30, seed=1)
    flat = [sample for group in groups for sample in group]
    assert {sample.finish_reason for sample in flat} == {"stop", "length"}
    for sample in flat:
        assert (sample.token_ids[-1] == end) == (sample.finish_reason == "stop")
        assert end not in sample.token_ids[:-1]
        assert len(sample.logprobs) == len(sample.token_ids) <= 30
        if sample.finish_reason == "length":
            assert len(sample.token_ids) == 30


def test_tokens_are_drawn_in_proportion() -> None:
    """p = 0.5, 0.3, 0.2 over 20,000 draws; none of the impossible fourth, even at the very edge."""
    logits = torch.tensor([[0.5, 0.3, 0.2, 0.0]]).log().expand(20_000, 4)
    uniform = torch.from_numpy(np.random.default_rng(0).random(20_000)).float()
    picked, logps = choose(logits, uniform, 1.0)
    shares = torch.bincount(picked, minlength=4) / 20_000
    assert torch.allclose(shares, torch.tensor([0.5, 0.3, 0.2, 0.0]), atol=0.015)
    assert torch.allclose(logps, logits.gather(1, picked[:, None])[:, 0])
    picked, _ = choose(logits[:2], torch.tensor([0.0, 1.0 - 2**-24]), 1.0)
    assert picked.tolist() == [0, 2]


def test_heads_start_silent() -> None:
    heads = ScalarHeads(8, 2)
    call, end = heads(torch.randn(3, 8), torch.randn(3, 8))
    assert torch.all(call == 0)
    assert torch.all(end == 0)
    assert call.shape == (3, 2)


def test_a_call_is_found_where_there_is_one() -> None:
    loaded = make("gpt2")
    finder = CallFinder(loaded.tokenizer)

    def length(text: str) -> int:
        return finder.length(answers_ids(loaded.tokenizer, [text])[0])

    assert length("[refund] hi") == 1
    (pieces,) = answers_ids(loaded.tokenizer, ["[xyz]"], end=False)
    assert len(pieces) > 1
    assert length("[xyz] hi") == len(pieces)
    assert length("hi [refund]") == 1
    assert length("") == 1
    assert length("[" + "never closed " * 30) == 1


def test_what_does_not_fit_is_refused() -> None:
    loaded = make("gpt2")
    with pytest.raises(InvalidInput, match="exceed"):
        Sampler(loaded).sample(PROMPTS, max_tokens=200)
    with pytest.raises(InvalidInput, match="n=0"):
        Sampler(loaded).sample(PROMPTS, 0)
