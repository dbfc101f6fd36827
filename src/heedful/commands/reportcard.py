"""A reward model's report card as one page, for someone who was not there: nothing is loaded from elsewhere.

Every share is drawn with its interval against one half, because the question behind all of them is whether the
model is better than a coin, and for whom.
"""
# ruff: noqa: E501 - a page reads better unbroken

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from heedful.rewards.bounds import HELD, held

Card = Mapping[str, Any]

STYLE = """
:root { color-scheme: light dark; --ink: #1f2933; --soft: #52606d; --line: #dfe3e8; --page: #fff; --box: #f6f7f9; --good: #1a7f5a; --bad: #b5402a; --mark: #1f5f8b; --up: 26 127 90; --down: 181 64 42 }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --soft: #9aa5b1; --line: #323f4b; --page: #14191f; --box: #1d242c; --good: #4cc38a; --bad: #f0795f; --mark: #6cb2e0; --up: 76 195 138; --down: 240 121 95 } }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--page); max-width: 60rem; margin: 2.5rem auto; padding: 0 1.5rem }
h1 { font-size: 1.8rem; margin: 0 0 .3rem } h2 { margin: 2.6rem 0 .4rem; font-size: 1.25rem } p { max-width: 46rem }
.soft { color: var(--soft) } .good { color: var(--good) } .bad { color: var(--bad) } .big { font-size: 1.5rem; font-weight: 650 }
.badge { display: inline-block; padding: .1rem .8rem; border-radius: 1rem; border: 1.5px solid currentColor; font-weight: 650; vertical-align: middle; font-size: 1rem; margin-left: .6rem }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: 1rem; margin: 1.5rem 0 }
.card { background: var(--box); border: 1px solid var(--line); border-radius: .6rem; padding: .8rem 1rem }
table { border-collapse: collapse; width: 100%; margin: .8rem 0 } td, th { text-align: left; padding: .4rem .7rem; border-bottom: 1px solid var(--line); vertical-align: middle }
th { font-weight: 600; color: var(--soft) } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap } td.draw { width: 13rem }
svg { display: block; width: 100%; height: auto; color: var(--soft) } .diagram { max-width: 27rem } .wide { overflow-x: auto }
code { background: var(--box); padding: .1rem .3rem; border-radius: .25rem; overflow-wrap: anywhere } dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.2rem } dd { margin: 0 }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem; margin-bottom: 1.2rem } .said { border-radius: .2rem; padding: .05rem .15rem; white-space: pre-wrap }
@media print { body { margin: 0 } h2 { break-after: avoid } .card, .pair { break-inside: avoid } }
"""


