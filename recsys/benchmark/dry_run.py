"""Every cell is tried out before the first is begun: whether its method takes its [train] and its data.

What a network refuses is known only when it is built, and some of it only at its first loss. So each method is built on a miniature of its training
data, a few users and items with their features, and taken one step on it, a method without gradients too: that costs next to nothing. A miniature
can be refused where the data are not (a blend of runs of the whole data), so what it is refused for is believed only after the data themselves were,
which costs one build, and only then.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

import numpy as np

from recsys.data.types import Dataset, FeatureTable, Interactions, Split, Vocab
from recsys.errors import InputError, TrainingError
from recsys.experiment.experiment import Experiment
from recsys.training.device import pick_device
from recsys.training.loop import fit
from recsys.training.progress import Event

__all__ = ["miniature", "rehearse"]

_USERS, _EACH, _MORE = 24, 12, 24  # users, pairs of each, and items that none of them has met


class _Enough(Exception):
    """Ends a fit after its first step."""


def rehearse(experiment: Experiment, split: Split, small: Dataset) -> None:
    """Find out whether an experiment can be trained on its data, without training it: its own settings, not those that a study tries later.

    Args:
        experiment: of a cell.
        split: its data.
        small: the miniature of its train part.

    Raises:
        InputError: what is refused. A loss that is not finite is left to the cell, and so is whatever is no fault of the settings.
    """
    pick_device(experiment.train.device)
    if _refused(experiment, small, small.pairs) is not None:
        refused = _refused(experiment, split.train, split.valid)
        if refused is not None:
            raise refused


def miniature(train: Dataset) -> Dataset:
    """A few users with a few of their pairs, the items of these and a few others, numbered anew, with features and all columns."""
    pairs = train.pairs
    users = np.unique(pairs.user)[:_USERS]
    rows = np.flatnonzero(np.isin(pairs.user, users))
    rows = rows[np.argsort(pairs.user[rows], kind="stable")]
    place = np.arange(len(rows)) - np.searchsorted(pairs.user[rows], pairs.user[rows])
    some = pairs.take(rows[place < _EACH])
    met = np.unique(some.item)
    items = np.union1d(met, np.setdiff1d(np.arange(train.n_items), met)[:_MORE])
    user, item = np.searchsorted(users, some.user), np.searchsorted(items, some.item)
    return replace(
        train,
        pairs=replace(some, user=user, item=item, n_users=len(users), n_items=len(items)),
        users=Vocab(train.users.ids[users.tolist()], train.users.name),
        items=Vocab(train.items.ids[items.tolist()], train.items.name),
        features={
            name: FeatureTable(np.asarray(table.values[items]), table.present[items])
            for name, table in train.features.items()
        },
        titles=None if train.titles is None else train.titles[items.tolist()],
    )


def _refused(
    experiment: Experiment, train: Dataset, valid: Interactions | None
) -> InputError | None:
    """What the first step of a fit refuses."""

    def enough(_: Event) -> None:
        raise _Enough

    # Only a loss on valid that selects is looked at before the first step. The device was asked for by name; a step is as good on any.
    held = valid if experiment.train.select == "loss" else None
    with contextlib.suppress(Exception):
        try:
            fit(
                experiment.model,
                train,
                held,
                replace(experiment.train, device="cpu", compile=False),
                watch=enough,
            )
        except TrainingError:
            return None
        except InputError as error:
            return error
    return None
