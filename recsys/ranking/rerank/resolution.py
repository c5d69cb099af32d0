"""The files of `[rerank]` in rows of a data set."""

from __future__ import annotations

import numpy as np
import polars as pl
import scipy.sparse as sp
import torch

from recsys.data.types import Dataset
from recsys.errors import InputError
from recsys.ranking.rerank.popularity import popularity
from recsys.ranking.rerank.reranker import Reranker
from recsys.ranking.rerank.settings import Rerank
from recsys.ranking.rerank.similarity import unit_rows
from recsys.ranking.rerank.tables import (
    Categories,
    ItemsOf,
    read_available,
    read_categories,
    read_columns,
    read_items,
)
from recsys.scorer import ItemVectors, Scorer

__all__ = ["resolve"]


def resolve(settings: Rerank, scorer: Scorer | None, train: Dataset) -> Reranker | None:
    """Return how lists are made; None if the settings change nothing.

    Args:
        settings: the section `[rerank]`.
        scorer: the scorer, for its item vectors; None: only the files are checked.
        train: its training data.

    Raises:
        InputError: a file cannot be read or names no known item; the scorer has no item vectors.
    """
    if not settings.active:
        return None
    columns = [*settings.at_most, *([settings.category] if settings.reads_category else [])]
    categories = {
        name: read_categories(str(settings.categories), name, train.items)
        for name in dict.fromkeys(columns)
    }
    exclusions = available = None
    if settings.exclusions is not None:
        exclusions = read_items(settings.exclusions, "user", train.items, "exclusions")
    if settings.availability is not None:
        available = read_available(settings.availability, str(settings.moment), train.items)
    candidates, group = _candidates(settings, train)
    return Reranker(
        settings=settings,
        train=train.pairs,
        users=train.users,
        categories=categories,
        vectors=_vectors(settings, scorer, train, categories),
        popularity=popularity(train.item_counts) if settings.by == "popularity" else None,
        exclusions=exclusions,
        candidates=candidates,
        group=group,
        available=available,
    )


def _candidates(settings: Rerank, train: Dataset) -> tuple[ItemsOf | None, pl.DataFrame | None]:
    """Return the items of groups, and the group of each user; the user itself without groups."""
    path = settings.candidates
    if path is None:
        return None, None
    if settings.groups is None:
        return read_items(path, "user", train.items, "candidates"), None
    groups = read_columns(settings.groups, ("user", "group"), "groups").drop_nulls()
    twice = groups.unique().filter(pl.col("user").is_duplicated())
    if twice.height:
        raise InputError(
            f"user {twice['user'][0]!r} has several groups",
            place=f"groups: {settings.groups}",
            remedy="give each user one group",
        )
    listed = read_items(path, "group", train.items, "candidates")
    missing = groups["group"].filter(pl.Series(listed.rows(groups["group"]) < 0))
    if len(missing):
        raise InputError(
            f"group {missing[0]!r} has no candidates",
            place=f"candidates: {path}",
            remedy="add its items, or leave its users out of groups",
        )
    return listed, groups.unique()


def _vectors(
    settings: Rerank, scorer: Scorer | None, train: Dataset, categories: dict[str, Categories]
) -> np.ndarray | sp.csr_matrix | None:
    """Return the rows whose cosine is the similarity of two items; None without one."""
    if settings.by not in ("mmr", "dpp"):
        return None
    if settings.similarity == "categories":
        return unit_rows(categories[settings.category].matrix)
    if settings.similarity == "interactions":
        return unit_rows(sp.csr_matrix(train.pairs.csr.T))
    if scorer is None:
        return None
    if not isinstance(scorer, ItemVectors):
        raise InputError(
            f"this '{scorer.kind}' scorer has no item vectors",
            place="[rerank] similarity",
            remedy="use similarity = 'interactions' or 'categories'",
        )
    item = scorer.item.detach().to(device="cpu", dtype=torch.float32)
    return unit_rows(np.asarray(item.numpy()))
