"""What one data set's part of the page is made of: finished runs by method, their comparison, results by group, and some users' lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys.comparison.comparison import Comparison, compare
from recsys.data.types import Dataset, Split
from recsys.errors import InputError, suggest
from recsys.evaluation.breakdown import by_activity, by_popularity
from recsys.evaluation.evaluator import Report
from recsys.evaluation.metrics import GROUPS
from recsys.experiment.execution import Run, data_of, open_run, open_test
from recsys.files import read_json
from recsys.ranking import top_k

__all__ = ["Listed", "Method", "Person", "Section", "methods_of", "sections"]

REASON = "report: hits of the users that are shown"


@dataclass(frozen=True, eq=False)
class Method:
    """The runs of one experiment, which differ in nothing but the training seed.

    Args:
        label: what the page calls it.
        runs: in the order given.
        reports: their test reports.
    """

    label: str
    runs: tuple[Run, ...]
    reports: tuple[Report, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Training seeds of the runs."""
        return tuple(run.experiment.train.seed for run in self.runs)


@dataclass(frozen=True)
class Listed:
    """An item of a list; hit: it is among the user's test items."""

    name: str
    hit: bool


@dataclass(frozen=True)
class Person:
    """One user on the page.

    Args:
        id: outside id.
        met: how many items the user has met in what the scorers learned from.
        history: names of some of them.
        wanted: names of the test items; empty where the test part was not opened.
        lists: per method, the k best items.
    """

    id: str
    met: int
    history: tuple[str, ...]
    wanted: tuple[str, ...]
    lists: Mapping[str, tuple[Listed, ...]]


@dataclass(frozen=True, eq=False)
class Section:
    """Everything the page says of one data set.

    Args:
        title: heading.
        methods: in the order of the table.
        comparison: means, intervals and tests.
        metric: what curves, costs and groups show.
        groups: kind of group -> method -> frame of `recsys.evaluation.breakdown`.
        people: users with their lists.
        marked: the test part was opened, and hits are known.
        notes: what the reader should know.
    """

    title: str
    methods: tuple[Method, ...]
    comparison: Comparison
    metric: str
    groups: Mapping[str, Mapping[str, pl.DataFrame]]
    people: tuple[Person, ...]
    marked: bool
    notes: tuple[str, ...] = ()


def sections(
    folders: Sequence[str | Path],
    *,
    metric: str | None = None,
    baseline: str | None = None,
    users: int = 20,
    k: int = 10,
    hits: bool = True,
) -> tuple[Section, ...]:
    """Read finished runs of one split, or the folder of one benchmark, which has a section per data set.

    Args:
        folders: of the runs, or of the benchmark. Runs that differ in the training seed alone are one method with several seeds.
        metric: what is drawn; the monitor of the first run by default.
        baseline: test every method against this one; every pair by default.
        users: how many users to show, drawn without replacement with a fixed seed.
        k: length of their lists.
        hits: load the data again and open the test part, to mark what was found there; the runs whose lists are shown keep a record of it.

    Raises:
        InputError: a folder is no finished run with a test report, one is given twice, or their data, splits or protocols differ.
    """
    if not folders:
        raise InputError("there is nothing to report", remedy="name at least one run")
    if len(folders) == 1 and (Path(folders[0]) / "results.json").exists():
        several = _of_benchmark(Path(folders[0]))
    else:
        methods = methods_of([open_run(folder) for folder in folders])
        source = methods[0].runs[0].experiment.data
        several = {str(source.source or Path(str(source.path)).name): methods}
    return tuple(
        _section(title, methods, metric, baseline, users, k, hits)
        for title, methods in several.items()
    )


def _section(
    title: str,
    methods: tuple[Method, ...],
    metric: str | None,
    baseline: str | None,
    users: int,
    k: int,
    hits: bool,
) -> Section:
    # A baseline may be called by the name of its run too.
    known = {method.runs[0].name: method.label for method in methods}
    comparison = compare(
        {method.label: method.reports for method in methods},
        None,
        known.get(baseline, baseline) if baseline is not None else None,
        fingerprints={method.label: method.runs[0].pairs_fingerprint for method in methods},
        stopping={method.label: [run.stopping for run in method.runs] for method in methods},
    )
    first = methods[0].runs[0]
    drawn = metric or _default_metric(comparison, first)
    if drawn not in comparison.metrics:
        raise InputError(
            f"not every report has the metric '{drawn}'", remedy=suggest(drawn, comparison.metrics)
        )
    notes, split = [], None
    if hits and users:
        try:
            split = _data_again(first)
        except InputError as error:
            notes.append(
                f"The lists do not show what was found, as the data could not be read again: {error}"
            )
    people = _people(methods, split, users, k)
    return Section(
        title,
        methods,
        comparison,
        drawn,
        _groups(methods, drawn),
        people,
        split is not None,
        tuple(notes),
    )


