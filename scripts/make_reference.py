"""Write docs/commands.md, docs/settings.md and docs/api.md from what they describe.

tests/unit/test_docs.py fails when a page is not what this script would write: run it then.
"""

from __future__ import annotations

import inspect
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

DOCS = Path(__file__).resolve().parent.parent / "docs"
NOTE = "This page is written by `scripts/make_reference.py`."


def commands() -> str:
    """Every command with its arguments and options."""
    lines = [
        "# Commands",
        "",
        "Every command takes `--json` and prints JSON then, and takes the options under *Everywhere* before",
        "or behind its name. Exit codes: 0 done, 1 refused or failed, 2 wrong use, 3 too little has",
        "come in yet (`train refresh`); 130 after Ctrl-C.",
        "An error is one line on the standard error stream; `--debug` shows where it came from.",
        "",
        NOTE,
        "",
    ]
    for command in walked():
        lines += [f"## {' '.join(command.path) if command.path[1:] else 'Everywhere'}", "", command.about, ""]
        if command.runs and command.path[1:]:
            lines += ["```", command.usage, "```", ""]
        if command.parameters:
            lines += ["| argument or option | default | what it is |", "|---|---|---|"]
            lines += [f"| `{one.shown}` | {one.default} | {_cell(one.about)} |" for one in command.parameters]
            lines.append("")
    return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    shown: str  # as it is typed
    positional: bool
    required: bool
    default: str
    about: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    path: tuple[str, ...]
    about: str
    runs: bool  # False for a group
    parameters: list[Parameter]

    @property
    def usage(self) -> str:
        typed = [one.shown for one in self.parameters if one.positional]
        typed += [f"{one.shown} …" for one in self.parameters if one.required and not one.positional]
        return " ".join((*self.path, *typed))


def walked() -> Iterator[Command]:
    """Every command and group, in the order in which help shows them."""
    from heedful.cli import app

    callback = app.registered_callback
    assert callback is not None
    yield from _walk(app, ("heedful",), callback.callback.__doc__, callback)


def _walk(app: Any, path: tuple[str, ...], about: str | None, callback: Any) -> Iterator[Command]:
    own = [] if callback is None else parameters(callback.callback)
    yield Command(path=path, about=_sentence(about), runs=False, parameters=own)
    for info in app.registered_commands:
        name = info.name or info.callback.__name__
        yield Command(
            path=(*path, name),
            about=_sentence(info.callback.__doc__),
            runs=True,
            parameters=parameters(info.callback),
        )
    for group in app.registered_groups:
        yield from _walk(group.typer_instance, (*path, group.name), group.typer_instance.info.help, None)


def parameters(function: Any) -> list[Parameter]:
    import typer

    hints = get_type_hints(function, include_extras=True)
    found = []
    for name, signed in inspect.signature(function).parameters.items():
        kind, *told = get_args(hints[name]) if get_origin(hints[name]) is Annotated else (hints[name],)
        info = next((one for one in told if hasattr(one, "param_decls")), None)
        if info is None:  # the context
            continue
        required = signed.default is inspect.Parameter.empty
        positional = not isinstance(info, type(typer.Option()))
        if positional:
            typed = info.metavar or name.upper()
            shown = typed if required or typed.startswith("[") else f"[{typed}]"
        else:
            shown = next(iter(info.param_decls or ()), f"--{name.replace('_', '-')}")
        about = info.help or ""
        if isinstance(kind, type) and issubclass(kind, Enum):
            about += " One of " + ", ".join(f"`{one.value}`" for one in kind) + "."
        if info.envvar:
            about += f" Also from the environment variable `{info.envvar}`."
        if required and not positional:
            about += " Must be given."
        empty = required or signed.default is None or signed.default is False or signed.default == ""
        default = "" if empty else f"`{signed.default}`"
        found.append(
            Parameter(shown=shown, positional=positional, required=required, default=default, about=about)
        )
    return found


def settings() -> str:
    from heedful.commands.manual import page

    return page()


def api() -> str:
    """Every route with what a key must be allowed to do."""
    lines = [
        "# API",
        "",
        "Requests and answers are JSON. A key goes into `Authorization: Bearer …`; while there are no keys,",
        "this machine alone may ask, and may do everything. An error is an object `error` with `message`,",
        "`type`, `param` (the field's dotted path) and `code`; with 429 and 503, `Retry-After` says when to",
        "come again. The chat routes are OpenAI's: its clients work as they are. `heedful.client` wraps it.",
        "",
        NOTE,
        "",
        "| route | what it does | scopes of keys that may |",
        "|---|---|---|",
    ]
    for method, path, about, scopes in routes():
        lines.append(f"| `{method} {path}` | {_cell(about)} | {', '.join(scopes)} |")
    return "\n".join([*lines, ""])


def routes() -> list[tuple[str, str, str, list[str]]]:
    """Method, path, the handler's first sentence and the scopes, of everything that a real app answers."""
    from heedful.access.permissions import ALLOWED
    from heedful.service.api import ROUTES

    allowed = {
        (route.method, route.path): [str(scope) for scope, may in ALLOWED.items() if route.action in may]
        for route in ROUTES
    }
    found = []
    for route in answered():
        for method in sorted(route.methods - {"HEAD", "OPTIONS"}):
            if (method, route.path) in allowed:
                scopes, about = allowed[method, route.path], _sentence(route.endpoint.__doc__)
            else:
                scopes, about = OTHERS[route.path]
            found.append((method, route.path, about, scopes))
    return sorted(found, key=lambda one: (one[1].split("/")[1:3], one[1], one[0]))


# Routes that ask for themselves: the gateway's, which are OpenAI's, and those for whoever runs the server.
OTHERS = {
    "/metrics": (["admin", "viewer"], "Counts and times of the whole server, for Prometheus."),
    "/v1/chat/completions": (
        ["admin", "agent"],
        "An answer from the agent's policy; `model` names the agent. Its id comes back.",
    ),
    "/e/{episode}/a/{agent}/v1/chat/completions": (
        ["admin", "agent"],
        "The same as part of an episode, for clients that can only be given a base address.",
    ),
    "/v1/traces": (["admin", "agent"], "OpenTelemetry's traces, in JSON or protobuf."),
    "/v1/models": (["admin", "agent"], "The agents that have a policy, as models."),
    "/v1/models/{id:path}": (["admin", "agent"], "One agent, and which policy answers for it."),
    "/healthz": (["no key needed"], "The process runs."),
    "/readyz": (["no key needed"], "The database reads and writes."),
    "/widget.js": (["no key needed"], "The feedback widget, for a script tag in a page of yours."),
    "/openapi.json": (["no key needed"], "All of this as OpenAPI says it, with every field."),
}


def answered() -> list[Any]:
    """The routes of an app, as it is built for a server."""
    from heedful.app import create
    from heedful.settings import load
    from heedful.wiring import wire

    with tempfile.TemporaryDirectory() as directory:
        settings = load(Path(directory), environment={})
        wired = wire(settings)
        try:
            return [route for route in create(wired, settings).routes if hasattr(route, "methods")]
        finally:
            wired.close()


def _sentence(text: str | None) -> str:
    """The first paragraph, on one line."""
    return " ".join((text or "").strip().split("\n\n")[0].split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|").strip()


PAGES = {"commands.md": commands, "settings.md": settings, "api.md": api}


def main() -> int:
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())
        print(f"written: docs/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
