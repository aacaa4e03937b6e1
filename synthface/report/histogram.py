"""Histograms as text and as SVG."""

from __future__ import annotations

from collections.abc import Sequence

_BLOCKS = " ▁▂▃▄▅▆▇█"


def blocks(counts: Sequence[int]) -> str:
    """A histogram in one line of text."""
    highest = max(max(counts), 1)
    return "".join(_BLOCKS[-(-count * 8 // highest)] for count in counts)


def svg(
    counts: Sequence[int],
    low: float,
    high: float,
    *,
    unit: str = "",
    width: int = 220,
    height: int = 70,
    outline: Sequence[float] = (),
    mark: float | None = None,
) -> str:
    """A histogram as inline SVG with its range written below.

    Args:
        counts: of each bin.
        low, high: where the bins begin and end.
        unit: written behind the range.
        width, height: px.
        outline: another histogram over the same bins, drawn as a line.
        mark: a value to draw a vertical line at.
    """
    highest, bar = max(max(counts), *outline, 1), width / len(counts)
    top = [height - 14 - (height - 16) * count / highest for count in (*counts, *outline)]
    bars = "".join(
        f'<rect x="{n * bar:.1f}" y="{y:.1f}" width="{bar - 0.6:.1f}" height="{height - 14 - y:.1f}"/>'
        for n, y in enumerate(top[: len(counts)])
    )
    steps = " ".join(f"{n * bar:.1f},{y:.1f} {(n + 1) * bar:.1f},{y:.1f}" for n, y in enumerate(top[len(counts) :]))
    line = f'<polyline class="asked" points="{steps}"/>' if outline else ""
    if mark is not None and low < high:
        x = (mark - low) / (high - low) * width
        line += f'<line class="mark" x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{height - 14}"/>'
    labels = (
        f'<text x="0" y="{height - 2}">{low:.3g}</text>'
        f'<text x="{width}" y="{height - 2}" text-anchor="end">{high:.3g} {unit}</text>'
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">{bars}{line}{labels}</svg>'
    )
