"""What the tables of a family have in common: a search on valid with the same number of trials for every method, seeds, and the rows of a table.

A search space is `{dotted field: ("log", low, high) | ("choice", [values])}`; a log of trials is one JSON line each, kept under
benchmarks/trials/ so that a table can be made again without searching again. Nothing here opens a test part.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import sys
import time
import traceback
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch

from recsys.data.types import Split
from recsys.errors import InputError, TrainingError
from recsys.evaluation.evaluator import Evaluation, Report
from recsys.experiment.execution import open_run
from recsys.experiment.experiment import Experiment
from recsys.statistics.paired_tests import holm, paired
from recsys.statistics.seeds import over_seeds
from recsys.training.loop import fit
from recsys.training.progress import EpochDone, Event
from recsys.training.stopping import Stopping, legend, signs

__all__ = [
    "ITEMKNN",
    "ROOT",
    "TRIALS",
    "attempt",
    "chosen",
    "claims",
    "endings",
    "mean",
    "ordered",
    "per_user",
    "put",
    "search",
    "section",
    "show",
    "signed",
    "told",
    "trials_of",
    "work",
]

ROOT = Path(__file__).parents[1]
TRIALS = ROOT / "benchmarks" / "trials"

Space = Mapping[str, Any]
Params = dict[str, Any]

_POWER = ("choice", [0.0, 0.25, 0.5, 0.75, 1.0])
# What is searched for neighbouring items, the baseline of every table.
ITEMKNN: Space = {
    "model.k": ("choice", [50, 100, 200, 500]),
    "model.shrink": ("log", 0.1, 100.0),
    "model.user_power": _POWER,
    "model.history_power": _POWER,
    "model.target_power": _POWER,
}


def put(tree: dict[str, Any], name: str, value: Any) -> None:
    """Set a dotted field of an experiment's tree."""
    *parents, leaf = name.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[leaf] = value


