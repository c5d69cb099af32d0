"""Tables as text: what stands in them is escaped, and their columns line up."""

from __future__ import annotations

import numpy as np

from recsys.comparison.rendering import (
    interval_text,
    latex_table,
    latex_text,
    markdown_table,
    number,
    plain_text,
)


def test_a_markdown_table_by_hand():
    text = markdown_table(["method", "a"], [["x", "1"], [plain_text("y|z"), "2"]], ["A note."])
    assert text == "| method | a |\n|---|---:|\n| x | 1 |\n| y\\|z | 2 |\n\nA note.\n"


def test_a_latex_table_by_hand():
    text = latex_table(["Method", "a", "b"], [[latex_text("x_1†"), "1", "2"]], ["A note."])
    assert text.splitlines() == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"Method & a & b \\",
        r"\midrule",
        r"x\_1\textsuperscript{\textdagger} & 1 & 2 \\",
        r"\bottomrule",
        r"\end{tabular}",
        "% A note.",
    ]


def test_numbers_that_are_not_finite_are_not_written():
    assert (number(0.12345, 3), number(np.nan, 3), number(np.inf, 3)) == ("0.123", "-", "-")
    assert (interval_text(0.1, 0.2, 2), interval_text(np.nan, np.nan, 2)) == ("[0.10, 0.20]", "")
