"""New items with missing modalities: a curve per method over the share of items that lose one, as in the protocol of MILK.

    python benchmarks/new_items.py tune tiktok --path ../shared/data/tiktok    # the same trials for every method, nothing missing, on valid only
    python benchmarks/new_items.py run tiktok --path ../shared/data/tiktok     # every method, mode, share and seed -> runs/new-items/
    python benchmarks/new_items.py table tiktok                                # docs/tables/ and a picture in docs/pictures/

A fifth of the items is new and has no pair in train; half of these select, the other half is the test, and all of them are ranked, once among
each other and once in the whole catalogue. A seed draws the new items, the mask and the start values anew, for how well a method does depends much
on which items are new. Three modes, by what train items and new items have:

    FTFT   both have all they have: one model, the point at 0 %
    FTMT   a share of the new items loses one modality: the same model, the items' vectors made anew
    MTMT   the same share of the train items too: a model for every share

Masks of one seed are nested: who loses something at 10 % does so at 20 %. `--impute` says what stands in a gap. What is there is not done again; `--rates 50
--seeds 1 --methods milk --epochs 1` is to see that it runs. The test part is opened by `run` alone.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import ROOT, TRIALS, attempt, chosen, put, search, show, told, trials_of, work
from multimodal import require, source
from scipy import stats

from recsys import models
from recsys.config import build
from recsys.data.load import load
from recsys.data.reading import Source
from recsys.data.splitting.missing_modalities import Impute, Missing, without
from recsys.data.splitting.splits import SplitRule, split
from recsys.data.types import Dataset, FeatureTable, Split, join
from recsys.errors import InputError
from recsys.evaluation.evaluator import Evaluation, evaluate
from recsys.nn.feature_layers import feature_values, warm_items
from recsys.scorer import Factors, Scorer
from recsys.tensors import load_scorer, save_scorer
from recsys.training.loop import Train, fit

KEEP = Path("runs") / "new-items"
DATA = {"tiktok": "TikTok (image and audio)", "online-retail": "Online Retail (text and price)"}
VIEWS = ("new", "new in all")
METRICS = tuple(f"{name}[{view}]" for view in VIEWS for name in ("recall@20", "ndcg@20"))
MONITOR = "ndcg@20[new]"
RATES = [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]
MODES = ("FTFT", "FTMT", "MTMT")
SEEDS, N_TRIALS = 5, 4
EPOCHS = {
    "tiktok": {"milk": 200, "dropoutnet": 40, "clcrec": 60, "heater": 40},
    "online-retail": {"milk": 80, "dropoutnet": 15, "clcrec": 25, "heater": 15},
}
USUAL = {
    "tiktok": 120,
    "online-retail": 50,
}  # of the others: a training takes a minute of one core or less
# Searches of one name draw the same learning rates trial by trial.
DRAWS = "new"

LR = {"train.lr": ("log", 1e-3, 3e-2)}
ROW = {"model.scale": ("choice", ["row", "none"])}

# name -> (the model with its published or default settings, what is tuned, changes to [train])
METHODS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "milk": (
        {"name": "milk"},
        LR
        | {
            "model.invariance": ("choice", [0.1, 1.0, 10.0, 50.0, 100.0]),
            "model.alignment": ("choice", [0.01, 0.05, 0.1, 0.5]),
            "model.alpha": ("choice", [0.01, 0.1, 1.0]),
        },
        {},
    ),
    "duif": ({"name": "duif"}, LR | ROW | {"model.l2": ("log", 1e-5, 1e-1)}, {}),
    "dropoutnet": (
        {"name": "dropoutnet", "scale": "row"},
        LR
        | ROW
        | {
            "model.dropout": ("choice", [0.3, 0.5, 0.7]),
            "model.preference.unobserved": ("choice", [0.03, 0.1, 0.3]),
        },
        {},
    ),
    "clcrec": (
        {"name": "clcrec", "scale": "row", "sampler": {"negatives": 128, "pool": "shared"}},
        LR
        | ROW
        | {
            "model.temperature": ("choice", [0.5, 1.0, 2.0]),
            "model.share": ("choice", [0.3, 0.5, 0.7]),
            "model.l2": ("log", 1e-3, 1.0),
        },
        {},
    ),
    "contentknn": ({"name": "contentknn"}, {"model.k": ("choice", [20, 50, 100, 200])}, {}),
    "heater": (
        {"name": "heater", "scale": "row"},
        LR
        | ROW
        | {
            "model.likeness": ("log", 1e-3, 10.0),
            "model.preference.unobserved": ("choice", [0.03, 0.1, 0.3]),
        },
        {},
    ),
    "vbpr": (
        {"name": "vbpr", "new_items": "content", "scale": "row"},
        LR | ROW | {"model.l2": ("log", 1e-3, 2.0)},
        {},
    ),
}


def parts(data: str, path: str, seed: int) -> Split:
    """Train, valid and test by items; what a source has split already is put together first."""
    loaded = load(build(Source, source(data, path)))
    whole = loaded.dataset
    for part in loaded.parts or ():
        whole = whole if part is None else whole.with_pairs(join(whole.pairs, part))
    return split(whole, SplitRule(by="new-item", seed=seed))


def spoilt(train: Dataset, mode: str, rate: int, seed: int) -> Dataset:
    """The training data as a mode has them at a rate in percent."""
    new, warm = (rate / 100 if mode != "FTFT" else 0.0), (rate / 100 if mode == "MTMT" else 0.0)
    return without(train, Missing(train=warm, new=new, seed=seed)) if rate else train


def experiment(
    data: str, method: str, params: dict[str, Any], impute: Impute, epochs: int | None, seed: int
) -> tuple[Any, Train]:
    """The recipe and how it is trained."""
    model, _, train = METHODS[method]
    most = epochs or EPOCHS[data].get(method, USUAL[data])
    tree: dict[str, Any] = {
        "model": json.loads(json.dumps(model)),
        "train": {
            "epochs": most,
            "batch_size": 2048,
            "lr": 5e-3,
            "eval_every": min(5, most),
            "patience": 6,
            "device": "cpu",
            "seed": seed,
        }
        | train,
    }
    for name, value in params.items():
        put(tree, name, value)
    recipe = models.recipe(tree["model"].pop("name"))
    if "impute" in {field.name for field in fields(recipe)}:
        tree["model"]["impute"] = impute
    return build(recipe, tree["model"]), build(Train, tree["train"])


def reread(scorer: Scorer, train: Dataset, impute: Impute) -> Scorer | None:
    """The same scorer with vectors of new items made of what is left of their features; None where it does not say how."""
    if not isinstance(scorer, Factors) or scorer.content is None:
        return None
    # Gaps are filled here: this scorer was trained where nothing is missing, whatever would stand in a gap.
    read = feature_values(train, impute=impute)
    vectors, biases = scorer.content(
        {
            name: FeatureTable(values.numpy(), np.ones(len(values), dtype=bool))
            for name, values in read.items()
        }
    )
    new = torch.from_numpy(~warm_items(train))
    item = scorer.item.clone()
    item[new] = vectors[new].to(item)
    bias = scorer.item_bias
    if bias is not None:
        bias = bias.clone()
        bias[new] = biases[new].to(bias)
    return replace(scorer, item=item, item_bias=bias)


def log_of(data: str, method: str) -> Path:
    return TRIALS / "new-items" / data / f"{method}.jsonl"


def tune(data: str, method: str, path: str, n_trials: int, epochs: int | None) -> None:
    """The trials that are missing, with nothing missing, on the new items of valid of the first seed."""
    made: list[Split] = []

    class Tried:
        """What `attempt` reads of an experiment."""

        def __init__(self, params: dict[str, Any]) -> None:
            self.model, self.train = experiment(data, method, params, "mean", epochs, 0)
            self.evaluate = Evaluation(metrics=(MONITOR,), monitor=MONITOR)

    def trial(params: dict[str, Any], best: float) -> dict[str, Any]:
        tried: Any = Tried(params)
        if not made:
            made.append(parts(data, path, 0))
        return attempt(tried, made[0], best, tried.evaluate, after=10)

    search(log_of(data, method), METHODS[method][1], n_trials, trial, draws=DRAWS)


def results_of(data: str, impute: str, method: str, seed: int) -> Path:
    return KEEP / data / impute / method / f"{seed}.jsonl"


def lines(path: Path) -> list[dict[str, Any]]:
    """The results there; a line that was cut off is done again."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def run(
    data: str,
    method: str,
    path: str,
    seed: int,
    rates: list[int],
    modes: list[str],
    impute: Impute,
    n_trials: int,
    epochs: int | None,
) -> None:
    """All modes and rates of a method with one seed."""
    out = results_of(data, impute, method, seed)
    done = {(line["mode"], line["rate"]) for line in lines(out)}
    wanted = [
        (mode, rate)
        for mode in MODES
        for rate in rates
        if mode in modes and (rate > 0) == (mode != "FTFT")
    ]
    if "FTFT" in modes and ("FTFT", 0) not in wanted:
        wanted.insert(0, ("FTFT", 0))
    if not set(wanted) - done:
        return
    found = parts(data, path, seed)
    assert found.test is not None
    test = found.test.open("new items: the curves")
    config = Evaluation(metrics=METRICS, monitor=MONITOR)
    recipe, train = experiment(
        data, method, chosen(log_of(data, method), n_trials), impute, epochs, seed
    )
    kept = (
        KEEP / data / "nothing-missing" / method / f"{seed}.safetensors"
    )  # so it is the same whatever would stand in a gap

    def learned(given: Dataset) -> Scorer:
        light = replace(config, metrics=(MONITOR,))
        return fit(recipe, given, found.valid, train, light).scorer

    for mode, rate in wanted:
        if (mode, rate) in done:
            continue
        began, given = time.perf_counter(), spoilt(found.train, mode, rate, seed)
        scorer: Scorer | None = None
        if mode != "MTMT":  # the model of FTFT, whose new items alone may be read anew
            full = load_scorer(kept)[0] if kept.exists() else learned(found.train)
            if not kept.exists():
                kept.parent.mkdir(parents=True, exist_ok=True)
                save_scorer(kept, full)
            scorer = full if mode == "FTFT" else reread(full, given, impute)
        scorer = scorer or learned(
            given
        )  # MTMT, and methods that do not say how a vector is made: their training sees no new item
        # As in MILK, all new items are ranked, those of valid too.
        report = evaluate(scorer, given.pairs, test, config)
        line = {
            "mode": mode,
            "rate": rate,
            "seconds": round(time.perf_counter() - began, 1),
            **{name: report[name] for name in METRICS},
        }
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(
            f"{data} {method} seed {seed} {mode} {rate} %: "
            + " ".join(f"{name} {line[name]:.4f}" for name in METRICS),
            flush=True,
        )