def _of_benchmark(folder: Path) -> dict[str, tuple[Method, ...]]:
    """The runs behind the tables of a benchmark: as many of each cell as its table says, the lowest seeds first."""
    place, cells = folder / "results.json", folder / "cells"
    tables, found = read_json(place), {}
    try:
        for data, table in tables["data"].items():
            seeds = {cell["method"]: int(cell["seeds"]) for cell in table["cells"]}
            methods = []
            for method in table["methods"]:
                runs = [
                    open_run(cells / data / method / f"seed-{seed}")
                    for seed in _seeds_there(cells / data / method)[: seeds[method]]
                ]
                if len(runs) < seeds[method]:
                    raise InputError(
                        f"lacks runs of its table: {len(runs)} of {seeds[method]} are there",
                        place=str(cells / data / method),
                    )
                methods.append(
                    Method(str(method), tuple(runs), tuple(run.report("test") for run in runs))
                )
            found[str(data)] = tuple(methods)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"is not of a benchmark: {error!r}",
            place=str(place),
            remedy="give the folder that `recsys benchmark` wrote",
        ) from None
    if not found:
        raise InputError(
            "holds no table yet",
            place=str(place),
            remedy="let the benchmark finish something first",
        )
    return found


def _seeds_there(cell: Path) -> list[int]:
    """Seeds of the finished runs of a cell, ascending."""
    return sorted(int(path.stem.removeprefix("seed-")) for path in cell.glob("seed-*.json"))


def methods_of(runs: Sequence[Run]) -> tuple[Method, ...]:
    """Runs by experiment, in the order of their first; those that differ in name or training seed alone are together.

    Raises:
        InputError: two of them are the same experiment with the same seed, which is no second opinion.
    """
    found: dict[str, list[Run]] = {}
    for run in runs:
        experiment = replace(run.experiment, train=replace(run.experiment.train, seed=0))
        together = found.setdefault(f"{experiment.fingerprint} {_fingerprint(run)}", [])
        same = next(
            (
                other
                for other in together
                if other.experiment.train.seed == run.experiment.train.seed
            ),
            None,
        )
        if same is not None:
            raise InputError(
                f"is the same experiment with the same seed as {same.folder}",
                place=str(run.folder),
                remedy="give one of the two",
            )
        together.append(run)
    names = [group[0].name for group in found.values()]
    short = _shorter(names)
    labels = [
        name if names.count(whole) == 1 else str(group[0].folder)
        for name, whole, group in zip(short, names, found.values(), strict=True)
    ]
    return tuple(
        Method(label, tuple(group), tuple(run.report("test") for run in group))
        for label, group in zip(labels, found.values(), strict=True)
    )


def _shorter(names: Sequence[str]) -> list[str]:
    """Names without the words that all of them end in: of mf-shop and cml-shop, mf and cml. One name, or equal ones, stay."""
    words = [name.split("-") for name in names]
    if len(set(names)) < 2 or len(set(names)) < len(names):
        return list(names)
    while all(len(each) > 1 and each[-1] == words[0][-1] for each in words):
        words = [each[:-1] for each in words]
    return ["-".join(each) for each in words]


def _fingerprint(run: Run) -> str:
    return str(run.meta["split"].get("fingerprint", ""))


def _default_metric(comparison: Comparison, run: Run) -> str:
    monitor = run.experiment.evaluate.monitor
    return monitor if monitor in comparison.metrics else comparison.metrics[0]


def _data_again(run: Run) -> Split:
    """The split a run was made of, loaded again."""
    split = data_of(run.experiment)
    if not split.matches(_fingerprint(run)):
        raise InputError(
            "the data have changed since this run",
            place=str(run.folder),
            remedy="restore the data, or leave the hits out",
        )
    return split


