"""The nouns of the data: Vocab, Interactions, FeatureTable, Dataset, Sealed, Split.

All are frozen. Outside ids live in a `Vocab` and nowhere else; everything else holds row numbers 0..n-1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys.data.finding import Finding
from recsys.data.times import TICKS, Unit, rescale
from recsys.errors import InputError, suggest
from recsys.notebook import Shown, counted, facts_html

# The columns of interactions and how they are held.
_COLUMNS = {
    "user": np.int32,
    "item": np.int32,
    "time": np.int64,
    "position": np.int32,
    "weight": np.float64,
    "label": np.int8,
    "behaviour": np.int16,
}

__all__ = [
    "Dataset",
    "FeatureTable",
    "Interactions",
    "Sealed",
    "Split",
    "Vocab",
    "history_facts",
]


@dataclass(frozen=True, eq=False, repr=False)
class Vocab(Shown):
    """Outside ids <-> rows 0..n-1.

    Args:
        ids: unique outside ids [n], strings or integers; the position is the row.
        name: what one of them is called in a message: "user" or "item".
    """

    ids: pl.Series
    name: str = "id"

    @classmethod
    def of(cls, values: pl.Series, name: str = "id") -> Vocab:
        """The sorted distinct values: the same rows whatever the order of the file."""
        return cls(values.unique().drop_nulls().sort().alias(name), name)

    @classmethod
    def range(cls, n: int, name: str = "id") -> Vocab:
        """Outside ids 0..n-1 for data that is numbered already, ids that never occur included."""
        return cls(pl.Series(name, np.arange(n, dtype=np.int64)), name)

    def __len__(self) -> int:
        return len(self.ids)

    def _facts(self) -> Iterator[tuple[str, object]]:
        yield "", counted(len(self), self.name)
        some = ", ".join(repr(each) for each in self.ids.head(3).to_list())
        yield "", some + (", ..." if len(self) > 3 else "")

    def rows(self, values: pl.Series | Sequence[Any] | np.ndarray) -> np.ndarray:
        """Rows of outside ids, int32 [m]; -1 where an id is unknown. Integers and their decimal text both match."""
        wanted = (
            pl.Series("id", values, strict=False)
            if not isinstance(values, pl.Series)
            else values.alias("id")
        )
        if isinstance(wanted.dtype, pl.Categorical | pl.Enum):
            wanted = wanted.cast(pl.String)
        if wanted.dtype.is_float() and self.ids.dtype.is_integer():
            wanted = wanted.to_frame().select(
                pl.when(pl.col("id") == pl.col("id").floor()).then("id")
            )["id"]  # 1.5 is not 1
        if wanted.dtype != self.ids.dtype:
            wanted = wanted.cast(self.ids.dtype, strict=False)
        joined = wanted.to_frame().join(self._index, on="id", how="left", maintain_order="left")
        return joined["row"].fill_null(-1).to_numpy().astype(np.int32)

    def require(
        self, values: pl.Series | Sequence[Any] | np.ndarray, place: str = ""
    ) -> np.ndarray:
        """As `rows`, but an unknown id is an error.

        Raises:
            InputError: names the first unknown id, the nearest known one and how many there are.
        """
        rows = self.rows(values)
        unknown = np.flatnonzero(rows < 0)
        if len(unknown):
            first = list(values)[int(unknown[0])]
            first = first.item() if isinstance(first, np.generic) else first
            near = (
                suggest(str(first), [str(i) for i in self.ids.head(20_000).to_list()]).split(
                    "? known"
                )[0]
                if len(self)
                else ""
            )
            hint = (
                near + "?" if near.startswith("did you mean") else "check the id, or leave it out"
            )
            raise InputError(
                f"unknown {self.name} {first!r} ({len(unknown)} of {len(rows)} are unknown)",
                place=place or None,
                remedy=hint,
            )
        return rows

    @cached_property
    def _index(self) -> pl.DataFrame:
        return pl.DataFrame(
            {"id": self.ids, "row": pl.Series(np.arange(len(self.ids), dtype=np.int32))}
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the ids in row order."""
        digest = hashlib.sha256(str(self.ids.dtype).encode())
        if self.ids.dtype == pl.String:
            digest.update("\0".join(self.ids.to_list()).encode())
        else:
            digest.update(np.ascontiguousarray(self.ids.to_numpy()).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False, repr=False)
