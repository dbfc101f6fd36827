"""Commands: parse, call one function, print.

Nothing heavy is imported before a command needs it: `heedful --help` answers at once. Exit codes: 0 done,
1 refused or failed, 2 wrong use, 3 too little has come in yet.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heedful.domain.access import OPERATOR, Scope
from heedful.errors import Conflict, HeedfulError, InvalidInput, Misconfigured

if TYPE_CHECKING:
    from heedful.domain.ids import TenantId
    from heedful.settings import Settings
    from heedful.store.sql import SqlStore
    from heedful.store.views import Views
    from heedful.wire import KeyIssued

KEY = "HEEDFUL_KEY"  # environment variable with the API key for a running server
EXPLAINED = 5  # of the worst-judged pairs
ANYWHERE = {"--dir": True, "--set": True, "--tenant": True, "--key": True, "--debug": False}  # takes a value?

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
audit = typer.Typer(help="The log of acts: verify it, sign how it stands, read it.", no_args_is_help=True)
keys = typer.Typer(help="API keys: issue, list, rotate, revoke.", no_args_is_help=True)
imports = typer.Typer(help="What happened elsewhere: yesterday's logs.", no_args_is_help=True)
app.add_typer(audit, name="audit")
app.add_typer(keys, name="keys")
app.add_typer(imports, name="import")
letters = typer.Typer(
    help="What came in and could not become what it should: list, show, replay, purge.", no_args_is_help=True
)
app.add_typer(letters, name="deadletters")
evaluation = typer.Typer(help="How good is it? Report cards from files.", no_args_is_help=True)
app.add_typer(evaluation, name="eval")
trainings = typer.Typer(
    help="What `heedful train` left: compare runs, make a page of one.", no_args_is_help=True
)
app.add_typer(trainings, name="runs")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Kind(StrEnum):
    """What can be shown."""

    EPISODE = "episode"
    TURN = "turn"
    FEEDBACK = "feedback"
    QUEUE = "queue"
    ITEM = "item"
    VERDICT = "verdict"
    DATASET = "dataset"
    REWARD = "reward"
    POLICY = "policy"
    RUN = "run"
    CYCLE = "cycle"
    RELEASE = "release"
    ALERT = "alert"


class LogFormat(StrEnum):
    """What can be imported, as `importing.FORMATS` has it."""

    OPENAI_JSONL = "openai-jsonl"
    LANGFUSE = "langfuse"
    PHOENIX = "phoenix"
    OTLP = "otlp"


class WrongSettings(Misconfigured):
    """What stands in the file, the environment or behind --set cannot be: that is wrong use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What the global options said."""

    directory: Path
    given: Path | None  # the same, None when it was not said
    overrides: tuple[str, ...]
    tenant: TenantId
    key: str | None
    debug: bool

    def settings(self, *more: str) -> Settings:
        import os

        from heedful.settings import load

        environment = {name: value for name, value in os.environ.items() if name != KEY}
        try:
            return load(self.directory, environment=environment, overrides=(*self.overrides, *more))
        except Misconfigured as error:
            raise WrongSettings(str(error)) from error


def main(arguments: Sequence[str] | None = None) -> None:
    """One clear line for whatever is refused or fails; with --debug all of it."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app(_globals_first(given), prog_name="heedful")
    except HeedfulError as error:
        if "--debug" in given:
            raise
        typer.echo(f"heedful: {error}", err=True)
        sys.exit(2 if isinstance(error, InvalidInput | WrongSettings) else 1)
    except BrokenPipeError:  # whoever reads our output has seen enough
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:  # a mistake of ours, or of the machine: still one line
        if "--debug" in given:
            raise
        typer.echo(f"heedful: {type(error).__name__}: {error} (--debug shows where it came from)", err=True)
        sys.exit(1)


def _globals_first(arguments: Sequence[str]) -> list[str]:
    """Global options may stand anywhere: `heedful status --dir x` is what people write."""
    first, rest, left = [], [], iter(arguments)
    for argument in left:
        name, equals, _ = argument.partition("=")
        if argument == "--":
            rest += [argument, *left]
        elif name not in ANYWHERE:
            rest.append(argument)
        else:
            first.append(argument)
            if ANYWHERE[name] and not equals:
                first += [value for value in [next(left, None)] if value is not None]
    return [*first, *rest]


