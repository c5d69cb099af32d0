"""Interactions: which user interacted with which item, in integer rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys.data.histories import Histories
from recsys.data.times import TICKS, Unit, rescale
from recsys.notebook import Shown, counted

__all__ = ["Interactions", "contains", "join"]

# Types of the columns.
_COLUMNS = {
    "user": np.int32,
    "item": np.int32,
    "time": np.int64,
    "order": np.int32,
    "weight": np.float64,
    "clean": np.int8,
    "behaviour": np.int16,
    "session": np.int32,
    "clicked": np.int8,
    "position": np.int16,
}

# Columns that a notebook mentions.
_SHOWN = ("time", "weight", "clean", "behaviour", "session", "clicked", "position")

# Columns that a fingerprint calls by an earlier name, so that stored fingerprints stay valid.
_HASHED_AS = {"clean": "label", "order": "position", "position": "place"}
# Columns of later versions: a fingerprint does not mention them where they are missing.
_LATER = ("session", "clicked", "position")
# What a missing column means, where it means one value.
_IMPLIED = {"clicked": 1}


@dataclass(frozen=True, eq=False, repr=False)
class Interactions(Shown):
    """Pairs of user and item with what is known of each: time, weight, behaviour.

    The arrays are read-only.

    Args:
        user, item: row numbers, int32 [n].
        n_users, n_items: sizes of the two vocabularies. They also count rows without interactions.
        time: since 1970 in `time_unit`, int64 [n], or None.
        order: row in the source, int32 [n]; it orders interactions of the same time. None if no
            two times are equal, or if the rows of the source have no order.
        weight: rating or count, float64 [n], or None.
        clean: 1 for a pair known to be clean, 0 for one known to be noise, int8 [n], or None.
            Never used in training, only to evaluate a denoising method.
        behaviour: code of the kind of interaction (view, purchase), int16 [n], an index into
            `behaviours`, or None.
        behaviours: names of the codes.
        session: row of the session in `Dataset.sessions`, int32 [n], or None. A session is a visit,
            an invoice or a basket; it has one user.
        time_unit: "s", "ms", "us" or "ns": the coarsest unit that holds every time exactly.
        clicked: 1 for an item that was clicked, 0 for one that was shown and not clicked, int8 [n];
            None: all are positives. Only a log has it.
        position: place in the list where the item was shown, 1 the first, int16 [n], or None. Only
            a log has it.

    Raises:
        ValueError: a row number out of range, arrays of different lengths, or 2^31 or more pairs.
    """

    user: np.ndarray
    item: np.ndarray
    n_users: int
    n_items: int
    time: np.ndarray | None = None
    weight: np.ndarray | None = None
    clean: np.ndarray | None = None
    behaviour: np.ndarray | None = None
    behaviours: tuple[str, ...] = ()
    order: np.ndarray | None = None
    time_unit: Unit = "s"
    session: np.ndarray | None = None
    clicked: np.ndarray | None = None
    position: np.ndarray | None = None

    def __post_init__(self) -> None:
        if len(self.user) >= 2**31:
            raise ValueError(f"at most {2**31 - 1} interactions, got {len(self.user)}")
        for name, limit in (("user", self.n_users), ("item", self.n_items)):
            # Checked before the conversion to int32, which would wrap around.
            values = np.asarray(getattr(self, name))
            if len(values) and (values.min() < 0 or values.max() >= limit):
                raise ValueError(f"{name} rows must lie in 0..{limit - 1}")
        for name, dtype in _COLUMNS.items():
            values = getattr(self, name)
            if values is None:
                continue
            values = np.ascontiguousarray(values, dtype=dtype)
            if values.shape != (len(self.user),):
                raise ValueError(f"{name} has shape {values.shape}, user has {np.shape(self.user)}")
            values.flags.writeable = False
            object.__setattr__(self, name, values)

    def __len__(self) -> int:
        return len(self.user)

    def _facts(self) -> Iterator[tuple[str, object]]:
        yield "", counted(len(self), "pair")
        yield "", f"{counted(self.n_users, 'user')} x {counted(self.n_items, 'item')}"
        known = [name for name in _SHOWN if getattr(self, name) is not None]
        if known:
            yield "with", " and ".join(known)

    def take(self, rows: np.ndarray) -> Interactions:
        """Return some of the interactions, in the order of `rows`.

        Args:
            rows: positions, or a boolean mask [n].
        """
        kept = {
            name: value[rows] for name in _COLUMNS if (value := getattr(self, name)) is not None
        }
        return replace(self, **kept)

    @cached_property
    def chronological(self) -> np.ndarray:
        """Rows in the order in which they happened, int64 [n]: by time, then by `order`.

        Without times and `order` the rows have no order, and are returned as they are.
        """
        keys = [values for values in (self.order, self.time) if values is not None]
        return np.lexsort(keys) if keys else np.arange(len(self))

    @cached_property
    def histories(self) -> Histories:
        """The interactions of each user in the order in which they happened, n_users histories.

        Items that were shown and not clicked are left out.
        """
        return self._histories(self.user, self.n_users)

    @cached_property
    def visits(self) -> Histories:
        """The interactions of each session in the order in which they happened.

        History i belongs to session i, up to the largest session that occurs. Items that were
        shown and not clicked are left out.

        Raises:
            ValueError: the interactions have no sessions.
        """
        if self.session is None:
            raise ValueError("the interactions have no sessions")
        return self._histories(self.session, int(self.session.max(initial=-1)) + 1)

    def _histories(self, owner: np.ndarray, n: int) -> Histories:
        """Return the interactions of each owner in the order in which they happened.

        Args:
            owner: who each interaction belongs to, int [len(self)].
            n: number of owners.
        """
        rows = self.chronological
        if self.clicked is not None:
            rows = rows[self.clicked[rows] == 1]
        rows = rows[np.argsort(owner[rows], kind="stable")]
        end = np.cumsum(np.bincount(owner[rows], minlength=n))
        time = None if self.time is None else self.time[rows]
        begin = np.concatenate([[0], end[:-1]]) if n else end
        return Histories(self.item[rows], begin, end, time, self.time_unit)

    def ordered(self) -> Interactions:
        """Return the interactions in order of user, item, time and `order`."""
        keys = [values for values in (self.order, self.time) if values is not None]
        return self.take(np.lexsort((*keys, self.key)))

    @property
    def shape(self) -> tuple[int, int]:
        """Number of users and number of items."""
        return self.n_users, self.n_items

    def user_counts(self) -> np.ndarray:
        """Return the number of interactions of each user, int64 [n_users]."""
        return np.bincount(self.user, minlength=self.n_users)

    def item_counts(self) -> np.ndarray:
        """Return the number of interactions of each item, int64 [n_items].

        Repeated pairs count as often as they occur.
        """
        return np.bincount(self.item, minlength=self.n_items)

    @cached_property
    def csr(self) -> sp.csr_matrix:
        """Binary matrix, float32 [n_users, n_items], 1 for each pair that occurs.

        Column indices are sorted, repeated pairs are merged.
        """
        matrix = sp.csr_matrix(
            (np.ones(len(self), dtype=np.float32), (self.user, self.item)),
            shape=(self.n_users, self.n_items),
        )
        matrix.sum_duplicates()
        matrix.data[:] = 1.0
        return matrix

    @cached_property
    def key(self) -> np.ndarray:
        """`user * n_items + item`, int64 [n]: one number per pair."""
        return self.user.astype(np.int64) * self.n_items + self.item

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over every column and both sizes."""
        head = f"{self.n_users} {self.n_items} {self.behaviours} {self.time_unit}"
        digest = hashlib.sha256(head.encode())
        for name in _COLUMNS:
            values = getattr(self, name)
            if values is None and name in _LATER:
                continue
            hashed = _HASHED_AS.get(name, name)
            digest.update(hashed.encode() if values is not None else b"-")
            if values is not None:
                digest.update(values.tobytes())
        return digest.hexdigest()


