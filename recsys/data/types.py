"""The data structures of the package: Vocab, Interactions, FeatureTable, Dataset, Sealed, Split.

All are frozen. External ids live only in a `Vocab`; everything else holds row numbers 0..n-1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import polars as pl

from recsys.data.finding import Finding
from recsys.data.interactions import Interactions, join
from recsys.data.vocab import Vocab
from recsys.notebook import Shown, counted, facts_html

__all__ = [
    "Dataset",
    "FeatureTable",
    "Interactions",
    "Sealed",
    "Split",
    "Vocab",
    "history_facts",
    "join",
]


@dataclass(frozen=True, eq=False, repr=False)
class FeatureTable(Shown):
    """One modality (text, image, ...) of all items.

    Args:
        values: float32 [n, d]; row i belongs to row i of the vocabulary.
        present: bool [n]; False for an item that lacks the modality. A missing modality is not
            the same as a vector of zeros.
        encoder: name of the model that made the vectors, if known. Not part of the fingerprint.

    Raises:
        ValueError: the shapes do not fit together.
    """

    values: np.ndarray
    present: np.ndarray
    encoder: str | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.present.shape != (len(self.values),):
            raise ValueError(
                f"values {self.values.shape} and present {self.present.shape}"
                " do not belong together"
            )

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.values.shape[1])

    def _facts(self) -> Iterator[tuple[str, object]]:
        yield "", f"{len(self.values):,} x {self.dim:,}"
        yield "", f"{int(self.present.sum()):,} present"
        if self.encoder is not None:
            yield "encoder", self.encoder

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the values and over which are missing."""
        digest = hashlib.sha256(f"{self.values.dtype} {self.values.shape}".encode())
        for array in (self.values, self.present):
            # Hashed without a copy: a table may need more than half of the memory.
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(Shown):
    """Interactions with the ids of users and items, and the features of items.

    Args:
        pairs: the interactions.
        users, items: the vocabularies.
        features: modalities of the items, by name.
        titles: text to show for each item [n_items], or None.
        history: what was done to the raw log, one line a step, such as
            `min_weight 4: 100000 -> 55375 rows`.
        findings: warnings about the log and its tables, found while reading and splitting.
        events: every event, if `[data] keep_log` kept them: rows that the pairs leave out or merge
            too, with the behaviours and positions of the log. It is `pairs` itself if nothing
            differs. Read it as `log`.
        sessions: the ids of the sessions, or None if the interactions have none.
        learned: number of interactions per item that a model was trained on, int64 [n_items], if
            `pairs` are other interactions, such as those of users who came after training.
    """

    pairs: Interactions
    users: Vocab
    items: Vocab
    features: Mapping[str, FeatureTable] = field(default_factory=dict)
    titles: pl.Series | None = None
    history: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    learned: np.ndarray | None = None
    events: Interactions | None = None
    sessions: Vocab | None = None

    def __post_init__(self) -> None:
        if self.events is not None and self.events.shape != self.pairs.shape:
            raise ValueError("the log and the pairs must have the same users and items")

    @property
    def log(self) -> Interactions:
        """Every event, repeats included; `pairs` itself if nothing else is known.

        Rows are in order of user and item; `log.chronological` orders them in time.
        """
        return self.pairs if self.events is None else self.events

    @property
    def item_counts(self) -> np.ndarray:
        """Number of training interactions of each item, int64 [n_items]."""
        return self.pairs.item_counts() if self.learned is None else self.learned

    @property
    def n_users(self) -> int:
        """Number of users, those without interactions included."""
        return self.pairs.n_users

    @property
    def n_items(self) -> int:
        """Number of items, those without interactions included."""
        return self.pairs.n_items

    def _facts(self) -> Iterator[tuple[str, object]]:
        yield from self.pairs._facts()
        if self.log is not self.pairs:
            yield "log", counted(len(self.log), "event")
        if self.features:
            each = (f"{name} ({table.dim:,})" for name, table in self.features.items())
            yield "features", " and ".join(each)
        if self.titles is not None:
            yield "titles", f"of {len(self.titles) - self.titles.null_count():,}"

    def _repr_html_(self) -> str:
        return facts_html(type(self).__name__, [*self._facts(), *history_facts(self.history)])

    def with_pairs(
        self, pairs: Interactions, note: str | None = None, *, log: Interactions | None = None
    ) -> Dataset:
        """Return the same vocabularies and features with other interactions.

        Args:
            pairs: the new interactions.
            note: a line to add to the history.
            log: the new log; None: the log without the events of pairs that are left out.
        """
        if log is None and self.events is not None:
            log = pairs
            if self.events is not self.pairs:
                gone = np.setdiff1d(self.pairs.key, pairs.key)
                log = self.events
                if len(gone):
                    log = log.take(~np.isin(log.key, gone))
        history = (*self.history, note) if note else self.history
        return replace(self, pairs=pairs, events=log, history=history)

    @cached_property
    def pairs_fingerprint(self) -> str:
        """SHA-256 over interactions and vocabularies, without features."""
        return _combine(self.pairs.fingerprint, self.users.fingerprint, self.items.fingerprint)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over interactions, vocabularies, features and the log.

        Equal to `pairs_fingerprint` for a data set without features and without another log.
        """
        further = [f"{name} {table.fingerprint}" for name, table in self.features.items()]
        if self.log is not self.pairs:
            further.append(f"log {self.log.fingerprint}")
        return _combine(self.pairs_fingerprint, *further) if further else self.pairs_fingerprint


class Sealed:
    """Test interactions that can be read only with a reason; every opening is recorded.

    Training, tuning and model selection never receive one.

    Args:
        pairs: the test interactions.
    """

    def __init__(self, pairs: Interactions) -> None:
        self._pairs = pairs
        self.openings: list[str] = []

    def open(self, reason: str) -> Interactions:
        """Return the test interactions, and add `reason` to `openings`."""
        self.openings.append(reason)
        return self._pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __repr__(self) -> str:
        return f"Sealed({len(self)} interactions, opened {len(self.openings)} times)"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the test interactions; compares two test sets without opening either."""
        return self._pairs.fingerprint


