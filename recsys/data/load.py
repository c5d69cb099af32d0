"""From a name, a path, a frame or an array to a Dataset, in one call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from recsys.config import build, current_names
from recsys.data import catalog
from recsys.data.auxiliary import with_auxiliary
from recsys.data.event_log import with_log
from recsys.data.features.relation_files import relations_of
from recsys.data.features.tables import feature_tables, seen_from, user_tables
from recsys.data.features.titles import read_titles
from recsys.data.numbering import HeldOutPairs, dataset
from recsys.data.plausible import odd_times
from recsys.data.prepare import prepare
from recsys.data.reading import (
    Source,
    is_array,
    read,
    read_array,
    read_frame,
)
from recsys.data.types import Dataset, Interactions, history_facts, join
from recsys.errors import InputError
from recsys.notebook import Shown, counted, facts_html

__all__ = ["LoadedData", "catalogued", "folder_of", "load"]

# Settings that name files; they differ between machines.
_PATHS = ("path", "train", "valid", "test")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LoadedData(Shown):
    """The result of `load`, and the input of `split`.

    Args:
        dataset: all interactions, or the train part of a source that is already split.
        parts: (valid, test) of a source that is already split, either may be None; None for one
            log.
        valid_log, test_log: every event of the valid and of the test part, if they are kept.
    """

    dataset: Dataset
    parts: HeldOutPairs = None
    valid_log: Interactions | None = None
    test_log: Interactions | None = None

    def joined(self) -> LoadedData:
        """Return the parts of a source that is already split as one log, in their order.

        Raises:
            InputError: the source is one log, or every event of it is kept.
        """
        if self.parts is None:
            raise InputError(
                "join_parts has no effect, because the source is one log",
                place="[split]",
                remedy="leave it out",
            )
        if self.valid_log is not None or self.dataset.log is not self.dataset.pairs:
            raise InputError(
                "join_parts joins interactions, not the logs of the parts",
                place="[split]",
                remedy="leave out join_parts, or [data] keep_log",
            )
        whole = self.dataset
        for part in self.parts:
            if part is not None:
                whole = whole.with_pairs(join(whole.pairs, part))
        return LoadedData(whole)

    def _facts(self) -> Iterator[tuple[str, object]]:
        yield from self.dataset._facts()
        for name, part in zip(("valid", "test"), self.parts or (), strict=False):
            if part is not None:
                yield name, counted(len(part), "pair")

    def _repr_html_(self) -> str:
        return facts_html("LoadedData", [*self._facts(), *history_facts(self.dataset.history)])


def load(
    source: Any, resolve: Callable[[str], Source] | None = None, **settings: Any
) -> LoadedData:
    """Read, prepare and number the interactions of a source.

    Args:
        source: a `Source`, the name of a data set of the catalogue, a path, a pandas or polars
            frame, a users x items matrix of scipy.sparse, or an integer array [n, 2] of user and
            item.
        resolve: name to Source; by default the catalogue, which also gives item features and
            titles.
        settings: keys of `Source`, which replace those of `source`, as in
            `load("ratings.csv", min_weight=4)`. Here `features` may also hold tables in memory, in
            any form that `recsys.data.features.tables.feature_table` takes:
            `features={"text": frame, "image": (ids, vectors)}`; and `user_features` frames.

    Raises:
        InputError: an unknown name or key, and every error of `read` and `prepare`.
    """
    settings, tables = _split_features(settings, "features")
    settings, user_given = _split_features(settings, "user_features")
    chosen, name = _settings_of(source, resolve, settings)
    if isinstance(source, Source | str | Path):
        raw = read(chosen)
    elif is_array(source):
        raw = read_array(source, chosen)
    else:
        raw = read_frame(source, chosen)
    prepared = prepare(raw, chosen)
    data, held_out = dataset(prepared)
    logged = with_log(data, held_out, prepared)
    data = with_auxiliary(logged.dataset, prepared, chosen)
    findings = odd_times([data.pairs, *(part for part in held_out or () if part is not None)])
    tell = findings.append
    titles = None
    features = {}
    user_features = {}
    if name is not None:
        titles = catalog.titles(name, data.items, tell)
        features = dict(catalog.features(name, data.items, tell))
        user_features = catalog.user_features(name, data.users, tell)
    folder = folder_of(chosen)
    if chosen.titles is not None:
        titles = read_titles(seen_from(folder, chosen.titles), data.items, tell=tell)
    if given := tables if tables is not None else chosen.features:
        features |= feature_tables(given, folder, data.items, tell)
    if of_users := user_given if user_given is not None else chosen.user_features:
        user_features |= user_tables(of_users, folder, data.users, tell)
    relations = {}
    if chosen.relations:
        relations = relations_of(chosen.relations, folder, data.users, data.items, tell)
    data = dataclasses.replace(
        data,
        titles=titles,
        features=features,
        user_features=user_features,
        relations=relations,
        findings=tuple(findings),
    )
    return LoadedData(data, held_out, logged.valid_log, logged.test_log)


def _settings_of(
    source: Any, resolve: Callable[[str], Source] | None, settings: Mapping[str, Any]
) -> tuple[Source, str | None]:
    """Return all settings of a source, and its name if it is a data set of the catalogue.

    A name of another resolver has no features and titles in the catalogue.
    """
    if isinstance(source, Source):
        chosen = _override(source, settings)
    elif isinstance(source, str | Path):
        is_path = isinstance(source, Path) or _is_path(source)
        chosen = build(Source, {"path" if is_path else "source": str(source), **settings})
    else:
        return build(Source, settings), None
    name = chosen.source
    if name is None:
        return chosen, None
    if resolve is not None:
        return _override(resolve(name), _changed(chosen)), None
    return _override(catalog.source_of(name), _changed(chosen)), name


def catalogued(source: Source) -> Source:
    """Return the source with the settings of its catalogue entry; other settings replace them.

    The paths of files are left out: they differ between machines, and nothing is downloaded.

    Raises:
        InputError: no data set has the name.
    """
    if source.source is None:
        return source
    entry = catalog.entry(source.source).read
    usual = _override(entry, {**dict.fromkeys(_PATHS), "source": source.source})
    return _override(usual, _changed(source))


def folder_of(source: Source) -> Path:
    """Return the folder of the interactions; the working folder if they are not in a file.

    Paths of titles and features are relative to it.
    """
    if source.path is None and source.train:
        return Path(source.train).expanduser().parent
    base = Path(source.path).expanduser() if source.path else Path()
    return base if base.is_dir() else base.parent


def _split_features(
    settings: dict[str, Any], key: str
) -> tuple[dict[str, Any], Mapping[str, Any] | None]:
    """Return the settings with all paths as text, and feature tables in memory.

    Tables in memory are not a setting, because a run cannot store them in its TOML file.

    Args:
        settings: keys of `Source`.
        key: "features" or "user_features".
    """
    given = settings.get(key)
    if isinstance(given, Path):
        return settings | {key: str(given)}, None
    if not isinstance(given, Mapping):
        return settings, None
    if all(isinstance(value, str | Path | Mapping) for value in given.values()):
        plain = {n: str(v) if isinstance(v, Path) else v for n, v in given.items()}
        return settings | {key: plain}, None
    return {name: value for name, value in settings.items() if name != key}, given


def _changed(source: Source) -> dict[str, Any]:
    """Return the settings that differ from their default, without the name."""
    return {
        field.name: value
        for field in dataclasses.fields(source)
        if field.name != "source" and (value := getattr(source, field.name)) != field.default
    }


def _override(source: Source, settings: Mapping[str, Any]) -> Source:
    """Return a source with some settings replaced and checked."""
    values = {field.name: getattr(source, field.name) for field in dataclasses.fields(source)}
    return build(Source, values | current_names(Source, settings))


def _is_path(text: str) -> bool:
    """Return whether a text is a path, not the name of a data set."""
    return Path(text).expanduser().exists() or "/" in text or "\\" in text or "." in text
