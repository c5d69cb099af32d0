"""What a matrix says: a table per data set, ranks over data sets, what everything cost; as Markdown, LaTeX, CSV, JSON and a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.benchmark.cell import needed, state
from recsys.benchmark.plan import Plan
from recsys.comparison.comparison import Comparison, compare
from recsys.comparison.rendering import latex_signs, latex_text, plain_text
from recsys.evaluation.metrics import parse
from recsys.experiment.execution import open_run
from recsys.files import write_atomic
from recsys.statistics.critical_difference import MethodRanks, diagram, ranking

__all__ = ["Cost", "Result", "gather", "write_result"]


@dataclass(frozen=True)
class Cost:
    """What a method cost on a data set.

    Args:
        trials: on valid; 0 where there is nothing to search.
        tune_seconds: of training and of evaluating on valid, added up over the trials.
        train_seconds: of one run of the chosen settings, the mean over seeds.
        users_per_second: ranked, all items; the mean over seeds.
        parameters: numbers the scorer holds.
        kwh: energy of one run; None where it was not measured.
        settings: the chosen values of the searched fields.
        no_chance: two seeds made the same scorer, so that one run is all there is.
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
    """The tables of a matrix, finished or not.

    Args:
        name: of the matrix.
        tables: by data set, methods in order of their primary metric.
        primary: by data set, the metric that selected and that ranks: its monitor.
        costs: by data set and method.
        ranks: over data sets, of the methods that are finished on all; None with fewer than two of either.
        wanted: runs of a cell when it is finished.
        notes: what the reader should know.
        failed: by data set and method, why a cell could not be finished.
    """

    name: str
    tables: Mapping[str, Comparison]
    primary: Mapping[str, str]
    costs: Mapping[tuple[str, str], Cost]
    ranks: MethodRanks | None
    wanted: int
    notes: tuple[str, ...]
    failed: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def markdown(self) -> str:
        """All tables."""
        parts = [f"# {self.name}", ""]
        for data, table in self.tables.items():
            parts += [f"## {data}", "", _head(table), "|---|" + "---:|" * (len(table.metrics) + 6)]
            parts += [
                "| "
                + " | ".join(
                    [plain_text(_signed(table, method)), *self._row(data, method, "**{}**")]
                )
                + " |"
                for method in table.methods
            ]
            parts += [
                "",
                *table._caption(),
                f"Methods are in the order of {self.primary[data]}, which selected on valid.",
                "",
            ]
        if self.ranks is not None:
            parts += ["## Over data sets", "", "| method | average rank |", "|---|---:|"]
            parts += [
                f"| {plain_text(method)} | {rank:.2f} |"
                for method, rank in zip(self.ranks.methods, self.ranks.ranks, strict=True)
            ]
            parts += ["", _over(self.ranks), *self._undertrained_ranks(), ""]
        parts += [
            f"- {note}"
            for note in (
                *self.notes,
                *(
                    f"{method} on {data} failed: {why}"
                    for (data, method), why in self.failed.items()
                ),
            )
        ]
        return "\n".join(parts).rstrip() + "\n"

    def latex(self) -> str:
        r"""All tables, for booktabs: `\usepackage{booktabs}`."""
        parts = []
        for data, table in self.tables.items():
            names = [*table.metrics, *_COSTS]
            parts += [f"% {data}", r"\begin{tabular}{l" + "r" * len(names) + "}", r"\toprule"]
            parts += [" & ".join(["Method", *map(latex_text, names)]) + r" \\", r"\midrule"]
            parts += [
                " & ".join(
                    [
                        latex_text(_signed(table, method)),
                        *map(latex_signs, self._row(data, method, r"\textbf{{{}}}")),
                    ]
                )
                + r" \\"
                for method in table.methods
            ]
            parts += [
                r"\bottomrule",
                r"\end{tabular}",
                *(f"% {line}" for line in table._caption()),
                "",
            ]
        if self.ranks is not None:
            parts += [f"% {line}" for line in (_over(self.ranks), *self._undertrained_ranks())]
        return "\n".join(parts).rstrip() + "\n"

    def _undertrained_ranks(self) -> list[str]:
        """Which ranks rest on a training that ended too early."""
        found = [
            f"{data}: {', '.join(names)}"
            for data, table in self.tables.items()
            if (names := [method for method in table.methods if table.signs(method)])
        ]
        return [f"Ranks of undertrained methods ({'; '.join(found)}) may change."] if found else []

    def _row(self, data: str, method: str, bold: str) -> list[str]:
        table, cost = self.tables[data], self.costs[data, method]
        texts = []
        for metric in table.metrics:
            cell = table.cell(method, metric)
            mean = f"{cell.mean:.4f}"
            if cell.bold:
                mean = bold.format(mean) + table.beside(method, metric)
            texts.append(
                mean + (f" [{cell.low:.4f}, {cell.high:.4f}]" if np.isfinite(cell.low) else "")
            )
        cell = table.cell(method, self.primary[data])
        texts += [
            "-" if cell.seeds < 2 else f"{cell.seeds_sd:.4f}",
            f"{cell.seeds}",
            f"{cost.trials}",
        ]
        return [
            *texts,
            f"{cost.train_seconds:.1f}",
            f"{cost.users_per_second:.0f}",
            f"{cost.parameters}",
        ]

    def table(self) -> pl.DataFrame:
        """Return a row per cell and metric.

        Columns data, method, metric, mean, low, high, users, best, bold, seeds, seeds_sd, stopped, marks, rank, and what it cost.
        """
        frames = []
        for data, table in self.tables.items():
            costs = [
                {"method": method}
                | {
                    key: value
                    for key, value in asdict(self.costs[data, method]).items()
                    if key != "settings"
                }
                for method in table.methods
            ]
            rank = _ranks(table)
            own = table.table().with_columns(rank=pl.Series(rank, dtype=pl.Float64))
            own = own.join(
                pl.DataFrame(costs, schema_overrides={"kwh": pl.Float64}),
                on="method",
                how="left",
                maintain_order="left",
            )
            frames.append(own.select(pl.lit(data).alias("data"), pl.all()))
        return pl.concat(frames)

    def tests(self) -> pl.DataFrame:
        """The column data and the columns of `Comparison.tests_table`: every paired test with its effect sizes."""
        return pl.concat(
            [
                table.tests_table().select(pl.lit(data).alias("data"), pl.all())
                for data, table in self.tables.items()
            ]
        )

    def json(self) -> str:
        """Everything as JSON; numbers that are not finite are null."""
        plain = {
            "name": self.name,
            "primary": self.primary,
            "data": {
                data: {
                    **json.loads(table.json()),
                    "costs": {method: asdict(self.costs[data, method]) for method in table.methods},
                }
                for data, table in self.tables.items()
            },
            "ranks": None
            if self.ranks is None
            else {k: _null(v) for k, v in asdict(self.ranks).items()},
            "notes": self.notes,
            "failed": [
                {"data": data, "method": method, "reason": why}
                for (data, method), why in self.failed.items()
            ],
        }
        return json.dumps(plain, indent=1, allow_nan=False, default=str) + "\n"


