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

from recsys.data.answers import Cut, unknowing
from recsys.data.finding import Finding
from recsys.data.held_out import HeldOut
from recsys.data.interactions import Interactions, contains, join
from recsys.data.query import QueryKind
from recsys.data.relations import Relations
from recsys.data.vocab import Vocab
from recsys.notebook import Shown, counted, facts_html

__all__ = [
    "Dataset",
    "FeatureTable",
    "HeldOut",
    "Interactions",
    "Relations",
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
        features: modalities and attributes of the items, by name.
        titles: text to show for each item [n_items], or None.
        history: what was done to the raw log, one line a step, such as
            `min_weight 4: 100000 -> 55375 rows`.
        findings: warnings about the log and its tables, found while reading and splitting.
        events: every event, if `[data] keep_log` kept them: rows that the pairs leave out or merge
            too, with the behaviours and the order of the log. It is `pairs` itself if nothing
            differs. Read it as `log`.
        auxiliary: events of other behaviours than the target, such as views, repeats included, over
            the same users and items; None: they are not used. They are not part of `log`.
        sessions: the ids of the sessions, or None if the interactions have none.
        learned: number of interactions per item that a model was trained on, int64 [n_items], if
            `pairs` are other interactions, such as those of users who came after training.
        user_features: the same of the users, with a row per user.
        relations: "knowledge" around the items, "social" between the users.
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
    user_features: Mapping[str, FeatureTable] = field(default_factory=dict)
    relations: Mapping[str, Relations] = field(default_factory=dict)
    auxiliary: Interactions | None = None

    def __post_init__(self) -> None:
        for name, events in (("log", self.events), ("auxiliary events", self.auxiliary)):
            if events is not None and events.shape != self.pairs.shape:
                raise ValueError(f"the {name} and the pairs must have the same users and items")

    @property
    def log(self) -> Interactions:
        """Every event, repeats included; `pairs` itself if nothing else is known.

        Rows are in order of user and item; `log.chronological` orders them in time.
        """
        return self.pairs if self.events is None else self.events

    def auxiliary_behaviours(self) -> dict[str, Interactions]:
        """Return the events of each auxiliary behaviour by name, in the order of `[data]`."""
        events = self.auxiliary
        if events is None or events.behaviour is None:
            return {}
        return {
            name: events.take(events.behaviour == code)
            for code, name in enumerate(events.behaviours)
        }

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
        if self.auxiliary is not None:
            yield "auxiliary", counted(len(self.auxiliary), "event")
        if self.features:
            each = (f"{name} ({table.dim:,})" for name, table in self.features.items())
            yield "features", " and ".join(each)
        if self.user_features:
            each = (f"{name} ({table.dim:,})" for name, table in self.user_features.items())
            yield "user features", " and ".join(each)
        for name, relations in self.relations.items():
            yield name, f"{counted(len(relations), 'triple')}"
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
                log = self.events
                if pairs is not self.pairs:
                    gone = self.pairs.key[~contains(np.sort(pairs.key), self.pairs.key)]
                    log = log.take(~contains(np.sort(gone), log.key))
        history = (*self.history, note) if note else self.history
        return replace(self, pairs=pairs, events=log, history=history)

    @cached_property
    def pairs_fingerprint(self) -> str:
        """SHA-256 over interactions and vocabularies, without features."""
        return _combine(self.pairs.fingerprint, self.users.fingerprint, self.items.fingerprint)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over interactions, vocabularies, features, relations, log, auxiliary events.

        Equal to `pairs_fingerprint` for a data set that has none of the last three.
        """
        further = [f"user {name} {t.fingerprint}" for name, t in self.user_features.items()]
        further += [f"relation {name} {r.fingerprint}" for name, r in self.relations.items()]
        if self.auxiliary is not None:
            further.append(f"auxiliary {self.auxiliary.fingerprint}")
        return self._with(*further) if further else self.items_fingerprint

    @cached_property
    def items_fingerprint(self) -> str:
        """SHA-256 over interactions, vocabularies, features of items and the log.

        Runs of versions without features of users and relations stored it.
        """
        return self._with()

    def _with(self, *further: str) -> str:
        parts = [f"{name} {table.fingerprint}" for name, table in self.features.items()]
        if self.log is not self.pairs:
            parts.append(f"log {self.log.fingerprint}")
        parts += further
        return _combine(self.pairs_fingerprint, *parts) if parts else self.pairs_fingerprint


class Sealed:
    """A test part that can be read only with a reason; every opening is recorded.

    Training, tuning and model selection never receive one.

    Args:
        held_out: the test queries with their answers.
    """

    def __init__(self, held_out: HeldOut) -> None:
        self._content = held_out
        self.openings: list[str] = []

    def unknown_to(self, events: Interactions, cut: Cut = "none") -> np.ndarray:
        """Return which events do not know a test pair, bool [m], as `unknowing`.

        It tells nothing of the test, so it is not an opening.
        """
        return unknowing(events, self._content.pairs, cut)

    def open(self, reason: str) -> HeldOut:
        """Return the test queries with their answers, and add `reason` to `openings`."""
        self.openings.append(reason)
        return self._content

    def __len__(self) -> int:
        """Return the number of test interactions."""
        return len(self._content)

    @property
    def n_queries(self) -> int:
        """Number of test queries."""
        return len(self._content.queries)

    @property
    def kinds(self) -> frozenset[QueryKind]:
        """What the test queries give a scorer: users, histories, or both."""
        return self._content.queries.kinds

    @property
    def by_user(self) -> bool:
        """Whether each query is a user, answered by the test items of the user."""
        return self._content.by_user

    def __repr__(self) -> str:
        return f"Sealed({len(self)} interactions, opened {len(self.openings)} times)"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the test part; compares two test parts without opening either."""
        return self._content.fingerprint


@dataclass(frozen=True, eq=False, repr=False)
class Split(Shown):
    """Training data, validation part and sealed test part over the same vocabularies.

    Args:
        train: what a method is trained on.
        valid: what early stopping and tuning select on, or None.
        test: what is reported, sealed; None for a split without a test part.
        rule: how the split was made, in words.
        valid_log: the events that join the log of train when valid does, or None.
        valid_auxiliary: the auxiliary events that join those of train when valid does, or None.
    """

    train: Dataset
    valid: HeldOut | None
    test: Sealed | None
    rule: str = ""
    valid_log: Interactions | None = None
    valid_auxiliary: Interactions | None = None

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

    @cached_property
    def items_fingerprint(self) -> str:
        """SHA-256 over the three parts and the features of items, as earlier versions stored it."""
        return _combine(self.train.items_fingerprint, *self._held_out)

    @property
    def _held_out(self) -> list[str]:
        return [part.fingerprint if part is not None else "-" for part in (self.valid, self.test)]

    def matches(self, kept: str) -> bool:
        """Return whether a stored fingerprint belongs to this split.

        Runs without features, and runs of versions that did not hash them, stored the fingerprint
        of the interactions only, or of interactions and item features. All forms are accepted.

        Args:
            kept: fingerprint from the folder of a run or a study.
        """
        return kept in (self.fingerprint, self.pairs_fingerprint, self.items_fingerprint)

    def refit(self) -> Split:
        """Return the split with train and valid joined into train.

        It is used for the last fit, with settings that are already chosen. Where an answer repeats
        what its user did before, a pair of valid may be one of train already: that row is kept.
        """
        if self.valid is None:
            return self
        pairs = join(self.train.pairs, self.valid.pairs)
        if not self.valid.by_user:
            pairs = pairs.take(np.sort(np.unique(pairs.key, return_index=True)[1]))
        log = None
        if self.train.log is not self.train.pairs:
            log = self.train.log
            if self.valid_log is not None:
                log = join(log, self.valid_log).ordered()
        train = self.train.with_pairs(pairs, f"refit: train + valid = {len(pairs)}", log=log)
        if train.auxiliary is not None and self.valid_auxiliary is not None:
            auxiliary = join(train.auxiliary, self.valid_auxiliary).ordered()
            train = replace(train, auxiliary=auxiliary)
        return replace(self, train=train, valid=None, valid_log=None, valid_auxiliary=None)


def history_facts(history: Sequence[str]) -> Iterator[tuple[str, object]]:
    """Yield the lines of a history as numbered rows of a table."""
    for number, line in enumerate(history, start=1):
        yield f"step {number}", line


def _combine(*fingerprints: str) -> str:
    return hashlib.sha256(" ".join(fingerprints).encode()).hexdigest()
