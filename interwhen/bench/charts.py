"""Line charts as SVG, for pages that need no other file."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 16, 44

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """One series. *kind* is a class of the page's style: what it stands for, such as ``bare``."""

    label: str
    kind: str
    points: tuple[Point, ...]
    is_dashed: bool = False
    has_dots: bool = False
    is_joined: bool = True


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis. On a logarithmic one only positive values are drawn."""

    label: str
    is_log: bool = False
    low: float | None = None
    """Where it begins at the latest; ``None``: at the least value."""
    high: float | None = None
    is_whole: bool = False
    """Whether only whole numbers mean anything on it."""

    def span(self, values: Sequence[float]) -> tuple[float, float]:
        """Return where the axis begins and ends."""
        shown = [value for value in values if value > 0 or not self.is_log] or [1.0]
        low, high = min(shown), max(shown)
        low = low if self.low is None else min(low, self.low)
        high = high if self.high is None else max(high, self.high)
        if high > low:
            return low, high
        return (low / 2, high * 2) if self.is_log else (low - 1, high + 1)

    def place(self, value: float, span: tuple[float, float]) -> float:
        """Return where *value* lies between the ends of *span*, from 0 to 1."""
        low, high = span
        if self.is_log:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)

    def ticks(self, span: tuple[float, float]) -> list[float]:
        """Return round values inside *span*."""
        low, high = span
        if self.is_log:
            powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            factors = (1,) if len(powers) > 4 else (1, 2, 5)
            return [tick for power in powers for factor in factors if low <= (tick := factor * 10.0**power) <= high]
        rough = (high - low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
        step = max(step, 1.0) if self.is_whole else step
        return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def chart(lines: Sequence[Line], x: Axis, y: Axis, *, title: str) -> str:
    """Return *lines* over *x* and *y* as an SVG element; *title* is read to those who cannot see it."""
    drawn = [[(a, b) for a, b in line.points if (a > 0 or not x.is_log) and (b > 0 or not y.is_log)] for line in lines]
    across = x.span([a for points in drawn for a, _ in points])
    up = y.span([b for points in drawn for _, b in points])

    def at(point: Point) -> Point:
        return (
            _LEFT + x.place(point[0], across) * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - y.place(point[1], up) * (_HEIGHT - _TOP - _BOTTOM),
        )

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(title)}">',
        *_grid(x, y, across, up, at),
    ]
    for line, points in zip(lines, drawn, strict=True):
        parts.append(_line(line, [at(point) for point in points]))
    parts.append("</svg>")
    keys = "".join(
        f'<span class="key {line.kind}{" dashed" if line.is_dashed else ""}">{html.escape(line.label)}</span>'
        for line in lines
    )
    return (
        f'<figure><figcaption>{html.escape(title)}</figcaption>{"".join(parts)}<div class="keys">{keys}</div></figure>'
    )


def _grid(
    x: Axis, y: Axis, across: tuple[float, float], up: tuple[float, float], at: Callable[[Point], Point]
) -> list[str]:
    parts = []
    bottom, left, right = _HEIGHT - _BOTTOM, _LEFT, _WIDTH - _RIGHT
    for tick in x.ticks(across):
        place, _ = at((tick, up[0]))
        parts.append(f'<line class="grid" x1="{place:.1f}" x2="{place:.1f}" y1="{_TOP}" y2="{bottom}"/>')
        parts.append(f'<text x="{place:.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
    for tick in y.ticks(up):
        _, place = at((across[0], tick))
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{place:.1f}" y2="{place:.1f}"/>')
        parts.append(f'<text x="{left - 6}" y="{place + 4:.1f}" text-anchor="end">{tick:g}</text>')
    middle = (left + right) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{html.escape(x.label)}</text>')
    height = (_TOP + bottom) / 2
    turned = f'text-anchor="middle" transform="rotate(-90 14 {height})"'
    parts.append(f'<text x="14" y="{height}" {turned}>{html.escape(y.label)}</text>')
    return parts


def _line(line: Line, points: Sequence[Point]) -> str:
    parts = []
    if line.is_joined and points:
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        dashed = " dashed" if line.is_dashed else ""
        parts.append(f'<polyline class="line {line.kind}{dashed}" points="{path}"/>')
    if line.has_dots:
        parts.extend(f'<circle class="dot {line.kind}" cx="{a:.1f}" cy="{b:.1f}" r="3.5"/>' for a, b in points)
    return "".join(parts)
