"""The result of a benchmark: a comparison per data set, ranks over data sets, and all costs."""

from __future__ import annotations

import json
import string
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.benchmark.curves import Curve, curves_svg
from recsys.benchmark.published import Published
from recsys.benchmark.sweep import SweepPoint
from recsys.comparison.comparison import Comparison
from recsys.comparison.rendering import Column, markdown_table, plain_text
from recsys.evaluation.metrics import parse
from recsys.files import write_text
from recsys.statistics.critical_difference import MethodRanks, diagram

__all__ = ["Cost", "Result", "write_result"]

_FEW = 10  # data sets below which tests over data sets have little power


@dataclass(frozen=True)
class Cost:
    """The cost of a method on a data set.

    Args:
        trials: on valid; 0 where there is nothing to search.
        tune_seconds: of training and of evaluation on valid, summed over the trials.
        train_seconds: of one run of the chosen settings, mean over seeds.
        users_per_second: users for whom all items are ranked, per second, mean over seeds.
        parameters: numbers that the scorer holds.
        kwh: energy of one run in kilowatt hours; None where it was not measured.
        settings: the chosen values of the searched fields, by dotted path.
        no_chance: two seeds made the same scorer, so that one run is enough.
    """

    trials: int
    tune_seconds: float
    train_seconds: float
    users_per_second: float
    parameters: int
    kwh: float | None
    settings: Mapping[str, Any]
    no_chance: bool


@dataclass(frozen=True, eq=False)
class Result:
    """The tables of a benchmark, finished or not.

    Args:
        name: of the benchmark.
        tables: by data set, methods in the order of their primary metric.
        primary: by data set, the metric that selected on valid and that ranks: its monitor.
        costs: by data set and method.
        ranks: over data sets, of the methods that are finished on all of them; None with fewer
            than two data sets or methods. Of a sweep only the first value counts.
        n_seeds: number of runs of a finished cell.
        notes: what a reader must know.
        failed: by data set and method, why a cell could not be finished.
        swept: the setting of the sweep; empty without one.
        points: base data set and value of each swept data set, by its name.
        published: published numbers, by data set.
        pooled: by base data set, the table over all values of a sweep whose values are parts of one
            test. Markdown and LaTeX show it in place of the table of each value.
    """

    name: str
    tables: Mapping[str, Comparison]
    primary: Mapping[str, str]
    costs: Mapping[tuple[str, str], Cost]
    ranks: MethodRanks | None
    n_seeds: int
    notes: tuple[str, ...]
    failed: Mapping[tuple[str, str], str] = field(default_factory=dict)
    swept: str = ""
    points: Mapping[str, SweepPoint] = field(default_factory=dict)
    published: Mapping[str, tuple[Published, ...]] = field(default_factory=dict)
    pooled: Mapping[str, Comparison] = field(default_factory=dict)

    @property
    def shown(self) -> Mapping[str, Comparison]:
        """The tables that a reader sees first: the pooled ones, where there are any."""
        return self.pooled or self.tables

    @property
    def every(self) -> Mapping[str, Comparison]:
        """All tables by name of the data set."""
        return {**self.tables, **self.pooled}

    def markdown(self) -> str:
        """Return all tables as Markdown."""
        parts = [f"# {self.name}", ""]
        for data, table in self.shown.items():
            parts += [f"## {data}", "", table.markdown(columns=_columns(self, data)).rstrip("\n")]
            parts += [_order(self, data)]
            parts += [*_published_caption(self, data), ""]
        if self.points:
            parts += list(_sweep_sections(self))
        if self.ranks is not None:
            rows = [
                [plain_text(method), f"{rank:.2f}"]
                for method, rank in zip(self.ranks.methods, self.ranks.ranks, strict=True)
            ]
            parts += [
                "## Over data sets",
                "",
                markdown_table(["method", "average rank"], rows),
            ]
            parts += [_tests_of_ranks(self.ranks), *_undertrained_ranks(self), ""]
        failed = [
            f"{method} on {data} failed: {why}" for (data, method), why in self.failed.items()
        ]
        parts += [f"- {note}" for note in (*self.notes, *failed)]
        return "\n".join(parts).rstrip() + "\n"

    def latex(self) -> str:
        r"""Return all tables as LaTeX for booktabs: `\usepackage{booktabs}`."""
        parts = []
        for data, table in self.shown.items():
            parts += [f"% {data}", table.latex(columns=_columns(self, data)).rstrip("\n")]
            parts += [*(f"% {line}" for line in _published_caption(self, data)), ""]
        if self.ranks is not None:
            lines = (_tests_of_ranks(self.ranks), *_undertrained_ranks(self))
            parts += [f"% {line}" for line in lines]
        return "\n".join(parts).rstrip() + "\n"

    def table(self) -> pl.DataFrame:
        """Return a row per cell and metric.

        The columns data, those of `Comparison.table`, rank, and the fields of `Cost` but its
        settings.
        """
        frames = []
        for data, table in self.every.items():
            costs = []
            for method in table.methods:
                cost = asdict(self.costs[data, method])
                del cost["settings"]
                costs.append({"method": method} | cost)
            own = table.table().with_columns(rank=pl.Series(_ranks(table), dtype=pl.Float64))
            own = own.join(
                pl.DataFrame(costs, schema_overrides={"kwh": pl.Float64}),
                on="method",
                how="left",
                maintain_order="left",
            )
            frames.append(own.select(pl.lit(data).alias("data"), pl.all()))
        # A data set with several queries per unit has more columns.
        return pl.concat(frames, how="diagonal")

    def tests(self) -> pl.DataFrame:
        """Return every paired test: the column data and those of `Comparison.tests_table`."""
        frames = [
            table.tests_table().select(pl.lit(data).alias("data"), pl.all())
            for data, table in self.every.items()
        ]
        return pl.concat(frames)

    def sweep(self) -> pl.DataFrame:
        """Return a row per base data set, value of the sweep, method and metric.

        Columns data, setting, value, method, metric, mean, low, high, users, seeds.
        """
        rows = []
        for name, table in self.tables.items():
            point = self.points[name]
            for cell in table.cells:
                row: dict[str, Any] = {"data": point.base, "setting": self.swept}
                row |= {"value": str(point.value), "method": cell.method, "metric": cell.metric}
                row |= {"mean": cell.mean, "low": cell.low, "high": cell.high}
                rows.append(row | {"users": cell.users, "seeds": cell.seeds})
        frame = pl.DataFrame(rows, infer_schema_length=None)
        return frame.with_columns(pl.col("mean", "low", "high").cast(pl.Float64).fill_nan(None))

    def json(self) -> str:
        """Return everything as JSON; numbers that are not finite are null."""
        data = {
            name: {
                **json.loads(table.json()),
                "costs": {method: asdict(self.costs[name, method]) for method in table.methods},
            }
            for name, table in self.every.items()
        }
        ranks = None
        if self.ranks is not None:
            ranks = {key: _null(value) for key, value in asdict(self.ranks).items()}
        plain: dict[str, Any] = {
            "name": self.name,
            "primary": self.primary,
            "data": data,
            "ranks": ranks,
            "notes": self.notes,
            "failed": [
                {"data": name, "method": method, "reason": why}
                for (name, method), why in self.failed.items()
            ],
        }
        if self.points:
            points = {name: asdict(point) for name, point in self.points.items()}
            plain["sweep"] = {"setting": self.swept, "points": points}
        if self.published:
            plain["published"] = {
                name: [
                    {
                        "source": source.source,
                        "protocol": source.protocol,
                        "note": source.note,
                        "values": [
                            {"method": method, "metric": metric, "value": value}
                            for (method, metric), value in source.values.items()
                        ],
                    }
                    for source in sources
                ]
                for name, sources in self.published.items()
            }
        return json.dumps(plain, indent=1, allow_nan=False, default=str) + "\n"