def _version(asked: bool) -> None:
    if asked:
        from heedful import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def everywhere(
    context: typer.Context,
    dir: Annotated[Path | None, typer.Option(help="Directory of heedful.yaml. [default: this one]")] = None,
    set: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Override a setting.")] = None,
    tenant: Annotated[str, typer.Option(help="Whose data.")] = OPERATOR,
    key: Annotated[str | None, typer.Option(envvar=KEY, help="API key for a running server.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version.")
    ] = False,
) -> None:
    """Agents in production get better from what people say and do about their work.

    The options here may stand before or behind the command. Every command takes --json.
    """
    context.obj = Place(
        directory=dir or Path(),
        given=dir,
        overrides=tuple(set or ()),
        tenant=tenant,  # type: ignore[arg-type]
        key=key,
        debug=debug,
    )


@app.command()
def init(
    context: typer.Context,
    directory: Annotated[Path | None, typer.Argument(help="Where to; made if need be.")] = None,
    json: Json = False,
) -> None:
    """Write a commented heedful.yaml, and say what to do next."""
    from heedful.commands.manual import example
    from heedful.settings import FILE

    target = directory or context.obj.directory
    target.mkdir(parents=True, exist_ok=True)
    file = target / FILE
    try:
        with file.open("x") as out:
            out.write(example())
    except FileExistsError:
        raise Conflict(f"{file} is there already: edit it, or name another directory") from None
    here = "" if target == Path() else f" --dir {target}"
    steps = {
        f"heedful doctor{here}": "is this machine fit?",
        f"heedful up{here}": "start the server",
        "heedful demo": "see the whole loop once, in minutes",
    }
    if json:
        _print_json({"file": str(file), "next": list(steps)})
        return
    typer.echo(f"written: {file}\n\nnext:")
    width = max(map(len, steps))
    for step, what in steps.items():
        typer.echo(f"  {step:<{width}}  {what}")


@app.command()
def up(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to listen on: server.host.")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on: server.port; 0 takes a free one.")
    ] = None,
    attached: Annotated[
        bool, typer.Option("--attached", help="End when standard input is closed, as when the parent dies.")
    ] = False,
    json: Json = False,
) -> None:
    """Run the server until Ctrl-C or SIGTERM. It prints its address first."""
    if attached:
        from heedful.lifeline import die_with_parent

        die_with_parent()
    more = [f"server.host={host}"] if host is not None else []
    more += [f"server.port={port}"] if port is not None else []
    settings = context.obj.settings(*more)
    from heedful.app import serve

    def ready(url: str) -> None:
        if json:
            _print_json({"url": url}, lines=True)
        else:
            typer.echo(f"Heedful is at {url} (data in {settings.data}); Ctrl-C stops it")
        sys.stdout.flush()

    serve(settings, ready=ready)


@app.command()
def status(context: typer.Context, json: Json = False) -> None:
    """What runs, what is live for each agent, and which signals are outside their band."""
    from heedful.commands import inspection

    said = inspection.status(context.obj.settings(), context.obj.tenant)
    if json:
        _print_json(said)
        return
    from heedful.commands import printing

    printing.show(*printing.status(said))


@app.command()
def doctor(context: typer.Context, json: Json = False) -> None:
    """Check this installation from the bottom up. Fails when a check fails; warnings are only told."""
    from dataclasses import asdict

    from heedful.commands import doctor as checking
    from heedful.domain.clock import WallClock

    found = list(checking.checks(context.obj.settings(), WallClock()))
    if json:
        _print_json([asdict(check) for check in found])
    else:
        from heedful.commands import printing

        printing.show(printing.checks(found))
    if any(check.state == "failed" for check in found):
        raise typer.Exit(1)


@app.command()
def demo(
    context: typer.Context,
    json: Annotated[Path | None, typer.Option("--json", help="Write the figures there, as JSON.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed draws the same world.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small and meaningless: to see that it runs.")
    ] = False,
) -> None:
    """The whole loop on this machine, in minutes, with simulated people. In --dir, or heedful-demo."""
    from heedful.simulation.demo import main as run

    directory = context.obj.given or Path("heedful-demo")
    raise typer.Exit(run(directory, seed=seed, json_file=json, quick=quick))


