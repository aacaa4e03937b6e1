"""Histograms as text and as SVG."""

from __future__ import annotations

from collections.abc import Sequence

_BLOCKS = " ▁▂▃▄▅▆▇█"


def blocks(counts: Sequence[int]) -> str:
    """A histogram in one line of text."""
    highest = max(max(counts), 1)
    return "".join(_BLOCKS[-(-count * 8 // highest)] for count in counts)


def svg(counts: Sequence[int], low: float, high: float, *, unit: str = "", width: int = 220, height: int = 70) -> str:
    """A histogram as inline SVG with its range written below."""
    highest, bar = max(max(counts), 1), width / len(counts)
    bars = "".join(
        f'<rect x="{n * bar:.1f}" y="{height - 14 - (height - 16) * c / highest:.1f}" width="{bar - 0.6:.1f}" '
        f'height="{(height - 16) * c / highest:.1f}"/>'
        for n, c in enumerate(counts)
    )
    labels = (
        f'<text x="0" y="{height - 2}">{low:.3g}</text>'
        f'<text x="{width}" y="{height - 2}" text-anchor="end">{high:.3g} {unit}</text>'
    )
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">{bars}{labels}</svg>'