def join(first: Interactions, second: Interactions) -> Interactions:
    """Return the interactions of both, those of `first` in front.

    Times are in the finer of the two units. A column that one of them lacks is dropped; without
    `clicked`, all of its rows were.
    """
    unit = max(first.time_unit, second.time_unit, key=lambda each: TICKS[each])
    columns: dict[str, Any] = {}
    for name in _COLUMNS:
        values = [getattr(each, name) for each in (first, second)]
        if name in _IMPLIED and any(value is not None for value in values):
            values = [
                np.full(len(each), _IMPLIED[name]) if value is None else value
                for each, value in zip((first, second), values, strict=True)
            ]
        if any(value is None for value in values):
            columns[name] = None
            continue
        if name == "time":
            units = (first.time_unit, second.time_unit)
            values = [rescale(time, own, unit) for time, own in zip(values, units, strict=True)]
        columns[name] = np.concatenate(values)
    return replace(first, **columns, time_unit=unit)


def contains(known: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return which keys occur among the known ones, bool [n].

    A binary search per key: `np.isin` would sort or hash all known keys each time.

    Args:
        known: keys in ascending order [m].
        keys: the keys to look for, in any order [n].
    """
    if not len(known):
        return np.zeros(len(keys), dtype=bool)
    index = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return known[index] == keys
