"""Sampling and log-probabilities agree with the library's own model, whatever shares the batch."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from heedful.errors import InvalidInput
from heedful.lm.chat import answers_ids, prompt_ids, prompts_ids
from heedful.lm.decode import Sampler, choose
from heedful.lm.heads import SENSELESS, CallFinder, ScalarHeads, read_points
from heedful.lm.layout import batches, lay_out
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
    rows = lay_out(prompts, [sample.token_ids for sample in flat])
    with torch.no_grad():
        logps = answer_logprobs(loaded.model, rows, temperature=0.7)
    drawn = torch.tensor([logp for sample in flat for logp in sample.logprobs])
    assert torch.allclose(logps[rows.answer_bt], drawn, atol=1e-4)


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


def test_padding_changes_nothing(loaded: Loaded) -> None:
    prompts = prompts_ids(loaded.tokenizer, PROMPTS)
    answers = answers_ids(loaded.tokenizer, ["[refund] hi.", "no", "[refund] hi {name}, sorry. " * 3, ""])
    together = lay_out(prompts, answers)
    with torch.no_grad():
        padded = answer_logprobs(loaded.model, together)
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            alone = lay_out([prompt], [answer])
            expected = answer_logprobs(loaded.model, alone)
            assert torch.allclose(padded[row][together.answer_bt[row]], expected[alone.answer_bt], atol=1e-5)
            assert torch.all(padded[row][~together.answer_bt[row]] == 0)


def test_answer_logprobs_are_the_log_softmax_of_full_logits(loaded: Loaded) -> None:
    rows = lay_out(prompts_ids(loaded.tokenizer, PROMPTS[:1]), answers_ids(loaded.tokenizer, ["hi there"]))
    with torch.no_grad():
        logits = loaded.model(rows.ids_bt).logits.log_softmax(-1)
        expected = logits[0, :-1].gather(1, rows.ids_bt[0, 1:, None])[:, 0]
        got = answer_logprobs(loaded.model, rows)[0, 1:]
    assert torch.allclose(got[rows.answer_bt[0, 1:]], expected[rows.answer_bt[0, 1:]], atol=1e-5)


def test_heads_read_the_last_real_token_though_padding_has_the_end_tokens_id(loaded: Loaded) -> None:
    prompts = prompts_ids(loaded.tokenizer, PROMPTS[:2])
    answers = answers_ids(loaded.tokenizer, ["[refund] hi.", "[refund] hi {name}, sorry."])
    finder = CallFinder(loaded.tokenizer)
    calls = torch.tensor([finder.length(answer) for answer in answers])
    rows = lay_out(prompts, answers)
    filled = copy.copy(rows.ids_bt)
    filled[~rows.mask_bt] = loaded.tokenizer.eos_token_id
    with torch.no_grad():
        points = read_points(loaded.model, type(rows)(filled, rows.mask_bt, rows.answer_bt), calls)
        for row in range(2):
            alone = read_points(
                loaded.model, lay_out(prompts[row : row + 1], answers[row : row + 1]), calls[row : row + 1]
            )
            assert torch.allclose(points.at_end[row], alone.at_end[0], atol=1e-5)
            assert torch.allclose(points.at_call[row], alone.at_call[0], atol=1e-5)
            assert torch.allclose(points.call_logp[row], alone.call_logp[0], atol=1e-4)
        full = answer_logprobs(loaded.model, rows)
    first = rows.first()
    for row in range(2):
        call = full[row, first[row] : first[row] + calls[row]]
        assert points.call_logp[row].item() == pytest.approx(call.sum().item(), abs=1e-4)
        prose = full[row, first[row] + calls[row] :]
        assert points.worst_logp[row].item() == pytest.approx(max(prose.min().item(), SENSELESS), abs=1e-4)


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


def test_batches_hold_every_row_once_and_save_padding() -> None:
    lengths = np.random.default_rng(0).integers(5, 60, size=999).tolist()
    parts = batches(lengths, 32, np.random.default_rng(1))
    assert sorted(index for part in parts for index in part) == list(range(999))
    assert parts == batches(lengths, 32, np.random.default_rng(1))
    padded = sum(max(lengths[i] for i in part) * len(part) for part in parts)
    assert padded < 1.15 * sum(lengths)


def test_what_does_not_fit_is_refused() -> None:
    loaded = make("gpt2")
    with pytest.raises(InvalidInput, match="exceed"):
        Sampler(loaded).sample(PROMPTS, max_tokens=200)
    with pytest.raises(InvalidInput, match="n=0"):
        Sampler(loaded).sample(PROMPTS, 0)
