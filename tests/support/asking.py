"""The functions of ranking for tests that ask for rows of users."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from recsys import ranking
from recsys.data.histories import Histories
from recsys.data.query import Queries
from recsys.evaluation import sampled
from recsys.scorer import Scorer


def asked(users: Any, seen: sp.csr_matrix | None = None) -> Queries:
    """Return a query for each user row; the entries of `seen` [n_users, n_items] are left out."""
    rows = np.asarray(users)
    return Queries.of_users(rows, None if seen is None else sp.csr_matrix(seen)[rows])


def asked_by(matrix: Any) -> Queries:
    """Return a query for the items of each row of a matrix."""
    return Queries.of_histories(Histories.of_rows(sp.csr_matrix(matrix)))


def top_k(
    scorer: Scorer, users: Any, k: int, *, seen: sp.csr_matrix | None = None, **options: Any
) -> ranking.TopK:
    return ranking.top_k(scorer, asked(users, seen), k, **options)


def ranks(
    scorer: Scorer,
    users: Any,
    targets: sp.csr_matrix,
    *,
    seen: sp.csr_matrix | None = None,
    **options: Any,
) -> ranking.Ranks:
    """Return the ranks of the targets [n_users, n_items] of some users."""
    chosen = sp.csr_matrix(targets)[np.asarray(users)]
    return ranking.ranks(scorer, asked(users, seen), chosen, **options)


def score_blocks(
    scorer: Scorer, users: Any, *, seen: sp.csr_matrix | None = None, **options: Any
) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    for span, scores in ranking.score_blocks(scorer, asked(users, seen), **options):
        yield np.asarray(users)[span], scores


def draw(
    scorer: Scorer,
    users: np.ndarray,
    test: sp.csr_matrix,
    seen: sp.csr_matrix,
    m: int,
    **options: Any,
) -> Any:
    return sampled.draw(scorer, asked(users, seen), test, m, **options)