@app.command()
def show(
    context: typer.Context,
    kind: Annotated[Kind, typer.Argument(help="What kind of record.")],
    id: Annotated[str | None, typer.Argument(help="Which one; without it the newest few.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, without an id.")] = 10,
    full: Annotated[bool, typer.Option("--full", help="Do not shorten what people wrote.")] = False,
    json: Json = False,
) -> None:
    """Print a record: `show episode ID` tells who spoke to whom."""
    from heedful.commands import inspection, printing

    with _reading(context) as (store, views):
        if id is None:
            newest = inspection.newest(store, context.obj.tenant, kind, limit)
            if json:
                _print_json([inspection.plain(one) for one in newest])
            elif newest:
                printing.show(printing.newest(kind, newest))
            else:
                typer.echo(f"no {kind} yet")
            return
        found = inspection.one(store, views, context.obj.tenant, kind, id)
    if json:
        _print_json(inspection.plain(found))
    else:
        printing.show(*printing.page(found, inspection.plain(found), full=full))


@app.command()
def why(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(metavar="[KIND]", help="What kind of record; may be left out.")],
    id: Annotated[str | None, typer.Argument(metavar="ID", help="Which one.")] = None,
    json: Json = False,
) -> None:
    """Walk back to the people something came from, and forward to the weights that came of it."""
    from heedful.commands import inspection
    from heedful.store import why as lineage
    from heedful.store.protocol import Ref

    if id is not None and inspection.record_kind(kind) not in inspection.LINEAGE:
        raise InvalidInput(f"{kind!r} is not a kind: there is {', '.join(Kind)}", field="kind")
    with _reading(context) as (store, _):
        tenant = context.obj.tenant
        ref = (
            lineage.find(store, tenant, kind) if id is None else Ref(kind=inspection.record_kind(kind), id=id)
        )
        found = lineage.why(store, tenant, ref)
    if json:
        _print_json(found.plain())
        return
    from heedful.commands import printing

    printing.show(*printing.why(found))


@app.command()
def purge(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and remove nothing.")] = False,
    json: Json = False,
) -> None:
    """Remove what is older than the tenant's retention (capture.retention_days)."""
    from heedful.commands import purging

    purged = purging.purge(context.obj.settings(), context.obj.tenant, context.obj.key, dry_run=dry_run)
    if json:
        _print_json(purged.model_dump(mode="json"))
        return
    from heedful.commands import printing

    typer.echo(printing.purged(purged, dry_run=dry_run))


@audit.command("verify")
def audit_verify(context: typer.Context, json: Json = False) -> None:
    """Read the whole log and name the first entry that was changed, is missing or was cut off."""
    from dataclasses import asdict

    from heedful.store import auditing

    with _reading(context) as (store, _):
        finding = auditing.verify(store, context.obj.settings().data)
    if json:
        _print_json(asdict(finding) | {"intact": finding.intact})
    else:
        typer.echo(finding.said if finding.intact else f"{finding.outcome}: {finding.said}")
    if not finding.intact:
        raise typer.Exit(1)


@audit.command("checkpoint")
def audit_checkpoint(context: typer.Context, json: Json = False) -> None:
    """Sign how the log stands. Keep a copy of the checkpoint where the database's owner cannot write."""
    from heedful.audit.ledger import to_json
    from heedful.domain.clock import WallClock
    from heedful.store import auditing

    data = context.obj.settings().data
    with _reading(context) as (store, _):
        made = auditing.checkpoint(store, data, WallClock())
    if json:
        _print_json(to_json(made))
    else:
        typer.echo(f"signed: {made.size} entries, root {made.root.hex()}\nin {data / auditing.CHECKPOINTS}")


@audit.command("log")
def audit_log(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest.")] = 20,
    json: Json = False,
) -> None:
    """The newest acts: who did what to what."""
    from heedful.store import auditing

    with _reading(context) as (store, _):
        acts = auditing.newest(store, context.obj.tenant, limit)
    if json:
        _print_json(acts)
        return
    from heedful.commands import printing

    printing.show(printing.acts(acts))


