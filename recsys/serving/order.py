"""An order: a request to a run by paths and options, as a command line or a worker has it.

`prepare` reads the run and the files, and resolves the request to rows. The command line does so, a
worker of a cluster does so again for its shards, and a check of a finished job does so later.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from recsys.config import build, settings
from recsys.data.id_files import read_ids
from recsys.data.ids import match_id_type
from recsys.data.types import Dataset, Vocab
from recsys.data.unmatched import near_miss
from recsys.errors import InputError
from recsys.experiment.execution import Run, open_run
from recsys.ranking.rerank import Rerank
from recsys.scorer import Scorer
from recsys.serving import cold_start
from recsys.serving.asked import Asked, ask
from recsys.serving.given_histories import GivenHistories, read_histories
from recsys.serving.recommender import Recommender
from recsys.serving.request import Request

__all__ = ["STDIN", "Order", "Prepared", "prepare"]

STDIN = "-"
Note = Callable[[str], object]


@settings
class Order:
    """A request to a run by paths and options.

    Args:
        run: folder of the run.
        user: ids of users.
        users, histories, items: a file of users, of histories or of items; at most one.
        k: items per list.
        keep_seen: whether to recommend items of the history, too.
        candidates: file of the only items to recommend.
        exclude: file of items never to recommend.
        new_items: features of items that were not in training.
        only_new: whether to recommend only these.
        unknown: what users get whom the model cannot serve.
        unmet: whether to rank items without a training interaction in any case.
        titles: whether to add titles.
        rerank: settings of `[rerank]`, as "by=mmr", that win over those of the run.

    Raises:
        InputError: options that do not go together.
    """

    run: str
    user: tuple[str, ...] = ()
    users: str | None = None
    histories: str | None = None
    items: str | None = None
    k: int = 10
    keep_seen: bool = False
    candidates: str | None = None
    exclude: str | None = None
    new_items: str | None = None
    only_new: bool = False
    unknown: Literal["popular", "skip", "error"] = "popular"
    unmet: bool = False
    titles: bool = False
    rerank: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.user and self.users is not None:
            raise InputError(
                "--user and --users do not go together", remedy="put all of them into the file"
            )
        if self.histories is not None and self.items is not None:
            raise InputError(
                "--histories and --items do not go together", remedy="ask for each on its own"
            )
        for name in ("histories", "items"):
            if getattr(self, name) is not None and (self.user or self.users is not None):
                raise InputError(
                    f"--user and --users do not go with --{name}",
                    remedy=f"all {name} of the file are answered",
                )
        if self.only_new and self.new_items is None:
            raise InputError(
                "--only-new without --new-items",
                remedy="say which items are new: --new-items FEATURES",
            )
        if self.only_new and self.candidates is not None:
            raise InputError(
                "--only-new does not go with --candidates", remedy="use --candidates alone"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the options that differ from their defaults, as plain values."""
        return {
            field.name: value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], place: str) -> Order:
        """Return the order of a manifest.

        Args:
            values: as `to_json` returns them.
            place: of the manifest, for errors.

        Raises:
            InputError: an unknown or invalid entry.
        """
        plain = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return build(cls, plain, place)


@dataclass(frozen=True, eq=False)
class Prepared:
    """An order that is resolved.

    Args:
        run: the run.
        identity: fingerprint of the run and of the new items.
        recommender: makes the lists.
        asked: the queries.
    """

    run: Run
    identity: str
    recommender: Recommender
    asked: Asked


@dataclass(frozen=True)
class _Model:
    """A scorer with its training data, extended by new items, and its fingerprint."""

    scorer: Scorer
    train: Dataset
    identity: str
    new_items: pl.Series | None = None


