"""The training core against TRL: samples per second and peak memory on the same data and the same model.

Models are Llama's shape with random weights, words are tokens: `small` (hidden 256, 6 layers, vocabulary 8,192, 8 pairs
a step), `large` (512, 8, 32,768, 4 pairs), `long` (small, with prompts of 1,024 and replies of 256, 4 pairs) and
`card` (1,024, 16, 32,768, 32 pairs; for a GPU). Each
side runs in a process of its own with one thread, in turns; steps before the figures settle are left out. DPO's
reference pass over the pairs that were learned from is counted. `grpo` and `ppo` are whole steps of practising
(`_practice.py`): eight answers of 96 tokens to each of two prompts. The peer gets the prompts in the order in which we
drew them; what both said is told as `completion_tokens`. It has no PPO, which is measured alone.

`--peer DIR` is the folder with TRL's side (`trl_sft.py`, `trl_dpo.py`, …), `--peer-python` a Python that
has TRL; sampling's other side is the library's `generate` (`sampling.py`). `samples_per_s` counts pairs or
demonstrations; `tokens_per_s` the tokens that a plain trainer would push through the model (the prompt of a pair
twice), whatever is done in fact. `fraction_of_peak` is the multiplications done in the blocks over what the same
machine reaches in one large product.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Shape:
    hidden: int
    layers: int
    inner: int
    heads: int
    vocabulary: int
    pairs: int  # of a step
    prompt: int = 0  # tokens, where all are alike
    reply: int = 0


SHAPES = {
    "small": Shape(256, 6, 704, 4, 8192, 8),
    "large": Shape(512, 8, 1408, 8, 32768, 4),
    "long": Shape(256, 6, 704, 4, 8192, 4, prompt=1024, reply=256),
    "card": Shape(1024, 16, 2816, 16, 32768, 32),  # for a GPU
}
FLOORS: dict[tuple[str, str], tuple[float, float | None]] = {  # what is promised, in bfloat16 and in float32
    ("sft", "small"): (4.0, None),
    ("dpo", "small"): (5.0, None),
    ("reward", "small"): (2.5, 3.0),
    ("reward", "large"): (1.5, None),
    ("dpo", "large"): (5.0, None),
    ("reward", "long"): (1.5, None),
    ("dpo", "long"): (4.0, None),
    ("grpo", "small"): (4.0, 4.0),
}
PASSES = {  # of the blocks, in a step of practising: drawn, reference, learned from (three); a critic's four
    "grpo": 5,
    "ppo": 9,
}
ANSWERS = 16  # of such a step
DRAWN = "drawn"  # folder with its prompts as we drew them
EQUAL = 0.02  # by how much the lengths of both sides' answers may differ
PEERS = ("samples_per_s", "tokens_per_s", "peak_mb", "completion_tokens", "generation_share")
FIRST = 4  # words below it are the tokenizer's own
WARM = 4  # steps


# -- the same work for both ----------------------------------------------------------------------------------


def length(chance: random.Random, mean: int, low: int, high: int) -> int:
    return max(low, min(high, round(chance.lognormvariate(math.log(mean) - 0.18, 0.6))))


def write_pairs(path: Path, shape: Shape, rows: int, seed: int) -> None:
    """Prompts of about 127 words and replies of about 94, common words more often than rare ones."""
    chance = random.Random(seed)
    span = math.log(shape.vocabulary - FIRST)

    def words(count: int) -> str:
        drawn = (int(math.exp(chance.random() * span)) - 1 for _ in range(count))
        return " ".join(f"w{FIRST + min(shape.vocabulary - FIRST - 1, one)}" for one in drawn)

    with path.open("w") as file:
        for _ in range(rows):
            prompt = shape.prompt or length(chance, 128, 8, 448)
            replies = [
                shape.reply - 1 if shape.reply else length(chance, 96, 4, 510 - prompt) for _ in range(2)
            ]
            chosen, rejected = (" " + words(count) for count in replies)
            file.write(json.dumps({"prompt": words(prompt), "chosen": chosen, "rejected": rejected}) + "\n")


# -- our side: a process of its own --------------------------------------------------------------------------


def loaded(shape: Shape, device: str) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from heedful.lm.load import Loaded

    known = {"<pad>": 0, "<eos>": 1, "<unk>": 2, "<sep>": 3} | {
        f"w{place}": place for place in range(FIRST, shape.vocabulary)
    }
    inner = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        intermediate_size=shape.inner,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=1,
    )
    return Loaded(LlamaForCausalLM(config).to(device).eval(), tokenizer)


def batch_of(chosen: argparse.Namespace) -> int:
    return int(chosen.batch or (ANSWERS if chosen.task in PASSES else SHAPES[chosen.shape].pairs))


def practising(chosen: argparse.Namespace) -> dict[str, Any]:
    import torch

    import _practice

    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape, data, batch = SHAPES[chosen.shape], Path(chosen.ours), batch_of(chosen)
    (data.parent / DRAWN).mkdir(exist_ok=True)
    found = _practice.practised(
        chosen.task,
        loaded(shape, "cpu"),
        [json.loads(line)["prompt"] for line in data.read_text().splitlines()],
        batch=batch,
        steps=chosen.steps,
        warm=WARM,
        order=data.parent / DRAWN / data.name,
        precision="bfloat16" if chosen.bf16 else "float32",
        device=chosen.device,
    )
    read = batch * found["completion_tokens"] + batch / _practice.GROUP * found["prompt_tokens"]
    work = 2 * PASSES[chosen.task] * each_layer(shape) * shape.layers * read
    return found | {
        "peak_mb": round(_peak(chosen.device)),
        "fraction_of_peak": round(
            work / found["seconds_per_step"] / _product_peak(chosen.device, chosen.bf16), 3
        ),
    }


def each_layer(shape: Shape) -> int:
    """Products of a token with a layer's weights."""
    return 4 * shape.hidden**2 + 3 * shape.hidden * shape.inner


