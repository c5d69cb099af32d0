"""Comparison: one table of methods with intervals and paired tests.

    comparison  Compare reports or runs.
    rendering   Markdown and LaTeX tables.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.comparison.comparison import Cell, Comparison, Test, compare, compare_runs

__all__ = ["Cell", "Comparison", "Test", "compare", "compare_runs"]
