"""Records for people: trees, tables and one-line summaries in a terminal.

What users and agents wrote is printed with its control characters made visible: a terminal obeys them, and
nobody should be able to move a reader's cursor from inside a feedback form.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from heedful.domain.content import Role
from heedful.domain.episode import Episode, Turn, addressees
from heedful.domain.feedback import (
    Behaviour,
    Choice,
    Completion,
    Confirmation,
    Correction,
    DeadLetter,
    Demonstration,
    Efficiency,
    Feedback,
    Flag,
    Form,
    Ranking,
    Rating,
    Thumbs,
    Violation,
)
from heedful.domain.labeling import Assignment, Item, Queue, Verdict
from heedful.domain.models import Cycle, Policy, RewardModel, Run
from heedful.domain.preference import Dataset
from heedful.domain.release import Release
from heedful.domain.watch import Alert, Incident
from heedful.rewards.bounds import HELD, held
from heedful.store.views import EpisodeView
from heedful.store.why import Group, Node, Why

if TYPE_CHECKING:
    from heedful.wire import KeyOut, PurgedOut  # it takes a while to import, and only one page needs it

BAR = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
SHORT = 96  # characters of somebody's words, unless all were asked for
DEEPEST = 8  # turns nested in one another; longer conversations go on at that depth


def console() -> Console:
    """For what was asked for. Into a pipe nothing is wrapped, so that a line stays a line."""
    return Console(
        markup=False,
        highlight=False,
        soft_wrap=not sys.stdout.isatty(),
        width=None if sys.stdout.isatty() else 200,
    )


def clean(text: str, limit: int | None = SHORT) -> str:
    """On one line, without anything that a terminal obeys, and not longer than `limit`."""
    visible = "".join(character if character.isprintable() else "�" for character in " ".join(text.split()))
    return visible if limit is None or len(visible) <= limit else visible[: limit - 1] + "…"


def when(at: datetime | None) -> str:
    return "" if at is None else at.strftime("%Y-%m-%d %H:%M:%S")


def number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def figures(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {number(value)}" for name, value in values.items())


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    shown = Table(*columns, box=SIMPLE, pad_edge=False, header_style="bold")
    for row in rows:
        shown.add_row(*(Text(str(cell)) for cell in row))
    return shown


def pairs(values: Mapping[str, object]) -> Table:
    """Names and values beneath one another."""
    grid = Table.grid(padding=(0, 2))
    for name, value in values.items():
        grid.add_row(Text(name, style="dim"), Text(str(value)))
    return grid


# -- one record in a few words -------------------------------------------------------------------------------


def said(form: Form, limit: int | None = SHORT) -> str:
    """What somebody said, in words."""
    match form:
        case Rating():
            about = f" for {clean(form.aspect)}" if form.aspect else ""
            return f"rated {form.value:g} on {form.low:g} to {form.high:g}{about}"
        case Thumbs():
            return "thumb up" if form.up else "thumb down"
        case Choice():
            if form.chosen is None:
                return "all of them are bad" if form.both_bad else f"no difference between {len(form.shown)}"
            return f"prefers {form.chosen} of {len(form.shown)}"
        case Ranking():
            return "ranks " + " > ".join(" = ".join(place) for place in form.places)
        case Correction():
            kind = f" ({clean(form.kind)})" if form.kind else ""
            return f"should have been{kind}: “{clean(form.text, limit)}”"
        case Confirmation():
            return f"used as it was (strength {form.strength:g})"
        case Flag():
            return f"flagged: {clean(form.reason, limit)}"
        case Demonstration():
            return f"would have answered: “{clean(form.answer, limit)}”"
        case Violation():
            if form.category is None:
                return "checked: clean"
            severity = f", {form.severity.name.lower()}" if form.severity else ""
            return f"breaks {form.category}{severity}"
        case Completion():
            quality = f", quality {form.quality:g}" if form.quality is not None else ""
            return ("task done" if form.completed else "task not done") + quality
        case Efficiency():
            spent = {"seconds": form.seconds, "tokens": form.tokens, "spend": form.spend, "steps": form.steps}
            return "took " + figures({name: value for name, value in spent.items() if value is not None})
        case Behaviour():
            return clean(form.kind) + (f" {form.value:g}" if form.value is not None else "")


def speakers(turn: Turn, to: str | None = None) -> str:
    """`to` is whom it was for as far as the whole episode tells."""
    to = to or turn.addressee
    return f"{turn.agent} → {clean(to)}" if to else turn.agent


def summary(record: Any) -> str:
    """What this record is, in one line without its id."""
    match record:
        case None:
            return "not in the store"
        case Episode():
            outcome = f", outcome {record.outcome:g}" if record.outcome is not None else ""
            return f"{record.state}{outcome}, {when(record.started_at)}"
        case Turn():
            return f"{speakers(record)}: “{clean(record.answer, 60)}”"
        case Feedback():
            return f"{record.by or 'somebody'}: {said(record.said, 60)}"
        case Queue():
            return f"asks for {record.asks}: {clean(record.name)}"
        case Item():
            return f"{record.state}{', gold' if record.gold else ''}, {len(record.turns)} answers"
        case Assignment():
            return f"{record.rater}, {record.state}"
        case Verdict():
            outcome = record.chosen or record.category or "no difference"
            return f"{outcome}, confidence {record.confidence:.2f}, from {len(record.feedback)}"
        case Dataset():
            return f"{sum(record.rows.values()):,} rows, {when(record.frozen_at)}"
        case RewardModel():
            accuracy = record.report.get("accuracy")
            known = f", accuracy {accuracy:.3f}" if accuracy is not None else ""
            return f"v{record.version}, {record.standing}{known}"
        case Policy():
            return f"{record.agent} v{record.version}, {record.body.kind}, {record.standing}"
        case Run():
            return f"{record.task}, {record.state}"
        case Cycle():
            note = f": {clean(record.note)}" if record.note else ""
            return f"{record.agent}, {record.stage}{note}"
        case Release():
            return f"{record.policy} to {record.target.agent}: {record.stage} at {record.percent:g} %"
        case Alert():
            done = f", {clean(record.action)}" if record.action else ""
            return f"{record.signal.name} {record.signal.value:.4g}{done}"
        case Incident():
            return f"{record.state}: {clean(record.title)}"
        case _:
            return ""


# -- one episode: who spoke to whom --------------------------------------------------------------------------


def episode(view: EpisodeView, *, full: bool = False) -> Tree:
    """Turns beneath the turns that they answer, and beneath each what was said about it."""
    limit = None if full else SHORT
    tree = Tree(
        Text(f"episode {view.episode.id}", style="bold").append(f"  {_about(view)}", style="not bold")
    )
    for one in view.feedback:
        if not one.turns:
            tree.add(_feedback(one, limit))
    branches: dict[str, Tree] = {}
    depths: dict[str, int] = {}
    to = addressees(view.turns)
    for turn in view.turns:
        above = turn.sibling_of or turn.parent
        under = branches.get(above) if above else None
        if under is None:
            under, depth = tree, 1
            if asked := _asked(turn):
                user = view.episode.user or "user"
                under = tree.add(
                    Text(f"{user} → {turn.agent}", style="cyan").append(
                        f"\n“{clean(asked, limit)}”", "default"
                    )
                )
        else:
            depth = depths[str(above)] + 1
        branch = under.add(_turn(turn, to[turn.id], limit))
        for one in view.feedback:
            if turn.id in one.turns:
                branch.add(_feedback(one, limit))
        branches[turn.id] = branch if depth < DEEPEST else under
        depths[turn.id] = depth
    return tree


def _about(view: EpisodeView) -> str:
    episode, agents = view.episode, dict.fromkeys(turn.agent for turn in view.turns)
    parts = [str(episode.state)]
    if episode.outcome is not None:
        parts.append(f"outcome {episode.outcome:g}")
    if episode.task_type:
        parts.append(clean(episode.task_type))
    parts.append(
        f"{len(agents)} agent{'s' if len(agents) != 1 else ''}: {', '.join(agents)}" if agents else "no turns"
    )
    parts.append(when(episode.started_at))
    return " · ".join(parts)


def _asked(turn: Turn) -> str | None:
    """What the user had just said."""
    last = turn.request[-1] if turn.request else None
    return last.text if last is not None and last.role is Role.USER and turn.sibling_of is None else None


def _turn(turn: Turn, to: str | None, limit: int | None) -> Text:
    shown = Text(speakers(turn, to), style="bold cyan")
    facts = [turn.at.strftime("%H:%M:%S"), f"policy {turn.policy}"]
    if turn.sibling_of:
        facts.insert(0, f"answer {turn.index + 1} to the same request")
    if turn.allocation is not None and turn.allocation.release is not None:
        facts.append(f"{turn.allocation.arm} of {turn.allocation.release}")
    if turn.purpose != "live":
        facts.append(str(turn.purpose))
    if turn.parent:
        facts.append(f"answers {turn.parent}")
    shown.append(f"  {turn.id}  {' · '.join(facts)}", style="not bold dim")
    words = f"“{clean(turn.answer, limit)}”" if turn.answer else ""
    calls = ", ".join(f"calls {clean(call.name)}({clean(call.arguments, 60)})" for call in turn.tool_calls)
    return shown.append("\n" + "  ".join(part for part in (words, calls) if part), style="default not bold")


def _feedback(one: Feedback, limit: int | None) -> Text:
    shown = Text("↳ ", style="yellow").append(said(one.said, limit))
    return shown.append(f"  {one.by or 'somebody'}, {one.source}, {one.id}", style="dim")


# -- one record of any kind ----------------------------------------------------------------------------------


def release(record: Release) -> list[Any]:
    """What the release is, and each step with the figures it was decided on."""
    head = {
        "release": record.id,
        "policy": record.policy,
        "against": record.against or "nothing: the agent's first",
        "agent": record.target.agent,
        "stage": f"{record.stage}, {record.percent:g} % of {record.unit}s",
        "steps": ", ".join(f"{step:g}" for step in record.steps),
        "begun": f"{when(record.started_at)} by {record.by or 'nobody named'}",
        "ended": when(record.ended_at) or "not yet",
        "reason": clean(record.reason, None) if record.reason else "",
    }
    rows = [
        (when(step.at), f"{step.percent:g} %", f"{step.turns:,}", step.decision, figures(step.figures))
        for step in record.taken
    ]
    steps = [table(("at", "share", "turns", "decision", "figures"), rows)] if rows else []
    return [pairs({name: value for name, value in head.items() if value}), *steps]


def dataset(record: Dataset) -> list[Any]:
    """Rows per file."""
    head = {
        "dataset": record.id,
        "digest": record.digest,
        "frozen": when(record.frozen_at),
        "parent": record.parent or "",
        "license": record.license or "",
        **{name: clean(value) for name, value in record.notes.items()},
    }
    rows = [(name, f"{record.rows.get(name, 0):,}", digest) for name, digest in sorted(record.files.items())]
    return [
        pairs({name: value for name, value in head.items() if value}),
        table(("file", "rows", "blob"), rows),
    ]


def page(found: Any, plain: Mapping[str, Any], *, full: bool = False) -> list[Any]:
    """The page of a record: its own where its kind has one."""
    match found:
        case EpisodeView():
            return [episode(found, full=full)]
        case Release():
            return [*release(found)]
        case Dataset():
            return dataset(found)
        case _:
            return [anything(plain, full=full)]


def anything(plain: Mapping[str, Any], *, full: bool = False) -> Tree:
    """Every field that says something, whatever the record: for kinds without a page of their own."""
    tree = Tree(Text(str(plain.get("id", "")), style="bold"))
    _fields(tree, plain, None if full else SHORT)
    return tree


def _fields(tree: Tree, values: Mapping[str, Any] | Sequence[Any], limit: int | None) -> None:
    named = (
        values.items()
        if isinstance(values, Mapping)
        else ((str(place), one) for place, one in enumerate(values))
    )
    many = [(name, value) for name, value in named if value not in (None, "", [], {}) and name != "id"]
    for name, value in many[:50]:
        label = Text(clean(str(name)), style="dim")
        if isinstance(value, Mapping | list) and value:
            flat = not isinstance(value, Mapping) and not any(
                isinstance(one, Mapping | list) for one in value
            )
            if flat:
                tree.add(
                    label.append("  " + clean(", ".join(map(str, value)), limit), style="default not dim")
                )
            else:
                _fields(tree.add(label), value, limit)
        else:
            text = number(value) if isinstance(value, float) else clean(str(value), limit)
            tree.add(label.append("  " + text, style="default not dim"))
    if len(many) > 50:
        tree.add(Text(f"and {len(many) - 50} more", style="dim"))


def newest(kind: str, records: Sequence[Any]) -> Table:
    """The newest few of a kind."""
    return table((kind.replace("_", " "), "what it is"), [(one.id, summary(one)) for one in records])


# -- why -----------------------------------------------------------------------------------------------------


def why(found: Why) -> list[Tree]:
    name = found.ref.kind.replace("_", " ")
    head = Text(f"{name} {found.ref.id}", style="bold").append(f"  {summary(found.record)}", style="not bold")
    both: list[tuple[str, tuple[Group, ...], str]] = [
        ("was made from", found.back, "nothing that is on record"),
        ("and of it was made", found.forward, "nothing yet"),
    ]
    tree = Tree(head)
    for title, groups, none in both:
        branch = tree.add(Text(title, style="cyan"))
        if not groups:
            branch.add(Text(none, style="dim"))
        for group in groups:
            _group(branch, group)
    return [tree]


def _group(tree: Tree, group: Group) -> None:
    people = f" by {group.people:,} {'person' if group.people == 1 else 'people'}" if group.people else ""
    name = group.kind.replace("_", " ")
    if group.count == 1 and not people:
        _node(tree, group.nodes[0], f"{name} ")
        return
    more = group.count - len(group.nodes)
    branch = tree.add(Text(f"{group.count:,} × {name}{people}"))
    for node in group.nodes:
        _node(branch, node, "")
    if more:
        branch.add(Text(f"and {more:,} more", style="dim"))


def _node(tree: Tree, node: Node, name: str) -> None:
    line = Text(name).append(node.ref.id, style="bold").append(f"  {summary(node.record)}", style="dim")
    if node.again:
        line.append("  (see above)", style="dim")
    branch = tree.add(line)
    if node.cut:
        branch.add(Text(f"… further: heedful why {node.ref.kind} {node.ref.id}", style="dim"))
    for group in node.groups:
        _group(branch, group)


def acts(found: Iterable[Mapping[str, Any]]) -> Table:
    rows = [
        (
            act["index"],
            act["at"][:19].replace("T", " "),
            act["actor"],
            act["verb"],
            f"{act['subject']['kind']} {act['subject']['id']}",
            clean(", ".join(f"{name} {value}" for name, value in act["detail"].items())),
        )
        for act in found
    ]
    return table(("", "at", "who", "did", "to", "and"), rows)


def purged(found: PurgedOut, *, dry_run: bool) -> str:
    """In one sentence: most often nothing is due."""
    if found.before is None:
        return "nothing is ever too old here: capture.retention_days says when it is"
    gone, bare = (
        ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in counts.items()) or "nothing"
        for counts in (found.gone, found.bare)
    )
    would = "would be " if dry_run else ""
    return (
        f"from before {found.before:%Y-%m-%d %H:%M:%S} UTC: {gone} {would}removed, "
        f"{bare} {would}kept without words"
    )


def keys(found: Iterable[KeyOut], now: datetime) -> Table:
    rows = []
    for key in found:
        ends = [end for end in (key.revoked_at, key.expires_at) if end is not None]
        over = bool(ends) and min(ends) <= now
        state = "revoked" if key.revoked_at else "over" if over else "works"
        until = when(min(ends)) if ends else ""
        whose = key.person or key.origin or ""
        rows.append((key.id, key.scope, clean(key.name), whose, state, when(key.created_at), until))
    return table(("key", "scope", "name", "of", "", "since", "until"), rows)


def imported(said: Mapping[str, Any], *, dry_run: bool) -> list[Any]:
    """What came of an import, and the first lines that gave nothing."""
    kept = "would be read" if dry_run else "kept"
    rows = [(kind, number(count), number(said["duplicates"][kind])) for kind, count in said["kept"].items()]
    shown: list[Any] = [table(("", kept, "here already"), rows)]
    if said["problems"]:
        told = [(one["where"], clean(one["reason"], 300)) for one in said["first_problems"]]
        more = said["problems"] - len(told)
        shown.append(table((f"{number(said['problems'])} could not be used", "because"), told))
        if more:
            shown.append(Text(f"… and {number(more)} more"))
    return shown


@contextmanager
def progress(files: Sequence[Path], what: str) -> Iterator[Callable[[int], None]]:
    """A bar on the standard error stream, for whoever sits before it: told of bytes, out of all of these files'."""
    total = sum(path.stat().st_size for path in files if path.is_file())
    out = Console(stderr=True)
    with Progress(*BAR, console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda bytes: bar.advance(task, bytes)


@contextmanager
def steps(what: str) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """A bar for whoever sits before it: told of each step with its figures."""
    out = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[told]}"),
    )
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task(what, total=None, told="")

        def track(step: int, figures: Mapping[str, float]) -> None:
            shown = [f"{name} {figures[name]:.4g}" for name in figures if name.endswith(("loss", "accuracy"))]
            bar.update(task, completed=step, total=figures.get("steps"), told="  ".join(shown))

        yield track


