"""What a method lets the compiled kernels train, and what they cannot do."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from torch import Tensor, nn

from recsys.errors import InputError
from recsys.nn.distance import Space
from recsys.nn.diversity import Diversity
from recsys.nn.losses import Loss
from recsys.sampling import Sampler
from recsys.scorer import Similarity

__all__ = ["KINDS", "PairTask", "refuse_task", "require_numba", "without_kernel"]

KINDS = ("bpr", "bce", "hinge", "ccl", "square", "softmax")
_REDUCES = ("each", "hardest", "top", "warp")
_REMEDY = 'set train.update = "batch"'


@dataclass(frozen=True, eq=False)
class PairTask:
    """The tables of a method and the objective of one pair.

    The objective of a pair is that of a batch that holds this pair alone, except that `l2` counts
    only negatives that contribute to the loss.

    Args:
        user: a row holds the C vectors of a user side by side, [n_users, C d].
        item: [n_items, d].
        loss: loss of a pair.
        similarity: dot or euclidean.
        vectors: C; the nearest vector of a user counts.
        count: how many of them each user has, int64 [n_users]; None: all.
        l2: weight of half the squared norms of the rows.
        user_space, item_space, radius: where the vectors are kept.
        diversity: regularisation of the vectors of a user; its weight is divided by the number of
            triplets that a batch has.
    """

    user: nn.Embedding
    item: nn.Embedding
    loss: Loss
    similarity: Similarity = "dot"
    vectors: int = 1
    count: Tensor | None = None
    l2: float = 0.0
    user_space: Space = "free"
    item_space: Space = "free"
    radius: float = 1.0
    diversity: Diversity | None = None


def refuse_task(task: PairTask, sampler: Sampler) -> None:
    """Raise an error for a loss, similarity or sampler without a kernel.

    Raises:
        InputError: it has none; the place is the setting of the method.
    """
    for name, value, known in (
        ("similarity", task.similarity, ("dot", "euclidean")),
        ("loss.kind", task.loss.kind, KINDS),
        ("loss.reduce", task.loss.reduce, _REDUCES),
        ("loss.pairs", task.loss.pairs, ("all",)),
        ("sampler.pool", sampler.pool, ("own",)),
        ("sampler.unit", sampler.unit, ("pair",)),
    ):
        if value not in known:
            raise without_kernel(f"{name} = '{value}'", f"use {' or '.join(known)}")


def without_kernel(setting: str, remedy: str = "leave it out") -> InputError:
    """Return the error of a setting of a method that the kernels cannot do.

    Args:
        setting: the setting with its value.
        remedy: what may take its place.
    """
    return InputError(
        f"{setting} has no compiled kernel, which train.update = 'pair' needs",
        place="[model]",
        remedy=f"{remedy}, or {_REMEDY}",
    )


def require_numba() -> None:
    """Raise an error unless numba is installed.

    Raises:
        InputError: it is not.
    """
    if importlib.util.find_spec("numba") is None:
        raise InputError(
            "update = 'pair' needs numba, which is not installed",
            place="[train] update",
            remedy='pip install "recsys[compiled]", or set update = "batch"',
        )