class Interactions(Shown):
    """Who met what, when, how often: integer rows, never a float matrix.

    Args:
        user, item: rows, int32 [n].
        n_users, n_items: sizes of the two vocabularies; rows that never occur count.
        time: since 1970 in `time_unit`, int64 [n], or None.
        position: row of the source, int32 [n]: the order of equal times. None where no times are equal, or where the
            source has no order.
        weight: strength (rating, count), float64 [n], or None.
        label: 1 where the pair is known to be clean, 0 where it is known to be noise, int8 [n], or None.
            Never used for training, only to judge a denoiser.
        behaviour: code of what was done, int16 [n], into `behaviours`, or None.
        behaviours: names of the codes.
        time_unit: "s", "ms", "us" or "ns": the coarsest that holds every time exactly.
    """

    user: np.ndarray
    item: np.ndarray
    n_users: int
    n_items: int
    time: np.ndarray | None = None
    weight: np.ndarray | None = None
    label: np.ndarray | None = None
    behaviour: np.ndarray | None = None
    behaviours: tuple[str, ...] = ()
    position: np.ndarray | None = None
    time_unit: Unit = "s"

    def __post_init__(self) -> None:
        if len(self.user) >= 2**31:
            raise ValueError(f"at most {2**31 - 1} interactions, got {len(self.user)}")
        for name, limit in (("user", self.n_users), ("item", self.n_items)):
            values = np.asarray(
                getattr(self, name)
            )  # before the conversion, which would wrap around
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
        known = [
            name
            for name in ("time", "weight", "label", "behaviour")
            if getattr(self, name) is not None
        ]
        if known:
            yield "with", " and ".join(known)

    def take(self, rows: np.ndarray) -> Interactions:
        """The interactions at `rows` (positions or a boolean mask), in that order."""
        kept = {
            name: value[rows] for name in _COLUMNS if (value := getattr(self, name)) is not None
        }
        return replace(self, **kept)

    @cached_property
    def csr(self) -> sp.csr_matrix:
        """Users x items, float32 [n_users, n_items], 1 where they met, column indices sorted, duplicates merged."""
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
            digest.update(name.encode() if values is not None else b"-")
            if values is not None:
                digest.update(values.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False, repr=False)
class FeatureTable(Shown):
    """One modality of the items or users.

    Args:
        values: float32 [n, d], row i belongs to row i of the vocabulary.
        present: bool [n]; False where the modality is missing: missing is data, not a row of zeros.
        encoder: id of what made the vectors, where that is known; no part of the fingerprint.
    """

    values: np.ndarray
    present: np.ndarray
    encoder: str | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.present.shape != (len(self.values),):
            raise ValueError(
                f"values {self.values.shape} and present {self.present.shape} do not belong together"
            )

    @property
    def dim(self) -> int:
        return int(self.values.shape[1])

    def _facts(self) -> Iterator[tuple[str, object]]:
        yield "", f"{len(self.values):,} x {self.dim:,}"
        yield "", f"{int(self.present.sum()):,} present"
        if self.encoder is not None:
            yield "encoder", self.encoder

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the values and where they are missing."""
        digest = hashlib.sha256(f"{self.values.dtype} {self.values.shape}".encode())
        for array in (self.values, self.present):
            digest.update(
                np.ascontiguousarray(array).data
            )  # a table may be larger than what is left of the memory, so no copy
        return digest.hexdigest()


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(Shown):
    """Interactions with the ids and the features that go with them.

    Args:
        pairs: the interactions.
        users, items: the vocabularies.
        features: named modalities of the items.
        titles: text to show for an item [n_items], or None.
        history: what was done to the raw log, one line per step, as in `min_rating 4: 100000 -> 55375`.
        findings: what looked wrong, or did not fit, when the log and the tables beside it were read and split.
        learned: pairs of each item that a model has learned from, int64 [n_items], where `pairs` are not those, as of users who came later.
    """

    pairs: Interactions
    users: Vocab
    items: Vocab
    features: Mapping[str, FeatureTable] = field(default_factory=dict)
    titles: pl.Series | None = None
    history: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    learned: np.ndarray | None = None

    @property
    def item_counts(self) -> np.ndarray:
        """How many training pairs each item has, int64 [n_items]."""
        if self.learned is not None:
            return self.learned
        return np.bincount(self.pairs.item, minlength=self.n_items)

    @property
    def n_users(self) -> int:
        return self.pairs.n_users

    @property
    def n_items(self) -> int:
        return self.pairs.n_items

    def _facts(self) -> Iterator[tuple[str, object]]:
        yield from self.pairs._facts()
        if self.features:
            each = (f"{name} ({table.dim:,})" for name, table in self.features.items())
            yield "features", " and ".join(each)
        if self.titles is not None:
            yield "titles", f"of {len(self.titles) - self.titles.null_count():,}"

    def _repr_html_(self) -> str:
        return facts_html(type(self).__name__, [*self._facts(), *history_facts(self.history)])

    def with_pairs(self, pairs: Interactions, note: str | None = None) -> Dataset:
        """The same vocabularies and features over other interactions."""
        return replace(self, pairs=pairs, history=(*self.history, note) if note else self.history)

    @cached_property
    def pairs_fingerprint(self) -> str:
        """SHA-256 over interactions and vocabularies, whatever is known of the items."""
        return _together(self.pairs.fingerprint, self.users.fingerprint, self.items.fingerprint)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over interactions, vocabularies and features, with where these are missing; that of the pairs where there are none."""
        if not self.features:
            return self.pairs_fingerprint
        return _together(
            self.pairs_fingerprint,
            *(f"{name} {table.fingerprint}" for name, table in self.features.items()),
        )


