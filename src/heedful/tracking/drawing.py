"""A run's curves as one small picture: a panel for each metric, nothing that is not data.

All panels share their steps, so that what happened at once stands at the same place. Where there are many
values the panel shows each faintly and their running mean over them, because the eye should see the trend
and still see the noise. A value that is no number is a red mark at the foot of the panel: a gap would look
like a run that had nothing to say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLUMNS = 3
PANEL = (3.4, 2.3)  # inches
DOTS_UP_TO = 30  # values of which each is a dot
SMOOTH_FROM = 100  # values from which a running mean is drawn
INK, FAINT, ALARM = "#1f5f8b", "#9dbfd6", "#c0392b"


def draw(curves: Mapping[str, Sequence[tuple[int, float]]], target: Path, *, title: str) -> None:
    """Write a PNG. Uses no pyplot: that keeps every figure it made, and belongs to one thread."""
    columns = min(COLUMNS, len(curves))
    rows = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows + 0.35), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left", color="#555555")
    panels = list(figure.subplots(rows, columns, squeeze=False, sharex=True).flat)
    for place, name in enumerate(sorted(curves)):
        _panel(panels[place], name, curves[name], bottom=place + columns >= len(curves))
    for panel in panels[len(curves) :]:  # what is left of the last row
        panel.set_axis_off()
    figure.savefig(target, dpi=120, metadata={"Software": None})


def _panel(panel: Axes, name: str, curve: Sequence[tuple[int, float]], *, bottom: bool) -> None:
    points = [(step, value) for step, value in curve if math.isfinite(value)]
    lost = [step for step, value in curve if not math.isfinite(value)]
    steps, values = [step for step, _ in points], [value for _, value in points]
    smooth = len(points) >= SMOOTH_FROM
    if len(points) <= DOTS_UP_TO:
        panel.plot(steps, values, "o-", color=INK, markersize=2.5, linewidth=1.2)
    else:
        panel.plot(steps, values, color=FAINT if smooth else INK, linewidth=0.7 if smooth else 1.2)
    if smooth:
        values = running_mean(values, max(5, len(values) // 40))
        panel.plot(steps, values, color=INK, linewidth=1.4)
    if lost:
        foot = panel.get_xaxis_transform()
        panel.plot(lost, [0.0] * len(lost), "|", color=ALARM, markersize=9, transform=foot, clip_on=False)
    ends = short(values[-1]) if values else "-"
    panel.set_title(name, fontsize=9, loc="left", fontweight="bold", parse_math=False)
    panel.set_title(f"{len(lost)} not a number   {ends}" if lost else ends, fontsize=8, loc="right")
    panel.tick_params(labelsize=7, length=2, color="#888888")
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    panel.yaxis.set_major_locator(MaxNLocator(4))
    panel.yaxis.set_major_formatter(lambda value, _: short(value))
    panel.grid(axis="y", color="#e6e6e6", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color("#888888")
    if bottom:
        panel.tick_params(labelbottom=True)
        panel.set_xlabel("step", fontsize=8)


def short(value: float) -> str:
    """A number as a person would write it beside a curve."""
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def running_mean(values: Sequence[float], width: int) -> list[float]:
    """Each value's mean with those before it, `width` at most: no value knows what comes later."""
    sums = [0.0, *accumulate(values)]
    starts = [max(0, end - width) for end in range(1, len(sums))]
    return [(sums[end] - sums[start]) / (end - start) for end, start in enumerate(starts, start=1)]
