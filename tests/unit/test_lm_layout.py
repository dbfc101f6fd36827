"""One row without padding says what the library says of each answer alone, and so do its gradients."""

from __future__ import annotations

from collections.abc import Callable
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
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from heedful.errors import InvalidInput
from heedful.lm import attention, flat, logprobs
from heedful.lm.flat import hidden_states
from heedful.lm.heads import SENSELESS, read_points
from heedful.lm.layout import Packed, Tree, batches, micro_batches, pack
from heedful.lm.logprobs import answer_logprobs
from heedful.lm.loop import LoopSettings, sparing

SMALL: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
TREES = [
    Tree([1, 2, 3], [[4, 5], [6, 7, 8]]),
    Tree([9, 10], [[11]]),
    Tree([5, 6, 7, 8], [[1], [2, 3], [4, 5, 6, 7, 63]]),
    Tree([1], [[2], [2]]),
]


def llama(**more: Any) -> Any:
    return LlamaForCausalLM(LlamaConfig(**SMALL | more))


def gpt2() -> Any:
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=64, n_positions=128, n_embd=32, n_layer=3, n_head=4, bos_token_id=1, eos_token_id=1
        )
    )


MODELS: dict[str, Callable[[], Any]] = {
    "llama": llama,
    "llama-tied": lambda: llama(tie_word_embeddings=True),
    "llama-3 rope": lambda: llama(
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        }
    ),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SMALL, sliding_window=None)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SMALL)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SMALL, head_dim=8)),
    "gpt2": gpt2,
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(3)
    made = MODELS[request.param]().eval()
    with torch.no_grad():  # a fresh model has norms of one and biases of nothing: those could be forgotten
        for parameter in made.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return made


def alone(model: Any, tree: Tree, answer: list[int]) -> Tensor:
    """log p of the answer's tokens, by the library."""
    ids = torch.tensor([[*tree.prompt, *answer]])
    logits = model(input_ids=ids).logits[0].log_softmax(-1)
    places = torch.arange(len(tree.prompt) - 1, ids.shape[1] - 1)
    picked: Tensor = logits[places, ids[0, places + 1]]
    return picked


def expected(model: Any) -> Tensor:
    return torch.cat([alone(model, tree, list(answer)) for tree in TREES for answer in tree.answers])


def gradients(model: Any, loss: Tensor) -> list[Tensor]:
    moving = list(model.parameters())
    return list(torch.autograd.grad(loss, moving, materialize_grads=True, allow_unused=True))


def test_a_packed_row_says_what_the_library_says(model: Any) -> None:
    assert flat.knows(model)
    packed = pack(TREES, grid=16)
    assert len(packed.ids_n) % 16 == 0
    got, want = answer_logprobs(model, packed), expected(model)
    assert torch.allclose(got, want, atol=1e-5)
    weights = torch.randn(len(want), generator=torch.Generator().manual_seed(1))
    for ours, theirs in zip(
        gradients(model, (got * weights).sum()), gradients(model, (want * weights).sum()), strict=True
    ):
        assert torch.allclose(ours, theirs, atol=2e-4, rtol=1e-3)


def test_what_is_computed_again_on_the_way_back_is_the_same(model: Any) -> None:
    packed = pack(TREES)
    kept = gradients(model, answer_logprobs(model, packed).sum())
    sparing(model, LoopSettings(recompute=True))
    few, again = held_by(model, packed)
    for one, other in zip(gradients(model, again.sum()), kept, strict=True):
        assert torch.equal(one, other)
    model.base_model.gradient_checkpointing = False
    assert few < 0.7 * held_by(model, packed)[0]


def held_by(model: Any, packed: Packed) -> tuple[int, Tensor]:
    """How many numbers are kept for the way back."""
    held: list[int] = []

    def keep(one: Tensor) -> Tensor:
        held.append(one.numel())
        return one

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda one: one):
        said = answer_logprobs(model, packed)
    return sum(held), said


def test_a_shared_prompt_says_what_a_prompt_of_ones_own_says(model: Any) -> None:
    unshared = [Tree(tree.prompt, [answer]) for tree in TREES for answer in tree.answers]
    assert sum(map(len, unshared)) > sum(map(len, TREES))
    with torch.no_grad():
        assert torch.allclose(
            answer_logprobs(model, pack(TREES)), answer_logprobs(model, pack(unshared)), atol=1e-5
        )


def test_the_filling_changes_nothing(model: Any) -> None:
    with torch.no_grad():
        narrow, wide = (answer_logprobs(model, pack(TREES, grid=grid)) for grid in (1, 256))
    assert torch.allclose(narrow, wide, atol=1e-6)