STOPPED = {
    **{
        spent: f"stopped by its budget of {spent}: --resume goes on"
        for spent in ("seconds", "tokens", "money")
    },
    "brake": "stopped at its distance from the start (`brake`): the last weights within it are kept",
    "audit": "stopped because people saw no more gain: the weights that they liked best are kept",
    "collapse": "stopped because the policy had hardly any choice of words left: the weights before are kept",
    "unsafe": "stopped because step after step was unsafe: the last good weights are kept",
}


def trained(done: Mapping[str, Any]) -> list[Any]:
    """What a training from files gave back."""
    rows = []
    for name, value in done.items():
        if isinstance(value, Mapping):
            rows += [(f"{name}.{inner}", _flat(part)) for inner, part in value.items()]
        elif isinstance(value, list) and all(isinstance(one, str) for one in value):
            rows += [(name, one) for one in value]
        elif value is not None:
            rows.append((name, f"{value:.4g}" if isinstance(value, float) else str(value)))
    stopped = done.get("stopped", "done")
    shown: list[Any] = [table(("", ""), rows)]
    if stopped != "done":
        shown.append(Text(STOPPED[stopped], style="yellow"))
    return shown


def compared(found: Mapping[str, Any]) -> list[Any]:
    """Runs side by side: what was asked for where it differs, the data, and what came of it."""
    names = [Path(one).name for one in found["runs"]]
    names = names if len(set(names)) == len(names) else list(found["runs"])
    shown: list[Any] = []
    for title, rows in (("settings", found["settings"]), ("figures", found["figures"])):
        if rows:
            shown.append(
                table((title, *names), [(name, *map(_shown, values)) for name, values in rows.items()])
            )
    for name, digests in found["data"].items():
        if len(set(digests)) > 1:
            told = ", ".join("-" if one is None else one[:12] for one in digests)
            shown.append(Text(f"not the same {name}: {told}", style="yellow"))
    return shown


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def swept(found: Mapping[str, Any]) -> list[Any]:
    """Every trial of a sweep, the best one marked."""
    trials, best = found["trials"], found["best"]
    names = list(trials[0]["values"]) if trials else []
    rows = [
        (
            f"{trial['trial']:03d}",
            *(_flat(trial["values"][name]) for name in names),
            trial["why"] if trial["figure"] is None else f"{trial['figure']:.4g}",
            "best" if best is not None and trial["trial"] == best["trial"] else "",
        )
        for trial in trials
    ]
    shown: list[Any] = [table(("trial", *names, found["metric"], ""), rows)]
    if best is None:
        return [*shown, Text("no trial came to a figure", style="yellow")]
    return [*shown, Text(f"the best model: {found['model']}; its settings: best.yaml beside it")]


