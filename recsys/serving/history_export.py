"""What another program needs to answer histories itself: item weights, or a least squares problem.

Scores of EASE, ItemKNN, ContentKNN and GF-CF are linear in the history: an item's score is the sum
of its weights for the distinct items of the history. `export_weights` writes them. Scores of iALS
are inner products with a vector that is solved for the history; `solve_of` returns the problem.

    items = pl.read_parquet("out/items.parquet")
    weights = np.load("out/weights.npy", mmap_mode="r")  # or weights.parquet, if most are zero
    scores = weights[rows].sum(0)                            # rows: of the items of the history
    scores[rows] = -np.inf
    best = np.argsort(-scores)[:10]
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys.data.query import Queries
from recsys.data.types import Dataset
from recsys.experiment.execution import Run
from recsys.files import write_atomic, write_json
from recsys.scorer import Factors, Product, Scorer, Sum
from recsys.serving.export_files import LeftOut, filled, item_columns, libraries, write_table

__all__ = ["Solve", "WeightManifest", "export_weights", "has_weights", "solve_of"]

_FORMAT = 1  # version of the folder's layout
_CELLS = 1 << 24  # weights in memory at a time
_SCORE = (
    "the score of an item is the sum of its weights for the distinct items of the history; leave "
    "out the items of the history, and take the largest scores"
)
_SPARSE = "weights.parquet"
_DENSE = "weights.npy"
_SPARSE_LAYOUT = (
    "a row per weight that is not zero: item of the history, other item that is scored, weight"
)
_DENSE_LAYOUT = (
    "float32 [items, items]: row i is row i of items.parquet in the history, column i the same "
    "item being scored"
)
_FORMULA = (
    "u = (H'H + unobserved * V'V + l2 * (L + unobserved * n_items)^nu * I)^-1 H'1, where the rows "
    "of H are the vectors of the L distinct items of the history, those of V the vectors of "
    "items.parquet, and 1 is a vector of ones; the score of an item is the inner product of u and "
    "its vector"
)


@dataclass(frozen=True)
class Solve:
    """The least squares problem whose solution is the vector of a history.

    Args:
        unobserved: weight of a pair without an interaction.
        l2: weight of the squared norm.
        nu: exponent by which the squared norm counts more, the longer the history is.
        n_items: number of items in training, including those without an interaction.
        formula: the solution, in words.
    """

    unobserved: float
    l2: float
    nu: float
    n_items: int
    formula: str = _FORMULA


@dataclass(frozen=True)
class WeightManifest:
    """The content of manifest.json of a folder with weights, in its order.

    Args:
        format: version of the folder's layout.
        run: name of the run.
        method: name of its method, None if the run does not name it.
        fingerprint: of the run.
        score: how to score a history, in words.
        weights: name of the file of weights.
        layout: what the file holds, in words.
        entries: number of weights in the file.
        items: how many items are in the tables.
        without_training_pair_left_out: how many are not.
        libraries: versions of the libraries that wrote the folder.
    """

    format: int
    run: str
    method: str | None
    fingerprint: str
    score: str
    weights: str
    layout: str
    entries: int
    items: int
    without_training_pair_left_out: LeftOut
    libraries: Mapping[str, str]

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files in the folder."""
        return ("items.parquet", self.weights, "manifest.json")

    def to_json(self) -> dict[str, Any]:
        """Return the content as plain values."""
        return dataclasses.asdict(self)


def solve_of(scorer: Scorer) -> Solve | None:
    """Return the problem whose solution is the vector of a history; None for other scorers.

    Args:
        scorer: any scorer.
    """
    if not isinstance(scorer, Factors) or scorer.solve is None:
        return None
    if scorer.similarity != "dot" or scorer.item_bias is not None:
        return None  # the exported vectors are not those of the problem
    return Solve(**dataclasses.asdict(scorer.solve), n_items=scorer.n_items)


def has_weights(scorer: Scorer) -> bool:
    """Return whether the scores of a scorer are sums of weights of the items of a history."""
    if isinstance(scorer, Sum):
        return all(map(has_weights, scorer.parts))
    return isinstance(scorer, Product) and scorer.first == "history"


def _is_sparse(scorer: Scorer) -> bool:
    if isinstance(scorer, Sum):
        return all(map(_is_sparse, scorer.parts))
    assert isinstance(scorer, Product)
    return all(map(sp.issparse, scorer.matrices))


def export_weights(run: Run, out: Path, items: np.ndarray, left_out: LeftOut) -> WeightManifest:
    """Write items.parquet, and the weights of these items among each other, into a new folder.

    items.parquet holds item, title where the run has titles, and count, the number of training
    interactions, by which a history that scores all items the same can be answered.
    weights.parquet holds the weights that are not zero: item (of the history), other (the item that
    is scored) and weight. weights.npy holds all of them, float32 [n, n]: row i is that of row i of
    items.parquet in the history, and so is column i of the item that is scored.

    Args:
        run: a run whose scorer `has_weights`.
        out: the folder; missing or empty.
        items: rows of the items to write, ascending.
        left_out: how many users and items are not written.

    Returns:
        The content of manifest.json.

    Raises:
        InputError: the folder cannot be written.
    """
    sparse = _is_sparse(run.scorer)

    def fill(folder: Path) -> WeightManifest:
        counts = pl.Series("count", run.train.item_counts[items])
        table = item_columns(run.train, items).with_columns(counts)
        write_table(folder / "items.parquet", iter([table]))
        entries = len(items) ** 2
        if sparse:
            entries = _write_sparse(folder / _SPARSE, run.scorer, run.train, items)
        else:
            _write_dense(folder / _DENSE, run.scorer, items)
        manifest = WeightManifest(
            format=_FORMAT,
            run=run.name,
            method=run.meta.method,
            fingerprint=run.fingerprint,
            score=_SCORE,
            weights=_SPARSE if sparse else _DENSE,
            layout=_SPARSE_LAYOUT if sparse else _DENSE_LAYOUT,
            entries=entries,
            items=len(items),
            without_training_pair_left_out=left_out,
            libraries=libraries(),
        )
        write_json(folder / "manifest.json", manifest.to_json())
        return manifest

    return filled(out, fill)


def _blocks(scorer: Scorer, items: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield positions in `items` and the weights of these items, float32 [B, n]."""
    step = max(1, _CELLS // max(1, scorer.n_items))
    for start in range(0, max(1, len(items)), step):
        span = slice(start, start + step)
        # The scores are linear in the history, so a history of one item gives its weights.
        block = scorer.score(Queries.of_items(items[span])).cpu().numpy()
        yield span, block[:, items]


def _write_sparse(path: Path, scorer: Scorer, train: Dataset, items: np.ndarray) -> int:
    """Write the weights that are not zero, and return their number."""
    ids = train.items.ids.gather(items)
    entries = 0

    def frames() -> Iterator[pl.DataFrame]:
        nonlocal entries
        for span, block in _blocks(scorer, items):
            row, column = np.nonzero(block)
            entries += len(row)
            yield pl.DataFrame(
                {
                    "item": ids.gather(span.start + row),
                    "other": ids.gather(column),
                    "weight": block[row, column],
                }
            )

    write_table(path, frames())
    return entries


def _write_dense(path: Path, scorer: Scorer, items: np.ndarray) -> None:
    n = len(items)

    def produce(temporary: Path) -> None:
        with temporary.open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (n, n)}
            np.lib.format.write_array_header_1_0(file, header)
            for _, block in _blocks(scorer, items):
                file.write(np.ascontiguousarray(block, dtype="<f4").data)

    write_atomic(path, produce)