def ours(chosen: argparse.Namespace) -> dict[str, Any]:
    import torch

    from heedful.lm.loop import Course, learn
    from heedful.lm.optim import Stepper
    from heedful.rewards.fit import FitSpec
    from heedful.rewards.lessons import Pairs as Compared
    from heedful.rewards.model import RewardModel
    from heedful.training import dpo, sft

    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape, device = SHAPES[chosen.shape], chosen.device
    made = loaded(shape, device)
    batch, steps = batch_of(chosen), chosen.steps
    pairs = [json.loads(line) for line in Path(chosen.ours).read_text().splitlines()][: batch * steps]
    records = [
        {
            "prompt": [{"role": "user", "content": pair["prompt"]}],
            "answer": pair["chosen"],
            "chosen": pair["chosen"],
            "rejected": pair["rejected"],
        }
        for pair in pairs
    ]
    precision = "bfloat16" if chosen.bf16 else "float32"
    micro = {} if chosen.micro_tokens is None else {"micro_tokens": chosen.micro_tokens}
    common: dict[str, Any] = micro | {"model": "-", "precision": precision, "device": device, "rate": 1e-4}
    modules: dict[str, torch.nn.Module] = {"model": made.model}
    lesson: Any
    reference_seconds = 0.0
    settings: Any
    with tempfile.TemporaryDirectory() as name:
        if chosen.task == "sft":
            settings = sft.SftSpec(demonstrations=Path(name), **common)
            lesson = sft.Demonstrations(made, records, device)
        elif chosen.task == "dpo":
            settings = dpo.DpoSpec(preferences=Path(name), **common)
            dpo.Pairs(made, records[:batch], settings)  # what is compiled, is compiled once
            begun = time.perf_counter()
            lesson = dpo.Pairs(made, records, settings)
            _wait(device)
            reference_seconds = time.perf_counter() - begun
        else:
            settings = FitSpec(preferences=Path(name), call_weight=0.0, noise=0.0, **common)
            judge = RewardModel(made, objectives=("quality",), end_only=True)
            judge.heads.to(device)
            modules = {"backbone": judge.backbone, "heads": judge.heads}
            lesson = Compared(judge, records, settings, device)
        stepper = Stepper([(1e-4, one.parameters()) for one in modules.values()], steps=steps)
        course = [Course(lesson, batch)]
        plan: dict[str, Any] = {"work": Path(name), "track": lambda *_: None}
        learn(course, stepper, modules, settings, steps=WARM, **plan)
        _wait(device)
        begun = time.perf_counter()
        learn(course, stepper, modules, settings, steps=steps, **plan)
        _wait(device)
        seconds = time.perf_counter() - begun
        metrics = [json.loads(line) for line in (Path(name) / "metrics.jsonl").read_text().splitlines()]
    samples = (steps - WARM) * batch
    seconds += reference_seconds * samples / len(pairs)
    tokens = sum(lesson.lengths) / len(pairs)
    prompts = sum(len(pair["prompt"].split()) for pair in pairs) / len(pairs)
    plain = tokens + (prompts if chosen.task != "sft" else 0.0)
    passes = 4 / 3 if chosen.task == "dpo" else 1.0  # the reference only looks
    work = 6 * each_layer(shape) * shape.layers * tokens * samples * passes
    return {
        "samples_per_s": round(samples / seconds, 3),
        "tokens_per_s": round(samples * plain / seconds),
        "peak_mb": round(_peak(device)),
        "fraction_of_peak": round(work / seconds / _product_peak(device, chosen.bf16), 3),
        "loss": round(metrics[-1]["loss"], 4),
    }