@keys.command("issue")
def keys_issue(
    context: typer.Context,
    scope: Annotated[Scope, typer.Option(help="What it may do.")],
    name: Annotated[str, typer.Option(help="What people call it.")] = "",
    person: Annotated[str | None, typer.Option(help="For raters: whose judgements these are.")] = None,
    origin: Annotated[str | None, typer.Option(help="For widgets: the web origin it works from.")] = None,
    expires_days: Annotated[float | None, typer.Option(min=0, help="It ends by itself after that.")] = None,
    requests_per_second: Annotated[float | None, typer.Option(help="Instead of the server's.")] = None,
    spend_per_month: Annotated[float | None, typer.Option(help="Then it gets no more answers.")] = None,
    json: Json = False,
) -> None:
    """Make a key. Its secret is printed now and never again."""
    from datetime import timedelta

    from heedful.commands import keychain
    from heedful.domain.clock import WallClock

    ends = None if expires_days is None else WallClock().now() + timedelta(days=expires_days)
    asked = keychain.checked(
        scope=scope.value,
        name=name,
        person=person,
        origin=origin,
        expires_at=ends,
        limits={"requests_per_second": requests_per_second, "spend_per_month": spend_per_month},
    )
    with keychain.opened(context.obj.settings(), context.obj.tenant, context.obj.key) as chain:
        _print_issued(chain.issue(asked), json)


@keys.command("list")
def keys_list(context: typer.Context, json: Json = False) -> None:
    """All keys, also those that are over. Never their secrets: those are not kept."""
    from heedful.commands import keychain

    found = keychain.listed(context.obj.settings(), context.obj.tenant)
    if json:
        _print_json([key.model_dump(mode="json") for key in found])
        return
    from heedful.commands import printing
    from heedful.domain.clock import WallClock

    printing.show(printing.keys(found, WallClock().now()))


@keys.command("rotate")
def keys_rotate(
    context: typer.Context,
    id: Annotated[str, typer.Argument(help="The part before the dot.")],
    overlap_seconds: Annotated[float, typer.Option(min=0, help="How long the old one still works.")] = 86400,
    json: Json = False,
) -> None:
    """Replace a key with one that may do the same; the old one works on for a while."""
    from heedful.commands import keychain
    from heedful.wire import RotateIn

    with keychain.opened(context.obj.settings(), context.obj.tenant, context.obj.key) as chain:
        _print_issued(chain.rotate(id, RotateIn(overlap_seconds=overlap_seconds)), json)


@keys.command("revoke")
def keys_revoke(
    context: typer.Context,
    id: Annotated[str, typer.Argument(help="The part before the dot.")],
    json: Json = False,
) -> None:
    """End a key now."""
    from heedful.commands import keychain

    with keychain.opened(context.obj.settings(), context.obj.tenant, context.obj.key) as chain:
        ended = chain.revoke(id)
    if json:
        _print_json(ended.model_dump(mode="json"))
    else:
        typer.echo(f"{ended.id} is good for nothing since {ended.revoked_at:%Y-%m-%d %H:%M:%S} UTC")


def _print_issued(issued: KeyIssued, json: bool) -> None:
    if json:
        _print_json(issued.model_dump(mode="json"))
        return
    typer.echo(issued.text)
    typer.echo(f"{issued.key.scope} key {issued.key.id}: keep it now, it is not shown again", err=True)


@imports.command("episodes")
def import_episodes(
    context: typer.Context,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Logs, read in this order; .gz too.")
    ],
    format: Annotated[LogFormat, typer.Option(help="Whose format they have.")],
    agent: Annotated[str | None, typer.Option(help="Who acted, where the log names nobody.")] = None,
    scale: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=LOW:HIGH", help="Of scores that are not between 0 and 1."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and count; keep nothing.")] = False,
    json: Json = False,
) -> None:
    """Episodes, turns and feedback out of others' logs. Importing again keeps nothing twice."""
    from contextlib import ExitStack

    from heedful.commands import importing, printing

    told = importing.told(context.obj.tenant, agent=agent, scales=scale or ())
    with ExitStack() as stack:
        taker: importing.Taker = importing.Nobody()
        if not dry_run:
            settings = context.obj.settings()
            taker = stack.enter_context(importing.opened(settings, context.obj.tenant, context.obj.key))
        progress = stack.enter_context(printing.progress(files, "importing"))
        summary = importing.run(files, format.value, told, taker, progress=progress)
    if json:
        _print_json({"dry_run": dry_run, **summary.plain()})
    else:
        printing.show(*printing.imported(summary.plain(), dry_run=dry_run))
    if summary.useless:
        raise typer.Exit(1)


class Method(StrEnum):
    """What can be trained from files."""

    SFT = "sft"
    REWARD = "reward"
    ENSEMBLE = "ensemble"
    SPARSE = "sparse"
    DPO = "dpo"
    KTO = "kto"
    GRPO = "grpo"
    PPO = "ppo"
    REFRESH = "refresh"


