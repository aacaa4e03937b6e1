"""Charts as inline SVG, coloured by the page's style sheet: no package, no file beside the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 10, 10, 34
_MAX_TICKS = 6


@dataclass(frozen=True)
class Series:
    """One curve.

    Args:
        name: for the legend; empty leaves it out.
        x, y: its points, in order; y that isn't finite is left out.
        low, high: a band around it.
        is_dashed: a reference rather than a measurement.
        has_dots: whether its points are marked.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    is_dashed: bool = False
    has_dots: bool = True


@dataclass(frozen=True)
class Frame:
    """From values to places in the drawing."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: int
    height: int

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a value lies, px."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        inner = self.height - _TOP - _BOTTOM
        return _LEFT + across * (self.width - _LEFT - _RIGHT), _TOP + (1 - up) * inner


def chart(
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    legend_below: bool = False,
    width: int = 330,
    height: int = 230,
) -> str:
    """Curves in one frame, with ticks and a legend in the upper left or the lower right."""
    xs = [x for s in series for x in s.x]
    ys = [y for s in series for y in (*s.y, *s.low, *s.high) if math.isfinite(y)]
    names = [s for s in series if s.name]
    low, high = y_range or spread(ys)
    if y_range is None and len(names) > 1 and not legend_below:
        high += (high - low) * 0.09 * len(names)  # room for the legend
    frame = Frame(x_range or spread(xs), (low, high), width, height)
    drawn = [_curve(s, frame, number) for number, s in enumerate(series)]
    corner = (width // 2 + 30, height - _BOTTOM - 14 * len(names) - 4) if legend_below else (_LEFT + 8, _TOP + 4)
    legend = "".join(_legend(s, series.index(s), row, corner) for row, s in enumerate(names)) if len(names) > 1 else ""
    return _svg(frame, "".join(drawn) + legend, x_label, y_label)


def bars(
    groups: Sequence[tuple[str, Sequence[int]]], *, low: float, high: float, x_label: str, height: int = 230
) -> str:
    """Histograms over one range, each as shares of its own total."""
    shares = [[count / max(sum(counts), 1) for count in counts] for _, counts in groups]
    frame = Frame((low, high), (0.0, 1.05 * max((max(s) for s in shares), default=1.0) or 1.0), 330, height)
    parts = []
    for number, values in enumerate(shares):
        step = (high - low) / len(values)
        for k, value in enumerate(values):
            (x0, y0), (x1, y1) = frame.at(low + k * step, value), frame.at(low + (k + 1) * step, 0)
            if value:
                parts.append(
                    f'<rect class="f{number}" x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}"/>'
                )
    series = [Series(name, (), ()) for name, _ in groups]
    legend = "".join(_legend(s, row, row, (_LEFT + 8, _TOP + 4)) for row, s in enumerate(series))
    return _svg(frame, "".join(parts) + legend, x_label, "share")


def spread(values: Sequence[float]) -> tuple[float, float]:
    """A range that holds the values with a little room."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = 0.05 * (high - low) or max(abs(low), 1.0) * 0.05
    return low - room, high + room


def ticks(low: float, high: float, num: int = _MAX_TICKS) -> list[float]:
    """Round numbers between low and high, at most about `num`."""
    rough = (high - low) / max(num - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def _curve(series: Series, frame: Frame, number: int) -> str:
    points = [frame.at(x, y) for x, y in zip(series.x, series.y, strict=True) if math.isfinite(y)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts = []
    if len(series.low):
        there = [frame.at(x, y) for x, y in zip(series.x, series.high, strict=True)]
        back = [frame.at(x, y) for x, y in zip(series.x, series.low, strict=True)][::-1]
        around = " ".join(f"{x:.1f},{y:.1f}" for x, y in there + back)
        parts.append(f'<polygon class="f{number} band" points="{around}"/>')
    dashed = " dashed" if series.is_dashed else ""
    parts.append(f'<polyline class="l{number}{dashed}" points="{path}"/>')
    if series.has_dots and not series.is_dashed:
        parts += [f'<circle class="f{number}" cx="{x:.1f}" cy="{y:.1f}" r="2.2"/>' for x, y in points]
    return "".join(parts)


def _legend(series: Series, number: int, row: int, corner: tuple[int, int]) -> str:
    x, y = corner[0], corner[1] + 8 + 14 * row
    return (
        f'<rect class="f{number}" x="{x}" y="{y - 8}" width="10" height="8"/>'
        f'<text x="{x + 14}" y="{y}">{escape(series.name)}</text>'
    )


def _svg(frame: Frame, content: str, x_label: str, y_label: str) -> str:
    (left, bottom), (right, top) = frame.at(frame.x[0], frame.y[0]), frame.at(frame.x[1], frame.y[1])
    parts = [
        f'<rect class="frame" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}"/>'
    ]
    for value in ticks(*frame.x):
        x, _ = frame.at(value, frame.y[0])
        parts.append(
            f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>'
            f'<text x="{x:.1f}" y="{bottom + 12:.1f}" text-anchor="middle">{value:g}</text>'
        )
    for value in ticks(*frame.y):
        _, y = frame.at(frame.x[0], value)
        parts.append(
            f'<line class="tick" x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{left - 4:.1f}" y="{y + 3:.1f}" text-anchor="end">{value:g}</text>'
        )
    middle = (top + bottom) / 2
    parts.append(
        f'<text x="{(left + right) / 2:.1f}" y="{frame.height - 4}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text x="10" y="{middle:.1f}" text-anchor="middle" transform="rotate(-90 10 {middle:.1f})">{escape(y_label)}</text>'
    )
    size = f'viewBox="0 0 {frame.width} {frame.height}" width="{frame.width}" height="{frame.height}"'
    return f'<svg {size} role="img">{"".join(parts)}{content}</svg>'
