"""Policies, what takes them to the fleet, and turns of the loop."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from heedful.domain.content import Sampling
from heedful.domain.ids import ID_PATTERN, Digest
from heedful.domain.models import Adapter, External, Weights
from heedful.domain.release import Unit
from heedful.wire.fields import Name, Number, Shape, Short, Text, Whole
from heedful.wire.messages import MessageIn

DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"


class WeightsIn(Shape):
    """A whole model in the blobs."""

    kind: Literal["weights"] = "weights"
    """This kind."""
    digest: Annotated[str, StringConstraints(pattern=DIGEST_PATTERN)]
    """Of the directory."""


class AdapterIn(Shape):
    """A small change on top of a base."""

    kind: Literal["adapter"] = "adapter"
    """This kind."""
    digest: Annotated[str, StringConstraints(pattern=DIGEST_PATTERN)]
    """Of the adapter."""
    base: Annotated[str, StringConstraints(pattern=DIGEST_PATTERN)]
    """Of what it changes."""


class ExternalIn(Shape):
    """A model that somebody else hosts: the prompt and the parameters are what is versioned."""

    kind: Literal["external"] = "external"
    """This kind."""
    upstream: Name
    """Name of an inference upstream in the settings, or `scripts`."""
    model: Short
    """As the upstream calls it."""
    prompt: tuple[MessageIn, ...] = Field((), max_length=1000)
    """Goes before the agent's own messages."""


class SamplingIn(Shape):
    """How a policy answers unless a request asks otherwise."""

    temperature: Annotated[Number, Field(ge=0, le=10)] | None = None
    """0 is always the likeliest token."""
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    """Share of the likeliest tokens that are drawn from."""
    max_tokens: Annotated[Whole, Field(ge=1)] | None = None
    """The longest answer."""
    seed: Whole | None = None
    """Makes answers repeatable."""
    stop: tuple[Text, ...] = Field((), max_length=16)
    """Texts at which an answer ends."""
    extra: dict[str, Any] | None = None
    """Passed on to the upstream as it is."""


class PolicyIn(Shape):
    """Take a policy in that was not made here."""

    agent: Name
    """Whose next version it is."""
    body: Annotated[WeightsIn | AdapterIn | ExternalIn, Field(discriminator="kind")]
    """By `kind`: weights, adapter or external."""
    sampling: SamplingIn = SamplingIn()
    """How it answers unless a request asks otherwise."""

    def body_to_domain(self) -> Weights | Adapter | External:
        match self.body:
            case WeightsIn(digest=digest):
                return Weights(digest=Digest(digest))
            case AdapterIn(digest=digest, base=base):
                return Adapter(digest=Digest(digest), base=Digest(base))
            case ExternalIn(upstream=upstream, model=model, prompt=prompt):
                return External(
                    upstream=upstream, model=model, prompt=tuple(message.to_domain() for message in prompt)
                )

    def sampling_to_domain(self) -> Sampling:
        return Sampling(**dict(self.sampling))


class ReleaseIn(Shape):
    """Take a policy to the fleet."""

    policy: Name
    """Which."""
    steps: tuple[Number, ...] | None = Field(None, min_length=1, max_length=100)
    """Percentages of units, rising, the last one 100; None means the settings'."""
    unit: Unit = Unit.EPISODE
    """What stays on one side of it: instance, user, conversation or episode; where a request does not name its
    agent's instance or its user, its episode."""
    override: Annotated[str, StringConstraints(min_length=1, max_length=2000)] | None = None
    """Why it may go out although a gate refused it. Only an admin may."""
    once: Annotated[str, StringConstraints(pattern=ID_PATTERN, max_length=100)] | None = None
    """Yours: sent again with the same one, nothing begins a second time."""


class RollBackIn(Shape):
    """Take a release back."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=2000)]
    """For those who ask later."""


class SftIn(Shape):
    """How long to imitate. What may be loaded, and from where, is for the settings and nobody else to say."""

    steps: Annotated[Whole, Field(ge=1)] | None = None
    """Optimiser steps."""
    batch: Annotated[Whole, Field(ge=1)] | None = None
    """Demonstrations per step."""
    rate: Annotated[Number, Field(gt=0)] | None = None
    """Highest learning rate."""


class CycleOptions(Shape):
    """Where one turn of the loop differs from the settings."""

    only: dict[Short, Short] = Field(default_factory=dict)
    """For `imitate`: demonstrations with these values only, such as who they are `by`."""
    sft: SftIn = SftIn()
    """For `imitate`: instead of `learn.sft`."""
    steps: tuple[Number, ...] | None = Field(None, min_length=1, max_length=100)
    """Percentages of the release, rising, the last one 100."""


class CycleIn(Shape):
    """Start one turn of the loop."""

    id: Annotated[str, StringConstraints(pattern=ID_PATTERN, max_length=100)] | None = None
    """Yours: sent again with the same one, nothing starts a second time."""
    agent: Name
    """Whose policy shall become better."""
    kind: Literal["improve", "imitate"] = "improve"
    """`imitate` learns from demonstrations, `improve` from judgements."""
    options: CycleOptions = CycleOptions()
    """Where it differs from the settings."""
