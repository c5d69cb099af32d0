"""Charts as inline SVG: lines, points with whiskers, and intervals in rows. No script is needed.

Colours are the classes `s0`..`s7` of the style sheet, and they repeat. The shape of the mark
changes with each round, so that methods can be distinguished, in grey too. Every mark has its
values as a `<title>`, which a script may show at the pointer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from recsys.report.html import Markup, element, join

__all__ = ["COLOURS", "Mark", "Series", "key", "lines", "number", "points", "rows"]

COLOURS = 8
WIDTH, HEIGHT = 360, 236
LEFT, RIGHT = 50, 12  # margins, in pixels
TOP, BOTTOM = 10, 38


@dataclass(frozen=True)
class Mark:
    """A point of a chart.

    Args:
        x: value on the horizontal axis.
        y: value on the vertical axis.
        text: its values in words.
        low: lower end of its interval; NaN without one.
        high: upper end of its interval; NaN without one.
        ring: whether it is highlighted by a ring.
    """

    x: float
    y: float
    text: str
    low: float = float("nan")
    high: float = float("nan")
    ring: bool = False


@dataclass(frozen=True)
class Series:
    """The marks of one method.

    Args:
        name: name of the method.
        order: its position on the page, which decides colour and shape.
        marks: its points.
        dashed: a single value, drawn as a level line.
    """

    name: str
    order: int
    marks: tuple[Mark, ...]
    dashed: bool = False


class _Scale:
    """Maps values to pixels, linearly or logarithmically, with ticks at round numbers.

    Args:
        values: what has to fit; values that are not finite are ignored.
        start: pixel of the lower end.
        end: pixel of the upper end.
        log: use the logarithm.
        room: free space at both ends, as a share of the range of the values.
    """

    def __init__(
        self,
        values: Sequence[float],
        start: float,
        end: float,
        *,
        log: bool = False,
        room: float = 0.05,
    ) -> None:
        self.log = log
        self.start, self.end = start, end
        finite = [
            math.log10(value) if log else value
            for value in values
            if math.isfinite(value) and (value > 0 or not log)
        ] or [0.0, 1.0]
        low, high = min(finite), max(finite)
        spare = (high - low) * room or (0.5 if log else abs(high) * 0.1 or 1.0)
        self.low, self.high = low - spare, high + spare
        if not log and low >= 0:
            self.low = max(self.low, 0.0)

    def __call__(self, value: float) -> float:
        at = math.log10(value) if self.log else value
        return self.start + (at - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        if self.log:
            first, last = math.floor(self.low), math.ceil(self.high)
            steps = (1, 2, 5) if self.high - self.low < 2 else (1,)
            exponents = range(first, last + 1, max(1, (last - first) // 5))
            values = [step * 10.0**exponent for exponent in exponents for step in steps]
            return [value for value in values if self.low <= math.log10(value) <= self.high]
        rough = (self.high - self.low) / 5
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
        return [
            round(step * n, 12)
            for n in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)
        ]


def number(value: float) -> str:
    """Return a number for an axis: 1200000 is 1.2M, 0.05 is 0.05."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:.4g}"


