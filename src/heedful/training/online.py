"""Practise: answer, be judged, learn, again; with a brake, and with a price of violations that is found on the way.

What the reward model says is a stand-in for what people want, and the further the policy moves the less it is worth;
so the run stops at a distance from the start (measured best brake with no labels at all), keeps the last weights
within it, and leaves its whole curve behind to be looked at. How is learned from an iteration is a learner's affair.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from heedful.dotted import resolve
from heedful.errors import InvalidInput
from heedful.lm import state
from heedful.lm.columns import prompts as practice
from heedful.lm.decode import Sampler
from heedful.lm.heads import CallFinder
from heedful.lm.load import Loaded, load, save
from heedful.lm.logprobs import answer_logprobs
from heedful.lm.loop import asked_to_stop
from heedful.lm.optim import Stepper, autocast
from heedful.lm.records import key_of, write_records
from heedful.training.constraint import ConstraintSettings, Price
from heedful.training.experience import Experience, Figures, Reward, RolloutSettings, gather
from heedful.training.safety import SafetySettings, SafeUpdater, Verdict

Track = Callable[[int, Mapping[str, float]], None]
TOLD = ("curve", "answers", "steps")  # by iteration: figures, what was said, what was foretold of each step
TAKEN = {"prompts", "completions", "completion_ids"}  # names that rewards know as another thing


class OnlineSettings(RolloutSettings):
    """How long is practised, how far, and how safely."""

    iterations: int = Field(14, ge=1)
    """Rounds of sampling and updating."""

    minibatches: int = Field(2, ge=1)
    """Parts that the answers of an iteration are cut into, one optimiser step each."""

    epochs: int = Field(3, ge=1)
    """Times that the answers of an iteration are gone through."""

    rate: float = Field(4e-4, gt=0)
    """Highest learning rate; for pretrained models use far less."""

    warmup: int = Field(5, ge=0)
    """Steps over which the rate rises."""

    clip: float = Field(0.2, gt=0)
    """How far a token's probability may move for gain within one iteration."""

    brake: float | None = Field(2.0, gt=0)
    """Stop when an answer is on average this many nats from the start; None: never."""

    constraint: ConstraintSettings | None = None
    """A bound on the share of violations, whose price is then found while training; nothing: `penalty` is the price."""

    safety: SafetySettings = SafetySettings()
    """What a step may do; one that would do more is left out."""

    save_seconds: float = Field(60.0, ge=0)
    """Time between two states from which a run that was cut off goes on."""


class Learner(Protocol):
    """Changes the policy by what was experienced."""

    updater: SafeUpdater
    modules: Mapping[str, nn.Module]  # that it moves beside the policy
    steppers: Mapping[str, Stepper]

    def learn(self, experience: Experience, random: np.random.Generator) -> Sequence[Verdict]: ...

    def figures(self) -> Mapping[str, float]:
        """What there is to tell of the last lesson, by name."""
        ...

    def state(self) -> dict[str, Any]:
        """What it knows beside weights and optimisers, as JSON can hold it."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None: ...


@dataclass(slots=True)
class Done:
    """What a run did."""

    curve: list[Figures] = field(default_factory=list)
    kept: int = 0  # updates that are in the weights
    stopped: str = "done"


def run(
    settings: OnlineSettings,
    learner_of: Callable[[Loaded], Learner],
    work: Path,
    track: Track,
) -> dict[str, Any]:
    """Train and save; returns {"model", "curve", "answers", "steps", "iterations", "stopped", "kl", ...}."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    policy, reference = (
        load(settings.model, device=settings.device, trust_remote_code=settings.trust_remote_code)
        for _ in range(2)
    )
    rows = practice(settings.prompts)
    if not rows:
        raise InvalidInput(f"{settings.prompts} holds no prompts", field="prompts")
    if taken := sorted(TAKEN & {name for row in rows for name in row}):
        raise InvalidInput(
            f"{settings.prompts} has a column {taken[0]!r}, which rewards know as another thing"
        )
    reward: Reward = resolve(settings.reward, "reward")(settings.reward_model)
    learner = learner_of(policy)
    done = _Practice(policy, reference, reward, rows, learner, settings, work, track).run()
    save(policy, work / "model")
    state.discard(work)
    first, last = done.curve[0], done.curve[done.kept]
    return {
        **{name: str(work / f"{name}.jsonl") for name in TOLD},
        "model": str(work / "model"),
        "iterations": done.kept,
        "stopped": done.stopped,
        "left_out": {reason.value: count for reason, count in learner.updater.left_out.items()},
        "kl": last.kl,
        "reward_before": first.reward,
        "reward_after": last.reward,
        "violation_before": first.violation,
        "violation_after": last.violation,
    }