def name_of(data: str, impute: str) -> str:
    """Of the table and the picture; the mean is what the protocol has."""
    return f"new-items-{data}" + ("" if impute == "mean" else f"-{impute}")


def collected(data: str, impute: str, metric: str) -> dict[str, dict[tuple[str, int], list[float]]]:
    """Values over seeds by method, mode and rate."""
    found: dict[str, dict[tuple[str, int], list[float]]] = {}
    for method in METHODS:
        for path in sorted((KEEP / data / impute / method).glob("*.jsonl")):
            for line in lines(path):
                found.setdefault(method, {}).setdefault((line["mode"], line["rate"]), []).append(
                    line[metric]
                )
    if not found:
        raise InputError(
            "there is no run yet",
            place=str(KEEP / data / impute),
            remedy=f"python benchmarks/new_items.py run {data}",
        )
    return found


def half(values: list[float]) -> float:
    """Half of the 95 % interval of the mean over seeds, by t; NaN with one seed."""
    n = len(values)
    return (
        float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / n**0.5)
        if n > 1
        else float("nan")
    )


def spread(values: list[float]) -> str:
    """Mean and half of the 95 % interval over seeds."""
    return f"{np.mean(values):.4f}" + (f" ± {half(values):.4f}" if len(values) > 1 else "")


