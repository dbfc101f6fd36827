"""Losses and gradients against TRL's own trainers, on a tiny model in float32. Needs the extra `oracle`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

trl = pytest.importorskip("trl", reason="needs the extra `oracle`")
datasets = pytest.importorskip("datasets", reason="needs the extra `oracle`")

from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from heedful.lm.flat import hidden_states
from heedful.lm.layout import Tree, pack
from heedful.lm.load import Loaded, save
from heedful.lm.logprobs import answer_logprobs
from heedful.lm.tiny import make_tokenizer
from heedful.rewards.losses import bradley_terry, centring
from heedful.rewards.programs import load
from heedful.training.losses import (
    clipped_policy_loss,
    direct_preference,
    from_thumbs,
    group_advantages,
    kl_k3,
    leave_one_out_advantages,
    nll,
)

ROWS = [
    {"prompt": "where is it", "chosen": " on its way to you", "rejected": " no"},
    {"prompt": "it broke", "chosen": " sorry", "rejected": " that is not our fault at all"},
    {
        "prompt": "i want my money back now",
        "chosen": " yes of course it is on its way",
        "rejected": " go away",
    },
    {"prompt": "stop", "chosen": " done", "rejected": " why"},
]
SEEN = [text for row in ROWS for text in row.values()] * 3


def made(kind: Any, **more: Any) -> tuple[Any, Any]:
    tokenizer = make_tokenizer(SEEN, vocabulary=320)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=48,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.eos_token_id,
        **more,
    )
    return kind(config), tokenizer


def options(tmp_path: Path) -> dict[str, Any]:
    return {
        "output_dir": str(tmp_path / "trl"),
        "per_device_train_batch_size": len(ROWS),
        "max_steps": 1,
        "report_to": [],
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "max_length": 64,
        "seed": 0,
    }


def theirs(trainer: Any) -> tuple[Tensor, list[Tensor]]:
    """The loss of TRL's first step over all rows, and its gradients."""
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    trainer.model.eval()
    loss = trainer.compute_loss(trainer.model, batch)
    loss = loss[0] if isinstance(loss, tuple) else loss
    moving = [one for one in trainer.model.parameters() if one.requires_grad]
    return loss, list(torch.autograd.grad(loss, moving, allow_unused=True, materialize_grads=True))


def agree(ours: Tensor, model: Any, trainer: Any) -> None:
    loss, expected = theirs(trainer)
    assert ours.item() == pytest.approx(loss.item(), abs=1e-5)
    moving = [one for one in model.parameters() if one.requires_grad]
    found = torch.autograd.grad(ours, moving, allow_unused=True, materialize_grads=True)
    assert max(float(one.abs().max()) for one in found) > 1e-4
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5, rtol=1e-4)


