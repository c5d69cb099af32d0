"""Methods ranked over data sets: average ranks, Friedman's test, Nemenyi's critical difference, and its diagram as SVG (Demsar, JMLR 2006)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np
import scipy.stats

__all__ = ["Ranking", "diagram", "ranking"]


@dataclass(frozen=True)
class Ranking:
    """Methods over data sets.

    Args:
        methods: best average rank first.
        ranks: average rank of each, 1 is best; equal values share the mean of their ranks.
        n: data sets.
        chi2, p: Friedman's statistic, corrected for ties, and its p value; NaN and 1 where nothing can be told.
        f, p_f: the same after Iman and Davenport (1980), which errs less with few data sets.
        critical: difference of two average ranks from which Nemenyi's test tells them apart at `level`; NaN with fewer than two data sets.
        level: of the critical difference.
        groups: first and last place (from 0, both included) of each longest run of methods that are not told apart.
    """

    methods: tuple[str, ...]
    ranks: tuple[float, ...]
    n: int
    chi2: float
    p: float
    f: float
    p_f: float
    critical: float
    level: float
    groups: tuple[tuple[int, int], ...]


def ranking(methods: Sequence[str], values: np.ndarray, level: float = 0.05) -> Ranking:
    """Rank methods over data sets; each data set counts once, whatever its number of users.

    Args:
        methods: names.
        values: float [N, k], one row per data set and one column per method; more is better.
        level: of the critical difference q sqrt(k (k + 1) / 6 N), q the studentised range with infinite degrees of freedom over sqrt 2.

    Raises:
        ValueError: the shape does not fit the names, a value is no number, or there is nothing to rank.
    """
    matrix = np.asarray(values, dtype=np.float64)
    if (
        matrix.ndim != 2
        or matrix.shape[1] != len(methods)
        or matrix.shape[1] < 2
        or not len(matrix)
        or np.isnan(matrix).any()
    ):
        raise ValueError(
            f"values must be numbers [data sets, methods] of {len(methods)} methods, at least two, not of shape {matrix.shape}"
        )
    n, k = matrix.shape
    places = scipy.stats.rankdata(-matrix, axis=1)
    mean = places.mean(0)
    # Of all ranks of a row around (k + 1) / 2: smaller where values are equal, which is the correction for ties.
    spread = float(((places - (k + 1) / 2) ** 2).sum())
    chi2 = f = float("nan")
    p = p_f = 1.0
    if spread > 0:
        between = n * float(((mean - (k + 1) / 2) ** 2).sum())
        chi2 = (k - 1) * n * between / spread
        p = float(scipy.stats.chi2.sf(chi2, k - 1))
        left = n * (k - 1) - chi2
        if n > 1:
            f = float("inf") if left <= 1e-12 * chi2 else (n - 1) * chi2 / left
            p_f = float(scipy.stats.f.sf(f, k - 1, (k - 1) * (n - 1)))
    critical = float("nan")
    if n > 1:
        q = float(scipy.stats.studentized_range.ppf(1 - level, k, np.inf)) / 2**0.5
        critical = q * float(np.sqrt(k * (k + 1) / (6 * n)))
    order = np.argsort(mean, kind="stable")
    ranks = tuple(float(mean[j]) for j in order)
    return Ranking(
        tuple(methods[j] for j in order),
        ranks,
        n,
        chi2,
        p,
        f,
        p_f,
        critical,
        level,
        _groups(ranks, critical),
    )


def _groups(ranks: Sequence[float], critical: float) -> tuple[tuple[int, int], ...]:
    """Longest runs of at least two methods whose first and last differ by less than the critical difference."""
    found: list[tuple[int, int]] = []
    if np.isnan(critical):
        return ()
    for first in range(len(ranks)):
        last = max(
            place for place in range(first, len(ranks)) if ranks[place] - ranks[first] < critical
        )
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return tuple(found)


def diagram(found: Ranking, width: int = 900) -> str:
    """The critical-difference diagram as SVG text: ranks on an axis, 1 at the left, and a bar over methods that are not told apart.

    Args:
        width: of the picture, in pixels.
    """
    k, margin, line, top = len(found.methods), 190, 22, 74
    length = width - 2 * margin

    def x(rank: float) -> float:
        return margin + (rank - 1) / (k - 1) * length

    bars = top + 14 + 9 * len(found.groups)
    half = (k + 1) // 2
    height = bars + 20 + line * half + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">',
        f"<title>Average ranks of {k} methods over {found.n} data sets</title>",
        '<rect width="100%" height="100%" fill="white"/>',
        '<g font-family="sans-serif" font-size="13" fill="black" stroke-linecap="square">',
        _line(x(1), top, x(k), top),
    ]
    for tick in range(1, k + 1):
        parts += [
            _line(x(tick), top - 6, x(tick), top),
            _text(x(tick), top - 11, f"{tick}", "middle"),
        ]
    if np.isfinite(found.critical):
        end = min(x(1 + found.critical), width - 8.0)
        parts += [_line(x(1), 28, end, 28), _line(x(1), 23, x(1), 33), _line(end, 23, end, 33)]
        parts.append(
            _text((x(1) + end) / 2, 18, f"critical difference {found.critical:.2f}", "middle")
        )
    for place, (method, rank) in enumerate(zip(found.methods, found.ranks, strict=True)):
        left = place < half
        y = bars + 20.0 + line * (place if left else k - 1 - place)
        side = margin - 8 if left else width - margin + 8
        label = f"{method}  {rank:.2f}" if left else f"{rank:.2f}  {method}"
        parts += [
            _line(x(rank), top, x(rank), y),
            _line(x(rank), y, side, y),
            _text(side - 5 if left else side + 5, y + 4, label, "end" if left else "start"),
        ]
    for number, (first, last) in enumerate(found.groups):
        bar = top + 11.0 + 9 * number
        parts.append(_line(x(found.ranks[first]) - 3, bar, x(found.ranks[last]) + 3, bar, 4))
    return "\n".join([*parts, "</g>", "</svg>"]) + "\n"


def _line(x1: float, y1: float, x2: float, y2: float, width: float = 1) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="black" stroke-width="{width:g}"/>'


def _text(x: float, y: float, said: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" xml:space="preserve">{escape(said)}</text>'
