"""The methods of a section: finished runs that differ only in the training seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from recsys.errors import InputError
from recsys.evaluation.evaluator import Report
from recsys.experiment.run import Run, open_run
from recsys.files import read_json

__all__ = ["Method", "methods_of", "methods_of_benchmark", "without_common_end"]


@dataclass(frozen=True, eq=False)
class Method:
    """The runs of one experiment, which differ only in the training seed.

    Args:
        label: name of the method on the page.
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

    @classmethod
    def of(cls, label: str, runs: Sequence[Run]) -> Method:
        """Return the method with these runs, and read their reports."""
        return cls(label, tuple(runs), tuple(run.report("test") for run in runs))


def methods_of(runs: Sequence[Run]) -> tuple[Method, ...]:
    """Group runs by experiment, in the order of their first run.

    Runs that differ only in name or training seed are one method.

    Raises:
        InputError: two runs are the same experiment with the same seed.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        experiment = replace(run.experiment, train=replace(run.experiment.train, seed=0))
        group = groups.setdefault(f"{experiment.fingerprint} {run.split.fingerprint}", [])
        for other in group:
            if other.experiment.train.seed == run.experiment.train.seed:
                raise InputError(
                    f"is the same experiment with the same seed as {other.folder}",
                    place=str(run.folder),
                    remedy="give one of the two",
                )
        group.append(run)
    names = [group[0].name for group in groups.values()]
    labels = [
        short if names.count(name) == 1 else str(group[0].folder)
        for short, name, group in zip(
            without_common_end(names), names, groups.values(), strict=True
        )
    ]
    return tuple(
        Method.of(label, group) for label, group in zip(labels, groups.values(), strict=True)
    )


def methods_of_benchmark(folder: Path) -> dict[str, tuple[Method, ...]]:
    """Return the methods behind the tables of a benchmark, by data set.

    Each cell of a table has as many runs as the table counts, those with the lowest seeds.

    Raises:
        InputError: the folder is not that of a benchmark, is empty, or lacks runs.
    """
    place, cells = folder / "results.json", folder / "cells"
    tables = read_json(place)
    methods: dict[str, tuple[Method, ...]] = {}
    try:
        for data, table in tables["data"].items():
            seeds = {cell["method"]: int(cell["seeds"]) for cell in table["cells"]}
            methods[str(data)] = tuple(
                _of_cell(str(method), cells / data / method, seeds[method])
                for method in table["methods"]
            )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"is not of a benchmark: {error!r}",
            place=str(place),
            remedy="give the folder that `recsys benchmark` wrote",
        ) from None
    if not methods:
        raise InputError(
            "holds no table yet",
            place=str(place),
            remedy="let the benchmark finish at least one method first",
        )
    return methods


def _of_cell(label: str, cell: Path, n_seeds: int) -> Method:
    """Return the method of one cell of a benchmark, with the lowest seeds that are finished."""
    numbers = sorted(int(path.stem.removeprefix("seed-")) for path in cell.glob("seed-*.json"))
    if len(numbers) < n_seeds:
        raise InputError(
            f"lacks runs of its table: {len(numbers)} of {n_seeds} are there",
            place=str(cell),
            remedy="run the benchmark again: it does what is missing",
        )
    return Method.of(label, [open_run(cell / f"seed-{seed}") for seed in numbers[:n_seeds]])


def without_common_end(names: Sequence[str]) -> list[str]:
    """Return names without the words that all of them end in: of mf-shop and cml-shop, mf and cml.

    A single name, and names that are equal, stay as they are.
    """
    if len(set(names)) < 2 or len(set(names)) < len(names):
        return list(names)
    words = [name.split("-") for name in names]
    while all(len(each) > 1 and each[-1] == words[0][-1] for each in words):
        words = [each[:-1] for each in words]
    return ["-".join(each) for each in words]