def page(card: Card) -> str:
    """The whole page."""
    passed = card["passed"]
    verdict = (
        f'<span class="badge {"good" if passed else "bad"}">{"passed" if passed else "did not pass"}</span>'
    )
    parts = [
        f"<h1>Report card of a reward model{verdict}</h1>",
        f'<p class="soft">{_told(card)}</p>',
        _cards(card),
        _bounds(card),
        _reliability(card),
        _groups(card),
        _probes(card),
        _others(card),
        _suite(card),
        _worst(card),
        _source(card),
    ]
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Report card of a reward model</title>
<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>
{"".join(parts)}
</body></html>
"""


# -- what was found ------------------------------------------------------------------------------------------


def _told(card: Card) -> str:
    quality = card.get("quality")
    if quality is None:
        return "No pairs were examined."
    missed, asked = len(card["failed"]), held(quality, card["bounds"]["fewest"])
    if missed:
        told = f"It misses {missed} bound{'s' if missed > 1 else ''}."
    elif len(asked) < len(HELD):
        told = (
            f"It misses none of the {len(asked)} bounds that there are enough pairs for; {len(HELD)} are set."
        )
    else:
        told = "It keeps every bound."
    return f"Its verdicts on {quality['pairs']:,.0f} pairs, held against what people chose. {told}"


def _cards(card: Card) -> str:
    quality = card.get("quality")
    if quality is None:
        return ""
    shown = [
        ("ranks as people did", _percent(quality["accuracy"]), f"95 %: {_between(quality, 'accuracy')}"),
        ("calibration error", f"{quality['calibration_error']:.3f}", "gap of confidence and being right"),
        (
            "where the shorter answer won",
            _percent(quality["accuracy_when_shorter_won"]),
            f"longer: {_percent(quality['accuracy_when_longer_won'])}",
        ),
    ]
    if raters := card.get("raters"):
        note = f"{_percent(raters['model'])} of {_percent(raters['ceiling'])} that raters allow"
        shown.insert(1, ("of what can be reached", _percent(raters["of_ceiling"]), note))
    if probed := card.get("probes"):
        kept = sum(one["passed"] for one in probed.values())
        shown.append(("style probes", f"{kept} of {len(probed)}", "leave its verdicts alone"))
    boxes = "".join(
        f'<div class="card"><div class="soft">{escape(name)}</div><div class="big">{value}</div><div class="soft">{note}</div></div>'
        for name, value, note in shown
    )
    return f'<div class="cards">{boxes}</div>'


def _bounds(card: Card) -> str:
    quality, limits = card.get("quality") or {}, card["bounds"]
    asked = held(quality, limits["fewest"])
    rows = []
    for bound, (figure, pairs) in HELD.items():
        value, over = quality.get(figure), quality.get(pairs, 0)
        few = '<span class="soft">too few pairs</span>'
        mark = _mark(bound not in card["failed"]) if bound in asked else few
        rows.append((_code(bound), _number(value), f"{limits[bound]:g}", f"{over:,.0f}", mark))
    for name, missed in card["failed"].items():
        if name not in HELD:
            rows.append((_code(name), _number(missed["value"]), f"{missed['limit']:g}", "", _mark(False)))
    return _section(
        "Bounds",
        f"A model that misses one is refused by whatever would learn from it. A figure over fewer than {limits['fewest']} pairs is told and held against nothing.",
        _table(("bound", "-value", "-limit", "-pairs", ""), rows),
    )


def _reliability(card: Card) -> str:
    rows = card.get("reliability")
    if not rows:
        return ""
    left, top, side = 62, 10, 300

    def x(sure: float) -> float:
        return left + (sure - 0.5) * 2 * side

    def y(right: float) -> float:
        return top + (1 - right) * side

    lines = "".join(
        f'<line x1="{left}" x2="{left + side}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="currentColor" opacity=".18"/>'
        f'<text x="{left - 7}" y="{y(tick) + 4:.1f}" text-anchor="end" font-size="11" fill="currentColor">{tick:.0%}</text>'
        for tick in (0, 0.25, 0.5, 0.75, 1)
    )
    lines += "".join(
        f'<text x="{x(tick):.1f}" y="{top + side + 17}" text-anchor="middle" font-size="11" fill="currentColor">{tick:.0%}</text>'
        for tick in (0.5, 0.6, 0.7, 0.8, 0.9, 1)
    )
    most = max(row["n"] for row in rows)
    marks = "".join(
        f'<line x1="{x(row["confidence"]):.1f}" x2="{x(row["confidence"]):.1f}" y1="{y(row["low"]):.1f}" y2="{y(row["high"]):.1f}" stroke="var(--mark)" stroke-width="2" opacity=".55"/>'
        f'<circle cx="{x(row["confidence"]):.1f}" cy="{y(row["accuracy"]):.1f}" r="{3 + 6 * (row["n"] / most) ** 0.5:.1f}" fill="var(--mark)"><title>{row["n"]} pairs: {row["confidence"]:.0%} sure, {row["accuracy"]:.0%} right</title></circle>'
        for row in rows
    )
    diagram = f"""<svg class="diagram" viewBox="0 0 {left + side + 22} {top + side + 42}" role="img" aria-label="Reliability diagram">{lines}
