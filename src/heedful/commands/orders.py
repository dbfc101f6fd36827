"""What a command is told to do, as one checked table: a file first, then what was said beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from heedful.errors import InvalidInput, Misconfigured


def order(
    shape: type[BaseModel], config: Path | None, options: Sequence[str], said: Mapping[str, Any]
) -> dict[str, Any]:
    """What the file has, then each NAME=VALUE, then what was said in its own words; None was not said."""
    asked: dict[str, Any] = {} if config is None else _read(config)
    asked |= dict(map(_option, options))
    asked |= {name: value for name, value in said.items() if value is not None}
    try:
        shape.model_validate(asked)
    except ValidationError as error:
        known = f"{shape.__name__} has {', '.join(shape.model_fields)}"
        raise InvalidInput(f"{'; '.join(map(_told, error.errors()))} ({known})") from None
    return asked


def _read(config: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise Misconfigured(f"{config} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{config} is neither YAML nor JSON: {error}") from error
    if not isinstance(found, dict):
        raise Misconfigured(f"{config} holds no table of settings")
    return found


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidInput(f"{text!r} is not NAME=VALUE")
    return name, yaml.safe_load(value) if value else ""


def _told(error: Any) -> str:
    return f"{'.'.join(map(str, error['loc'])) or 'the order'}: {error['msg'][:1].lower()}{error['msg'][1:]}"