@app.command("train")
def train(
    context: typer.Context,
    method: Annotated[
        Method, typer.Argument(help="sft, reward, ensemble, sparse, refresh, dpo, kto, grpo or ppo.")
    ],
    data: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="JSONL to learn from.")] = None,
    model: Annotated[str | None, typer.Option(help="Directory or hub name to start from.")] = None,
    out: Annotated[Path, typer.Option(help="Where the result goes.")] = Path("heedful-out"),
    config: Annotated[
        Path | None, typer.Option(help="YAML or JSON with any of the method's settings.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", metavar="NAME=VALUE", help="One of its settings.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was cut off.")] = False,
    json: Json = False,
) -> None:
    """Train on this machine from files, without a server. Ctrl-C and SIGTERM leave a state to go on from."""
    from heedful.commands import printing, teaching

    spec = teaching.spec_of(method.value, data, model, config, option or ())
    with printing.steps(f"training ({method.value})") as track:
        done = teaching.run(method.value, spec, out, track, resume=resume)
    if json:
        _print_json(done)
    else:
        printing.show(*printing.trained(done))
    if code := teaching.EXITS.get(done.get("outcome", ""), 0):
        raise typer.Exit(code)


@app.command("sweep")
def sweep(
    context: typer.Context,
    method: Annotated[Method, typer.Argument(help="sft, reward, ensemble, sparse, dpo, kto, grpo or ppo.")],
    data: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="JSONL to learn from.")] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=LOW..HIGH", help="A setting to try; NAME=A,B,C tries these values."),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="How many combinations.")] = 12,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Stop after so long; the same command goes on.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="Which figure of a result decides, such as report.quality.accuracy.")
    ] = None,
    highest: Annotated[bool, typer.Option("--highest/--lowest", help="Whether more of it is better.")] = True,
    seed: Annotated[int, typer.Option(help="Of what is tried.")] = 0,
    model: Annotated[str | None, typer.Option(help="Directory or hub name to start from.")] = None,
    out: Annotated[Path, typer.Option(help="Where trials and the best model go.")] = Path("heedful-sweep"),
    config: Annotated[
        Path | None, typer.Option(help="YAML or JSON with any of the method's settings.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", metavar="NAME=VALUE", help="A setting of all trials."),
    ] = None,
    json: Json = False,
) -> None:
    """Try settings of a training within bounds; keeps the best model, and its settings for `train --config`."""
    from heedful.commands import printing, sweeping, teaching

    dials = [sweeping.dial(one) for one in vary or ()]
    spec = teaching.spec_of(method.value, data, model, config, option or ())
    goal = sweeping.goal_of(method.value, metric, highest=highest)
    with printing.steps(f"sweep ({method.value})") as track:
        found = sweeping.run(
            method.value, spec, dials, out, track, goal=goal, trials=trials, seconds=seconds, seed=seed
        )
    if json:
        _print_json(found.row())
    else:
        printing.show(*printing.swept(found.row()))


@trainings.command("compare")
def compare_runs(
    context: typer.Context,
    directories: Annotated[list[Path], typer.Argument(metavar="DIR...", help="What `train --out` wrote.")],
    json: Json = False,
) -> None:
    """Trainings side by side: which settings and data differ, and what came of each."""
    from heedful.commands import printing, runs

    found = runs.compare(directories).row()
    if json:
        _print_json(found)
    else:
        printing.show(*printing.compared(found))


@trainings.command("report")
def report_run(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="What `train grpo|ppo --out` wrote.")],
    page: Annotated[Path | None, typer.Option(help="Where the page goes; nothing: into DIR.")] = None,
) -> None:
    """One page about a run that practised: reward and people against distance, alarms, answers before and after."""
    from heedful.commands import runpage

    target = page or directory / "report.html"
    _write_page(target, runpage.page(directory))
    typer.echo(str(target))