_COSTS = ("sd over seeds", "seeds", "trials", "train s", "users/s", "parameters")


def gather(plan: Plan, folder: Path) -> Result:
    """Read what is finished of a matrix.

    Raises:
        InputError: a run that is damaged.
    """
    tables, costs, primary = {}, {}, {}
    notes: list[str] = []
    for data in plan.data:
        primary[data] = plan.cells[data, plan.methods[0]].evaluate.monitor
        runs: dict[str, list[Any]] = {}
        for method in plan.methods:
            place = folder / "cells" / data / method
            found = state(place, plan.seeds)
            wanted = [seed for seed in needed(found, plan.seeds) if seed in found.runs]
            if found.chosen is None or not wanted:
                continue
            runs[method] = [open_run(place / f"seed-{seed}") for seed in wanted]
            costs[data, method] = _cost(
                found.chosen,
                [found.runs[seed] for seed in wanted],
                len(needed(found, plan.seeds)) < len(plan.seeds),
            )
        if not runs:
            continue
        reports = {
            method: [run.report("test") for run in several] for method, several in runs.items()
        }
        prints = {method: several[0].pairs_fingerprint for method, several in runs.items()}
        higher = parse(primary[data]).higher
        worth = {method: _key(each, primary[data], higher) for method, each in reports.items()}
        order = sorted(reports, key=worth.__getitem__)
        # The test of the metric that selected is corrected for by itself with those of the others: one family per data set.
        tables[data] = compare(
            {method: reports[method] for method in order},
            fingerprints={method: prints[method] for method in order},
            stopping={method: [run.stopping for run in runs[method]] for method in order},
        )
        missing = [method for method in plan.methods if method not in runs]
        if missing:
            notes.append(f"{data}: not finished: {', '.join(missing)}.")
        fewer = [
            f"{method} {len(runs[method])}"
            for method in runs
            if len(runs[method]) < len(plan.seeds) and not costs[data, method].no_chance
        ]
        if fewer:
            notes.append(f"{data}: fewer than {len(plan.seeds)} runs so far: {', '.join(fewer)}.")
    fixed = list(dict.fromkeys(method for (_, method), cost in costs.items() if cost.no_chance))
    if fixed:
        notes.append(
            f"One run of {', '.join(fixed)}: two seeds made the same scorer, the seed has no effect."
        )
    untuned = list(dict.fromkeys(method for (_, method), cost in costs.items() if not cost.trials))
    if untuned:
        notes.append(
            f"Nothing was searched for {', '.join(untuned)}; every other method had {plan.matrix.trials} trials, its own settings first."
        )
    return Result(
        plan.matrix.name,
        tables,
        primary,
        costs,
        _ranked(plan, tables, primary),
        len(plan.seeds),
        tuple(notes),
    )


