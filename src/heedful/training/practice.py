"""Practise: answer, be judged, learn, again; with a brake, and with a price of violations that is found on the way.

What the reward model says is a stand-in for what people want, and the further the policy moves the less it is worth.
So people look along the way, where they can be asked, and the state that they like best is kept; where they cannot, the
run stops at a distance from the start (measured best brake with no labels at all) and keeps the last weights within it.
It leaves its whole curve behind to be looked at.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from heedful.dotted import resolve
from heedful.errors import InvalidInput
from heedful.lm import state
from heedful.lm.budget import Spent
from heedful.lm.columns import prompts as practice
from heedful.lm.decode import Sampler
from heedful.lm.heads import CallFinder
from heedful.lm.load import Loaded, load, save
from heedful.lm.loop import asked_to_stop
from heedful.lm.optim import Stepper
from heedful.lm.records import key_of, rewrite, write_records
from heedful.training.breadth import Keeper, breadth
from heedful.training.constraint import Price
from heedful.training.experience import Experience, Figures, Reward, gather
from heedful.training.online import Learner, OnlineSettings, Track
from heedful.training.watched import Watched

# by iteration: figures, what the policy said, what was foretold of each step, what people said
TOLD = ("curve", "answers", "steps", "audits")
SHOWN = 16  # prompts whose answers before and after lie side by side
TAKEN = {"prompts", "completions", "completion_ids"}  # names that rewards know as another thing


@dataclass(slots=True)
class Done:
    """What a run did."""

    curve: list[Figures] = field(default_factory=list)
    kept: int = 0  # updates that are in the weights
    stopped: str = "done"  # or by the brake, by an audit, as unsafe, by collapse
    asked: int = 0  # pairs that people were asked about
    seconds: float = 0.0
    tokens: int = 0  # that were drawn


def run(
    settings: OnlineSettings,
    learner_of: Callable[[Loaded], Learner],
    work: Path,
    track: Track,
) -> dict[str, Any]:
    """Train and save; returns {"model", "curve", "answers", "steps", "audits", "iterations", "stopped", "kl", ...}."""
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
    write_records(work / "samples.jsonl", _side_by_side(policy, reference, rows, settings))
    if done.stopped not in get_args(Spent):
        state.discard(work)
    first, last = done.curve[0], done.curve[done.kept]
    return {
        **{name: str(work / f"{name}.jsonl") for name in (*TOLD, "samples")},
        "model": str(work / "model"),
        "iterations": done.kept,
        "stopped": done.stopped,
        "left_out": {reason.value: count for reason, count in learner.updater.left_out.items()},
        "kl": last.kl,
        "reward_before": first.reward,
        "reward_after": last.reward,
        "violation_before": first.violation,
        "violation_after": last.violation,
        "seconds": done.seconds,
        "tokens": done.tokens,
        "asked": done.asked,
    }


def _side_by_side(
    policy: Loaded, reference: Loaded, rows: list[dict[str, Any]], settings: OnlineSettings
) -> list[dict[str, Any]]:
    """What the start and the kept weights answer to a few prompts, for people to read."""
    chance = np.random.default_rng((settings.seed, len(rows)))
    chosen = [rows[one]["prompt"] for one in chance.permutation(len(rows))[:SHOWN]]
    before, after = (
        Sampler(one).sample(
            chosen, temperature=settings.temperature, max_tokens=settings.max_tokens, seed=settings.seed
        )
        for one in (reference, policy)
    )
    return [
        {"prompt": prompt, "before": one[0].text, "after": other[0].text}
        for prompt, one, other in zip(chosen, before, after, strict=True)
    ]


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
        self._breadth = None if settings.breadth is None else Keeper(settings.breadth)
        self._watched = None if settings.audit is None else Watched(settings, policy, reference, rows)
        self._good = deepcopy(policy.model)  # the last weights that were within reach
        self._modules = {"policy": policy.model, "good": self._good, **learner.modules}
        if self._watched is not None:
            self._modules["best"] = self._watched.best.model
        self._memory = _Together(learner.steppers)
        self._key = key_of(settings.model_dump(mode="json"), settings.prompts)
        self._begun = self._saved = time.monotonic()
        self._before, self._tokens = 0.0, 0  # seconds spent before this process, tokens drawn in all

    def run(self) -> Done:
        settings, done = self._settings, Done()
        begin = self._resumed(done)
        with asked_to_stop() as asked:
            for iteration in range(begin, settings.iterations + 1):  # the last round only looks
                if asked.is_set():
                    self._save(iteration)
                    raise SystemExit(128 + signal.SIGTERM)
                if iteration > 0 and (spent := settings.spent(self._seconds(), self._tokens)):
                    self._save(iteration)
                    self._back()
                    done.stopped = spent
                    break
                if time.monotonic() - self._saved >= settings.save_seconds:
                    self._save(iteration)
                experience, figures = self._look(iteration)
                done.curve.append(figures)
                self._tokens += round(figures.tokens * experience.answers)
                if stopped := self._beyond(figures):
                    self._back()
                    done.stopped = stopped
                    break
                done.kept = iteration
                self._leave(iteration)
                if self._audited(iteration, figures):
                    done.stopped = "audit"
                    break
                if iteration < settings.iterations:
                    self._good.load_state_dict(self._policy.model.state_dict())
                    verdicts = self._learner.learn(experience, self._random)
                    self._tell("steps", [{"iteration": iteration, **asdict(one)} for one in verdicts])
                    if self._learner.updater.spent:
                        self._back()
                        done.stopped = "unsafe"
                        break
        if self._watched is not None:
            done.asked = self._watched.asked
            if self._watched.answered:
                self._policy.model.load_state_dict(self._watched.best.model.state_dict())
                done.kept = self._watched.kept
        done.seconds, done.tokens = self._seconds(), self._tokens
        return done

    def _beyond(self, figures: Figures) -> str | None:
        """Why these weights are not to be had, if so."""
        brake = self._settings.brake if self._watched is None else self._watched.brake
        if brake is not None and figures.kl > brake:
            return "brake"
        return "collapse" if self._breadth is not None and self._breadth.collapsed else None

    def _leave(self, iteration: int) -> None:
        """The weights as they are now, for those who want to look at them later."""
        every = self._settings.keep_every
        if every is not None and iteration % every == 0:
            save(self._policy, self._work / "checkpoints" / f"{iteration:06d}")

    def _audited(self, iteration: int, figures: Figures) -> bool:
        """Have people look where it is time; True when going on is a waste."""
        if self._watched is None or not self._watched.due(iteration, figures.kl):
            return False
        look = self._watched.look(iteration, kl=figures.kl, reward=figures.reward)
        self._tell("audits", [asdict(look)])
        return self._watched.over

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
        if self._breadth is not None:
            self._breadth.saw(breadth(answers))
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
            1.0 if self._breadth is None else self._breadth.factor,
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

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._begun

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
            "breadth": None if self._breadth is None else self._breadth.state(),
            "watched": None if self._watched is None else self._watched.state(),
            "updater": self._learner.updater.state(),
            "learner": self._learner.state(),
        }
        progress = state.Progress(iteration, self._tokens, self._seconds(), extra=extra)
        state.save(self._states, progress, self._modules, self._memory, self._key)
        self._saved = time.monotonic()

    def _resumed(self, done: Done) -> int:
        """At which iteration to begin: what was told of it and of later ones is told again."""
        found = state.resume(self._states, self._modules, self._memory, self._key)
        begin = 0 if found is None else found.step
        self._work.mkdir(parents=True, exist_ok=True)
        for name in TOLD:
            file = self._work / f"{name}.jsonl"
            kept = [row for row in _whole(file) if row["iteration"] < begin]
            rewrite(file, kept)
            if name == "curve":
                done.curve = [Figures.of(row) for row in kept]
        if found is not None:
            self._before, self._tokens = found.seconds, found.tokens
            for name, taken in found.extra["taken"].items():
                self._learner.steppers[name].taken = taken
            self._random.bit_generator.state = found.extra["random"]
            if self._price is not None:
                self._price.restore(found.extra["price"])
            if self._breadth is not None:
                self._breadth.restore(found.extra["breadth"])
            if self._watched is not None:
                self._watched.restore(found.extra["watched"])
            self._learner.updater.restore(found.extra["updater"])
            self._learner.restore(found.extra["learner"])
            done.kept = max(0, begin - 1)
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