def test_the_last_block_is_right_at_the_places_that_are_read(model: Any) -> None:
    packed, places = pack(TREES), torch.tensor([0, 5, 3, 3, 17])
    with torch.no_grad():
        assert torch.allclose(
            hidden_states(model, packed, places), hidden_states(model, packed)[places], atol=1e-6
        )


def test_models_that_are_not_known_are_asked_row_by_row(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = pack(TREES)
    with torch.no_grad():
        known = answer_logprobs(model, packed)
        monkeypatch.setattr(flat, "FORWARDS", {})
        assert not flat.knows(model)
        assert torch.allclose(answer_logprobs(model, packed), known, atol=1e-5)


@pytest.mark.parametrize("window", [4, 64])
def test_windows_and_other_oddities_are_left_to_the_library(window: int) -> None:
    torch.manual_seed(0)
    odd = MistralForCausalLM(MistralConfig(**SMALL, sliding_window=window)).eval()
    assert not flat.knows(odd)
    with torch.no_grad():
        assert torch.allclose(answer_logprobs(odd, pack(TREES)), expected(odd), atol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("kept", [0, 1 << 30])
def test_logits_in_chunks_are_those_of_all_at_once(
    temperature: float, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether what was computed is kept for the way back or computed again."""
    monkeypatch.setattr(logprobs, "CHUNK", 3)
    monkeypatch.setattr(logprobs, "KEPT_BYTES", kept)
    torch.manual_seed(0)
    model = llama()
    packed = pack(TREES)
    got = answer_logprobs(model, packed, temperature=temperature)
    states = hidden_states(model, packed, packed.source_m)
    full = (model.lm_head(states) / temperature).log_softmax(-1)
    want = full.gather(1, packed.target_m[:, None])[:, 0]
    assert torch.allclose(got, want, atol=1e-5)
    for ours, theirs in zip(gradients(model, (got**2).sum()), gradients(model, (want**2).sum()), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-3, rtol=1e-3)


def test_half_precision_is_near() -> None:
    torch.manual_seed(0)
    model = llama()
    packed = pack(TREES)
    with torch.no_grad():
        exact = answer_logprobs(model, packed)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            near = answer_logprobs(model, packed)
    assert near.dtype == torch.float32
    assert torch.allclose(exact, near, atol=0.05)


def test_a_head_that_bends_its_logits_is_refused() -> None:
    model = llama()
    model.config.final_logit_softcapping = 30.0
    with pytest.raises(InvalidInput, match="plain projection"):
        answer_logprobs(model, pack(TREES))


def test_the_cards_kernel_sees_what_the_processors_sees() -> None:
    """Run here as plain sums; its speed is a card's."""
    packed = pack(TREES, grid=128)
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, len(packed.ids_n), 16) for _ in range(3))
    ours = attention.tree_attention(query, key, value, packed.trees, 0.25)
    theirs = attention._fused(query, key, value, packed.trees, 0.25)
    assert torch.allclose(ours[:, : packed.tokens], theirs[:, : packed.tokens], atol=1e-5)


@pytest.mark.parametrize(
    "trees", [((300, 129, 1), (128, 128)), ((1, 257), (5,)), ((256, 3, 300, 256),)], ids=str
)
def test_long_parts_look_in_blocks_and_see_the_same(trees: tuple[tuple[int, ...], ...]) -> None:
    """Against one look at everything, with a mask; and so do the gradients."""
    torch.manual_seed(0)
    places = sum(sum(tree) for tree in trees)
    tree_n, part_n = attention._belongings(trees, places, torch.device("cpu"))
    at_n = torch.arange(places)
    prompt_or_own = (part_n[None] == 0) | (part_n[None] == part_n[:, None])
    seen = (tree_n[None] == tree_n[:, None]) & (at_n[None] <= at_n[:, None]) & prompt_or_own

    def looked(way: Any) -> list[torch.Tensor]:
        torch.manual_seed(1)
        parts = [torch.randn(2, places, 8, dtype=torch.float64, requires_grad=True) for _ in range(3)]
        out = way(*parts)
        return [out, *torch.autograd.grad((out * torch.randn_like(out)).sum(), parts)]

    def plainly(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        scores = (query @ key.transpose(1, 2) * 0.25).masked_fill(~seen, float("-inf"))
        return scores.softmax(-1) @ value

    ours = looked(lambda query, key, value: attention.tree_attention(query, key, value, trees, 0.25))
    for one, other in zip(ours, looked(plainly), strict=True):
        assert torch.allclose(one, other, atol=1e-10)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("width", [32, 64])  # heads too narrow for the card's kernel, and wide enough
@pytest.mark.parametrize("name", MODELS)
def test_a_card_says_what_the_processor_says(name: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SMALL, "hidden_size", width)
    torch.manual_seed(3)
    model, packed = MODELS[name]().eval(), pack(TREES)
    weights = torch.randn(len(packed.target_m))
    here = answer_logprobs(model, packed)
    expected = gradients(model, (here * weights).sum())
    there = answer_logprobs(model.cuda(), packed.to("cuda"))
    assert torch.allclose(here, there.cpu(), atol=1e-3)
    for one, other in zip(expected, gradients(model, (there * weights.cuda()).sum()), strict=True):
        assert torch.allclose(one, other.cpu(), atol=1e-2, rtol=1e-2)


# -- where things stand --------------------------------------------------------------------------------------


def test_a_row_knows_where_everything_is() -> None:
    packed = pack(TREES[:2], grid=16)
    assert packed.ids_n.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 0, 0, 0, 0]
    assert packed.positions_n.tolist() == [0, 1, 2, 3, 4, 3, 4, 5, 0, 1, 2, 0, 0, 0, 0, 0]
    assert packed.source_m.tolist() == [2, 3, 2, 5, 6, 9]
    assert packed.target_m.tolist() == [4, 5, 6, 7, 8, 11]
    assert packed.answer_m.tolist() == [0, 0, 1, 1, 1, 2]
    assert (packed.first_a.tolist(), packed.last_a.tolist()) == ([3, 5, 10], [4, 7, 10])
    assert (packed.lengths().tolist(), packed.place().tolist()) == ([2, 3, 1], [0, 1, 0, 1, 2, 0])
    assert packed.sums(torch.ones(6)).tolist() == [2.0, 3.0, 1.0]
    assert (packed.answers, packed.tokens) == (3, 11)


@pytest.mark.parametrize("tree", [Tree([], [[1]]), Tree([1], [[2], []])])
def test_nothing_to_read_or_to_learn_is_refused(tree: Tree) -> None:
    with pytest.raises(InvalidInput, match="no tokens"):
        pack([tree])


def test_what_is_longer_than_the_model_reads_is_refused_by_its_number() -> None:
    long = Tree(list(range(1, 60)), [[1], list(range(1, 61)) + [2] * 10])
    with pytest.raises(InvalidInput, match="row 2 has 129 tokens and the model reads 128"):
        flat.require_room(gpt2(), [TREES[0], long])
    flat.require_room(gpt2(), TREES)


def test_parts_of_a_step_keep_their_order_and_their_budget() -> None:
    assert list(micro_batches([3, 3, 3, 9, 1, 1], 6)) == [[0, 1], [2], [3], [4, 5]]
    assert list(micro_batches([], 6)) == []


def test_batches_take_each_once_and_are_about_as_long() -> None:
    lengths = np.random.default_rng(0).integers(1, 400, 1000).tolist()
    rows = batches(lengths, 8, np.random.default_rng(1))
    assert sorted(one for row in rows for one in row) == list(range(1000))
    assert rows == batches(lengths, 8, np.random.default_rng(1))
    spread = np.mean([np.ptp([lengths[one] for one in row]) for row in rows])
    assert spread < 60


# -- what heads read -----------------------------------------------------------------------------------------


def test_heads_read_the_same_of_an_answer_alone_and_among_others() -> None:
    torch.manual_seed(0)
    model = gpt2()
    calls = torch.tensor([1, 2, 1, 1, 1, 3, 1, 1])
    with torch.no_grad():
        packed = pack(TREES)
        together, logps = read_points(model, packed, calls), answer_logprobs(model, packed)
        for place, (tree, answer) in enumerate((t, a) for t in TREES for a in t.answers):
            one = read_points(model, pack([Tree(tree.prompt, [answer])]), calls[place : place + 1])
            own = logps[packed.answer_m == place]
            call, prose = own[: calls[place]], own[calls[place] :]
            worst = max(SENSELESS, min([0.0, *prose.tolist()]))
            assert torch.allclose(together.at_prompt[place], one.at_prompt[0], atol=1e-5)
            assert torch.allclose(together.at_end[place], one.at_end[0], atol=1e-5)
            assert torch.allclose(together.at_call[place], one.at_call[0], atol=1e-5)
            assert together.call_logp[place].item() == pytest.approx(call.sum().item(), abs=1e-4)
            assert together.worst_logp[place].item() == pytest.approx(worst, abs=1e-4)


def test_a_packed_row_moves_to_a_device_as_a_whole() -> None:
    moved = pack(TREES).to("meta")
    assert isinstance(moved, Packed)
    assert {moved.ids_n.device.type, moved.last_a.device.type} == {"meta"}