def against(data: str, impute: str, one: str, other: str) -> Iterator[str]:
    """Markdown: the difference of two methods, paired by draw, at every mode and rate that both have at least two draws of."""
    for view in VIEWS:
        rows = []
        for mode, rate in [("FTFT", 0), *((mode, rate) for mode in MODES[1:] for rate in RATES)]:
            found = [
                {
                    int(path.stem): line[f"recall@20[{view}]"]
                    for path in (KEEP / data / impute / method).glob("*.jsonl")
                    for line in lines(path)
                    if (line["mode"], line["rate"]) == (mode, rate)
                }
                for method in (one, other)
            ]
            draws = sorted(set(found[0]) & set(found[1]))
            if len(draws) > 1:
                differences = [found[0][draw] - found[1][draw] for draw in draws]
                rows.append(
                    f"| {mode} | {rate} % | {len(draws)} | {np.mean(differences):+.4f} ± {half(differences):.4f} |"
                )
        if rows:
            yield from (
                "",
                f"{one} less {other}, recall@20[{view}], draw by draw, ± half of the 95 % interval by t:",
                "",
            )
            yield from ("| mode | share | draws | difference |", "|---|---:|---:|---:|", *rows)


def table(data: str, impute: str, n_trials: int) -> Iterator[str]:
    """Markdown: a row per method and mode, a column per rate."""
    yield f"# {DATA[data]}: new items with missing modalities" + (
        "" if impute == "mean" else f", gaps filled by {impute}"
    )
    for metric in METRICS:
        found = collected(data, impute, metric)
        rates = sorted({rate for values in found.values() for _, rate in values})
        where = (
            "ranked among new items"
            if metric.endswith("[new]")
            else "ranked in the whole catalogue"
        )
        yield from (
            "",
            f"## {metric.partition('[')[0]}, {where}",
            "",
            "| method | mode | " + " | ".join(f"{rate} %" for rate in rates) + " |",
        )
        yield "|---|---|" + "---:|" * len(rates)
        for method, values in found.items():
            for mode in ("FTMT", "MTMT"):
                cells = [
                    values.get(("FTFT", 0) if rate == 0 else (mode, rate), []) for rate in rates
                ]
                if any(own == mode for own, _ in values):
                    yield (
                        f"| {method} | {mode} | "
                        + " | ".join(spread(cell) if cell else "" for cell in cells)
                        + " |"
                    )
    yield from against(data, impute, "milk", "duif")
    counts = {
        len(several)
        for values in collected(data, impute, METRICS[0]).values()
        for several in values.values()
    }
    tried = {method: len(trials_of(log_of(data, method))[:n_trials]) for method in METHODS}
    seeds = str(max(counts)) if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    yield ""
    yield f"At 0 % nothing is missing (FTFT). Means over {seeds} seeds ± half of the 95 % interval; a seed draws new items, mask and start values."
    yield f"Gaps are filled by: {impute}. Trials on valid per method, nothing missing: {', '.join(f'{name} {n}' for name, n in tried.items())}; monitor {MONITOR}."


