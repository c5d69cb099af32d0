"""A picture of a sweep: one panel per data set, one curve per method, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np

from recsys.benchmark.sweep import Value

__all__ = ["Curve", "curves_svg"]

# Colours of Okabe and Ito (2008), which people with colour-blindness can tell apart.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
_DASHES = ("", "6 3", "2 3")  # of the first eight curves, the next eight, and the others
_WIDTH, _HEIGHT = 420, 300  # of a panel's axes, in pixels
_LEFT, _LEGEND = 70, 170
_TOP, _BOTTOM = 40, 60


@dataclass(frozen=True)
class Curve:
    """A metric of all methods over the values of a sweep, on one data set.

    Args:
        data: name of the data set.
        metric: name of the metric.
        values: of the swept setting.
        methods: (mean, low, high) at each value, by method; NaN where nothing is finished.
    """

    data: str
    metric: str
    values: tuple[Value, ...]
    methods: Mapping[str, tuple[tuple[float, float, float], ...]]


def curves_svg(curves: Sequence[Curve], setting: str) -> str:
    """Draw the curves of a sweep.

    Values that are numbers are placed to scale, others at equal distances. Intervals are thin
    vertical lines.

    Args:
        curves: one per data set.
        setting: name of the swept setting.

    Returns:
        The text of an SVG file.
    """
    panel = _LEFT + _WIDTH + _LEGEND
    width, height = panel * max(len(curves), 1), _TOP + _HEIGHT + _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img">',
        f"<title>{escape(f'Methods over {setting}')}</title>",
        '<rect width="100%" height="100%" fill="white"/>',
        '<g font-family="sans-serif" font-size="12">',
    ]
    for number, curve in enumerate(curves):
        parts.append(f'<g transform="translate({number * panel + _LEFT} {_TOP})">')
        parts += [*_panel(curve, setting), "</g>"]
    return "\n".join([*parts, "</g>", "</svg>"]) + "\n"


def _panel(curve: Curve, setting: str) -> list[str]:
    """Return the elements of one data set."""
    at = _positions(curve.values)
    heights = [bound for points in curve.methods.values() for point in points for bound in point]
    known = [height for height in heights if np.isfinite(height)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    margin = 0.05 * (high - low) or 0.05
    low, high = low - margin, high + margin

    def y(value: float) -> float:
        return _HEIGHT * (high - value) / (high - low)

    parts = [
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="#999"/>',
        _text(_WIDTH / 2, -12, curve.data, "middle"),
        _text(_WIDTH / 2, _HEIGHT + 42, setting, "middle"),
        _text(-58, -12, curve.metric, "start"),
    ]
    for x, value in zip(at, curve.values, strict=True):
        parts.append(_text(x, _HEIGHT + 18, str(value), "middle"))
    for tick in np.linspace(low + margin, high - margin, 5):
        parts.append(_text(-6, y(float(tick)) + 4, f"{tick:.4f}", "end"))
        parts.append(_line((0.0, y(float(tick))), (float(_WIDTH), y(float(tick))), "#ddd"))
    for number, (method, points) in enumerate(curve.methods.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        dash = _DASHES[min(number // len(_COLOURS), len(_DASHES) - 1)]
        path = []
        for x, (mean, lower, upper) in zip(at, points, strict=True):
            if np.isfinite(mean):
                path.append(f"{x:.1f},{y(mean):.1f}")
                parts.append(f'<circle cx="{x:.1f}" cy="{y(mean):.1f}" r="3" fill="{colour}"/>')
            if np.isfinite(lower):
                parts.append(_line((x, y(lower)), (x, y(upper)), colour))
        parts.append(
            f'<polyline points="{" ".join(path)}" fill="none" stroke="{colour}" '
            f'stroke-width="1.5" stroke-dasharray="{dash}"/>'
        )
        level = 8 + 16 * number
        parts.append(_line((_WIDTH + 12.0, level), (_WIDTH + 36.0, level), colour, dash))
        parts.append(_text(_WIDTH + 42, level + 4, method, "start"))
    return parts


def _positions(values: Sequence[Value]) -> list[float]:
    """Return the horizontal position of each value, in pixels."""
    numbers = [value for value in values if not isinstance(value, bool | str)]
    if len(numbers) < len(values) or max(numbers) == min(numbers):
        numbers = list(range(len(values)))
    low, high = min(numbers), max(numbers)
    inner = _WIDTH - 40
    return [20 + inner * (number - low) / (high - low) for number in numbers]


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(start: tuple[float, float], end: tuple[float, float], colour: str, dash: str = "") -> str:
    return (
        f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" '
        f'stroke="{colour}" stroke-dasharray="{dash}"/>'
    )
