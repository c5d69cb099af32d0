"""Methods ranked over data sets: Friedman's test, Nemenyi's critical difference, and its diagram.

Source: Demsar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 2006.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np
import scipy  # scipy.stats takes 0.6 s to import, and scipy imports it on first use

__all__ = ["MethodRanks", "diagram", "ranking"]

# Of the diagram, in pixels.
_MARGIN = 190
_LINE = 22
_TOP = 74


@dataclass(frozen=True)
class MethodRanks:
    """Ranks of methods over data sets.

    Args:
        methods: names, best average rank first.
        ranks: average rank of each, 1 is best; equal values share the mean of their ranks.
        n: number of data sets.
        chi2: Friedman's statistic, corrected for ties; NaN if all values of each data set are
            equal.
        p: its p value; then 1.
        f: the statistic of Iman and Davenport (1980), which errs less with few data sets.
        p_f: its p value.
        critical: difference of two average ranks from which Nemenyi's test separates them at
            `level`; NaN with fewer than two data sets.
        level: significance level of the critical difference.
        groups: first and last index, both included, of each longest run of methods that are not
            separated.
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


@dataclass(frozen=True)
class _Friedman:
    """Friedman's statistic and that of Iman and Davenport, with their p values."""

    chi2: float = float("nan")
    p: float = 1.0
    f: float = float("nan")
    p_f: float = 1.0


def ranking(methods: Sequence[str], values: np.ndarray, level: float = 0.05) -> MethodRanks:
    """Rank methods over data sets. Each data set counts once, for any number of users.

    Args:
        methods: names, [k].
        values: float [N, k], one row per data set and one column per method; more is better.
        level: significance level of the critical difference q sqrt(k (k + 1) / 6 N), with q the
            studentised range with infinite degrees of freedom over sqrt 2.

    Raises:
        ValueError: the shape does not fit the names, a value is NaN, or there are fewer than two
            methods or no data set.
    """
    matrix = np.asarray(values, dtype=np.float64)
    fits = matrix.ndim == 2 and matrix.shape[1] == len(methods) >= 2 and len(matrix) > 0
    if not fits or np.isnan(matrix).any():
        raise ValueError(
            f"values must be numbers [data sets, methods] of {len(methods)} methods, at least two, "
            f"not of shape {matrix.shape}"
        )
    n, k = matrix.shape
    ranked = scipy.stats.rankdata(-matrix, axis=1)
    mean = ranked.mean(0)
    test = _friedman(ranked)
    critical = float("nan")
    if n > 1:
        q = float(scipy.stats.studentized_range.ppf(1 - level, k, np.inf)) / 2**0.5
        critical = q * float(np.sqrt(k * (k + 1) / (6 * n)))
    order = np.argsort(mean, kind="stable")
    ranks = tuple(float(mean[j]) for j in order)
    return MethodRanks(
        methods=tuple(methods[j] for j in order),
        ranks=ranks,
        n=n,
        chi2=test.chi2,
        p=test.p,
        f=test.f,
        p_f=test.p_f,
        critical=critical,
        level=level,
        groups=_groups(ranks, critical),
    )


def _friedman(ranked: np.ndarray) -> _Friedman:
    """Return Friedman's test of ranks, float [N, k]."""
    n, k = ranked.shape
    centre = (k + 1) / 2
    # Over all ranks of each row; smaller with equal values, which is the correction for ties.
    spread = float(((ranked - centre) ** 2).sum())
    if spread <= 0:
        return _Friedman()
    between = n * float(((ranked.mean(0) - centre) ** 2).sum())
    chi2 = (k - 1) * n * between / spread
    p = float(scipy.stats.chi2.sf(chi2, k - 1))
    if n < 2:
        return _Friedman(chi2, p)
    left = n * (k - 1) - chi2
    f = float("inf") if left <= 1e-12 * chi2 else (n - 1) * chi2 / left
    return _Friedman(chi2, p, f, float(scipy.stats.f.sf(f, k - 1, (k - 1) * (n - 1))))


def _groups(ranks: Sequence[float], critical: float) -> tuple[tuple[int, int], ...]:
    """Return the longest runs of methods whose ends differ by less than the critical difference.

    Args:
        ranks: average ranks in ascending order.
        critical: the critical difference; NaN gives no runs.
    """
    if np.isnan(critical):
        return ()
    runs: list[tuple[int, int]] = []
    for first in range(len(ranks)):
        last = max(j for j in range(first, len(ranks)) if ranks[j] - ranks[first] < critical)
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((first, last))
    return tuple(runs)


def diagram(result: MethodRanks, width: int = 900) -> str:
    """Return the critical-difference diagram as SVG text.

    Ranks are on an axis, 1 at the left. A bar joins methods that are not separated.

    Args:
        result: the ranks.
        width: of the picture, in pixels.
    """
    k = len(result.methods)
    length = width - 2 * _MARGIN

    def x(rank: float) -> float:
        return _MARGIN + (rank - 1) / (k - 1) * length

    bars = _TOP + 14 + 9 * len(result.groups)
    half = (k + 1) // 2
    height = bars + 20 + _LINE * half + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img">',
        f"<title>Average ranks of {k} methods over {result.n} data sets</title>",
        '<rect width="100%" height="100%" fill="white"/>',
        '<g font-family="sans-serif" font-size="13" fill="black" stroke-linecap="square">',
        _line(x(1), _TOP, x(k), _TOP),
    ]
    for tick in range(1, k + 1):
        parts.append(_line(x(tick), _TOP - 6, x(tick), _TOP))
        parts.append(_text(x(tick), _TOP - 11, f"{tick}", "middle"))
    if np.isfinite(result.critical):
        end = min(x(1 + result.critical), width - 8.0)
        parts += [_line(x(1), 28, end, 28), _line(x(1), 23, x(1), 33), _line(end, 23, end, 33)]
        label = f"critical difference {result.critical:.2f}"
        parts.append(_text((x(1) + end) / 2, 18, label, "middle"))
    for index, (method, rank) in enumerate(zip(result.methods, result.ranks, strict=True)):
        left = index < half
        y = bars + 20.0 + _LINE * (index if left else k - 1 - index)
        side = _MARGIN - 8 if left else width - _MARGIN + 8
        parts += [_line(x(rank), _TOP, x(rank), y), _line(x(rank), y, side, y)]
        if left:
            parts.append(_text(side - 5, y + 4, f"{method}  {rank:.2f}", "end"))
        else:
            parts.append(_text(side + 5, y + 4, f"{rank:.2f}  {method}", "start"))
    for number, (first, last) in enumerate(result.groups):
        y = _TOP + 11.0 + 9 * number
        parts.append(_line(x(result.ranks[first]) - 3, y, x(result.ranks[last]) + 3, y, 4))
    return "\n".join([*parts, "</g>", "</svg>"]) + "\n"


def _line(x1: float, y1: float, x2: float, y2: float, width: float = 1) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="black" stroke-width="{width:g}"/>'
    )


def _text(x: float, y: float, content: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" xml:space="preserve">'
        f"{escape(content)}</text>"
    )
