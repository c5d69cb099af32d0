"""Try every cell before the first one begins: does its method accept its [train] and its data?

Some mistakes appear only when a network is built, and some only at its first loss. So each method
is built on a small sample of its training data and takes one step on it, at almost no cost. The
sample can fail although the real data would work, for example for a blend of runs on the full
data. Before a failure is reported it is confirmed on the real data, which costs one build.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

import numpy as np

from recsys.data.query import QueryKind
from recsys.data.types import Dataset, FeatureTable, HeldOut, Split, Vocab
from recsys.errors import InputError, TrainingError
from recsys.experiment.experiment import Experiment
from recsys.training.device import pick_device
from recsys.training.loop import fit

__all__ = ["miniature", "rehearse"]

_USERS = 24
_INTERACTIONS = 12  # of each user
_OTHER_ITEMS = 24  # without an interaction in the sample


class _FirstStepDone(Exception):
    """Ends a fit after its first step."""


def rehearse(experiment: Experiment, split: Split, small: Dataset) -> None:
    """Check that an experiment can be trained on its data, without training it.

    Only the experiment's own settings are tried, not those that a search tries later.

    Args:
        experiment: of a cell.
        split: its data.
        small: the sample of its train part, from `miniature`.

    Raises:
        InputError: the method rejects the settings or the data. A loss that is not finite is left
            to the cell, as is any other failure that is not a mistake in the settings.
    """
    pick_device(experiment.train.device)
    asks = frozenset() if split.test is None else split.test.kinds
    if _error_of(experiment, small, HeldOut.of_pairs(small.pairs), asks) is not None:
        error = _error_of(experiment, split.train, split.valid, asks)
        if error is not None:
            raise error


def miniature(train: Dataset) -> Dataset:
    """Return a small sample of the training data, with features and all columns.

    Args:
        train: the training data.

    Returns:
        Up to 24 users with up to 12 interactions each, their items and up to 24 other items. Users
        and items are numbered from 0.
    """
    pairs = train.pairs
    users = np.unique(pairs.user)[:_USERS]
    rows = np.flatnonzero(np.isin(pairs.user, users))
    rows = rows[np.argsort(pairs.user[rows], kind="stable")]
    rank = np.arange(len(rows)) - np.searchsorted(pairs.user[rows], pairs.user[rows])
    some = pairs.take(rows[rank < _INTERACTIONS])
    seen = np.unique(some.item)
    others = np.setdiff1d(np.arange(train.n_items), seen)[:_OTHER_ITEMS]
    items = np.union1d(seen, others)
    user, item = np.searchsorted(users, some.user), np.searchsorted(items, some.item)
    features = {
        name: FeatureTable(np.asarray(table.values[items]), table.present[items])
        for name, table in train.features.items()
    }
    return replace(
        train,
        events=None,
        pairs=replace(some, user=user, item=item, n_users=len(users), n_items=len(items)),
        users=Vocab(train.users.ids[users.tolist()], train.users.name),
        items=Vocab(train.items.ids[items.tolist()], train.items.name),
        features=features,
        titles=None if train.titles is None else train.titles[items.tolist()],
    )


def _error_of(
    experiment: Experiment, train: Dataset, valid: HeldOut | None, asks: frozenset[QueryKind]
) -> InputError | None:
    """Return the error that the first step of a fit raises, if any.

    Args:
        experiment: of a cell.
        train: its train part, or a sample of it.
        valid: the validation part, or None.
        asks: what the queries of the test have.
    """

    def stop(_: object) -> None:
        raise _FirstStepDone

    # Before the first step only a loss on valid that selects is evaluated. The device was checked
    # by name; the step itself may be taken on any device.
    held_out = valid if experiment.train.select == "loss" else None
    config = replace(experiment.train, device="cpu", compile=False)
    with contextlib.suppress(Exception):
        try:
            fit(experiment.model, train, held_out, config, watch=stop, asks=asks)
        except TrainingError:
            return None
        except InputError as error:
            return error
    return None
