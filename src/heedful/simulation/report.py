"""The demo's report: one HTML file with its pictures inside, for someone who was not there."""
# ruff: noqa: E501 - a page reads better unbroken

from __future__ import annotations

import html
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from heedful.simulation import exam
from heedful.simulation.gold import acts_right, utility, violations
from heedful.simulation.tickets import ticket_of

INK, GOOD, BAD, QUIET = "#1f2933", "#1a7f5a", "#b5402a", "#8a94a0"

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, sans-serif; color: #1f2933; max-width: 60rem; margin: 3rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.9rem; margin-bottom: .2rem } h2 { margin-top: 2.6rem; font-size: 1.25rem }
.lead { color: #52606d; margin-top: 0 } table { border-collapse: collapse; width: 100%; margin: 1rem 0 }
td, th { text-align: left; padding: .45rem .7rem; border-bottom: 1px solid #e4e7eb; vertical-align: top }
th { font-weight: 600; color: #52606d } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
.big { font-size: 1.5rem; font-weight: 650 } .good { color: #1a7f5a } .bad { color: #b5402a } .quiet { color: #8a94a0 }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1rem; margin: 1.5rem 0 }
.card { border: 1px solid #e4e7eb; border-radius: .6rem; padding: .9rem 1rem } svg { width: 100%; height: auto }
code { background: #f1f3f5; padding: .1rem .3rem; border-radius: .25rem }
"""


def write_report(
    directory: Path,
    figures: dict[str, Any],
    papers: Sequence[dict[str, Any]],
    *,
    chapters: Sequence[tuple[str, float]],
    data: Path,
    run: str,
    seed: int,
) -> Path:
    curve = _lines(data / "runs" / run / "curve.jsonl")
    truth = _truth(_lines(data / "runs" / run / "answers.jsonl"))
    tickets = exam.held_out(seed, figures["tickets"])
    before, after = (exam.answers(paper) for paper in papers)
    page = f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Heedful demo, seed {seed}</title>
<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>
<h1>What the fleet learned</h1>
<p class="lead">One turn of the loop in {figures["seconds"]:.0f} seconds, measured against the people's true
preferences on {figures["tickets"]:,} tickets that nobody had met. Seed {seed}.</p>
{_cards(figures)}
<h2>Getting better, and how far to trust the judge</h2>
<p>Left: what the reward model says and what is true, as the policy moves away from its start. Where the two part,
the policy has begun to please the judge instead of the people; its distance alone stops the run, to keep that small.
Right: the right action apart from the total, because a polite wrong answer can score well.</p>
{_curves(curve, truth)}
<h2>Taking it to the fleet</h2>
{_releases(figures)}
<h2>The same tickets, before and after</h2>
{_examples(tickets, before, after)}
<h2>Where the time went</h2>
<table>{"".join(f"<tr><td>{html.escape(title)}</td><td class=n>{seconds:.1f} s</td></tr>" for title, seconds in chapters)}</table>
<h2>All figures</h2>
<table>{"".join(f"<tr><td><code>{html.escape(name)}</code></td><td class=n>{html.escape(_short(value))}</td></tr>" for name, value in figures.items())}</table>
</body></html>"""
    path = directory / "report.html"
    path.write_text(page)
    return path


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cards(figures: dict[str, Any]) -> str:
    cards = [
        (
            "preferred to its start",
            f"{figures['gold_win_rate']:.1%}",
            f"95 %: {figures['gold_win_rate_low']:.1%} to {figures['gold_win_rate_high']:.1%}",
        ),
        ("right action", f"{figures['right_action_after']:.1%}", f"was {figures['right_action_before']:.1%}"),
        (
            "breaks a rule",
            f"{figures['violation_rate_after']:.2%}",
            f"was {figures['violation_rate_before']:.1%}",
        ),
        (
            "reward model agrees",
            f"{figures['reward_accuracy']:.1%}",
            "with held-out judgements, noise included",
        ),
        (
            "poisoned policy",
            figures["bad_release"].replace("_", " "),
            f"met {figures['bad_release_max_percent']:g} % of episodes at most",
        ),
    ]
    return (
        '<div class="cards">'
        + "".join(
            f'<div class="card"><div class="quiet">{name}</div><div class="big">{value}</div><div class="quiet">{note}</div></div>'
            for name, value, note in cards
        )
        + "</div>"
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _truth(answers: Sequence[dict[str, Any]]) -> dict[int, tuple[float, float]]:
    """Per iteration: the true worth of the answers that the policy gave then, and the share of right actions."""
    by_iteration: dict[int, list[tuple[float, float]]] = {}
    for one in answers:
        ticket = ticket_of(one["prompt"][-1]["content"])
        if ticket is not None:
            marks = (utility(ticket, one["answer"]), float(acts_right(ticket, one["answer"])))
            by_iteration.setdefault(one["iteration"], []).append(marks)
    return {
        number: (sum(worth for worth, _ in marks) / len(marks), sum(right for _, right in marks) / len(marks))
        for number, marks in by_iteration.items()
    }


def _curves(curve: Sequence[dict[str, Any]], truth: dict[int, tuple[float, float]]) -> str:
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    if not curve:
        return "<p class=quiet>No curve was recorded.</p>"
    known = [one for one in curve if one["iteration"] in truth]
    kl = [one["kl"] for one in known]
    with pyplot.rc_context(
        {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": QUIET}
    ):
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(9.6, 3.4), layout="constrained")
        left.plot(kl, [one["reward"] for one in known], "o-", color=BAD, label="reward model (proxy)")
        left.plot(kl, [truth[one["iteration"]][0] for one in known], "o-", color=GOOD, label="true quality")
        left.set(xlabel="distance from the start (nats per answer)", ylabel="per answer")
        left.legend(frameon=False)
        steps = [one["iteration"] for one in known]
        right.plot(steps, [truth[step][1] for step in steps], "o-", color=GOOD, label="right action")
        right.plot(steps, [one["violation"] for one in known], "o-", color=BAD, label="predicted violations")
        right.set(xlabel="iteration", ylim=(0, 1))
        right.legend(frameon=False)
        for axis in (left, right):
            axis.grid(alpha=0.15)
        picture = io.StringIO()
        figure.savefig(picture, format="svg")
        pyplot.close(figure)
    text = picture.getvalue()
    return text[text.index("<svg") :]


def _releases(figures: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{step['percent']:g} %</td><td class=n>{step['turns']}</td></tr>"
        for step in figures["good_release_steps"]
    )
    return f"""<table><tr><th>share of episodes</th><th class=n>episodes by the new policy before the next step</th></tr>{rows}
<tr><td>100 %</td><td class="n good">{figures["good_release"].replace("_", " ")}</td></tr></table>
<p>The policy that learned from poisoned transcripts: <span class="bad">{figures["bad_release"].replace("_", " ")}</span>
({html.escape(str(figures["bad_release_reason"]))}).</p>"""


def _examples(tickets: Sequence[Any], before: Sequence[str], after: Sequence[str], count: int = 8) -> str:
    rows = ""
    for ticket, old, new in list(zip(tickets, before, after, strict=True))[:count]:
        cells = "".join(
            f'<td class="{"good" if acts_right(ticket, answer) and not violations(answer) else "bad"}">{html.escape(answer)}</td>'
            for answer in (old, new)
        )
        rows += f"<tr><td>{html.escape(ticket.text)}</td>{cells}</tr>"
    return f"<table><tr><th>ticket</th><th>before</th><th>after</th></tr>{rows}</table>"