def _flat(part: Any) -> str:
    if isinstance(part, Mapping):
        return ", ".join(f"{name} {_flat(value)}" for name, value in part.items())
    return f"{part:.4g}" if isinstance(part, float) else str(part)


# -- a report card -------------------------------------------------------------------------------------------


def examined(card: Mapping[str, Any]) -> list[Any]:
    """A reward model's report card, the verdict first."""
    passed = card["passed"]
    shown: list[Any] = [
        Text("passed" if passed else "did not pass", style="bold green" if passed else "bold red")
    ]
    shown += [
        Text(f"  {name} is {missed['value']:.4g}, the limit {missed['limit']:.4g}", style="red")
        for name, missed in card["failed"].items()
    ]
    if passed and (few := len(HELD) - len(held(card.get("quality", {}), card["bounds"]["fewest"]))):
        shown.append(Text(f"  {few} of {len(HELD)} bounds have too few pairs to be asked", style="dim"))
    rows = [(name, *cells) for name, cells in _figures(card)]
    shown.append(table(("", "", "95 %", "over"), rows))
    for field, values in card.get("slices", {}).items():
        shown.append(
            table(
                (clean(field), "right", "95 %", "pairs"),
                [(clean(one["value"]), *_share(one)) for one in values],
            )
        )
    if suite := card.get("suite"):
        shown.append(
            table(
                ("subset", "right", "95 %", "prompts"),
                [(clean(one["subset"]), *_share(one)) for one in suite["subsets"]],
            )
        )
        sections = [*suite["sections"].items(), ("mean of sections", suite["mean"])]
        shown.append(
            table(("section", "right"), [(clean(name), _percent(value)) for name, value in sections])
        )
    if probed := card.get("probes"):
        shown.append(
            table(
                ("probe", "change", "95 %", "rises", "flips", "answers", ""),
                [_probed(*one) for one in probed.items()],
            )
        )
        shown.append(
            Text(
                "change in standard deviations of the scores; flips: verdicts turned by the probe",
                style="dim",
            )
        )
    for number, one in enumerate(card.get("explained", []), start=1):
        shown += _explained(number, one)
    return shown