def write_result(result: Result, folder: Path) -> None:
    """Write the tables of a result into a folder.

    These are table.md, table.tex, table.csv, tests.csv and results.json; cd.svg where there are
    ranks; sweep.csv and sweep.svg of a sweep. Nothing is written while nothing is finished.
    """
    if not result.tables:
        return
    texts = {
        "table.md": result.markdown(),
        "table.tex": result.latex(),
        "table.csv": result.table().write_csv(),
        "tests.csv": result.tests().write_csv(),
        "results.json": result.json(),
    }
    if result.ranks is not None:
        texts["cd.svg"] = diagram(result.ranks)
    if result.points:
        texts["sweep.csv"] = result.sweep().write_csv()
        texts["sweep.svg"] = curves_svg(_curves(result), result.swept)
    for name, text in texts.items():
        write_text(folder / name, text)


def _order(result: Result, data: str) -> str:
    """Return the order of the methods in words."""
    text = f"Methods are in the order of {result.primary[data]}"
    searched = any(result.costs[data, method].trials for method in result.every[data].methods)
    return f"{text}, which selected on valid." if searched else f"{text}."


def _columns(result: Result, data: str) -> list[Column]:
    """Return the columns next to the metrics: seeds, costs, and published numbers."""
    table, primary = result.every[data], result.primary[data]
    cells = {method: table.cell(method, primary) for method in table.methods}
    costs = {method: result.costs[data, method] for method in table.methods}
    deviations = {
        method: "-" if cell.seeds < 2 else f"{cell.seeds_sd:.4f}" for method, cell in cells.items()
    }
    columns = [
        Column("sd over seeds", deviations),
        Column("seeds", {method: f"{cell.seeds}" for method, cell in cells.items()}),
        Column("trials", {method: f"{cost.trials}" for method, cost in costs.items()}),
        Column("train s", {method: f"{cost.train_seconds:.1f}" for method, cost in costs.items()}),
        Column(
            "users/s", {method: f"{cost.users_per_second:.0f}" for method, cost in costs.items()}
        ),
        Column("parameters", {method: f"{cost.parameters}" for method, cost in costs.items()}),
    ]
    return [*columns, *_published_columns(result, data)]