def _wait(device: str) -> None:
    import torch

    if device != "cpu":
        torch.cuda.synchronize()


def _peak(device: str) -> float:
    import torch

    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _product_peak(device: str, bf16: int) -> float:
    """Multiplications and additions a second in one large matrix product."""
    import torch

    size = 2048 if device == "cpu" else 8192
    kind = torch.bfloat16 if bf16 else torch.float32
    one, other = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    best = 0.0
    for _ in range(6):
        begun = time.perf_counter()
        one @ other
        _wait(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - begun))
    return best


# -- both sides, in turns ------------------------------------------------------------------------------------


def last_result(command: Sequence[str], folder: Path, **more: str) -> dict[str, Any]:
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=os.environ | quiet | more, capture_output=True, text=True, check=False
    )
    lines = [json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not lines:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}")
    return {name: value for line in lines for name, value in line.items()}


OTHERWISE = (  # the peer's scripts with other options: those of the first argument
    "import sys, json, runpy, common; made = common.trainer_options; other = json.loads(sys.argv[1]); "
    "common.SHAPES['card'] = (1024, 16, 2816, 16, 32768); "
    "common.trainer_options = lambda *a, **k: made(*a, **k) | other; "
    "sys.argv = sys.argv[2:]; t = runpy.run_path(sys.argv[0], run_name='__main__')['t']; "
    "said = [row[name] for row in t.state.log_history for name in row if name == 'completions/mean_length']; "
    "said and print('RESULT', json.dumps({'completion_tokens': round(said[-1], 2)}))"
)


def peers(chosen: argparse.Namespace, folder: Path, more: Sequence[str] = ()) -> dict[str, Any]:
    shape = SHAPES[chosen.shape]
    script = str(Path(chosen.peer).resolve() / f"trl_{chosen.task}.py")
    other: dict[str, Any] = {} if chosen.device == "cpu" else {"use_cpu": False}
    if chosen.task in PASSES:  # what it says of all steps, it says at their end
        other |= {"shuffle_dataset": False, "logging_steps": chosen.peer_steps + 1}
        folder = folder / DRAWN
    start = ["-c", OTHERWISE, json.dumps(other), script] if other else [script]
    own = shape.prompt and chosen.task not in PASSES
    lengths = ["--prompt", str(shape.prompt), "--reply", str(shape.reply)] if own else []
    command = [
        chosen.peer_python,
        *start,
        *("--data", str(folder), "--shape", "small" if chosen.shape == "long" else chosen.shape),
        *("--bf16", str(chosen.bf16), "--batch", str(batch_of(chosen))),
        *("--steps", str(chosen.peer_steps), "--warmup", str(WARM)),
        *lengths,
        *more,
    ]
    paths = [str(Path(chosen.peer).resolve()), *filter(None, [os.environ.get("PYTHONPATH")])]
    return last_result(command, folder, PYTHONPATH=os.pathsep.join(paths))


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    shape = SHAPES[chosen.shape]
    with tempfile.TemporaryDirectory(prefix="heedful-trainer-") as name:
        folder = Path(name)
        data = folder / f"pairs-{'small' if chosen.shape == 'long' else chosen.shape}.jsonl"
        write_pairs(data, shape, 800 if not shape.prompt else 256, chosen.seed)
        ours_found, peers_found = [], []
        own = [sys.executable, __file__, "--ours", str(data)]
        for name_of in ("task", "shape", "bf16", "batch", "steps", "device"):
            own += [f"--{name_of}", str(getattr(chosen, name_of))]
        if chosen.micro_tokens is not None:
            own += ["--micro-tokens", str(chosen.micro_tokens)]
        against = chosen.peer if chosen.task != "ppo" else None  # the peer has none
        for _ in range(chosen.rounds):
            ours_found.append(last_result(own, folder))
            print("ours", ours_found[-1], flush=True)
            if against:
                peers_found.append(peers(chosen, folder))
                print("peer", peers_found[-1], flush=True)
        best = peers(chosen, folder, ["--packing", "1"]) if chosen.peer and chosen.task == "sft" else None
    return told(chosen, ours_found, peers_found, best)


