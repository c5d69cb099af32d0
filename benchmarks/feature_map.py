"""The picture of docs/multimodal.md: what the built-in features know of the products, and what they are worth on new items.

    pip install 'recsys[features,plot]'
    python benchmarks/feature_map.py                   # docs/pictures/features.svg, a few minutes

Left: the text vectors of all products, in two dimensions by t-SNE with a fixed seed. Products whose name has one of six words are coloured by it;
the colours were no input. Right: recall@20 among new items with the text alone, the price alone, and both, over several draws of the new items;
each method has the settings that benchmarks/new_items.py found on valid with both modalities.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import matplotlib as mpl
import numpy as np
from harness import ROOT, chosen
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from new_items import N_TRIALS, experiment, half, log_of, parts

from recsys.data.types import Dataset
from recsys.evaluation.evaluator import Evaluation, evaluate
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
METRIC = "recall@20[new]"


def places(data: Dataset, seed: int = 0) -> np.ndarray:
    """Products in the plane by t-SNE of their text vectors, [n_items, 2]."""
    from sklearn.manifold import TSNE

    return np.asarray(
        TSNE(perplexity=30, init="pca", random_state=seed).fit_transform(
            data.features["text"].values
        ),
        dtype=np.float64,
    )


def draw_map(axes: Axes, data: Dataset) -> None:
    assert data.titles is not None
    at = places(data)
    axes.scatter(*at.T, s=3, color="#d9dce1", linewidths=0, rasterized=True)
    for word, colour in WORDS.items():
        named = data.titles.fill_null("").str.contains(rf"\b{word}").to_numpy()
        axes.scatter(
            *at[named].T, s=7, color=colour, linewidths=0, label=f"{word.lower()} ({named.sum()})"
        )
    axes.set(xticks=[], yticks=[], title=f"text vectors of {len(at):,} products, by t-SNE")
    axes.legend(
        fontsize=8,
        markerscale=2.5,
        loc="upper left",
        bbox_to_anchor=(0, -0.01),
        ncols=3,
        frameon=False,
    )


def worth(seeds: int) -> dict[str, dict[str, list[float]]]:
    """Method -> modalities -> recall@20 among new items of each draw."""
    found: dict[str, dict[str, list[float]]] = {
        method: {name: [] for name in SETS} for method in METHODS
    }
    for seed in range(seeds):
        whole = parts("online-retail", "", seed)
        assert whole.test is not None
        test = whole.test.open("picture: the worth of a modality")
        for name, kept in SETS.items():
            train = replace(
                whole.train,
                features={one: table for one, table in whole.train.features.items() if one in kept},
            )
            for method in METHODS:
                recipe, how = experiment(
                    "online-retail",
                    method,
                    chosen(log_of("online-retail", method), N_TRIALS),
                    "mean",
                    None,
                    seed,
                )
                fitted = fit(
                    recipe,
                    train,
                    whole.valid,
                    how,
                    Evaluation(metrics=("ndcg@20[new]",), monitor="ndcg@20[new]"),
                )
                value = evaluate(
                    fitted.scorer, train.pairs, test, Evaluation(metrics=(METRIC,), monitor=METRIC)
                )[METRIC]
                found[method][name].append(value)
                print(f"{method} with {name}, draw {seed}: {METRIC} {value:.4f}", flush=True)
    return found


def draw_worth(axes: Axes, found: dict[str, dict[str, list[float]]]) -> None:
    wide = 0.8 / len(SETS)
    for place, (name, colour) in enumerate(zip(SETS, COLOURS, strict=True)):
        values = [found[method][name] for method in METHODS]
        at = np.arange(len(METHODS)) + (place - 1) * wide
        bars = axes.bar(
            at,
            [np.mean(several) for several in values],
            wide,
            color=colour,
            label=name,
            yerr=[half(v) for v in values],
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="draws of the new items")
    given = parser.parse_args()
    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "features"
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_worth(right, worth(given.seeds))
    draw_map(left, parts("online-retail", "", 0).train)
    for kind in ("svg", "png"):
        out = ROOT / "docs" / "pictures" / f"features.{kind}"
        figure.savefig(out, dpi=110, metadata={"Date": None} if kind == "svg" else None)
        print(out)


if __name__ == "__main__":
    main()