@dataclass(frozen=True, eq=False, repr=False)
class Split(Shown):
    """Training, validation and sealed test interactions over the same vocabularies.

    Args:
        train: what a method is trained on.
        valid: what early stopping and tuning select on, or None.
        test: what is reported, sealed; None for a split without a test set.
        rule: how the split was made, in words.
        valid_log: the events that join the log of train when valid does, or None.
    """

    train: Dataset
    valid: Interactions | None
    test: Sealed | None
    rule: str = ""
    valid_log: Interactions | None = None

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
        """SHA-256 over the three parts and, if there are any, the features."""
        return _combine(self.train.fingerprint, *self._held_out)

    @cached_property
    def pairs_fingerprint(self) -> str:
        """SHA-256 over the ids and pairs of the three parts, without features.

        Two results can be compared if this is equal, even if one method also had features.
        """
        return _combine(self.train.pairs_fingerprint, *self._held_out)

    @property
    def _held_out(self) -> list[str]:
        return [part.fingerprint if part is not None else "-" for part in (self.valid, self.test)]

    def matches(self, kept: str) -> bool:
        """Return whether a stored fingerprint belongs to this split.

        Runs without item features, and runs of versions that did not hash features, stored the
        fingerprint of the interactions only. Both forms are accepted.

        Args:
            kept: fingerprint from the folder of a run or a study.
        """
        return kept in (self.fingerprint, self.pairs_fingerprint)

    def refit(self) -> Split:
        """Return the split with train and valid joined into train.

        It is used for the last fit, with settings that are already chosen.
        """
        if self.valid is None:
            return self
        pairs = join(self.train.pairs, self.valid)
        log = None
        if self.train.log is not self.train.pairs:
            log = self.train.log
            if self.valid_log is not None:
                log = join(log, self.valid_log).ordered()
        return replace(
            self,
            train=self.train.with_pairs(pairs, f"refit: train + valid = {len(pairs)}", log=log),
            valid=None,
            valid_log=None,
        )


def history_facts(history: Sequence[str]) -> Iterator[tuple[str, object]]:
    """Yield the lines of a history as numbered rows of a table."""
    for number, line in enumerate(history, start=1):
        yield f"step {number}", line


def _combine(*fingerprints: str) -> str:
    return hashlib.sha256(" ".join(fingerprints).encode()).hexdigest()
