"""Serving: recommendations for users, similar items, new users and items, export of vectors.

    request          What is asked for: users, list length, candidates, unknown users.
    recommendations  Top-k lists of users in memory or in files, resumable.
    recommender      Lists of a request, by the model or by popularity.
    item_similarity  Similar items.
    cold_start       Users and items that were not in the training data.
    vector_export    Export of user and item vectors for vector databases.
    plain_vectors    Vectors whose inner product or distance is the score.
    ann_index        Nearest-neighbour index of item vectors.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.data.id_files import read_ids
from recsys.serving.ann_index import build_index, nearest, read_index
from recsys.serving.cold_start import ExtendedScorer, add_items, fold_in, read_items, serve_users
from recsys.serving.item_similarity import similar_items
from recsys.serving.plain_vectors import Vectors, vectors
from recsys.serving.recommendations import Job, recommend, write_recommendations
from recsys.serving.request import Request, Unknown
from recsys.serving.vector_export import Exported, export

__all__ = [
    "Exported",
    "ExtendedScorer",
    "Job",
    "Request",
    "Unknown",
    "Vectors",
    "add_items",
    "build_index",
    "export",
    "fold_in",
    "nearest",
    "read_ids",
    "read_index",
    "read_items",
    "recommend",
    "serve_users",
    "similar_items",
    "vectors",
    "write_recommendations",
]