def trials_of(log: Path) -> list[dict[str, Any]]:
    """The trials of a log, oldest first."""
    return (
        [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        if log.exists()
        else []
    )


def chosen(log: Path, n: int) -> Params:
    """The parameters of the best of the first n trials; none where nothing was tried."""
    found = trials_of(log)[:n]
    return dict(max(found, key=lambda trial: trial["value"])["params"]) if found else {}


def search(
    log: Path,
    space: Space,
    n: int,
    trial: Callable[[Params, float], dict[str, Any]],
    draws: str | None = None,
) -> None:
    """The trials that are missing of n; the first is the published or default setting. `trial` is given parameters and the best value so far.

    Searches of the same `draws` (by default the name of the log) draw the same values for the fields that their spaces have in common, if these come
    first, in their first trials: what is then compared does not hang on who was given the better learning rates.
    """
    for number in range(len(trials_of(log)), n if space else 1):
        done = trials_of(log)
        params = propose(draws or log.stem, space, done) if number else {}
        entry = {"trial": number, "params": params} | trial(
            params, max((past["value"] for past in done), default=0.0)
        )
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        print(
            f"{log.parent.name} {log.stem} trial {number}: {entry['value']:.4f} in {entry['seconds']:.0f} s, epoch {entry['epoch']} {params}",
            flush=True,
        )


def propose(name: str, space: Space, done: list[dict[str, Any]]) -> Params:
    """The next point: a function of the trials before it, so that an interrupted search goes on as it would have."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(
        seed=zlib.crc32(f"{name}/{len(done)}".encode()), n_startup_trials=4
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    dists = {
        field: optuna.distributions.FloatDistribution(*s[1:], log=True)
        if s[0] == "log"
        else optuna.distributions.CategoricalDistribution(range(len(s[1])))
        for field, s in space.items()
    }
    for trial in done[1:]:
        known = {
            field: value if space[field][0] == "log" else space[field][1].index(value)
            for field, value in trial["params"].items()
        }
        study.add_trial(
            optuna.trial.create_trial(params=known, distributions=dists, value=trial["value"])
        )
    drawn = study.ask(dists).params
    return {
        field: float(f"{drawn[field]:.4g}") if s[0] == "log" else s[1][drawn[field]]
        for field, s in space.items()
    }


class _Unpromising(Exception):
    """A trial that is far behind the best."""


def attempt(
    experiment: Experiment, split: Split, best: float, light: Evaluation, after: int = 6
) -> dict[str, Any]:
    """Train once, looking at valid alone: value, epoch and seconds. A trial far behind `best` after so many evaluations ends there."""
    monitor, seen, began = experiment.evaluate.monitor, [], time.perf_counter()

    def watch(event: Event) -> None:
        if isinstance(event, EpochDone) and event.entry.valid is not None:
            seen.append((event.entry.valid[monitor], event.entry.epoch))
            if len(seen) >= after and max(seen)[0] < 0.85 * best:
                raise _Unpromising

    with contextlib.suppress(TrainingError, _Unpromising):
        fit(experiment.model, split.train, split.valid, experiment.train, light, watch=watch)
    value, epoch = max(seen, default=(0.0, 0))
    return {"value": value, "epoch": epoch, "seconds": time.perf_counter() - began}


def work(job: Callable[[Any], None], tasks: Iterable[Any], workers: int) -> None:
    """Every task in one of some processes of one thread each; a task that fails is told and stops no other."""
    with multiprocessing.get_context("spawn").Pool(workers, _one_thread) as pool:
        for _ in pool.imap_unordered(_Safe(job), tasks):
            pass


def show(name: str, text: str) -> None:
    """Write a table to docs/tables and print it."""
    out = ROOT / "docs" / "tables"
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)


def told(main: Callable[[], None], name: str) -> None:
    """Run a script; what is wrong with its input is one line, and no traceback."""
    try:
        main()
    except InputError as error:
        sys.exit(f"{name}: {error}")


def _one_thread() -> None:
    torch.set_num_threads(1)


class _Safe:
    def __init__(self, job: Callable[[Any], None]) -> None:
        self.job = job

    def __call__(self, task: Any) -> None:
        try:
            self.job(task)
        except Exception as error:
            print(f"{task}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            if not isinstance(error, (ValueError, RuntimeError)):
                traceback.print_exc()


def endings(folders: Iterable[Path]) -> list[Stopping]:
    """How the training of each of some runs ended."""
    return [open_run(folder).stopping for folder in folders if (folder / "run.json").exists()]


def section(
    found: Mapping[str, list[Report]],
    names: list[str],
    published: Mapping[str, Any],
    scale: float = 100,
    ended: Mapping[str, list[Stopping]] | None = None,
) -> Iterator[str]:
    """Markdown rows: means over seeds with 95 % intervals, the paired test against the best by the first metric, published values.

    `ended` tells how the trainings ended; a method that ended too early is marked.
    """
    ended = ended or {}
    first = names[0]
    order = ordered(found, first)
    best = order[0][1]
    tests = {
        method: paired(per_user(several, first), per_user(best, first))
        for method, several in order[1:]
    }
    adjusted = dict(zip(tests, holm([test.p_t for test in tests.values()]), strict=True))
    digits = 2 if scale == 100 else 4
    head = [f"{name} [95 %]" for name in names] + [
        f"p against the best ({first})",
        *(["published " + " / ".join(names)] if published else []),
    ]
    yield "| method | seeds | " + " | ".join(head) + " |"
    yield "|---|---:|" + "---:|" * len(head)
    for method, several in order:
        cells = []
        for name in names:
            low, high = interval(several, name)
            shown = (
                f" [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"
                if np.isfinite(low)
                else ""
            )
            cells.append(f"{scale * mean(several, name):.{digits}f}{shown}")
        cells.append(p_value(adjusted.get(method)))
        if published:
            values = published.get(method, {}).get("values", {})
            cells.append(" / ".join(str(values.get(name, "-")) for name in names) if values else "")
        yield f"| {signed(method, ended)} | {len(several)} | " + " | ".join(cells) + " |"
    yield ""
    yield f"Intervals hold users and seeds as random (one seed: bootstrap over users); p of paired t tests over users on means over seeds, Holm over {len(tests)} tests."
    for line in legend({method: ended[method] for method, _ in order if method in ended}):
        yield ""
        yield line


def signed(method: str, ended: Mapping[str, list[Stopping]]) -> str:
    """A method's name with the signs of a training that ended too early."""
    return " ".join(filter(None, (method, signs(ended.get(method, ())))))


def claims(
    found: Mapping[str, list[Report]],
    pairs: Iterable[tuple[str, str]],
    metric: str,
    ended: Mapping[str, list[Stopping]] | None = None,
) -> list[str]:
    """Markdown: does what the papers claim hold here? The first of a pair is the better of the two."""
    known = [pair for pair in pairs if all(method in found for method in pair)]
    if not known:
        return []
    tests = [paired(*(per_user(found[method], metric) for method in pair)) for pair in known]
    lines = [
        f"What the papers say, put to the test by {metric}:",
        "",
        "| claim | difference [95 %] | p | here |",
        "|---|---:|---:|---|",
    ]
    for (one, other), test, p in zip(known, tests, holm([test.p_t for test in tests]), strict=True):
        verdict = (
            "cannot be told"
            if p >= 0.05
            else "holds"
            if test.difference > 0
            else "the reverse holds"
        )
        lines.append(
            f"| {signed(one, ended or {})} > {signed(other, ended or {})} | {test.difference:+.4f} [{test.low:+.4f}, {test.high:+.4f}] | {p_value(p)} | {verdict} |"
        )
    return [
        *lines,
        "",
        f"Paired t tests over users on means over seeds, Holm over {len(tests)} tests.",
        "",
    ]


def p_value(p: float | None) -> str:
    """A p value in few characters; None is that of the best."""
    return "best" if p is None else "< 1e-9" if p < 1e-9 else f"{p:.1e}" if p < 1e-3 else f"{p:.3f}"


def ordered(found: Mapping[str, list[Report]], metric: str) -> list[tuple[str, list[Report]]]:
    """Best mean first."""
    return sorted(found.items(), key=lambda entry: -mean(entry[1], metric))


def mean(several: list[Report], name: str) -> float:
    """Mean over users and seeds."""
    return float(np.mean([report[name] for report in several]))


def interval(several: list[Report], name: str) -> tuple[float, float]:
    """95 % interval of the mean, users and seeds random."""
    if name in several[0].whole or len(several) == 1:
        return several[0].interval(name)
    found = over_seeds(np.stack([report.values(name) for report in several]))
    return found.low, found.high


def per_user(several: list[Report], name: str) -> np.ndarray:
    """Values of each user, mean over seeds."""
    return np.mean([report.values(name) for report in several], axis=0)
