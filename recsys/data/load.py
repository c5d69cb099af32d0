"""From a name, a path or a frame to a Dataset, in one call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from recsys.config import build
from recsys.data.features.tables import feature_tables, seen_from
from recsys.data.features.titles import read_titles
from recsys.data.numbering import dataset
from recsys.data.plausible import odd_times
from recsys.data.prepare import prepare
from recsys.data.reading import arrays
from recsys.data.reading.columns import ROLES
from recsys.data.reading.reader import Source, frame, read
from recsys.data.types import Dataset, Interactions, history_facts
from recsys.errors import InputError
from recsys.notebook import Shown, counted, facts_html

__all__ = ["LoadedData", "catalogued", "folder_of", "load"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LoadedData(Shown):
    """What `load` gives and `split` takes.

    Args:
        dataset: all interactions, or the train part of a source that is split already.
        parts: (valid, test) of a source that is split already, either may be None; None for one log.
    """

    dataset: Dataset
    parts: tuple[Interactions | None, Interactions | None] | None = None

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
        source: a `Source`, the name of a data set of the catalogue, a path, a pandas or polars frame, or what `reading.arrays.read` takes:
            a users x items matrix of scipy.sparse, or an integer array [n, 2] of user and item.
        resolve: name -> Source; by default the catalogue, which also gives item features and titles.
        settings: keys of `Source` that win over those of `source`, as in `load("ratings.csv", min_weight=4)`. Here `features` may also hold what is
            at hand, as `recsys.data.features.tables.feature_table` takes it: `features={"text": frame, "image": (ids, vectors)}`.

    Raises:
        InputError: an unknown name or key, and all that `read` and `prepare` find.
    """
    settings, at_hand = _apart(settings)
    if isinstance(source, Source):
        chosen = _over(source, settings)
    elif isinstance(source, Path):
        chosen = build(Source, {"path": str(source), **settings})
    elif isinstance(source, str):
        chosen = build(Source, {"path" if _is_path(source) else "source": source, **settings})
    else:
        chosen = build(Source, settings)
        if arrays.is_array(source):
            return _finish(arrays.read(source, chosen), chosen, None, at_hand)
        read_from_disk = [
            key
            for key in (
                *("source", "path", "train", "valid", "test"),
                *("format", "separator", "quote", "header"),
            )
            if key in settings
        ]
        if read_from_disk:
            raise InputError(
                f"{read_from_disk[0]} does not go with a data frame",
                place="load",
                remedy="leave it out",
            )
        roles = {role: getattr(chosen, role) for role in ROLES}
        return _finish(
            frame(source, **roles, nulls=chosen.nulls, ordered=chosen.ordered),
            chosen,
            None,
            at_hand,
        )
    name = chosen.source
    if name is None:
        return _finish(read(chosen), chosen, None, at_hand)
    if resolve is not None:  # a name that is not the catalogue's has no features or titles there
        chosen = _over(resolve(name), _told(chosen))
        return _finish(read(chosen), chosen, None, at_hand)
    from recsys.data import catalog

    chosen = _over(catalog.source_of(name), _told(chosen))
    return _finish(read(chosen), chosen, name, at_hand)


def _finish(
    parts: Any, source: Source, name: str | None, at_hand: Mapping[str, Any] | None
) -> LoadedData:
    data, held = dataset(prepare(parts, source))
    text, features = None, {}
    findings = odd_times([data.pairs, *(part for part in held or () if part is not None)])
    tell = findings.append
    if name is not None:
        from recsys.data import catalog

        text = catalog.titles(name, data.items, tell)
        features = dict(catalog.features(name, data.items, tell))
    if source.titles is not None:
        text = read_titles(seen_from(folder_of(source), source.titles), data.items, tell=tell)
    if given := at_hand if at_hand is not None else source.features:
        features |= feature_tables(given, folder_of(source), data.items, tell)
    known = dataclasses.replace(data, titles=text, features=features, findings=tuple(findings))
    return LoadedData(known, held)


def catalogued(source: Source) -> Source:
    """Return the source with the settings that its entry of the catalogue adds; what is set beside the name wins.

    Where the files lie is left out: it is the same on no two machines, and nothing is downloaded for it.

    Raises:
        InputError: no data set has the name.
    """
    if source.source is None:
        return source
    from recsys.data import catalog

    places = dict.fromkeys(("path", "train", "valid", "test"))
    usual = _over(catalog.entry(source.source).read, {**places, "source": source.source})
    return _over(usual, _told(source))


def folder_of(source: Source) -> Path:
    """The folder of the interactions, from which titles and features are seen first; the working folder where there is none."""
    if source.path is None and source.train:
        return Path(source.train).expanduser().parent
    base = Path(source.path).expanduser() if source.path else Path()
    return base if base.is_dir() else base.parent


def _apart(settings: dict[str, Any]) -> tuple[dict[str, Any], Mapping[str, Any] | None]:
    """The settings with paths as texts, and features of which some are at hand, which are no setting."""
    given = settings.get("features")
    if isinstance(given, Path):
        return settings | {"features": str(given)}, None
    if not isinstance(given, Mapping) or all(isinstance(value, str) for value in given.values()):
        return settings, None
    if all(isinstance(value, str | Path) for value in given.values()):
        return settings | {"features": {name: str(path) for name, path in given.items()}}, None
    return {key: value for key, value in settings.items() if key != "features"}, given


def _told(source: Source) -> dict[str, Any]:
    """The settings that are not at their default, the name aside."""
    fields = dataclasses.fields(source)
    return {
        field.name: value
        for field in fields
        if field.name != "source" and (value := getattr(source, field.name)) != field.default
    }


def _over(source: Source, settings: dict[str, Any]) -> Source:
    """`source` with some settings changed, checked."""
    return build(
        Source,
        {field.name: getattr(source, field.name) for field in dataclasses.fields(source)}
        | settings,
    )


def _is_path(text: str) -> bool:
    return Path(text).expanduser().exists() or "/" in text or "\\" in text or "." in text
