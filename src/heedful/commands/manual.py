"""What can be set, told by the settings themselves: for `heedful init` and the pages of the documentation."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from heedful.settings import FILE, PREFIX, Settings

# What most people set, in the order in which they come to it.
MOST_USED = (
    "data",
    "database",
    "server.host",
    "server.port",
    "server.log_level",
    "safety.taxonomy",
    "inference.upstreams",
    "labeling.candidates",
    "labeling.gold_share",
    "learn.judgements",
    "learn.prompts",
    "learn.wait_seconds",
    "gates.reward_accuracy",
    "gates.win_rate",
    "gates.violation_rise",
    "releases.steps",
    "releases.margin",
    "releases.episodes",
    "watch.violations",
    "watch.success",
)
# Where the default says too little about what may stand there.
EXAMPLES: dict[str, Any] = {
    "database": "postgresql+psycopg://heedful@localhost/heedful",
    "safety.taxonomy": "taxonomy.yaml",
    "inference.upstreams": {"vllm": {"url": "http://localhost:8000/v1", "key_from": "VLLM_KEY"}},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting as it explains itself."""

    name: str  # dotted
    type: str
    default: Any
    about: str

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper().replace(".", "__")


def settings(model: type[BaseModel] = Settings, path: tuple[str, ...] = ()) -> Iterator[Setting]:
    """Every setting, in the order of the classes."""
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from settings(annotation, (*path, name))
        else:
            yield Setting(
                name=".".join((*path, name)),
                type=_type(annotation),
                default=_default(field),
                about=" ".join((field.description or "").split()),
            )
            if (inner := _named(annotation)) is not None:
                yield from settings(inner, (*path, name, "NAME"))


def example() -> str:
    """A `heedful.yaml` in which nothing is set, and everything that is set most often can be seen."""
    known = {setting.name: setting for setting in settings()}
    lines = [
        "# Settings of Heedful. Every line here is a comment: what you do not set keeps the value shown.",
        f"# Stronger than this file: the environment ({PREFIX}SERVER__PORT=80), then --set server.port=80.",
        "# All settings with their meaning: docs/settings.md",
    ]
    section = ""
    for name in MOST_USED:
        setting = known[name]
        head, dot, leaf = name.partition(".")
        if not dot:
            head, leaf = "", name
        if head != section:
            lines += ["", f"# {head}:"]
        elif not dot:
            lines.append("")
        section = head
        indent = "  " if head else ""
        lines.append(f"# {indent}# {setting.about}" if head else f"# {setting.about}")
        value = EXAMPLES.get(name, setting.default)
        lines += [f"# {indent}{line}" for line in written(leaf, value)]
    return "\n".join(lines) + "\n"


def written(name: str, value: Any) -> list[str]:
    """As it stands in a YAML file."""
    if isinstance(value, dict):
        text = yaml.safe_dump({name: _plain(value)}, sort_keys=False, default_flow_style=False)
        return str(text).splitlines()
    return [f"{name}: {shown(value)}"]


def page() -> str:
    """`docs/settings.md`."""
    lines = [
        "# Settings",
        "",
        f"They come from `{FILE}`, then the environment, then `--set name=value`; the later wins. A name",
        "that does not exist is refused, with the nearest one that does.",
        "",
        "This page is written by `scripts/make_reference.py`, from the settings themselves.",
        "",
    ]
    section = None
    for setting in settings():
        head = setting.name.partition(".")[0] if "." in setting.name else ""
        if head != section:
            section = head
            lines += ["", f"## {head}", ""] if head else []
            lines += ["| setting | default | kind | what it is |", "|---|---|---|---|"]
        default = "" if setting.default is None else f"`{shown(setting.default)}`"
        lines.append(f"| `{setting.name}` | {default} | {setting.type} | {setting.about} |")
    lines += ["", f"The environment variable of `server.port` is `{PREFIX}SERVER__PORT`, and so on.", ""]
    return "\n".join(lines)


def shown(value: Any) -> str:
    plain = _plain(value)
    return str(yaml.safe_dump(plain, default_flow_style=True, width=1000)).removesuffix("\n...\n").strip()


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case tuple() | list():
            return [_plain(inner) for inner in value]
        case Path():
            return str(value)
        case Enum():
            return value.value
        case _:
            return value


def _default(field: FieldInfo) -> Any:
    return None if field.is_required() else field.get_default(call_default_factory=True)


def _named(annotation: Any) -> type[BaseModel] | None:
    """What each entry of a table of settings is."""
    inner = get_args(annotation)[1] if get_origin(annotation) is dict else None
    return inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None


def _type(annotation: Any) -> str:
    """In words that somebody who writes YAML knows."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(one) for one in inner if one is not type(None)) + ", may be empty"
    if origin is tuple:
        return f"list of {_type(inner[0])}s"
    if origin is dict:
        return "table"
    if origin is Literal:
        return "one of " + ", ".join(f"`{one}`" for one in inner)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "one of " + ", ".join(f"`{one.value}`" for one in annotation)
    words = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}
    return words.get(annotation, getattr(annotation, "__name__", str(annotation)))