<line x1="{x(0.5)}" y1="{y(0.5)}" x2="{x(1)}" y2="{y(1)}" stroke="currentColor" stroke-dasharray="4 4"/>{marks}
<text x="{left + side / 2}" y="{top + side + 36}" text-anchor="middle" font-size="12" fill="currentColor">how sure the model was</text>
<text x="12" y="{top + side / 2}" text-anchor="middle" font-size="12" fill="currentColor" transform="rotate(-90 12 {top + side / 2})">how often it was right</text></svg>"""
    quality = card["quality"]
    measures = [
        ("calibration error", _number(quality["calibration_error"]), "0 is best"),
        ("Brier score", _number(quality["brier"]), "0 is best, a coin has 0.25"),
        ("log loss", _number(quality["log_loss"]), "0 is best, a coin has 0.693"),
    ]
    return _section(
        "How sure, and how often right",
        "On the dashed line confidence is deserved; below it the model is too sure of itself. A dot is as large as its pairs are many, its line is the 95 % interval.",
        diagram + _table(("measure", "-value", ""), measures),
    )


def _groups(card: Card) -> str:
    quality = card.get("quality")
    if quality is None:
        return ""
    rows = [_group("all pairs", _as_share(quality, "accuracy", "pairs"))]
    for side in ("longer", "shorter"):
        share = _as_share(quality, f"accuracy_when_{side}_won", f"pairs_{side}_won")
        rows.append(_group(f"the {side} answer won", share))
    tables = _table(("", "-right", "95 %", "", "-pairs"), rows)
    for field, values in card.get("slices", {}).items():
        rows = [_group(str(one["value"]), one) for one in values]
        tables += _table((field, "-right", "95 %", "", "-pairs"), rows)
    return _section(
        "For whom it is right",
        "A judge that merely likes long answers is right where the longer one won and wrong where the shorter did. The light line marks one half.",
        tables,
    )


def _probes(card: Card) -> str:
    probed = card.get("probes")
    if not probed:
        return ""
    reach = max(
        1.0,
        *(
            abs(one[end])
            for one in probed.values()
            for end in ("change_low", "change_high")
            if one[end] is not None
        ),
    )
    rows = []
    for name, one in probed.items():
        known = one["change"] is not None
        drawn = (
            _bar(*(one[end] / reach / 2 + 0.5 for end in ("change_low", "change", "change_high")))
            if known
            else ""
        )
        change = _signed(one["change"]) if known else ""
        mark = (
            _mark(True)
            if one["passed"]
            else f'<span class="bad">{one["missed"]["limit"]} above {one["missed"]["bound"]:g}</span>'
        )
        rows.append(
            (
                _code(name),
                change,
                drawn,
                _percent(one["rises"]),
                _percent(one["flips"]),
                _read(one),
                mark,
            )
        )
    return _section(
        "Does it fall for style?",
        f"Answers are changed without becoming better, and scored again. Change is in standard deviations of the scores (drawn from −{reach:.1f} to {reach:.1f}), flips are verdicts that changing the loser turns. What became too long for the model is not counted.",
        _table(("probe", "-change", "", "-rises", "-flips", "-answers", ""), rows),
    )


def _read(one: Mapping[str, Any]) -> str:
    """How many of the changed answers counted: what became too long for the model did not."""
    unread = one["unread"]
    return f"{one['answers']:,}" + (f" of {one['answers'] + unread:,}" if unread else "")


def _others(card: Card) -> str:
    shown = ""
    if found := card.get("disagreement"):
        told = [
            ("mean in these answers", _number(found["inside"])),
            ("mean elsewhere", _number(found["outside"])),
            (
                "an answer from elsewhere has more of it than one from here",
                _percent(found["elsewhere_told_apart"]),
            ),
            (
                "a wrongly ranked pair has more of it than a rightly ranked one",
                _percent(found["wrong_told_apart"]),
            ),
        ]
        shown += _section(
            "Does it know what it does not know?",
            "The model's own doubt, or how far its members disagree. One half says nothing.",
            _table(("doubt", "-value"), told),
        )
    if found := card.get("correlation"):
        rows = [
            (
                name.capitalize(),
                _number(found[name]),
                f"{found[f'{name}_low']:.3f} to {found[f'{name}_high']:.3f}",
            )
            for name in ("spearman", "pearson")
        ]
        shown += _section(
            "Beside given scores",
            f"Over {found['answers']:,.0f} answers that were given a score.",
            _table(("correlation", "-value", "95 %"), rows),
        )
    if found := card.get("safety"):
        told = [(escape(name.replace("_", " ")), _number(value)) for name, value in found.items()]
        shown += _section("Safety", "Against what people flagged.", _table(("figure", "-value"), told))
    return shown


def _suite(card: Card) -> str:
    suite = card.get("suite")
    if not suite:
        return ""
    sections = [(escape(name), _percent(value)) for name, value in suite["sections"].items()]
    sections.append(("<b>mean of sections</b>", f"<b>{_percent(suite['mean'])}</b>"))
    subsets = [_group(one["subset"], one) for one in suite["subsets"]]
    return _section(
        "Benchmark",
        "",
        _table(("section", "-right"), sections)
        + _table(("subset", "-right", "95 %", "", "-prompts"), subsets),
    )


def _worst(card: Card) -> str:
    found = card.get("explained")
    if not found:
        return ""
    most = (
        max(
            (
                abs(piece["effect"])
                for one in found
                for side in ("chosen", "rejected")
                for piece in one[side]["pieces"]
            ),
            default=0,
        )
        or 1
    )
    shown = []
    for one in found:
        asked = escape(one["prompt"][-1]["content"])
        sides = "".join(
            f'<div class="card"><div class="soft">{title}, score {one[side]["score"]:.2f}</div>{_pieces(one[side]["pieces"], most)}</div>'
            for side, title in (("chosen", "people chose"), ("rejected", "the model prefers"))
        )
        shown.append(f'<p><b>{asked}</b></p><div class="pair">{sides}</div>')
    return _section(
        "Where it was most wrong",
        "Each sentence was left out once: green ones raised the score, red ones lowered it; the number is by how much.",
        "".join(shown),
    )


def _pieces(pieces: Sequence[Mapping[str, Any]], most: float) -> str:
    return "".join(
        f'<span class="said" style="background: rgb(var(--{"up" if piece["effect"] > 0 else "down"}) / {0.05 + 0.4 * abs(piece["effect"]) / most:.2f})">{escape(piece["text"])}<sup class="soft">{_signed(piece["effect"])}</sup></span> '
        for piece in pieces
    )


def _source(card: Card) -> str:
    told = {
        "model": card.get("model"),
        "its digest": card.get("digest"),
        "judgements": card["data"],
        "their digest": card.get("data_digest"),
        "score examined": card["objective"],
    }
    rows = "".join(
        f'<dt class="soft">{name}</dt><dd>{_code(str(value))}</dd>' for name, value in told.items() if value
    )
    how = "Intervals are Wilson's at 95 %; pairs of one prompt count as one. The same model and file give the same page."
    return _section("What this was made from", how, f"<dl>{rows}</dl>")


# -- how it is drawn -----------------------------------------------------------------------------------------


def _section(title: str, about: str, body: str) -> str:
    return f"<h2>{escape(title)}</h2>" + (f'<p class="soft">{about}</p>' if about else "") + body


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already; a column whose name begins with a dash holds numbers."""
    kinds = [' class="n"' if name.startswith("-") else "" for name in columns]
    head = "".join(
        f"<th{kind}>{escape(name.lstrip('-'))}</th>" for name, kind in zip(columns, kinds, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{' class=draw' if cell.startswith('<svg') else kind}>{cell}</td>"
            for cell, kind in zip(row, kinds, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _group(name: str, share: Mapping[str, Any]) -> tuple[str, ...]:
    if not share["n"]:
        return escape(name), "", "", "", "0"
    between = f"{_percent(share['low'])} to {_percent(share['high'])}"
    drawn = _bar(share["low"], share["accuracy"], share["high"])
    return escape(name), _percent(share["accuracy"]), between, drawn, f"{share['n']:,.0f}"


def _as_share(quality: Mapping[str, Any], name: str, pairs: str) -> dict[str, Any]:
    return {
        "n": quality[pairs],
        "accuracy": quality[name],
        "low": quality[f"{name}_low"],
        "high": quality[f"{name}_high"],
    }


def _bar(low: float, at: float, high: float) -> str:
    """An interval and its estimate on a line from 0 to 1, with a mark at one half."""
    left, middle, right = (4 + 192 * min(max(value, 0.0), 1.0) for value in (low, at, high))
    return (
        '<svg viewBox="0 0 200 16" aria-hidden="true"><line x1="4" x2="196" y1="8" y2="8" stroke="currentColor" opacity=".2"/>'
        '<line x1="100" x2="100" y1="1" y2="15" stroke="currentColor" opacity=".5"/>'
        f'<line x1="{left:.1f}" x2="{right:.1f}" y1="8" y2="8" stroke="var(--mark)" stroke-width="3" opacity=".55"/>'
        f'<circle cx="{middle:.1f}" cy="8" r="4" fill="var(--mark)"/></svg>'
    )


def _between(figures: Mapping[str, Any], name: str) -> str:
    return f"{_percent(figures[f'{name}_low'])} to {_percent(figures[f'{name}_high'])}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if value != int(value) else f"{value:.0f}"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _mark(kept: bool) -> str:
    return '<span class="good">kept</span>' if kept else '<span class="bad">missed</span>'


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
