"""First lines of foreign errors, and words that must be one of a few."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from recsys.comparison.comparison import compare
from recsys.comparison.rendering import latex_text
from recsys.data.reading import Source
from recsys.data.splitting.rules import by_ratio
from recsys.data.types import Interactions
from recsys.errors import InputError, first_line, is_out_of_memory, one_of
from recsys.evaluation.evaluator import Report
from recsys.serving.ann_index import build_index
from recsys.statistics.intervals import bootstrap


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n\n  second line holds it\n"), "second line holds it"),
        (ValueError(""), "ValueError"),
        (RuntimeError(), "RuntimeError"),
        (ValueError("x" * 500), "x" * 200),
    ],
)
def test_the_first_line_of_an_error(error: Exception, line: str) -> None:
    assert first_line(error) == line


def test_a_word_that_is_not_known_is_refused_with_the_words_that_are() -> None:
    one_of("flat", ("flat", "hnsw"), "kind")
    with pytest.raises(InputError) as caught:
        one_of("flta", ("flat", "hnsw"), "kind")
    assert str(caught.value) == (
        "kind must be 'flat' or 'hnsw', got 'flta'; did you mean 'flat'? known: flat, hnsw"
    )


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("Storage size calculation overflowed with sizes=[9]"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_failed_allocations_are_recognised(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


PAIRS = Interactions(np.array([0, 1]), np.array([0, 1]), 2, 2)


def report() -> Report:
    table = pl.DataFrame({"user": [0, 1], "hit@1": [0.0, 1.0]})
    return Report(table, {}, ("hit@1",), 2)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: compare({"a": report(), "b": report()}, test="sign"), "test must be"),  # type: ignore[arg-type]
        (lambda: bootstrap(np.arange(5.0), method="bac"), "method must be"),  # type: ignore[arg-type]
        (lambda: build_index(np.eye(2), "cosine"), "search must be"),  # type: ignore[arg-type]
        (lambda: build_index(np.eye(2), "dot", "ivf"), "kind must be"),  # type: ignore[arg-type]
        (lambda: by_ratio(PAIRS, per="users"), "per must be"),
        (lambda: by_ratio(PAIRS, order="chronological"), "order must be"),
        (
            lambda: Source(nulls="skip"),  # type: ignore[arg-type]
            "nulls must be",
        ),
    ],
)
def test_options_that_take_a_few_words_take_no_other(act: Callable[[], object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        act()


def test_latex_escapes_every_special_character() -> None:
    assert latex_text(r"a_b & 50% $x^2 ~\n †") == (
        r"a\_b \& 50\% \$x\textasciicircum{}2 \textasciitilde{}\textbackslash{}n "
        r"\textsuperscript{\textdagger}"
    )