def _key(reports: list[Any], metric: str, higher: bool | None) -> float:
    mean = float(np.mean([report[metric] for report in reports]))
    return -mean if higher is not False else mean


def _cost(chosen: Mapping[str, Any], runs: list[dict[str, Any]], no_chance: bool) -> Cost:
    energies = [run["kwh"] for run in runs if run["kwh"] is not None]
    return Cost(
        trials=int(chosen["trials"]),
        tune_seconds=float(chosen["seconds"]),
        train_seconds=round(float(np.mean([run["train_seconds"] for run in runs])), 3),
        users_per_second=round(float(np.mean([run["users_per_second"] for run in runs])), 1),
        parameters=int(runs[0]["parameters"]),
        kwh=float(np.mean(energies)) if energies else None,
        settings=chosen["settings"],
        no_chance=no_chance,
    )


def _ranked(
    plan: Plan, tables: Mapping[str, Comparison], primary: Mapping[str, str]
) -> MethodRanks | None:
    whole = [
        method
        for method in plan.methods
        if all(data in tables and method in tables[data].methods for data in plan.data)
    ]
    if len(whole) < 2 or len(plan.data) < 2:
        return None
    signs = {data: 1.0 if parse(primary[data]).higher is not False else -1.0 for data in plan.data}
    values = np.array(
        [
            [signs[data] * tables[data].cell(method, primary[data]).mean for method in whole]
            for data in plan.data
        ]
    )
    return None if np.isnan(values).any() else ranking(whole, values)


def _ranks(table: Comparison) -> list[float]:
    """Rank of each cell within its metric, 1 is best; NaN where more is neither better nor worse."""
    found: dict[tuple[str, str], float] = {}
    for metric in table.metrics:
        higher = parse(metric).higher
        means = {method: table.cell(method, metric).mean for method in table.methods}
        for method, mean in means.items():
            better = sum((other > mean) if higher else (other < mean) for other in means.values())
            equal = sum(other == mean for other in means.values())
            found[method, metric] = float("nan") if higher is None else 1 + better + (equal - 1) / 2
    return [found[cell.method, cell.metric] for cell in table.cells]


def _over(ranks: MethodRanks) -> str:
    said = f"{ranks.n} data sets, ranks of the metric that selected. Friedman p = {ranks.p:.2g} (Iman-Davenport {ranks.p_f:.2g}); "
    said += f"average ranks that differ by less than {ranks.critical:.2f} are not told apart (Nemenyi, {ranks.level:g})."
    if ranks.n < 10:
        said += f" {ranks.n} data sets give these tests little power: methods that are not told apart need not be alike."
    return said


def write_result(result: Result, folder: Path) -> None:
    """Write table.md, table.tex, table.csv, tests.csv, results.json and, where there are ranks, cd.svg."""
    if not result.tables:
        return
    texts = {
        "table.md": result.markdown(),
        "table.tex": result.latex(),
        "table.csv": result.table().write_csv(),
        "tests.csv": result.tests().write_csv(),
    }
    texts["results.json"] = result.json()
    if result.ranks is not None:
        texts["cd.svg"] = diagram(result.ranks)
    for name, text in texts.items():
        write_atomic(folder / name, lambda path, text=text: path.write_text(text, encoding="utf-8"))  # type: ignore[misc]


def _signed(table: Comparison, method: str) -> str:
    return " ".join(filter(None, (method, table.signs(method))))


def _head(table: Comparison) -> str:
    return "| method | " + " | ".join(map(plain_text, [*table.metrics, *_COSTS])) + " |"


def _null(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
