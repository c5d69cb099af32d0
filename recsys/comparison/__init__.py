"""Comparison: one table of methods with intervals and paired tests.

    comparison  Compare reports or runs.
    entries     What is compared by its folder: a finished run, or a report alone.
    alignment   Check that reports are comparable, and reduce them to their common queries.
    outcomes    Intervals of all means, and paired tests of all pairs.
    table       The result: cells, paired tests, and its forms as text.
    rendering   Tables as Markdown and LaTeX.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.comparison.comparison import compare, compare_runs
from recsys.comparison.entries import Entry
from recsys.comparison.table import Comparison, PairedTest, TableCell

__all__ = ["Comparison", "Entry", "PairedTest", "TableCell", "compare", "compare_runs"]