def shape(order: int, x: float, y: float, radius: float) -> str:
    """Return the path of a mark: circle, square, triangle or diamond, in turn."""
    r = radius
    kinds = (
        f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0z",
        f"M{x - 0.9 * r:.1f} {y - 0.9 * r:.1f}h{1.8 * r:.2f}v{1.8 * r:.2f}h{-1.8 * r:.2f}z",
        f"M{x:.1f} {y - 1.2 * r:.1f}l{1.2 * r:.2f} {2.1 * r:.2f}h{-2.4 * r:.2f}z",
        f"M{x:.1f} {y - 1.3 * r:.1f}l{1.3 * r:.2f} {1.3 * r:.2f}"
        f"l{-1.3 * r:.2f} {1.3 * r:.2f}l{-1.3 * r:.2f} {-1.3 * r:.2f}z",
    )
    return kinds[(order + order // COLOURS) % len(kinds)]


def key(names: Sequence[str]) -> Markup:
    """Return the legend: colour and shape of each method."""
    entries = []
    for order, name in enumerate(names):
        mark = element(
            "svg",
            element("path", d=shape(order, 7, 7, 4.5)),
            viewBox="0 0 14 14",
            aria_hidden="true",
            class_=colour(order),
        )
        entries.append(element("li", mark, name))
    return element("ul", *entries, class_="key")


def colour(order: int) -> str:
    """Return the class of a method's colour."""
    return f"s{order % COLOURS}"


def lines(series: Sequence[Series], across: str, up: str, label: str) -> Markup:
    """Return lines over a linear axis; a dashed series is one value, drawn from side to side.

    Args:
        series: what to draw.
        across: name of the horizontal axis.
        up: name of the vertical axis.
        label: description of the chart, for readers who cannot see it.
    """
    x, y = _axes_of(series, log=False)
    drawn = []
    for one in series:
        if one.dashed:
            level = y(one.marks[0].y)
            drawn.append(
                element(
                    "path",
                    d=f"M{LEFT} {level:.1f}H{WIDTH - RIGHT}",
                    class_=f"line dashed {colour(one.order)}",
                )
            )
        else:
            path = "".join(
                f"{'L' if i else 'M'}{x(mark.x):.1f} {y(mark.y):.1f}"
                for i, mark in enumerate(one.marks)
            )
            drawn.append(element("path", d=path, class_=f"line {colour(one.order)}"))
    for one in series:
        small = 3.2 if len(one.marks) < 16 else 2.0
        end = WIDTH - RIGHT - 4
        drawn += [
            _mark(
                one.order,
                end if one.dashed else x(mark.x),
                y(mark.y),
                4.2 if mark.ring else small,
                mark,
            )
            for mark in one.marks
        ]
    return _chart(x, y, drawn, across, up, label)


def points(
    series: Sequence[Series], across: str, up: str, label: str, *, log: bool = True
) -> Markup:
    """Return points with vertical whiskers, over a logarithmic axis; arguments as for `lines`."""
    x, y = _axes_of(series, log=log)
    drawn = []
    for one in series:
        for mark in one.marks:
            if math.isfinite(mark.low):
                whisker = f"M{x(mark.x):.1f} {y(mark.low):.1f}V{y(mark.high):.1f}"
                drawn.append(element("path", d=whisker, class_=f"whisker {colour(one.order)}"))
            drawn.append(_mark(one.order, x(mark.x), y(mark.y), 5.0, mark))
    return _chart(x, y, drawn, across, up, label)


def rows(series: Sequence[Series], across: str, label: str, ends: tuple[float, float]) -> Markup:
    """Return one row per method: its mean and interval along a linear axis.

    Args:
        series: what to draw; `Mark.x` is the mean.
        across: name of the axis.
        label: description of the chart, for readers who cannot see it.
        ends: smallest and largest value of the axis.
    """
    height = TOP + 20 * len(series) + BOTTOM
    left = 118
    x = _Scale(ends, left, WIDTH - RIGHT)
    bottom = height - BOTTOM
    drawn = [_upright(x, bottom)]
    for index, one in enumerate(series):
        level = TOP + 20 * index + 10
        name = one.name if len(one.name) <= 18 else one.name[:17] + "…"
        drawn.append(
            element(
                "text", name, element("title", one.name), x=left - 8, y=level + 4, text_anchor="end"
            )
        )
        for mark in one.marks:
            if math.isfinite(mark.low):
                drawn.append(
                    element(
                        "path",
                        d=f"M{x(mark.low):.1f} {level}H{x(mark.high):.1f}",
                        class_=f"whisker {colour(one.order)}",
                    )
                )
            drawn.append(_mark(one.order, x(mark.x), level, 4.5, mark))
    drawn.append(
        element(
            "text",
            across,
            x=(left + WIDTH - RIGHT) / 2,
            y=height - 6,
            text_anchor="middle",
            class_="axis",
        )
    )
    return element(
        "svg", *drawn, viewBox=f"0 0 {WIDTH} {height}", role="img", aria_label=label, class_="chart"
    )


def _axes_of(series: Sequence[Series], *, log: bool) -> tuple[_Scale, _Scale]:
    marks = [mark for one in series for mark in one.marks]
    x = _Scale(
        [mark.x for one in series if not one.dashed for mark in one.marks],
        LEFT,
        WIDTH - RIGHT,
        log=log,
        room=0.08 if log else 0.03,
    )
    y = _Scale(
        [value for mark in marks for value in (mark.y, mark.low, mark.high)], HEIGHT - BOTTOM, TOP
    )
    return x, y


def _mark(order: int, x: float, y: float, radius: float, mark: Mark) -> Markup:
    ring = " ring" if mark.ring else ""
    path = shape(order, x, y, radius)
    return element(
        "path",
        element("title", mark.text),
        d=path,
        class_=f"mark {colour(order)}{ring}",
        data_x=f"{x:.1f}",
        data_y=f"{y:.1f}",
    )


def _upright(x: _Scale, bottom: float) -> Markup:
    """Return the vertical lines of the grid, with their numbers."""
    parts = [
        element("path", d=f"M{x(tick):.1f} {TOP}V{bottom}", class_="grid") for tick in x.ticks()
    ]
    parts += [
        element("text", number(tick), x=f"{x(tick):.1f}", y=bottom + 14, text_anchor="middle")
        for tick in x.ticks()
    ]
    return join(*parts)


def _chart(
    x: _Scale, y: _Scale, drawn: Sequence[Markup], across: str, up: str, label: str
) -> Markup:
    bottom = HEIGHT - BOTTOM
    level = [
        element("path", d=f"M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}", class_="grid")
        for tick in y.ticks()
    ]
    level += [
        element("text", number(tick), x=LEFT - 6, y=f"{y(tick) + 4:.1f}", text_anchor="end")
        for tick in y.ticks()
    ]
    middle = (LEFT + WIDTH - RIGHT) / 2
    names = [
        element("text", across, x=middle, y=HEIGHT - 6, text_anchor="middle", class_="axis"),
        element(
            "text",
            up,
            transform=f"translate(11 {(TOP + bottom) / 2}) rotate(-90)",
            text_anchor="middle",
            class_="axis",
        ),
    ]
    return element(
        "svg",
        _upright(x, bottom),
        *level,
        *drawn,
        *names,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=label,
        class_="chart",
    )
