"""Charts as inline SVG, with the colours of the page's style sheet, light or dark.

Series differ in colour and dash, with Okabe and Ito's palette (classes ``c0`` ... ``c4`` in style.html).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from markupsafe import Markup

COLOURS = 5
_MAX_POINTS = 240


@dataclass(frozen=True)
class Series:
    """A line of a chart, with the ends of an interval at each of its points, where there are any (NaN: unknown)."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    colour: int | None = None  # None: by its place


@dataclass(frozen=True)
class Lane:
    """A row of a dot chart: the values of an arm."""

    name: str
    values: Sequence[float]
    colour: int


@dataclass(frozen=True)
class Interval:
    """A row of a forest chart: a difference with the intervals over seeds and over queries (NaN: unknown)."""

    name: str
    value: float
    seeds: tuple[float, float]
    queries: tuple[float, float]


def line_chart(title: str, series: Sequence[Series], x_label: str) -> Markup:
    """Lines over a common x axis, with a legend above. Values that are not finite are skipped.

    Long series are averaged to 240 points; those with intervals have a dot and a bar at each point. Empty where no
    series has a point.
    """
    lines = [(line, *_thinned(line)) for line in series]
    lines = [(line, x, y) for line, x, y in lines if len(x)]
    if not lines:
        return Markup("")
    values = np.concatenate([np.concatenate([y, line.low, line.high]) for line, _, y in lines])
    values = values[np.isfinite(values)]
    width, height, left, right, top, bottom = 460, 230, 54, 22, 34, 34
    every_x = np.concatenate([np.asarray(line.x, float) for line in series])
    x_low, x_high = float(np.nanmin(every_x)), float(np.nanmax(every_x))
    if 0 < x_low < 0.1 * x_high:
        x_low = 0.0  # iterations are counted from 1, axes from 0
    y_ticks = ticks(values.min(), values.max())
    x_ticks = [tick for tick in ticks(x_low, x_high) if x_low <= tick <= x_high]

    def x_of(value: float) -> float:
        return left + (value - x_low) / ((x_high - x_low) or 1) * (width - left - right)

    def y_of(value: float) -> float:
        return height - bottom - (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (height - top - bottom)

    parts = []
    for tick in y_ticks:
        kind = "zero" if tick == 0 and y_ticks[0] < 0 else "rule"
        parts.append(
            f'<line class="{kind}" x1="{left}" x2="{width - right}" y1="{y_of(tick):.1f}" y2="{y_of(tick):.1f}"/>'
        )
        parts.append(f'<text x="{left - 6}" y="{y_of(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in x_ticks:
        parts.append(f'<text x="{x_of(tick):.1f}" y="{height - bottom + 16}" text-anchor="middle">{tick:,g}</text>')
    parts.append(
        f'<text x="{(left + width - right) / 2}" y="{height - 3}" text-anchor="middle">{escape(x_label)}</text>'
    )
    legend_x = float(left)
    for place, (line, x, y) in enumerate(lines):
        colour = f"c{(place if line.colour is None else line.colour) % COLOURS}"
        points = " ".join(f"{x_of(a):.1f},{y_of(b):.1f}" for a, b in zip(x, y, strict=True))
        parts.append(f'<polyline class="line {colour}" points="{points}"/>')
        if len(x) == 1 or len(line.low):
            parts += [f'<circle class="dot {colour}" cx="{x_of(a):.1f}" cy="{y_of(b):.1f}" r="3"/>'
                      for a, b in zip(x, y, strict=True)]  # fmt: skip
        beside = 4 * (place - (len(lines) - 1) / 2)  # bars at the same x would hide each other
        for a, low, high in zip(line.x, line.low, line.high, strict=False):
            if math.isfinite(low + high):
                at = f'x1="{x_of(a) + beside:.1f}" x2="{x_of(a) + beside:.1f}"'
                parts.append(f'<line class="thin {colour}" {at} y1="{y_of(low):.1f}" y2="{y_of(high):.1f}"/>')
        parts.append(f'<line class="line {colour}" x1="{legend_x:.1f}" x2="{legend_x + 22:.1f}" y1="14" y2="14"/>')
        parts.append(f'<text x="{legend_x + 27:.1f}" y="18">{escape(line.name)}</text>')
        legend_x += 44 + 6.6 * len(line.name)
    return _svg(title, max(width, math.ceil(legend_x)), height, parts)


def dot_chart(title: str, groups: Sequence[tuple[str, Sequence[Lane]]], unit: str) -> Markup:
    """Groups of lanes: a dot for each value, a bar and a number for their mean."""
    values = [value for _, lanes in groups for lane in lanes for value in lane.values]
    if not values:
        return Markup("")
    scale = ticks(min(values), max(values))
    width, left, right, lane_height, gap = 640, 172, 56, 22, 14
    height = sum(len(lanes) * lane_height + gap for _, lanes in groups) + 26

    def x_of(value: float) -> float:
        return left + (value - scale[0]) / (scale[-1] - scale[0]) * (width - left - right)

    parts = []
    for tick in scale:
        parts.append(f'<line class="rule" x1="{x_of(tick):.1f}" x2="{x_of(tick):.1f}" y1="4" y2="{height - 24}"/>')
        label = f"{tick:g} {unit}".rstrip()
        parts.append(f'<text x="{x_of(tick):.1f}" y="{height - 8}" text-anchor="middle">{escape(label)}</text>')
    y = 4.0
    for group, lanes in groups:
        parts.append(
            f'<text class="strong" x="0" y="{y + lane_height * len(lanes) / 2 + 4:.1f}">{escape(group)}</text>'
        )
        for lane in lanes:
            middle = y + lane_height / 2
            mean = float(np.mean(lane.values))
            parts.append(f'<text x="{left - 10}" y="{middle + 4:.1f}" text-anchor="end">{escape(lane.name)}</text>')
            for value in lane.values:
                parts.append(f'<circle class="dot c{lane.colour}" cx="{x_of(value):.1f}" cy="{middle:.1f}" r="4.5"/>')
            parts.append(f'<line class="mean c{lane.colour}" x1="{x_of(mean):.1f}" x2="{x_of(mean):.1f}" '
                         f'y1="{middle - 9:.1f}" y2="{middle + 9:.1f}"/>')  # fmt: skip
            parts.append(f'<text class="strong" x="{width - right + 14}" y="{middle + 4:.1f}">{mean:.1f}</text>')
            y += lane_height
        y += gap
    return _svg(title, width, height, parts)


def forest_chart(title: str, rows: Sequence[Interval]) -> Markup:
    """Differences around 0: a dot, a thick line for the interval over seeds, a thin one below for that over queries."""
    if not rows:
        return Markup("")
    ends = [end for row in rows for end in (0.0, row.value, *row.seeds, *row.queries) if math.isfinite(end)]
    scale = ticks(min(ends), max(ends))
    width, left, right, lane = 640, 172, 56, 30
    height = len(rows) * lane + 30

    def x_of(value: float) -> float:
        return left + (value - scale[0]) / (scale[-1] - scale[0]) * (width - left - right)

    parts = []
    for tick in scale:
        kind = "zero" if tick == 0 else "rule"
        parts.append(f'<line class="{kind}" x1="{x_of(tick):.1f}" x2="{x_of(tick):.1f}" y1="4" y2="{height - 24}"/>')
        parts.append(f'<text x="{x_of(tick):.1f}" y="{height - 8}" text-anchor="middle">{tick:+g}</text>')
    for place, row in enumerate(rows):
        middle = 4 + lane * (place + 0.5)
        parts.append(f'<text x="{left - 10}" y="{middle + 4:.1f}" text-anchor="end">{escape(row.name)}</text>')
        for (low, high), kind, y in ((row.seeds, "thick", middle), (row.queries, "thin", middle + 8)):
            if math.isfinite(low):
                parts.append(
                    f'<line class="{kind} c0" x1="{x_of(low):.1f}" x2="{x_of(high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
                )
        parts.append(f'<circle class="dot c0" cx="{x_of(row.value):.1f}" cy="{middle:.1f}" r="4.5"/>')
        parts.append(f'<text class="strong" x="{width - right + 10}" y="{middle + 4:.1f}">{row.value:+.1f}</text>')
    return _svg(title, width, height, parts)


def bar_chart(title: str, bars: Sequence[tuple[str, float]]) -> Markup:
    """Shares between 0 and 1 as horizontal bars with their percentage."""
    width, left, right, row = 420, 118, 50, 19
    parts = []
    for place, (name, share) in enumerate(bars):
        y = place * row
        parts.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect class="track" x="{left}" y="{y + 4}" width="{width - left - right}" height="11" rx="2"/>')
        length = share * (width - left - right)
        parts.append(f'<rect class="bar c0" x="{left}" y="{y + 4}" width="{length:.1f}" height="11" rx="2"/>')
        parts.append(f'<text x="{width - right + 8}" y="{y + 14}">{share:.0%}</text>')
    return _svg(title, width, len(bars) * row + 2, parts)


def histogram(title: str, kept: Sequence[float], left_out: Sequence[float], threshold: float | None) -> Markup:
    """A stacked histogram of two kinds in 24 bins, with the threshold as a vertical line."""
    parts_of = [np.asarray(values, float) for values in (kept, left_out)]
    parts_of = [values[np.isfinite(values)] for values in parts_of]
    every = np.concatenate(parts_of)
    if not len(every):
        return Markup("")
    ends = [*every, threshold] if threshold is not None else every
    scale = ticks(min(ends), max(ends))
    counts = np.stack([np.histogram(values, 24, (scale[0], scale[-1]))[0] for values in parts_of])
    width, height, left, right, top, bottom = 420, 150, 12, 12, 26, 22
    each = (width - left - right) / counts.shape[1]
    parts = []
    for bin, (below, above) in enumerate(counts.T / counts.sum(axis=0).max() * (height - top - bottom)):
        x, y = left + bin * each, height - bottom - below
        for kind, length, start in ((0, below, y), (1, above, y - above)):
            if length:
                parts.append(f'<rect class="bar c{kind}" x="{x + 0.5:.1f}" y="{start:.1f}" width="{each - 1:.1f}" '
                             f'height="{length:.1f}"/>')  # fmt: skip

    def x_of(value: float) -> float:
        return left + (value - scale[0]) / (scale[-1] - scale[0]) * (width - left - right)

    for tick in scale:
        parts.append(f'<text x="{x_of(tick):.1f}" y="{height - 6}" text-anchor="middle">{tick:g}</text>')
    if threshold is not None:
        at = x_of(threshold)
        parts.append(f'<line class="zero" x1="{at:.1f}" x2="{at:.1f}" y1="{top - 4}" y2="{height - bottom}"/>')
    for kind, (name, x) in enumerate((("kept", left), ("left out", left + 70))):
        parts.append(f'<rect class="bar c{kind}" x="{x}" y="5" width="11" height="11"/>')
        parts.append(f'<text x="{x + 16}" y="15">{name}</text>')
    return _svg(title, width, height, parts)


def ticks(low: float, high: float) -> list[float]:
    """About five round numbers that enclose low ... high (steps of 1, 2 or 5 times a power of ten)."""
    size = max(abs(low), abs(high))
    span = high - low
    if span <= 1e-9 * size or span < 1e-100:  # equal but for rounding
        span = size if size > 1e-100 else 1.0
    magnitude = 10.0 ** math.floor(math.log10(span / 5.5))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude * 5.5 >= span)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{place * step:.12g}") for place in range(first, max(last, first + 1) + 1)]


def _thinned(series: Series) -> tuple[np.ndarray, np.ndarray]:
    """The finite points, averaged in equal groups where there are too many."""
    x, y = np.asarray(series.x, float), np.asarray(series.y, float)
    good = np.isfinite(x) & np.isfinite(y)
    x, y = x[good], y[good]
    if len(x) <= _MAX_POINTS:
        return x, y
    return tuple(np.array([part.mean() for part in np.array_split(values, _MAX_POINTS)]) for values in (x, y))


def _svg(title: str, width: int, height: int, parts: list[str]) -> Markup:
    return Markup(
        f'<svg class="chart" viewBox="0 0 {width} {height}" style="max-width:{width}px" role="img" '
        f'aria-label="{escape(title)}"><title>{escape(title)}</title>{"".join(parts)}</svg>'
    )