class Sealed:
    """The test interactions, behind a seal: reading them takes a reason, and every opening is kept.

    Nothing that trains, tunes or selects receives one.
    """

    def __init__(self, pairs: Interactions) -> None:
        self._pairs = pairs
        self.openings: list[str] = []

    def open(self, reason: str) -> Interactions:
        """The test interactions; `reason` is added to `openings`."""
        self.openings.append(reason)
        return self._pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __repr__(self) -> str:
        return f"Sealed({len(self)} interactions, opened {len(self.openings)} times)"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what is sealed; tells whether two tests are the same without opening either."""
        return self._pairs.fingerprint


@dataclass(frozen=True, eq=False, repr=False)
class Split(Shown):
    """Train, valid and a sealed test over the same vocabularies.

    Args:
        train: what a method may learn from.
        valid: what selects (early stopping, tuning), or None.
        test: what is reported, sealed, or None for a split that keeps nothing back.
        rule: how the split was made, in words.
    """

    train: Dataset
    valid: Interactions | None
    test: Sealed | None
    rule: str = ""

    def _facts(self) -> Iterator[tuple[str, object]]:
        yield "", f"{len(self.train.pairs):,} train"
        yield "", "no valid" if self.valid is None else f"{len(self.valid):,} valid"
        yield "", "no test" if self.test is None else f"{len(self.test):,} test"
        yield "", f"{counted(self.train.n_users, 'user')} x {counted(self.train.n_items, 'item')}"
        if self.rule:
            yield "rule", self.rule
        if self.test is not None:
            yield "test opened", f"{len(self.test.openings)} times"

    def _repr_html_(self) -> str:
        return facts_html("Split", [*self._facts(), *history_facts(self.train.history)])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the three parts, and over the features with where they are missing, if there are any."""
        return _together(self.train.fingerprint, *self._held)

    @cached_property
    def pairs_fingerprint(self) -> str:
        """SHA-256 over ids and pairs of the three parts: what was asked, whatever was known of the items; what a comparison rests on."""
        return _together(self.train.pairs_fingerprint, *self._held)

    @property
    def _held(self) -> list[str]:
        return [part.fingerprint if part is not None else "-" for part in (self.valid, self.test)]

    def matches(self, kept: str) -> bool:
        """Whether a fingerprint that was kept is of this split, or of its pairs: what was begun without features or before they counted has that."""
        return kept in (self.fingerprint, self.pairs_fingerprint)

    def refit(self) -> Split:
        """Train and valid joined into train, for a last fit with settings that are already chosen."""
        if self.valid is None:
            return self
        pairs = join(self.train.pairs, self.valid)
        return replace(
            self,
            train=self.train.with_pairs(pairs, f"refit: train + valid = {len(pairs)}"),
            valid=None,
        )


def history_facts(history: Sequence[str]) -> Iterator[tuple[str, object]]:
    """The steps of a history as facts of a table."""
    for number, line in enumerate(history, start=1):
        yield f"step {number}", line


def _together(*parts: str) -> str:
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def join(first: Interactions, second: Interactions) -> Interactions:
    """Return both, one after the other, in the finer of their units of time.

    A column that either lacks is dropped.
    """
    unit = max(first.time_unit, second.time_unit, key=lambda each: TICKS[each])
    columns: dict[str, Any] = {}
    for name in _COLUMNS:
        values = [getattr(each, name) for each in (first, second)]
        if any(value is None for value in values):
            columns[name] = None
            continue
        if name == "time":
            units = (first.time_unit, second.time_unit)
            values = [rescale(time, own, unit) for time, own in zip(values, units, strict=True)]
        columns[name] = np.concatenate(values)
    return replace(first, **columns, time_unit=unit)