def prepare(order: Order, note: Note = lambda _: None) -> Prepared:
    """Open the run of an order, read its files, and resolve the request to rows.

    Args:
        order: the order.
        note: called with each remark about what was read, and about what of it is not used.

    Raises:
        InputError: the run or a file cannot be read; as `recsys.serving.asked.ask`.
    """
    run = open_run(order.run)
    allowed = _read_items(run, order.candidates)
    excluded = _read_items(run, order.exclude)
    model = _extended(run, order.new_items, note)
    request = Request(
        **_who_asks(run, model, order),
        k=order.k,
        filter_seen=not order.keep_seen,
        unknown=order.unknown,
        unmet=order.unmet,
        titles=order.titles,
        rerank=_rules(run).overridden(order.rerank, "--rerank"),
        candidates=model.new_items if order.only_new else allowed,
        exclude=_known_items(excluded, model.train, note),
    )
    recommender = Recommender(model.scorer, model.train, request)
    with _in_run(run):
        asked = ask(model.scorer, model.train, request)
    given = request.histories
    form = (given.form,) if isinstance(given, GivenHistories) else ()
    for each in (*form, *asked.notes):
        note(each)
    return Prepared(run, model.identity, recommender, asked)


def _who_asks(run: Run, model: _Model, order: Order) -> dict[str, Any]:
    """Return who asks, as arguments of a request.

    Raises:
        InputError: a file cannot be read, or the run knows no id of a file of users or items.
    """
    if order.histories is not None:
        return {"histories": read_histories(Path(order.histories), _columns(run))}
    if order.items is not None:
        return {"items": _some_known(run, order.items, model.train.items)}
    if order.users is not None:
        return {"users": _some_known(run, order.users, model.train.users)}
    return {"users": list(order.user) or None}


def _some_known(run: Run, path: str, vocab: Vocab) -> pl.Series:
    """Return the ids of a file of which the run knows at least one."""
    ids = match_id_type(_ids_of(run, path, vocab.name, vocab), vocab.ids.dtype, f"{vocab.name}s")
    if (vocab.rows(ids) < 0).all():
        vocab.require(ids, path)
    return ids


@contextlib.contextmanager
def _in_run(run: Run) -> Iterator[None]:
    """Name the run in errors that name no place."""
    try:
        yield
    except InputError as error:
        if error.place:
            raise
        raise error.at(f"{run.folder} ({run.meta.method})") from None


def _read_items(run: Run, path: str | None) -> pl.Series | None:
    """Read a file of items of the run; None without a file."""
    return None if path is None else _ids_of(run, path, "item", run.train.items)


def _ids_of(run: Run, path: str, role: str, vocab: Vocab) -> pl.Series:
    """Read a file of users or items.

    Args:
        run: the run; the name of the column in its data is taken first.
        path: the file.
        role: "user" or "item".
        vocab: the known ids.
    """
    return read_ids(path, vocab, _columns(run).get(role))


def _columns(run: Run) -> dict[str, str | int]:
    """Return the columns of users, items and times in the data of the run that are known."""
    try:
        data = run.experiment.data
    except InputError:  # a run can recommend even if its settings are lost
        return {}
    named = {role: getattr(data, role) for role in ("user", "item", "time")}
    return {role: name for role, name in named.items() if isinstance(name, str | int)}


def _rules(run: Run) -> Rerank:
    """Return the section `[rerank]` of a run."""
    try:
        return run.experiment.rerank
    except InputError:  # a run that has lost its settings
        return Rerank()


def _extended(run: Run, new_items: str | None, note: Note) -> _Model:
    """Return the model of a run, extended by new items."""
    model = _Model(run.scorer, run.train, run.fingerprint)
    if new_items is None:
        return model
    with _in_run(run):
        items = cold_start.read_items(Path(new_items), model.scorer, run.encoders)
        extended = cold_start.add_items(model.scorer, model.train, *items)
    if (near := near_miss(extended.new, model.train.items.ids)) is not None:
        note(f"item {near[0]!r} counts as new, while {near[1]!r} is known")
    identity = f"{model.identity} {extended.identity}"
    return _Model(extended.scorer, extended.train, identity, extended.new)


def _known_items(items: pl.Series | None, train: Dataset, note: Note) -> pl.Series | None:
    """Return the items to exclude that the run knows, and note how many it does not know."""
    if items is None:
        return None
    ids = match_id_type(items, train.items.ids.dtype, "exclude")
    known = train.items.rows(ids) >= 0
    if known.all():
        return ids
    unknown = ids.filter(~known)
    note(
        f"{len(unknown):,} of {len(ids):,} items of --exclude unknown to the run, "
        f"such as {unknown[0]!r}: not recommended anyway"
    )
    return ids.filter(known) if known.any() else None