@evaluation.command("reward")
def eval_reward(
    context: typer.Context,
    model: Annotated[Path | None, typer.Option(help="Directory of the reward model.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="JSONL of pairs, and of answers with a score or a flag.")
    ] = None,
    slice: Annotated[
        list[str] | None, typer.Option(metavar="FIELD", help="Tell accuracy for each value of it.")
    ] = None,
    elsewhere: Annotated[
        Path | None, typer.Option(help="JSONL of another kind: is the model less sure there?")
    ] = None,
    noise: Annotated[float | None, typer.Option(help="Share of choices known to be wrong.")] = None,
    cache: Annotated[Path | None, typer.Option(help="File that keeps scores between runs.")] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show which sentences of the worst-judged pairs did it.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write the card there, as one page.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML or JSON with any setting of an examination.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", metavar="NAME=VALUE", help="One of its settings.")
    ] = None,
    json: Json = False,
) -> None:
    """The report card of a reward model, from files, without a server. Fails when a bound is missed."""
    from heedful.commands import examining, printing, reportcard
    from heedful.commands.orders import order

    said = {
        "model": model and str(model),
        "data": data and str(data),
        "elsewhere": elsewhere and str(elsewhere),
        "cache": cache and str(cache),
        "slices": slice or None,
        "noise": noise,
    }
    spec = order(examining.ExamSpec, config, option or (), said)
    if explain:
        spec.setdefault("explained", EXPLAINED)
    with printing.steps("examining") as track:
        card = examining.run(spec, track)
    if html is not None:
        _write_page(html, reportcard.page(card))
    if json:
        _print_json(card)
    else:
        printing.show(*printing.examined(card))
    if not card["passed"]:
        raise typer.Exit(1)


Letter = Annotated[list[str], typer.Argument(metavar="ID...", help="Which ones.")]


@letters.command("list")
def letters_list(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="How many of the oldest.")] = 100,
    json: Json = False,
) -> None:
    """Dead letters with the reason of each, the oldest first."""
    from dataclasses import asdict

    from heedful.commands import deadletters

    found = deadletters.listed(context.obj.settings(), context.obj.tenant, limit=limit)
    if json:
        _print_json([asdict(one) for one in found])
        return
    from heedful.commands import printing

    printing.show(printing.letters(found))


@letters.command("show")
def letters_show(
    context: typer.Context,
    id: Annotated[str, typer.Argument(help="Which one.")],
    json: Json = False,
) -> None:
    """One dead letter with its payload, as it came."""
    from dataclasses import asdict

    from heedful.commands import deadletters

    found = deadletters.one(context.obj.settings(), context.obj.tenant, id)
    if json:
        _print_json(asdict(found))
        return
    from heedful.commands import printing

    printing.show(printing.letters([found]))
    typer.echo(found.payload)


@letters.command("replay")
def letters_replay(
    context: typer.Context,
    ids: Letter,
    payload: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="File to hear instead: mended JSON.")
    ] = None,
    json: Json = False,
) -> None:
    """Hear them once more. A letter goes when all of it was taken; 1 is the exit code when one was not."""
    from heedful.commands import deadletters

    if payload is not None and len(ids) > 1:
        raise InvalidInput("--payload goes with one dead letter", field="payload")
    text = None if payload is None else payload.read_text()
    found = {}
    with deadletters.opened(context.obj.settings(), context.obj.tenant, context.obj.key) as opened:
        for id in ids:
            found[id] = opened.replay(id, text)
    wrong = [one for results in found.values() for one in results if one["status"] == "error"]
    if json:
        _print_json(found)
    else:
        for id, results in found.items():
            for one in results:
                why = f": {one['error']['message']}" if one["error"] else ""
                typer.echo(f"{id}: {one['id']} {one['status']}{why}")
    if wrong:
        raise typer.Exit(1)


@letters.command("purge")
def letters_purge(context: typer.Context, ids: Letter, json: Json = False) -> None:
    """Throw them away for good. The audit log keeps who did."""
    from heedful.commands import deadletters

    with deadletters.opened(context.obj.settings(), context.obj.tenant, context.obj.key) as opened:
        for id in ids:
            opened.purge(id)
    if json:
        _print_json({"purged": ids})
    else:
        typer.echo(f"purged: {len(ids)}")


@contextmanager
def _reading(context: typer.Context) -> Iterator[tuple[SqlStore, Views]]:
    """The store for looking only: a running server does not mind."""
    from heedful.wiring import read

    store, views = read(context.obj.settings())
    try:
        yield store, views
    finally:
        store.close()


def _write_page(target: Path, page: str) -> None:
    try:
        target.write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise InvalidInput(f"{target} cannot be written: {error.strerror}; name another file") from None


def _print_json(value: Any, *, lines: bool = False) -> None:
    import json

    typer.echo(json.dumps(value, default=str, ensure_ascii=False, indent=None if lines else 2))


if __name__ == "__main__":
    main()