def picture(data: str, impute: str) -> list[Path]:
    """Curves over the rate, a panel per mode and view, as SVG and PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "new-items"
    import matplotlib.pyplot as plt

    known = collected(data, impute, METRICS[0]).values()
    modes = [
        mode
        for mode in ("FTMT", "MTMT")
        if any(own == mode for values in known for own, _ in values)
    ] or ["FTMT"]
    figure, axes = plt.subplots(
        2, len(modes), figsize=(5 * len(modes) + 0.5, 7), sharex=True, sharey="row", squeeze=False
    )
    for row, view in zip(axes, VIEWS, strict=True):
        found = collected(data, impute, f"recall@20[{view}]")
        for panel, mode in zip(row, modes, strict=True):
            for method, values in found.items():
                if not any(own == mode for own, _ in values):
                    continue
                points = sorted(
                    (rate, several)
                    for (own, rate), several in values.items()
                    if own in ("FTFT", mode)
                )
                at, heights = (
                    [rate for rate, _ in points],
                    [float(np.mean(several)) for _, several in points],
                )
                (drawn,) = panel.plot(
                    at,
                    heights,
                    marker="o",
                    markersize=3,
                    label=method,
                    color=f"C{list(METHODS).index(method)}",
                )
                if points and all(
                    len(several) > 2 for _, several in points
                ):  # of two the interval is wider than the picture
                    off = np.array([half(several) for _, several in points])
                    panel.fill_between(
                        at,
                        heights - off,
                        heights + off,
                        color=drawn.get_color(),
                        alpha=0.15,
                        linewidth=0,
                    )
            what = "new items lose one" if mode == "FTMT" else "train and new items lose one"
            panel.set_title(f"{mode}: {what}", fontsize=10)
            panel.set_ylim(bottom=0)
            panel.grid(alpha=0.3)
        row[0].set_ylabel(
            "recall@20 " + ("among new items" if view == "new" else "in the whole catalogue")
        )
    for panel in axes[1]:
        panel.set_xlabel("share of items that lose a modality, %")
    axes[0][0].legend(fontsize=8)
    figure.suptitle(f"{DATA[data]}, gaps filled by {impute}")
    figure.tight_layout()
    folder = ROOT / "docs" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{name_of(data, impute)}.{kind}" for kind in ("svg", "png")]
    figure.savefig(written[0], metadata={"Date": None})
    figure.savefig(written[1], dpi=130)
    plt.close(figure)
    return written


def job(task: tuple[Any, ...]) -> None:
    command, *rest = task
    (tune if command == "tune" else run)(*rest)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["tune", "run", "table"])
    parser.add_argument("data", choices=list(DATA))
    parser.add_argument("--path", default="", help="the folder of the data")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--rates", nargs="*", type=int, default=RATES, help="percent")
    parser.add_argument("--modes", nargs="*", default=list(MODES), choices=MODES)
    parser.add_argument("--impute", default="mean", choices=["mean", "zero", "nearest"])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--trials", type=int, default=N_TRIALS)
    parser.add_argument("--epochs", type=int, help="in place of the usual number")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    if given.command == "table":
        text = "\n".join(table(given.data, given.impute, given.trials)) + "\n"
        show(name_of(given.data, given.impute), text)
        print(*picture(given.data, given.impute), sep="\n")
        return
    require(given.data, given.path)
    if any(not 0 <= rate <= 100 for rate in given.rates):
        raise InputError(
            "a rate is a percentage", place="--rates", remedy="give numbers from 0 to 100"
        )
    if given.command == "tune":
        tasks: list[tuple[Any, ...]] = [
            ("tune", given.data, method, given.path, given.trials, given.epochs)
            for method in given.methods
        ]
    else:
        more = (given.rates, given.modes, given.impute, given.trials, given.epochs)
        tasks = [
            ("run", given.data, method, given.path, seed, *more)
            for seed in range(given.seeds)
            for method in given.methods
        ]
    work(job, tasks, given.workers)


if __name__ == "__main__":
    told(main, "new_items")