def _groups(methods: Sequence[Method], metric: str) -> dict[str, dict[str, pl.DataFrame]]:
    """The drawn metric by activity; recall by popularity where every report holds it."""
    learned = methods[0].runs[0].train.pairs
    found: dict[str, dict[str, pl.DataFrame]] = {}
    over_seeds = {method.label: _over_seeds(method.reports) for method in methods}
    if metric not in methods[0].reports[0].whole:
        found["users by activity"] = {
            label: by_activity(replace(report, names=(metric,)), learned)
            for label, report in over_seeds.items()
        }
    recall = next(
        (
            name.removesuffix("[head]")
            for name in over_seeds[methods[0].label].per_user.columns
            if name.endswith("[head]")
        ),
        None,
    )
    columns = [f"{recall}[{group}]" for group in GROUPS]
    if recall is not None and all(
        column in report.per_user.columns for report in over_seeds.values() for column in columns
    ):
        found["items by popularity"] = {
            label: by_popularity(replace(report, per_user=report.per_user.select("user", *columns)))
            for label, report in over_seeds.items()
        }
    return found


def _over_seeds(reports: Sequence[Report]) -> Report:
    """One report whose values are each user's mean over the seeds; the test part is the same, and so are its users."""
    if len(reports) == 1:
        return reports[0]
    columns = [
        name
        for name in reports[0].per_user.columns
        if name != "user" and all(name in report.per_user.columns for report in reports)
    ]
    values = {
        name: np.mean([report.values(name) for report in reports], axis=0) for name in columns
    }
    frame = pl.DataFrame({"user": reports[0].per_user["user"], **values}).with_columns(
        pl.col(columns).fill_nan(None)
    )
    return replace(reports[0], per_user=frame)


def _people(
    methods: Sequence[Method], split: Split | None, users: int, k: int
) -> tuple[Person, ...]:
    if not users:
        return ()
    train = methods[0].runs[0].train
    common = methods[0].reports[0].per_user["user"].to_numpy()
    for method in methods[1:]:
        common = np.intersect1d(common, method.reports[0].per_user["user"].to_numpy())
        if (
            method.runs[0].train.items.fingerprint != train.items.fingerprint
            or method.runs[0].train.users.fingerprint != train.users.fingerprint
        ):
            raise InputError(
                "its users or items have other rows than those of the first run",
                place=str(method.runs[0].folder),
            )
    chosen = np.sort(
        np.random.default_rng(0).choice(common, size=min(users, len(common)), replace=False)
    ).astype(np.int32)
    names = _names(train)
    wanted = _wanted(methods, split, chosen)
    lists = {method.label: _best(method.runs[0], split, chosen, k) for method in methods}
    found = []
    for place, user in enumerate(chosen):
        met, test = train.pairs.csr[user].indices, wanted[place] if wanted is not None else ()
        hit = {int(item) for item in test}
        best = {
            label: tuple(
                Listed(names(item), int(item) in hit) for item in items[place] if item >= 0
            )
            for label, items in lists.items()
        }
        found.append(
            Person(
                str(train.users.ids[int(user)]),
                len(met),
                tuple(map(names, met[:k])),
                tuple(map(names, test)),
                best,
            )
        )
    return tuple(found)


def _wanted(
    methods: Sequence[Method], split: Split | None, users: np.ndarray
) -> list[np.ndarray] | None:
    """Test items of some users; every run whose lists are held against them keeps the record."""
    if split is None or split.test is None:
        return None
    opened = [open_test(split, method.runs[0].folder, REASON) for method in methods]
    return [opened[0].csr[user].indices for user in users]


def _best(run: Run, split: Split | None, users: np.ndarray, k: int) -> np.ndarray:
    """The items that were measured: what the user met in train is left out, and what stands in valid as far as the evaluation did so."""
    seen = run.train.pairs.csr
    if (
        split is not None
        and split.valid is not None
        and not run.experiment.refit
        and not run.experiment.evaluate.keep_valid
    ):
        seen = sp.csr_matrix(seen + split.valid.csr)
    return top_k(run.scorer, users, k, seen=seen).item


def _names(train: Dataset) -> Callable[[int], str]:
    """Titles of item rows, or their ids where a title is not known."""
    ids, titles = train.items.ids, train.titles

    def name(item: int) -> str:
        title = titles[int(item)] if titles is not None else None
        return str(ids[int(item)] if title is None else title)

    return name