def ids(tokenizer: Any, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def pairs(tokenizer: Any) -> list[Tree]:
    end = [tokenizer.eos_token_id]
    return [
        Tree(ids(tokenizer, r["prompt"]), [ids(tokenizer, r[side]) + end for side in ("chosen", "rejected")])
        for r in ROWS
    ]


def moved(model: Any, reference: Any, trees: list[Tree]) -> tuple[Tensor, Tensor]:
    packed = pack(trees)
    with torch.no_grad():
        base = packed.sums(answer_logprobs(reference, packed))
    return packed.sums(answer_logprobs(model, packed)) - base, packed.lengths()


@pytest.mark.parametrize(
    ("kind", "smoothing", "theirs_is"),
    [
        ("sigmoid", 0.0, "sigmoid"),
        ("robust", 0.1, "robust"),
        ("ipo", 0.0, "ipo"),
    ],  # its sigmoid smooths nothing
)
def test_dpo(tmp_path: Path, kind: Any, smoothing: float, theirs_is: str) -> None:
    model, tokenizer = made(LlamaForCausalLM)
    reference, _ = made(LlamaForCausalLM)
    with torch.no_grad():
        for one in model.parameters():
            one += 0.02 * torch.randn_like(one)
    trainer = trl.DPOTrainer(
        model=model,
        ref_model=reference,
        args=trl.DPOConfig(**options(tmp_path), beta=0.3, loss_type=[theirs_is], label_smoothing=smoothing),
        train_dataset=datasets.Dataset.from_list(ROWS),
        processing_class=tokenizer,
    )
    moved_a, lengths_a = moved(model, reference, pairs(tokenizer))
    if kind == "ipo":
        moved_a = moved_a / lengths_a
    losses = direct_preference(moved_a[0::2] - moved_a[1::2], beta=0.3, kind=kind, smoothing=smoothing)
    agree(losses.mean(), model, trainer)


def test_sft(tmp_path: Path) -> None:
    model, tokenizer = made(LlamaForCausalLM)
    rows = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in ROWS]
    trainer = trl.SFTTrainer(
        model=model,
        args=trl.SFTConfig(**options(tmp_path), completion_only_loss=True),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    packed = pack([Tree(tree.prompt, tree.answers[:1]) for tree in pairs(tokenizer)])
    logps = answer_logprobs(model, packed)
    agree(nll(logps, torch.ones_like(logps)) / len(logps), model, trainer)


@pytest.mark.parametrize("centre", [None, 0.01])
def test_reward(tmp_path: Path, centre: float | None) -> None:
    model, tokenizer = made(LlamaForSequenceClassification, num_labels=1)
    trainer = trl.RewardTrainer(
        model=model,
        args=trl.RewardConfig(**options(tmp_path), center_rewards_coefficient=centre),
        train_dataset=datasets.Dataset.from_list(ROWS),
        processing_class=tokenizer,
    )
    packed = pack(pairs(tokenizer))
    backbone = LlamaForCausalLM(model.config)
    backbone.model = model.model
    scores = model.score(hidden_states(backbone, packed, packed.last_a))[:, 0]
    better, worse, ones = scores[0::2], scores[1::2], torch.ones(len(ROWS))
    loss = bradley_terry(better - worse, ones) + (centre or 0.0) * centring(better, worse, ones)
    agree(loss, model, trainer)


@pytest.mark.parametrize("kind", ["kto", "apo_zero_unpaired"])
def test_kto(tmp_path: Path, kind: Any) -> None:
    model, tokenizer = made(LlamaForCausalLM)
    reference, _ = made(LlamaForCausalLM)
    with torch.no_grad():
        for one in model.parameters():
            one += 0.02 * torch.randn_like(one)
    rows: list[dict[str, Any]] = [
        {"prompt": row["prompt"], "completion": row["chosen" if up else "rejected"], "label": up}
        for row, up in zip(ROWS, (True, False, True, False), strict=True)
    ]
    trainer = trl.KTOTrainer(
        model=model,
        ref_model=reference,
        args=trl.KTOConfig(**options(tmp_path), beta=0.3, loss_type=kind),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    end = [tokenizer.eos_token_id]
    trees = [Tree(ids(tokenizer, r["prompt"]), [ids(tokenizer, r["completion"]) + end]) for r in rows]
    up = torch.tensor([bool(row["label"]) for row in rows])
    moved_a, _ = moved(model, reference, trees)
    baseline = 0.0
    if kind == "kto":
        strange = [Tree(a.prompt, b.answers) for a, b in zip(trees, trees[-1:] + trees[:-1], strict=True)]
        baseline = max(0.0, float(moved(model, reference, strange)[0].mean()))
    losses = from_thumbs(moved_a, up, beta=0.3, kind=kind, baseline=baseline)
    agree(losses.mean(), model, trainer)


def test_the_library_loads_what_we_save(tmp_path: Path) -> None:
    model, tokenizer = made(LlamaForCausalLM)
    save(Loaded(model, tokenizer), tmp_path / "saved")
    trl.SFTTrainer(
        model=str(tmp_path / "saved"),
        args=trl.SFTConfig(**options(tmp_path)),
        train_dataset=datasets.Dataset.from_list([{"text": "it broke"}] * 4),
    ).train()


# -- their reward functions ----------------------------------------------------------------------------------


def test_their_reward_functions_work_as_they_are() -> None:
    """A format in messages, and a length in tokens made by a factory, each as TRL's trainer would call it."""
    from trl import rewards

    answers = ["<think>\nso\n</think>\n4", "4"]
    scores = load("trl.rewards:think_format_reward").score(
        [[{"role": "user", "content": "2+2?"}]] * 2, answers
    )
    messages = [[{"role": "assistant", "content": answer}] for answer in answers]
    assert scores["quality"].tolist() == rewards.think_format_reward(messages) == [1.0, 0.0]

    rewards.too_long = rewards.get_soft_overlong_punishment(max_completion_len=100, soft_punish_cache=20)
    ids = [[1] * 90, [1] * 10]
    found = load("trl.rewards:too_long").score(["2+2?"] * 2, answers, {"completion_ids": ids})
    assert found["quality"].tolist() == rewards.too_long(ids) == [-0.5, 0.0]


@pytest.mark.parametrize("scale", ["group", "none"])
def test_grpo(tmp_path: Path, scale: str) -> None:
    """The same answers, credits, old and reference likelihoods; theirs without the bias by length, whose constant is
    the longest completion. Unscaled, an answer is held against the mean of all, which is the mean of the others by
    (n - 1) / n."""
    model, tokenizer = made(LlamaForCausalLM)
    older, reference = made(LlamaForCausalLM)[0], made(LlamaForCausalLM)[0]
    with torch.no_grad():
        for moved_by, one_model in ((0.02, older), (0.03, reference)):
            for one in one_model.parameters():
                one += moved_by * torch.randn_like(one)
    trees, longest = pairs(tokenizer), 12
    rewards_pg = torch.randn(len(trees), 2, generator=torch.Generator().manual_seed(1))
    trainer = trl.GRPOTrainer(
        model=model,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=trl.GRPOConfig(
            **{name: value for name, value in options(tmp_path).items() if name != "max_length"}
            | {"per_device_train_batch_size": 2 * len(trees)},
            loss_type="dr_grpo",
            scale_rewards=scale,
            beta=0.0,  # it would load a reference of its own
            use_bias_correction_kl=False,
            epsilon=0.2,
            num_generations=2,
            max_completion_length=longest,
        ),
        train_dataset=datasets.Dataset.from_list([{"prompt": row["prompt"]} for row in ROWS]),
        processing_class=tokenizer,
    )
    trainer.beta = 0.2
    if scale == "group":
        advantages_a = group_advantages(rewards_pg, epsilon=1e-4).flatten()
    else:
        advantages_a = leave_one_out_advantages(rewards_pg).flatten() / 2
    packed = pack(trees)
    with torch.no_grad():
        old_m, reference_m = answer_logprobs(older, packed), answer_logprobs(reference, packed)
    logps_m = answer_logprobs(model, packed)
    loss = clipped_policy_loss(logps_m, old_m, advantages_a[packed.answer_m], clip=0.2)
    ours = (loss + 0.2 * kl_k3(logps_m, reference_m)) / packed.answers / longest

    rows = [(tree.prompt, answer) for tree in trees for answer in tree.answers]
    widest, most = max(len(prompt) for prompt, _ in rows), max(len(answer) for _, answer in rows)
    pad = tokenizer.pad_token_id

    def at_the_end(values: list[int], fill: int) -> list[int]:
        return values + [fill] * (most - len(values))

    def padded(values_m: Tensor) -> Tensor:
        parts = values_m.split([len(answer) for _, answer in rows])
        return torch.stack([torch.cat([part, torch.zeros(most - len(part))]) for part in parts])

    inputs = {
        "prompt_ids": torch.tensor([[pad] * (widest - len(one)) + list(one) for one, _ in rows]),
        "prompt_mask": torch.tensor([[0] * (widest - len(one)) + [1] * len(one) for one, _ in rows]),
        "completion_ids": torch.tensor([at_the_end(list(answer), pad) for _, answer in rows]),
        "completion_mask": torch.tensor([at_the_end([1] * len(answer), 0) for _, answer in rows]),
        "old_per_token_logps": padded(old_m),
        "ref_per_token_logps": padded(reference_m),
        "advantages": advantages_a
        if scale == "group"
        else (rewards_pg - rewards_pg.mean(1, keepdim=True)).flatten(),
        "num_items_in_batch": torch.tensor(len(logps_m)),
    }
    trainer.model.eval()
    theirs_is = trainer._compute_loss(trainer.model, inputs)
    assert ours.item() == pytest.approx(theirs_is.item(), abs=1e-5)
    moving = list(model.parameters())
    found = torch.autograd.grad(ours, moving, allow_unused=True, materialize_grads=True)
    expected = torch.autograd.grad(theirs_is, moving, allow_unused=True, materialize_grads=True)
    assert max(float(one.abs().max()) for one in found) > 1e-4
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5, rtol=1e-4)
