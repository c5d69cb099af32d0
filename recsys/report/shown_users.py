"""Some users of a section: their training items, their test items and the list of each method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recsys.data.query import Queries
from recsys.data.types import Dataset, Split
from recsys.errors import InputError
from recsys.experiment.execution import open_test
from recsys.experiment.run import Run
from recsys.ranking import top_k
from recsys.report.methods import Method

__all__ = ["ListedItem", "ShownUser", "shown_users"]

REASON = "report: hits of the users that are shown"


@dataclass(frozen=True)
class ListedItem:
    """An item of a list.

    Args:
        name: its title, or its id if it has no title.
        hit: whether it is among the user's test items.
    """

    name: str
    hit: bool


@dataclass(frozen=True)
class ShownUser:
    """One user on the page.

    Args:
        id: the user's id in the data.
        n_train: number of training items of the user.
        train_items: names of some of them.
        test_items: names of the test items; empty if the test part was not opened.
        lists: by method, the k best items.
    """

    id: str
    n_train: int
    train_items: tuple[str, ...]
    test_items: tuple[str, ...]
    lists: Mapping[str, tuple[ListedItem, ...]]


def shown_users(
    methods: Sequence[Method], split: Split | None, n_users: int, k: int
) -> tuple[ShownUser, ...]:
    """Draw test users without replacement, with a fixed seed, and rank for them.

    Args:
        methods: the methods; the first run of each is used.
        split: the data of the runs; the test part is opened, and each run records it. None: no
            hits are marked. Where it does not ask once per user, no user is drawn.
        n_users: how many users to draw.
        k: length of a list.

    Raises:
        InputError: the runs number their users or items differently.
    """
    if not n_users or (split is not None and split.test is not None and not split.test.by_user):
        return ()
    train = methods[0].runs[0].train
    users = _draw(methods, n_users)
    test_items = _test_items(methods, split, users)
    lists = {method.label: _ranked(method.runs[0], split, users, k) for method in methods}
    names = _names(train)
    shown = []
    for index, user in enumerate(users):
        train_items = train.pairs.csr[user].indices
        relevant = test_items[index] if test_items is not None else np.empty(0, np.int32)
        shown.append(
            ShownUser(
                str(train.users.ids[int(user)]),
                len(train_items),
                tuple(map(names, train_items[:k])),
                tuple(map(names, relevant)),
                {
                    label: _listed(items[index], set(relevant.tolist()), names)
                    for label, items in lists.items()
                },
            )
        )
    return tuple(shown)


def _draw(methods: Sequence[Method], n_users: int) -> np.ndarray:
    """Return rows of users that every report has, ascending, int32 [at most n_users]."""
    train = methods[0].runs[0].train
    common = methods[0].reports[0].per_user["user"].to_numpy()
    for method in methods[1:]:
        common = np.intersect1d(common, method.reports[0].per_user["user"].to_numpy())
        other = method.runs[0].train
        if (other.items.fingerprint, other.users.fingerprint) != (
            train.items.fingerprint,
            train.users.fingerprint,
        ):
            raise InputError(
                "its users or items have other rows than those of the first run",
                place=str(method.runs[0].folder),
                remedy="report on runs of the same data only",
            )
    size = min(n_users, len(common))
    drawn = np.random.default_rng(0).choice(common, size=size, replace=False)
    return np.sort(drawn).astype(np.int32)


def _test_items(
    methods: Sequence[Method], split: Split | None, users: np.ndarray
) -> list[np.ndarray] | None:
    """Return the rows of the test items of some users; every run records the opening."""
    if split is None or split.test is None:
        return None
    opened = [open_test(split, method.runs[0].folder, REASON) for method in methods]
    return [opened[0].pairs.csr[user].indices for user in users]


def _ranked(run: Run, split: Split | None, users: np.ndarray, k: int) -> np.ndarray:
    """Return the k best items per user, as the evaluation ranked them; -1 fills a short row.

    Training items are left out, and validation items if the evaluation left them out.
    """
    seen = run.train.pairs.csr
    leaves_valid_out = not run.experiment.refit and not run.experiment.evaluate.keep_valid
    if split is not None and split.valid is not None and leaves_valid_out:
        seen = sp.csr_matrix(seen + split.valid.pairs.csr)
    return top_k(run.scorer, Queries.of_users(users, seen[users]), k).item


def _listed(
    items: np.ndarray, relevant: set[int], names: Callable[[int], str]
) -> tuple[ListedItem, ...]:
    return tuple(ListedItem(names(item), int(item) in relevant) for item in items if item >= 0)


def _names(train: Dataset) -> Callable[[int], str]:
    """Return a function from the row of an item to its title, or its id if it has none."""
    ids, titles = train.items.ids, train.titles

    def name(item: int) -> str:
        title = titles[int(item)] if titles is not None else None
        return str(ids[int(item)] if title is None else title)

    return name
