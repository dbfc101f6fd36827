"""All settings: each room's own, put together and read once.

They come from `heedful.yaml`, then the environment (`HEEDFUL_SERVER__PORT=8081`), then `--set server.port=8081`;
the later wins. A key that does not exist is an error that names the nearest one that does: a setting that is
silently ignored is worse than none.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from heedful.errors import Misconfigured
from heedful.evaluation.gates import GateSettings
from heedful.feedback.metrics import MetricSettings
from heedful.feedback.settings import CaptureSettings
from heedful.inference.openai_http import UpstreamSettings
from heedful.labeling.settings import LabelingSettings
from heedful.monitoring.signals import WatchSettings
from heedful.preferences.freeze import DatasetSettings
from heedful.release.settings import ReleaseSettings
from heedful.training.settings import LearnSettings

FILE = "heedful.yaml"
PREFIX = "HEEDFUL_"


class ServerSettings(BaseModel):
    """Where the server listens, and how much it takes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = Field("heedful", pattern=r"^[A-Za-z0-9._-]{1,60}$")
    """What this server is called. Several on one PostgreSQL database each have a name of their own: a server
    goes on with the cycles that the last one of its name began."""

    host: str = "127.0.0.1"
    """Address to listen on. Any but a loopback address needs API keys first."""

    port: int = Field(8080, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""

    body_limit: int = Field(8 * 2**20, ge=1024)
    """Largest request in bytes."""

    body_seconds: float = Field(30.0, gt=0)
    """How long a request's body may take to come."""

    unread_seconds: float = Field(60.0, gt=0)
    """How long a client may leave a piece of a streamed answer lying before the stream ends for it."""

    requests_per_second: float = Field(2000.0, gt=0)
    """What one key may send, over a few seconds, unless the key says otherwise."""

    disk_floor_mb: int = Field(200, ge=0)
    """Space that stays free on the disk of `data`: with less, feedback is answered 503 until there is more."""

    drain_seconds: float = Field(10.0, ge=0)
    """How long requests may still take after SIGTERM."""

    log_level: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""


class GatewaySettings(BaseModel):
    """The gateway that agents call instead of a model's own address."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    record: Literal["journal", "store"] = "journal"
    """What an answer waits for: a line in this machine's journal (survives the process), or a commit that is
    synced (survives the loss of power, and costs every answer some milliseconds)."""

    when_full: Literal["refuse", "serve"] = "refuse"
    """When turns cannot be kept: refuse requests, or answer them without a record, counted and logged."""

    journal_bytes: int = Field(256 * 2**20, ge=2**20)
    """How much may wait for the store before the journal counts as full."""

    fallbacks: dict[str, str] = Field(default_factory=dict)
    """By agent: the id of the policy that answers when the allotted one's server does not."""

    hold_seconds: float = Field(120.0, gt=0)
    """How long a held answer waits for a person's decision before it is refused."""


class SafetySettings(BaseModel):
    """What counts as unsafe."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    taxonomy: Path | None = None
    """Your own safety taxonomy; without it the one that comes along."""


class FeedbackSettings(BaseModel):
    """What people and programs may say, and how long it waits for what it is about."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    metrics: dict[str, MetricSettings] = Field(default_factory=dict)
    """Names that feedback may have, with the form, level, direction and scale of each."""

    parked_days: float = Field(30.0, gt=0)
    """How long feedback waits for a turn or an episode that is not here yet."""

    signs: bool = True
    """Read what users do next (thanks, corrections, asking again …) off the conversations at the gateway."""


class InferenceSettings(BaseModel):
    """What answers for policies that are not our own weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    upstreams: dict[str, UpstreamSettings] = Field(default_factory=dict)
    """OpenAI-compatible servers by name."""

    scripts: dict[str, str] = Field(default_factory=dict)
    """Functions of this process by name, as dotted paths: for agents that follow rules."""

    timeout: float = Field(60.0, gt=0)
    """Seconds until an answer of the local engine counts as lost."""


class Settings(BaseModel):
    """The whole of it. Nothing below `wiring` receives this: each part gets its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    data: Path = Path("heedful-data")
    """Directory for everything that Heedful keeps."""

    database: str | None = None
    """URL such as `postgresql+psycopg://…`; without it SQLite in `data`."""

    seed: int | None = None
    """Makes everything random repeatable. For demonstrations and tests."""

    server: ServerSettings = ServerSettings()
    safety: SafetySettings = SafetySettings()
    gateway: GatewaySettings = GatewaySettings()
    inference: InferenceSettings = InferenceSettings()
    feedback: FeedbackSettings = FeedbackSettings()
    labeling: LabelingSettings = LabelingSettings()
    datasets: DatasetSettings = DatasetSettings()
    learn: LearnSettings = LearnSettings()
    gates: GateSettings = GateSettings()
    releases: ReleaseSettings = ReleaseSettings()
    watch: WatchSettings = WatchSettings()
    capture: CaptureSettings = CaptureSettings()

    @property
    def digest(self) -> str:
        """Of everything that can change an answer: stamped on every turn."""
        return hashlib.sha256(
            self.model_dump_json(exclude={"server", "gateway", "capture", "data", "database"}).encode()
        ).hexdigest()[:16]


def load(
    directory: Path = Path(),
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
) -> Settings:
    """Settings from the three places. Relative paths in them start from `directory`."""
    raw = _from_file(file or directory / FILE, must_exist=file is not None)
    for name, value in sorted((os.environ if environment is None else environment).items()):
        if name.startswith(PREFIX):
            path = name[len(PREFIX) :].lower().split("__")
            _put(raw, path, yaml.safe_load(value), f"environment variable {name}")
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise Misconfigured(f"--set {override!r} has no value: write --set {override}=VALUE")
        _put(raw, key.split("."), yaml.safe_load(value), f"--set {key}")
    _refuse_unknown(raw, Settings, ())
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise Misconfigured(f"setting {name} is {first['input']!r}: {first['msg']}") from error
    return settings.model_copy(update={"data": directory / settings.data})


def names(model: type[BaseModel] = Settings, path: tuple[str, ...] = ()) -> dict[str, str]:
    """Every setting by its dotted name, with its explanation: for docs, tests and near misses."""
    found: dict[str, str] = {}
    for name, field in model.model_fields.items():
        inner = _model_of(field.annotation)
        if inner is not None:
            found |= names(inner, (*path, name))
        else:
            found[".".join((*path, name))] = field.description or ""
    return found


def _from_file(path: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        if must_exist:
            raise Misconfigured(f"settings file {path} does not exist") from None
        return {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Misconfigured(f"settings file {path} does not read: {error}") from error
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise Misconfigured(f"settings file {path} holds a {type(raw).__name__}: it holds keys and values")
    return raw


def _put(raw: dict[str, Any], path: Sequence[str], value: Any, where: str) -> None:
    for name in path[:-1]:
        raw = raw.setdefault(name, {})
        if not isinstance(raw, dict):
            raise Misconfigured(f"{where}: {name!r} is a value, it has nothing inside")
    raw[path[-1]] = value


def _refuse_unknown(raw: Mapping[str, Any], model: type[BaseModel], path: tuple[str, ...]) -> None:
    for name, value in raw.items():
        dotted = ".".join((*path, str(name)))
        if name not in model.model_fields:
            near = difflib.get_close_matches(
                dotted, list(names()) + list(Settings.model_fields), n=1, cutoff=0.5
            )
            hint = f": did you mean {near[0]}?" if near else f": there is {', '.join(model.model_fields)}"
            raise Misconfigured(f"there is no setting {dotted}{hint}")
        inner = _model_of(model.model_fields[name].annotation)
        if inner is not None and isinstance(value, Mapping):
            _refuse_unknown(value, inner, (*path, str(name)))


def _model_of(annotation: Any) -> type[BaseModel] | None:
    for one in (annotation, *get_args(annotation)):
        if isinstance(one, type) and issubclass(one, BaseModel) and annotation is one:
            return one
    return None