def _figures(card: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """Name, value, interval, and over how many."""
    quality = card.get("quality")
    if quality:
        pairs, share = f"{quality['pairs']:.0f} pairs", "ranked as people did"
        yield share, (_percent(quality["accuracy"]), _between(quality, "accuracy"), pairs)
        for side in ("longer", "shorter"):
            name = f"accuracy_when_{side}_won"
            over = f"{quality[f'pairs_{side}_won']:.0f} pairs"
            yield f"  where the {side} answer won", (_percent(quality[name]), _between(quality, name), over)
        for name in ("calibration_error", "brier", "log_loss"):
            yield name.replace("_", " "), (f"{quality[name]:.3f}", "", pairs)
    if raters := card.get("raters"):
        over = f"{raters['pairs']:.0f} pairs"
        yield f"sides with a rater (by {raters['by']})", (_percent(raters["model"]), "", over)
        yield "  what raters allow", (_percent(raters["ceiling"]), "", over)
        yield "  reached of what lies above chance", (_percent(raters["of_ceiling"]), "", over)
    if found := card.get("correlation"):
        for name in ("spearman", "pearson"):
            low, high = found[f"{name}_low"], found[f"{name}_high"]
            value = "" if found[name] is None else f"{found[name]:.3f}"
            yield (
                f"{name} with given scores",
                (value, f"{low:.3f} to {high:.3f}", f"{found['answers']:.0f} answers"),
            )
    for name, value in card.get("disagreement", {}).items():
        if value is not None:
            yield f"doubt: {name.replace('_', ' ')}", (f"{value:.3f}", "", "")
    for name, value in card.get("safety", {}).items():
        if value is not None:
            yield f"safety: {name.replace('_', ' ')}", (number(value), "", "")


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _between(figures: Mapping[str, Any], name: str) -> str:
    return f"{figures[f'{name}_low']:.1%} to {figures[f'{name}_high']:.1%}"


def _share(one: Mapping[str, Any]) -> tuple[str, str, str]:
    return _percent(one["accuracy"]), f"{one['low']:.1%} to {one['high']:.1%}", number(one["n"])


def _probed(name: str, one: Mapping[str, Any]) -> tuple[str, ...]:
    known = one["change"] is not None
    change = f"{one['change']:+.2f}" if known else ""
    between = f"{one['change_low']:+.2f} to {one['change_high']:+.2f}" if known else ""
    mark = "" if one["passed"] else f"misses {one['missed']['limit']} {one['missed']['bound']:g}"
    read = number(one["answers"]) + (f" of {number(one['answers'] + one['unread'])}" if one["unread"] else "")
    return name, change, between, _percent(one["rises"]), _percent(one["flips"]), read, mark


def _explained(place: int, one: Mapping[str, Any]) -> Iterator[Any]:
    """A pair that the model judged wrongly: what each sentence of both answers did to its score."""
    yield Text(f"\nworst {place}: “{clean(one['prompt'][-1]['content'])}”", style="bold")
    for side, title in (("chosen", "people chose"), ("rejected", "the model prefers")):
        yield Text(f"{title}, score {one[side]['score']:.2f}")
        yield table(
            ("effect", "sentence"),
            [(f"{piece['effect']:+.2f}", clean(piece["text"], None)) for piece in one[side]["pieces"]],
        )


def letters(found: Iterable[DeadLetter]) -> Table:
    rows = [
        (one.id, one.origin, clean(one.reason), one.attempts, when(one.first_seen), when(one.last_seen))
        for one in found
    ]
    return table(("dead letter", "from", "why", "times", "since", "last"), rows)


# -- status and doctor ---------------------------------------------------------------------------------------


def status(said: Mapping[str, Any]) -> list[Any]:
    server = said["server"]
    if server["running"]:
        answer = "" if server["ready"] else ", but it does not answer"
        line = Text(
            f"server runs at {server['url']}, process {server['pid']}{answer}",
            style="" if server["ready"] else "yellow",
        )
    else:
        line = Text("no server runs here: what follows was read from the store", style="yellow")
    shown: list[Any] = [line, Text("")]
    if not said["agents"]:
        shown.append(Text("no agent has a policy yet"))
    for agent in said["agents"]:
        shown.append(Text(agent["agent"], style="bold"))
        under_way = agent["release"]
        cycle = agent["cycle"]
        facts = {"live": agent["live"] or "nothing yet", "release": "none under way", "cycle": "none yet"}
        if under_way:
            where = f"{under_way['stage']} at {under_way['percent']:g} %"
            facts["release"] = f"{under_way['policy']} {where} ({under_way['id']})"
        if cycle:
            note = f": {clean(cycle['note'])}" if cycle["note"] else ""
            facts["cycle"] = f"{cycle['stage']}{note} ({cycle['id']})"
        shown += [pairs(facts)]
        shown += [_signal(signal) for signal in agent["signals"]]
        shown.append(Text(""))
    if said["records"]:
        rows = [(kind.replace("_", " "), f"{count:,}") for kind, count in sorted(said["records"].items())]
        shown.append(table(("records", ""), rows))
    return shown


def _signal(signal: Mapping[str, Any]) -> Text:
    band = ", ".join(
        f"{word} {signal[side]:.4g}"
        for side, word in (("low", "at least"), ("high", "at most"))
        if signal[side] is not None
    )
    healthy = signal["healthy"]
    labels = " ".join(map(str, signal["labels"].values()))
    mark = "  " if healthy else "! "
    line = f"{mark}{signal['name']} {signal['value']:.4g}  {labels}  n {signal['n']}  {band}"
    return Text(line.rstrip(), style="" if healthy else "bold red")


MARKS: Mapping[str, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "warning": ("warning", "yellow"),
    "failed": ("failed", "bold red"),
}


def checks(found: Iterable[Any]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for one in found:
        mark, style = MARKS[one.state]
        text = Text(one.said)
        if one.way_out:
            text.append(f"\n→ {one.way_out}", style="bold")
        grid.add_row(Text(mark, style=style), Text(one.name), text)
    return grid


def show(*parts: Any) -> None:
    out = console()
    for part in parts:
        out.print(part)
