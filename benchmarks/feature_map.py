"""Draw docs/pictures/features.svg: what the built-in item features are worth on new items.

    pip install 'recsys[features,plot]'
    python benchmarks/feature_map.py                   # a few minutes

Left: the text vectors of all products, in two dimensions by t-SNE with a fixed seed. Products whose
name has one of six words are coloured by it; the colours were not an input. Right: recall@20 among
new items with the text alone, the price alone, and both, over several draws of the new items. Each
method has the settings that were found on valid with both modalities.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats
from trial_logs import ROOT, best_trial

from recsys.benchmark import Plan, read_plan
from recsys.data.types import Dataset, Split
from recsys.evaluation.evaluator import Evaluation, evaluate
from recsys.experiment.execution import data_of
from recsys.experiment.experiment import Experiment
from recsys.study.trial import with_settings
from recsys.training.loop import fit

WORDS = {
    "NECKLACE": "#0072b2",
    "CANDLE": "#d55e00",
    "CHRISTMAS": "#009e73",
    "MUG": "#aa3377",
    "BAG": "#e6a700",
    "CARD": "#56b4e9",
}
METHODS = ("contentknn", "duif")
SETS = {"text": ("text",), "price": ("price",), "both": ("text", "price")}
COLOURS = ("#0072b2", "#c9ccd1", "#009e73")
METRIC, MONITOR = "recall@20[new]", "ndcg@20[new]"
PLAN = ROOT / "benchmarks" / "plans" / "new-items-online-retail-ftmt.toml"
TRIALS, EPOCHS = 4, 50  # of the search that chose the settings


def places(data: Dataset, seed: int = 0) -> np.ndarray:
    """Return products in the plane by t-SNE of their text vectors, [n_items, 2]."""
    from sklearn.manifold import TSNE

    plane = TSNE(perplexity=30, init="pca", random_state=seed)
    return np.asarray(plane.fit_transform(data.features["text"].values), dtype=np.float64)


def draw_map(axes: Axes, data: Dataset) -> None:
    """Draw the products by their text vectors."""
    assert data.titles is not None
    at = places(data)
    axes.scatter(*at.T, s=3, color="#d9dce1", linewidths=0, rasterized=True)
    for word, colour in WORDS.items():
        named = data.titles.fill_null("").str.contains(rf"\b{word}").to_numpy()
        label = f"{word.lower()} ({named.sum()})"
        axes.scatter(*at[named].T, s=7, color=colour, linewidths=0, label=label)
    axes.set(xticks=[], yticks=[], title=f"text vectors of {len(at):,} products, by t-SNE")
    axes.legend(
        fontsize=8,
        markerscale=2.5,
        loc="upper left",
        bbox_to_anchor=(0, -0.01),
        ncols=3,
        frameon=False,
    )


def experiment(plan: Plan, method: str, draw: int) -> Experiment:
    """Return a method with its chosen settings on one draw of the new items, nothing missing."""
    cell = plan.cells[f"draw-{draw}+new-0.0", method]
    settings = best_trial(f"new-items/online-retail/{method}", TRIALS).settings
    searched = [dimension for dimension in cell.dimensions if dimension.path in settings]
    chosen = with_settings(cell, searched, settings)
    return replace(chosen, train=replace(chosen.train, epochs=EPOCHS, seed=draw, device="cpu"))


def split_of(plan: Plan, draw: int) -> Split:
    """Return one draw of the new items."""
    return data_of(plan.cells[f"draw-{draw}+new-0.0", METHODS[0]])


def half_interval(values: list[float]) -> float:
    """Return half of the 95 % interval of a mean over draws, by t; NaN for one draw."""
    n = len(values)
    if n < 2:
        return float("nan")
    return float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / n**0.5)


def worth(plan: Plan, draws: int) -> dict[str, dict[str, list[float]]]:
    """Return recall@20 among new items in each draw, by method and modalities."""
    values: dict[str, dict[str, list[float]]] = {
        method: {name: [] for name in SETS} for method in METHODS
    }
    light = Evaluation(metrics=(MONITOR,), monitor=MONITOR)
    for draw in range(draws):
        whole = split_of(plan, draw)
        assert whole.test is not None
        test = whole.test.open("picture: the worth of a modality")
        for name, kept in SETS.items():
            features = {key: whole.train.features[key] for key in kept}
            train = replace(whole.train, features=features)
            for method in METHODS:
                chosen = experiment(plan, method, draw)
                fitted = fit(chosen.model, train, whole.valid, chosen.train, light)
                evaluation = Evaluation(metrics=(METRIC,), monitor=METRIC)
                value = evaluate(fitted.scorer, train.pairs, test, evaluation)[METRIC]
                values[method][name].append(value)
                print(f"{method} with {name}, draw {draw}: {METRIC} {value:.4f}", flush=True)
    return values


def draw_worth(axes: Axes, recalls: dict[str, dict[str, list[float]]]) -> None:
    """Draw a bar for each method and set of modalities."""
    width = 0.8 / len(SETS)
    for position, (name, colour) in enumerate(zip(SETS, COLOURS, strict=True)):
        values = [recalls[method][name] for method in METHODS]
        bars = axes.bar(
            np.arange(len(METHODS)) + (position - 1) * width,
            [np.mean(several) for several in values],
            width,
            color=colour,
            label=name,
            yerr=[half_interval(several) for several in values],
            ecolor="#5f6368",
        )
        axes.bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
    axes.set(
        xticks=range(len(METHODS)),
        title=f"recall@20 among new products, {len(values[0])} draws of them",
    )
    axes.set_xticklabels(METHODS)
    axes.margins(y=0.1)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.06), ncols=3, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="draws of the new items, at most 5")
    draws = parser.parse_args().seeds
    plan = read_plan(PLAN)
    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "features"
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_worth(right, worth(plan, draws))
    draw_map(left, split_of(plan, 0).train)
    for kind in ("svg", "png"):
        out = ROOT / "docs" / "pictures" / f"features.{kind}"
        figure.savefig(out, dpi=110, metadata={"Date": None} if kind == "svg" else None)
        print(out)


if __name__ == "__main__":
    main()
