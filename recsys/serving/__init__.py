"""Serving: recommendations for users, similar items, new users and items, export of vectors.

    recommendations  Top-k lists of users in memory or into files, resumable.
    cold_start       Users and items that were not in the training data.
    vector_export    Export of user and item vectors for vector databases.
    ann_index        Nearest-neighbour index of item vectors.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.serving.ann_index import build_index, nearest, read_index
from recsys.serving.cold_start import add_items, fold_in, serve_users
from recsys.serving.recommendations import (
    Job,
    read_ids,
    recommend,
    similar_items,
    write_recommendations,
)
from recsys.serving.vector_export import Exported, Vectors, export, vectors

__all__ = [
    "Exported",
    "Job",
    "Vectors",
    "add_items",
    "build_index",
    "export",
    "fold_in",
    "nearest",
    "read_ids",
    "read_index",
    "recommend",
    "serve_users",
    "similar_items",
    "vectors",
    "write_recommendations",
]