def _published_columns(result: Result, data: str) -> Iterator[Column]:
    """Yield a column for each metric with published numbers; letters name the sources."""
    for metric in result.every[data].metrics:
        texts: dict[str, str] = {}
        for letter, source in _lettered(result, data):
            for (method, measured), value in source.values.items():
                if measured == metric:
                    text = f"{value:.4f} ({letter})"
                    texts[method] = f"{texts[method]}, {text}" if method in texts else text
        if texts:
            yield Column(f"published {metric}", texts)


def _published_caption(result: Result, data: str) -> list[str]:
    """Return the sources that the letters of the published numbers name."""
    sources = [f"({letter}) {source.caption}" for letter, source in _lettered(result, data)]
    if not sources:
        return []
    return [f"Published numbers were not measured here and are not tested: {'; '.join(sources)}."]


def _lettered(result: Result, data: str) -> Iterator[tuple[str, Any]]:
    sources = result.published.get(data, ())
    for number, source in enumerate(sources):
        letter = string.ascii_lowercase[number % 26]
        yield letter * (number // 26 + 1), source


def _sweep_sections(result: Result) -> Iterator[str]:
    """Yield the lines of a table over the values of the sweep for each base data set."""
    for curve in _curves(result):
        yield from (f"## {curve.data}: {curve.metric} over {result.swept}", "")
        head = ["method", *(str(value) for value in curve.values)]
        rows = []
        for method, points in curve.methods.items():
            row = [plain_text(method)]
            for point in points:
                interval = f" [{point[1]:.4f}, {point[2]:.4f}]" if np.isfinite(point[1]) else ""
                row.append(f"{point[0]:.4f}{interval}" if np.isfinite(point[0]) else "")
            rows.append(row)
        yield markdown_table([plain_text(title) for title in head], rows)
        yield "Means with 95 % intervals; tests are in the table of each value."
        yield ""


def _curves(result: Result) -> list[Curve]:
    """Return the primary metric of each base data set over the values of the sweep."""
    curves = []
    for base in dict.fromkeys(point.base for point in result.points.values()):
        names = [name for name, point in result.points.items() if point.base == base]
        methods: dict[str, tuple[tuple[float, float, float], ...]] = {}
        present = [name for name in names if name in result.tables]
        for method in dict.fromkeys(m for name in present for m in result.tables[name].methods):
            points = []
            for name in names:
                table = result.tables.get(name)
                if table is None or method not in table.methods:
                    points.append((float("nan"),) * 3)
                    continue
                cell = table.cell(method, result.primary[name])
                points.append((cell.mean, cell.low, cell.high))
            methods[method] = tuple(points)
        values = tuple(result.points[name].value for name in names)
        curves.append(Curve(base, result.primary[names[0]], values, methods))
    return curves


def _undertrained_ranks(result: Result) -> list[str]:
    """Return a line on the methods whose training ended too early, if there are any."""
    names = []
    for data, table in result.shown.items():
        methods = [method for method in table.methods if table.signs(method)]
        if methods:
            names.append(f"{data}: {', '.join(methods)}")
    return [f"Ranks of undertrained methods ({'; '.join(names)}) may change."] if names else []


def _ranks(table: Comparison) -> list[float]:
    """Return the rank of each cell within its metric, 1 is best; NaN without a direction."""
    ranks: dict[tuple[str, str], float] = {}
    for metric in table.metrics:
        higher = parse(metric).higher
        means = {method: table.cell(method, metric).mean for method in table.methods}
        for method, mean in means.items():
            better = sum((other > mean) if higher else (other < mean) for other in means.values())
            equal = sum(other == mean for other in means.values())
            rank = float("nan") if higher is None else 1 + better + (equal - 1) / 2
            ranks[method, metric] = rank
    return [ranks[cell.method, cell.metric] for cell in table.cells]


def _tests_of_ranks(ranks: MethodRanks) -> str:
    """Return the tests over data sets in words."""
    text = (
        f"{ranks.n} data sets, ranks of the metric that selected. "
        f"Friedman p = {ranks.p:.2g} (Iman-Davenport {ranks.p_f:.2g}); average ranks that differ "
        f"by less than {ranks.critical:.2f} are not told apart (Nemenyi, {ranks.level:g})."
    )
    if ranks.n < _FEW:
        text += (
            f" {ranks.n} data sets give these tests little power: methods that are not told apart "
            "need not be alike."
        )
    return text


def _null(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