def told(
    chosen: argparse.Namespace,
    ours_found: Sequence[Mapping[str, Any]],
    peers_found: Sequence[Mapping[str, Any]],
    packing: Mapping[str, Any] | None,
) -> dict[str, Any]:
    def middle(found: Sequence[Mapping[str, Any]], name: str) -> float:
        return float(statistics.median(one[name] for one in found))

    result: dict[str, Any] = {
        "task": chosen.task,
        "shape": chosen.shape,
        "bf16": chosen.bf16,
        "device": chosen.device,
    }
    result |= {name: middle(ours_found, name) for name in ours_found[0]}
    if peers_found:
        theirs = {name: middle(peers_found, name) for name in PEERS if name in peers_found[0]}
        result |= {f"peer_{name}": value for name, value in theirs.items()}
        result["ratio"] = round(result["samples_per_s"] / theirs["samples_per_s"], 2)
        if packing is not None:  # its packing drops where answers begin: compared by tokens
            result["peer_packing_tokens_per_s"] = packing["tokens_per_s"]
            result["ratio_to_packing"] = round(result["tokens_per_s"] / packing["tokens_per_s"], 2)
        if chosen.device == "cpu":  # the peer counts the processor's memory
            result["memory_ratio"] = round(result["peak_mb"] / theirs["peak_mb"], 2)
        floor = FLOORS.get((chosen.task, chosen.shape), (None, None))[0 if chosen.bf16 else 1]
        if floor is not None:
            result["floor"] = floor
            result["ok"] = result["ratio"] >= floor
            if (chosen.task, chosen.shape) == ("dpo", "large"):
                result["ok"] = result["ok"] and result["memory_ratio"] <= 0.5
            if "completion_tokens" in theirs:
                same = abs(result["completion_tokens"] / theirs["completion_tokens"] - 1) <= EQUAL
                result["ok"] = result["ok"] and same
    result.setdefault("ok", True)
    return result


def sampled(chosen: argparse.Namespace) -> int:
    """Sampling is compared with the library's `generate`, within one process: `sampling.py` has more settings."""
    import sampling

    said = {"--shape": chosen.shape, "--bf16": chosen.bf16, "--rounds": chosen.rounds, "--seed": chosen.seed}
    said |= {"--batch": chosen.batch} if chosen.batch else {}
    return sampling.main([str(one) for pair in said.items() for one in pair] + ["--peer"] * bool(chosen.peer))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=("sft", "reward", "dpo", "sample", *PASSES), default="reward")
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--bf16", type=int, choices=(0, 1), default=1)
    parser.add_argument("--batch", type=int, default=0, help="samples a step; the shape's when 0")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--peer-steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--micro-tokens", type=int, help="computed at once; the product's own when left out")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--peer", help="folder with TRL's side")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--ours", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.task == "sample":
        return sampled(chosen)
    if chosen.ours:
        side = practising if chosen.task in PASSES else ours
        print(f"RESULT {json.dumps(side(chosen))}")
        return 0
    result = run(chosen)
    print(f"RESULT {json.dumps(result)}")
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