class _Practice:
    """Leaves the kept weights in the policy."""

    def __init__(
        self,
        policy: Loaded,
        reference: Loaded,
        reward: Reward,
        rows: list[dict[str, Any]],
        learner: Learner,
        settings: OnlineSettings,
        work: Path,
        track: Track,
    ) -> None:
        self._policy, self._reference, self._reward, self._rows = policy, reference, reward, rows
        self._learner, self._settings, self._track = learner, settings, track
        self._work, self._states = work, work / state.FOLDER
        self._random = np.random.default_rng(settings.seed)
        self._sampler, self._calls = Sampler(policy), CallFinder(policy.tokenizer)
        self._price = None if settings.constraint is None else Price(settings.constraint)
        self._good = deepcopy(policy.model)  # the last weights that were within reach
        self._modules = {"policy": policy.model, "good": self._good, **learner.modules}
        self._memory = _Together(learner.steppers)
        self._key = key_of(settings.model_dump(mode="json"), settings.prompts)
        self._saved = time.monotonic()

    def run(self) -> Done:
        settings, done = self._settings, Done()
        begin = self._resumed(done)
        with asked_to_stop() as asked:
            for iteration in range(begin, settings.iterations + 1):  # the last round only looks
                if asked.is_set():
                    self._save(iteration)
                    raise SystemExit(128 + signal.SIGTERM)
                if time.monotonic() - self._saved >= settings.save_seconds:
                    self._save(iteration)
                experience, figures = self._look(iteration)
                done.curve.append(figures)
                if settings.brake is not None and figures.kl > settings.brake:
                    self._back()
                    done.stopped = "brake"
                    break
                done.kept = iteration
                if iteration < settings.iterations:
                    self._good.load_state_dict(self._policy.model.state_dict())
                    verdicts = self._learner.learn(experience, self._random)
                    self._tell("steps", [{"iteration": iteration, **asdict(one)} for one in verdicts])
                    if self._learner.updater.spent:
                        self._back()
                        done.stopped = "unsafe"
                        break
        return done

    def _look(self, iteration: int) -> tuple[Experience, Figures]:
        """Answer some prompts and have the answers judged."""
        settings = self._settings
        chosen = [self._rows[i] for i in self._random.integers(len(self._rows), size=settings.batch)]
        answers = self._sampler.sample(
            [row["prompt"] for row in chosen],
            settings.group,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            seed=int(self._random.integers(2**31)),
        )
        price = None if self._price is None else self._price.value
        experience, figures = gather(
            iteration,
            self._policy,
            self._reference,
            self._reward,
            self._calls,
            chosen,
            answers,
            settings,
            price,
        )
        if self._price is not None:
            self._price.saw(experience.judged.violation_a.tolist())
        self._tell("curve", [figures.row()])
        said = (
            {"iteration": iteration, "prompt": row["prompt"], "answer": sample.text}
            for row, group in zip(chosen, answers, strict=True)
            for sample in group
        )
        self._tell("answers", said)
        told = figures.row() | dict(self._learner.figures())
        self._track(iteration, told | {"iterations": float(settings.iterations)})
        return experience, figures

    def _back(self) -> None:
        self._policy.model.load_state_dict(self._good.state_dict())

    def _tell(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        with (self._work / f"{name}.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)

    def _save(self, iteration: int) -> None:
        """All that there is before this iteration."""
        extra = {
            "taken": {name: one.taken for name, one in self._learner.steppers.items()},
            "random": self._random.bit_generator.state,
            "price": None if self._price is None else self._price.state(),
            "updater": self._learner.updater.state(),
            "learner": self._learner.state(),
        }
        state.save(
            self._states, state.Progress(step=iteration, extra=extra), self._modules, self._memory, self._key
        )
        self._saved = time.monotonic()

    def _resumed(self, done: Done) -> int:
        """At which iteration to begin: what was told of it and of later ones is told again."""
        found = state.resume(self._states, self._modules, self._memory, self._key)
        begin = 0 if found is None else found.step
        self._work.mkdir(parents=True, exist_ok=True)
        for name in TOLD:
            file = self._work / f"{name}.jsonl"
            kept = [row for row in _whole(file) if row["iteration"] < begin]
            write_records(file, kept)
            if name == "curve":
                done.curve = [Figures.of(row) for row in kept]
        if found is not None:
            for name, taken in found.extra["taken"].items():
                self._learner.steppers[name].taken = taken
            self._random.bit_generator.state = found.extra["random"]
            if self._price is not None:
                self._price.restore(found.extra["price"])
            self._learner.updater.restore(found.extra["updater"])
            self._learner.restore(found.extra["learner"])
            done.kept = begin - 1
        return begin


class _Together:
    """The memories of several optimisers as one."""

    def __init__(self, steppers: Mapping[str, Stepper]) -> None:
        self._steppers = steppers

    def state(self) -> dict[str, Tensor]:
        return {
            f"{name}/{key}": value
            for name, stepper in self._steppers.items()
            for key, value in stepper.state().items()
        }

    def restore(self, found: Mapping[str, Tensor], taken: int) -> None:
        for name, stepper in self._steppers.items():
            own = {key.split("/", 1)[1]: value for key, value in found.items() if key.startswith(f"{name}/")}
            stepper.restore(own, taken)


def _whole(file: Path) -> list[dict[str, Any]]:
    """Lines that were written to their end."""
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def violation_slope(
    policy: Loaded, experience: Experience, stepper: Stepper, settings: RolloutSettings
) -> list[Tensor] | None:
    """By each weight, of the share of violations among the policy's answers; None where all are alike."""
    violation_a = torch.from_numpy(experience.judged.violation_a).float().to(settings.device)
    excess_a = violation_a - violation_a.mean()
    if not bool(excess_a.abs().max() > 1e-6):
        return None
    excess = experience.of_answers(excess_a)
    for some in experience.parts(settings.micro_tokens):
        packed = experience.packed(some, settings.device)
        own_a = torch.cat([excess[one] for one in some])
        with autocast(settings.precision, settings.device):
            logps = answer_logprobs(policy.model, packed, temperature=settings.temperature)
        ((logps * own_a[packed.answer_m]).sum() / experience.answers).backward()
    slope = [
        torch.zeros_like(weight) if weight.grad is None else weight.grad.clone() for weight in stepper.weights
    ]
    stepper.forget()
    return slope
