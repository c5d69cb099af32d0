"""Serving: recommendations for users, histories and items, new items, export of vectors.

    request          What is asked for: who asks, list length, candidates, unknown users.
    given_histories  Histories in memory and in files, in outside ids.
    asked            A request in rows: queries for users, histories or items.
    recommendations  Top-k lists of a request in memory or in files, resumable.
    job              A job that writes lists, in parts or to one file.
    job_folder       The folder of a job: manifest, finished parts, lock.
    job_check        Hashes of a finished job, and a sample of its lists computed again.
    list_files       Files of recommendations in Parquet, CSV and JSON lines.
    order            A request to a run by paths and options, resolved.
    machine          What decides the last bits of a score: processor, device, versions.
    recommender      Lists of a request, by the model or by popularity.
    item_similarity  Similar items.
    cold_start       Items that were not in the training data.
    vector_export    Export of user and item vectors for vector databases, or of item weights.
    history_export   What other programs need to answer histories themselves.
    export_files     What every export has: a complete folder, tables, versions.
    plain_vectors    Vectors whose inner product or distance is the score.
    ann_index        Nearest-neighbour index of item vectors.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.data.id_files import read_ids
from recsys.serving.ann_index import build_index, nearest, read_index
from recsys.serving.asked import Asked, ask
from recsys.serving.cold_start import ExtendedScorer, add_items, read_items
from recsys.serving.given_histories import GivenHistories, HistoriesLike, read_histories
from recsys.serving.item_similarity import similar_items
from recsys.serving.job import Job
from recsys.serving.plain_vectors import Vectors, vectors
from recsys.serving.recommendations import recommend, write_recommendations
from recsys.serving.recommender import Recommender
from recsys.serving.request import Request, Unknown
from recsys.serving.vector_export import Exported, export

__all__ = [
    "Asked",
    "Exported",
    "ExtendedScorer",
    "GivenHistories",
    "HistoriesLike",
    "Job",
    "Recommender",
    "Request",
    "Unknown",
    "Vectors",
    "add_items",
    "ask",
    "build_index",
    "export",
    "nearest",
    "read_histories",
    "read_ids",
    "read_index",
    "read_items",
    "recommend",
    "similar_items",
    "vectors",
    "write_recommendations",
]
