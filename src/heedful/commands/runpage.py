"""A run that practised as one page, for someone who was not there: what the judge said, and what people said.

The picture is the one that tells a good run from a bad one: the reward and what people preferred, both against the
distance from the start. Where the first goes on rising and the second does not, the policy has begun to please the judge.
"""
# ruff: noqa: E501 - a page reads better unbroken

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from heedful.commands.reportcard import STYLE
from heedful.commands.runs import SHORT, RunCard, lines, read
from heedful.errors import InvalidInput

WIDE, HIGH, LEFT, LOW, RIGHT, TOP = 640, 300, 52, 40, 52, 16
ALARMS = {
    "kl": "distance, nats",
    "entropy": "entropy, nats a token",
    "distinct": "different word pairs",
    "violation": "violations",
    "tokens": "tokens an answer",
    "leash": "price of distance, times",
}
Row = Mapping[str, Any]


def page(directory: Path) -> str:
    """The whole page; nothing is loaded from elsewhere."""
    card = read(directory)
    curve, audits = lines(directory, "curve"), lines(directory, "audits")
    if not curve:
        raise InvalidInput(f"{directory} holds a {card.method} run: only grpo and ppo leave a curve to draw")
    parts = [
        f"<h1>What practice made of a policy</h1><p class='soft'>{_lead(card, audits)}</p>",
        _cards(card.result),
        "<h2>What the judge said, and what people said</h2>",
        "<p>Against the distance from the start. Where the reward goes on rising and people do not follow, the policy has begun to please the judge instead.</p>"
        if audits
        else "<p>Against the distance from the start. Nobody was asked: with <code>audit</code> people would be drawn beside it.</p>",
        _against(curve, audits, card.result.get("iterations", 0)),
        "<h2>Alarms</h2>",
        _alarms(curve),
        "<h2>Before and after</h2>",
        _samples(lines(directory, "samples")),
        "<h2>Made from</h2>",
        _source(card),
    ]
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A run of {escape(card.method)}</title>
<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>
{"".join(parts)}
</body></html>
"""


def _lead(card: RunCard, audits: Sequence[Row]) -> str:
    result = card.result
    asked = (
        f" People compared {sum(one['answered'] for one in audits)} pairs along the way." if audits else ""
    )
    return (
        f"{escape(card.method)}, {result.get('iterations')} iterations kept, stopped: {escape(str(result.get('stopped')))}; "
        f"{card.seconds:.0f} seconds, began {escape(card.began)}.{asked}"
    )


def _cards(result: Row) -> str:
    def one(name: str, before: float | None, after: float | None, form: str) -> str:
        if before is None or after is None:
            return ""
        return f'<div class="card"><div class="soft">{name}</div><div class="big">{after:{form}}</div><div class="soft">from {before:{form}}</div></div>'

    left_out = sum(result.get("left_out", {}).values())
    return (
        '<div class="cards">'
        + one("reward", result.get("reward_before"), result.get("reward_after"), ".2f")
        + one("violations", result.get("violation_before"), result.get("violation_after"), ".1%")
        + f'<div class="card"><div class="soft">distance</div><div class="big">{result.get("kl", 0.0):.2f}</div><div class="soft">nats an answer</div></div>'
        + f'<div class="card"><div class="soft">steps left out</div><div class="big">{left_out}</div><div class="soft">as unsafe</div></div>'
        + "</div>"
    )


class _Scale:
    """From values to a place in the picture."""

    def __init__(self, values: Sequence[float], low: float, high: float) -> None:
        least, most = min(values), max(values)
        room = (most - least) * 0.08 or 0.5
        self.least, self.most = least - room, most + room
        self._low, self._high = low, high

    def __call__(self, value: float) -> float:
        return self._low + (value - self.least) / (self.most - self.least) * (self._high - self._low)

    def ticks(self, count: int = 4) -> list[float]:
        step = (self.most - self.least) / count
        size = 10.0 ** math.floor(math.log10(step))
        step = min((one * size for one in (1, 2, 2.5, 5, 10)), key=lambda one: abs(one - step))
        first = math.ceil(self.least / step)
        return [at * step for at in range(first, math.floor(self.most / step) + 1)]


def _against(curve: Sequence[Row], audits: Sequence[Row], kept: int) -> str:
    """The reward (left scale) and the share of people that prefer the policy to its start (right), against distance."""
    across = _Scale([one["kl"] for one in curve], LEFT, WIDE - RIGHT)
    reward = _Scale([one["reward"] for one in curve], HIGH - LOW, TOP)
    drawn = [
        f'<svg viewBox="0 0 {WIDE} {HIGH}" role="img" aria-label="reward and what people preferred, against distance">'
    ]
    drawn += [_text(across(tick), HIGH - LOW + 16, f"{tick:.3g}", "middle") for tick in across.ticks()]
    for tick in reward.ticks():
        drawn.append(
            f'<line x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{reward(tick):.1f}" y2="{reward(tick):.1f}" stroke="var(--line)"/>'
        )
        drawn.append(_text(LEFT - 6, reward(tick) + 4, f"{tick:.3g}", "end"))
    drawn.append(_text((LEFT + WIDE - RIGHT) / 2, HIGH - 6, "nats from the start", "middle"))
    drawn.append(_text(4, 11, "reward", "start", "var(--mark)"))
    points = " ".join(f"{across(one['kl']):.1f},{reward(one['reward']):.1f}" for one in curve)
    drawn.append(
        f'<polyline points="{points}" fill="none" stroke="var(--mark)" stroke-width="1.2" opacity=".5"/>'
    )
    for one in curve:
        chosen = one["iteration"] == kept
        drawn.append(
            f'<circle cx="{across(one["kl"]):.1f}" cy="{reward(one["reward"]):.1f}" r="{5 if chosen else 2.5}" fill="var(--mark)">'
            f"<title>iteration {one['iteration']}{', kept' if chosen else ''}: reward {one['reward']:.2f}, {one['kl']:.2f} nats</title></circle>"
        )
    if audits:
        drawn.append(_text(WIDE - 4, 11, "preferred to the start", "end", "var(--good)"))
        drawn += [
            _text(WIDE - RIGHT + 6, _share(tick) + 4, f"{tick:.0%}", "start") for tick in (0.25, 0.5, 0.75)
        ]
    for look in audits:
        x, middle = across(look["kl"]), _logistic(look["strength"])
        low, high = (_logistic(look["strength"] + side * 1.96 * look["error"]) for side in (-1, 1))
        drawn.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_share(low):.1f}" y2="{_share(high):.1f}" stroke="var(--good)" stroke-width="1.5"/>'
        )
        drawn.append(
            f'<rect x="{x - 4:.1f}" y="{_share(middle) - 4:.1f}" width="8" height="8" fill="var(--good)">'
            f"<title>iteration {look['iteration']}: {middle:.0%} ({low:.0%} to {high:.0%}), {look['answered']} of {look['asked']} answered</title></rect>"
        )
    return "".join(drawn) + "</svg>"


def _share(value: float) -> float:
    return HIGH - LOW + value * (TOP - (HIGH - LOW))


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def _text(x: float, y: float, words: str, anchor: str, fill: str = "currentColor") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="11" text-anchor="{anchor}" fill="{fill}">{escape(words)}</text>'


def _alarms(curve: Sequence[Row]) -> str:
    """A small line for each figure that tells when something is wrong."""
    drawn = []
    for name, words in ALARMS.items():
        values = [float(one[name]) for one in curve if name in one]
        if not values:
            continue
        across, up = _Scale([0, max(1, len(values) - 1)], 4, 196), _Scale(values, 46, 6)
        points = " ".join(f"{across(at):.1f},{up(value):.1f}" for at, value in enumerate(values))
        drawn.append(
            f'<div class="card"><div class="soft">{words}</div><svg viewBox="0 0 200 52" role="img" aria-label="{words}">'
            f'<polyline points="{points}" fill="none" stroke="var(--mark)" stroke-width="1.6"/></svg>'
            f"<div>{_small(values[0])} → <b>{_small(values[-1])}</b></div></div>"
        )
    return f'<div class="cards">{"".join(drawn)}</div>'


def _small(value: float) -> str:
    return f"{round(value, 4) + 0.0:.3g}"


def _samples(samples: Sequence[Row]) -> str:
    rows = "".join(
        f"<tr><td>{escape(_words(one['prompt']))}</td><td>{escape(one['before'])}</td><td>{escape(one['after'])}</td></tr>"
        for one in samples
    )
    return (
        f'<div class="wide"><table><tr><th>asked</th><th>before</th><th>after</th></tr>{rows}</table></div>'
    )


def _words(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(str(message["content"]) for message in prompt)


def _source(card: RunCard) -> str:
    digests = "".join(
        f"<dt>{escape(name)}</dt><dd><code>{escape(str(card.spec.get(name)))}</code> {escape(value[:SHORT])}</dd>"
        for name, value in card.digests.items()
    )
    versions = ", ".join(f"{name} {value}" for name, value in card.versions.items())
    rest = {name: value for name, value in card.spec.items() if name not in card.digests}
    return f"<dl>{digests}<dt>settings</dt><dd><code>{escape(json.dumps(rest))}</code></dd><dt>versions</dt><dd>{escape(versions)}</dd></dl>"
