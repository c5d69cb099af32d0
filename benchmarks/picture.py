"""Draw the picture of docs/metric-learning.md: one customer's vectors among the built-in products.

    pip install 'recsys[plot]'
    python benchmarks/picture.py                       # 1 to 2 minutes
    python benchmarks/picture.py --list                # customers with clearly different purchases
    python benchmarks/picture.py --customer 18073

It trains DPCML with 4 vectors per user, then draws. The customer is chosen by hand among the first
of --list. All else is computed: which vector wins an item, the recommendations (the first of
`recsys recommend`, without purchases), and the positions. These are a linear projection: of the
space that the four vectors span, the plane in which the nearest two of them are farthest apart. The
run is kept in runs/picture and used again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recsys.data.query import Queries
from recsys.errors import InputError
from recsys.experiment.execution import Run, execute
from recsys.experiment.experiment import from_tree
from recsys.ranking import top_k

ROOT = Path(__file__).parents[1]
C, SHOWN = 4, 16
EXPERIMENT: dict[str, Any] = {
    "name": "picture",
    "data": {"source": "online-retail"},
    "split": {"by": "ratio", "ratios": [0.8, 0.1, 0.1], "order": "time"},
    "model": {
        "name": "dpcml",
        "vectors": C,
        "dim": 64,
        "diversity": {"weight": 10.0, "low": 0.3, "high": 1.2},
    },
    "train": {
        "epochs": 60,
        "batch_size": 1024,
        "lr": 4e-3,
        "rows": "dense",
        "eval_every": 10,
        "patience": 6,
        "device": "cpu",
    },
    "evaluate": {"metrics": ["recall@20", "ndcg@20"], "monitor": "ndcg@20"},
}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#aa3377")  # told apart by the colour-blind, too
GREY, LIGHT = "#5f6368", "#c9ccd1"


def squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return squared distances [n, m]."""
    return np.square(a[:, None] - b[None]).sum(-1)


def plane(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return orthonormal axes [d, 2] in the span of centred vectors [C, d].

    Of many random planes it is the one in which the nearest two vectors are farthest apart.
    """
    span = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)[2][: len(vectors) - 1].T
    tried = np.linalg.qr(np.random.default_rng(seed).normal(size=(4000, span.shape[1], 2)))[0]
    places = (vectors - vectors.mean(0)) @ span @ tried
    apart = np.linalg.norm(places[:, :, None] - places[:, None], axis=-1) + 9 * np.eye(len(vectors))
    return span @ tried[apart.min((1, 2)).argmax()]


def upright(places: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return a rotation [2, 2] with two vectors on the left and two on the right.

    They are clear of the middle, with about as many names on each side.
    """
    best, rotation = -np.inf, np.eye(2)
    for angle in np.linspace(0, 2 * np.pi, 360, endpoint=False):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        turned = places @ turn
        left = turned[:, 0] < 0
        if left.sum() != len(places) // 2:
            continue
        gap = min(abs(np.subtract(*turned[side, 1])) for side in (left, ~left))
        score = (
            np.abs(turned[:, 0]).min() + gap - 0.03 * abs(weight[left].sum() - weight[~left].sum())
        )
        if score > best:
            best, rotation = score, turn
    return rotation


def kinds(run: Run) -> list[tuple[float, Any, list[int]]]:
    """Return customers with a handful of purchases at each vector, best first.

    The measure is how much nearer purchases of the same vector are to each other than to others.
    """
    user, item = run.scorer.user.numpy(), run.scorer.item.numpy()
    rows = []
    for row, vectors in enumerate(user):
        bought = run.train.pairs.csr[row].indices
        if not 16 <= len(bought) <= 26:
            continue
        winner = squared(vectors, item[bought]).argmin(0)
        counts = np.bincount(winner, minlength=C)
        if counts.min() < 3:
            continue
        apart, together = squared(item[bought], item[bought]), winner[:, None] == winner
        near = apart[together & ~np.eye(len(bought), dtype=bool)].mean()
        rows.append(
            (float(apart[~together].mean() - near), run.train.users.ids[row], counts.tolist())
        )
    return sorted(rows, reverse=True, key=lambda row: row[0])


def names(
    axes: Axes,
    side: int,
    blocks: list[dict[str, Any]],
    left: float,
    right: float,
    low: float,
    high: float,
) -> None:
    """Draw a column of names next to the picture, each with a line to its point.

    There is a block per vector, from top to bottom.
    """
    edge, towards = (left, 1) if side < 0 else (right, -1)
    unit, align = (right - left) / 100, "right" if side < 0 else "left"
    lines = sum(len(block["rows"]) + 1.3 for block in blocks) + 1.2 * (len(blocks) - 1)
    step = (high - low) / max(lines, 24)
    y = (high + low + step * (lines - 1)) / 2
    for block in blocks:
        colour = block["colour"]
        axes.text(
            edge,
            y,
            block["head"],
            color=colour,
            fontsize=12,
            fontweight="bold",
            ha=align,
            va="center",
        )
        y -= 1.3 * step
        for text, bought, (px, py) in block["rows"]:
            axes.plot(
                [edge + towards * unit, px], [y, py], color=colour, lw=0.6, alpha=0.45, zorder=2
            )
            axes.plot(
                edge,
                y,
                "o",
                ms=5.5,
                mfc=colour if bought else "white",
                mec=colour,
                mew=1.1,
                clip_on=False,
                zorder=5,
            )
            axes.text(
                edge - towards * 1.2 * unit,
                y,
                text,
                fontsize=9.5,
                color="black",
                ha=align,
                va="center",
            )
            y -= step
        y -= 1.2 * step


def caption(figure: Figure, customer: str, n_items: int, dim: int) -> None:
    """Write title, foot and key of the picture."""
    centred = {"ha": "center", "va": "center"}
    figure.text(
        0.5,
        0.96,
        "One customer, four vectors: each is a kind of purchase",
        fontsize=16,
        **centred,
    )
    figure.text(
        0.5,
        0.918,
        "A product is recommended if it is near to any one of the four; "
        "its colour is that of the nearest.",
        fontsize=11,
        color=GREY,
        **centred,
    )
    foot = (
        f"Customer {customer} of the built-in data, DPCML; two of {dim} dimensions. Every grey "
        "product is farther from all four vectors than those recommended."
    )
    figure.text(0.5, 0.028, foot, fontsize=9, color=GREY, **centred)
    key = figure.add_axes((0.17, 0.86, 0.66, 0.03))
    key.set(xlim=(0, 1), ylim=(-1, 1))
    key.axis("off")
    entries = [
        ("D", GREY, "black", 9, "vector of the customer"),
        ("o", GREY, GREY, 6.5, "bought"),
        ("o", "white", GREY, 6.5, "recommended next"),
    ]
    entries += [("o", LIGHT, LIGHT, 3, f"all {n_items:,} products")]
    for position, (marker, face, edge, size, text) in zip(
        (0.04, 0.345, 0.495, 0.755), entries, strict=True
    ):
        key.plot(position, 0, marker, ms=size, mfc=face, mec=edge)
        key.text(position + 0.018, 0, text, fontsize=10, va="center_baseline")


def draw(run: Run, customer: str, out: Path) -> None:
    """Write user-vectors.svg and user-vectors.png."""
    user, item = run.scorer.user.numpy(), run.scorer.item.numpy()
    row = int(run.train.users.require([customer], "--customer")[0])
    titles = run.train.titles.to_list()
    bought = run.train.pairs.csr[row].indices
    best = top_k(run.scorer, Queries.of_users([row], run.train.pairs.csr[[row]]), SHOWN).item[0]
    winner = squared(user[row], item).argmin(0)
    counts = np.bincount(winner[np.concatenate([bought, best])], minlength=C)
    look = plane(user[row])
    look = look @ upright((user[row] - user[row].mean(0)) @ look, counts)
    vector, point = (user[row] - user[row].mean(0)) @ look, (item - user[row].mean(0)) @ look

    wide, tall = 12.4, 7.3
    figure = Figure(figsize=(wide, tall))
    box = (0.255, 0.075, 0.49, 0.755)
    axes = figure.add_axes(box)
    shown = np.concatenate([vector, point[bought], point[best]])
    low, high = shown[:, 1].min(), shown[:, 1].max()
    ratio = (box[3] * tall) / (box[2] * wide)  # one scale for both axes, or distances would lie
    half = max(1.25 * np.abs(shown[:, 0]).max(), 0.56 * (high - low) / ratio)
    middle, reach = (low + high) / 2, half * ratio
    axes.set(xlim=(-half, half), ylim=(middle - reach, middle + reach), xticks=[], yticks=[])
    axes.set_frame_on(False)
    axes.scatter(*point.T, s=5, color=LIGHT, lw=0, zorder=1, rasterized=True)
    order = np.argsort(np.arctan2(-vector[:, 1], vector[:, 0]) + np.pi)  # clockwise from the left
    order = np.roll(order, -int(np.flatnonzero(vector[order, 1] > 0)[0]))
    sides: dict[int, list[dict[str, Any]]] = {-1: [], 1: []}
    for number, c in enumerate(order, 1):
        rows = []
        for group, is_bought in ((bought, True), (best, False)):
            points = sorted((i for i in group if winner[i] == c), key=lambda i: -point[i, 1])
            rows += [(titles[i].capitalize(), is_bought, point[i]) for i in points]
            axes.plot(
                *point[points].T,
                "o",
                ms=6.5,
                mfc=COLOURS[c] if is_bought else "white",
                mec=COLOURS[c],
                mew=1.2,
                zorder=4,
            )
        sides[-1 if vector[c, 0] < 0 else 1].append(
            {"head": f"Vector {number}", "colour": COLOURS[c], "rows": rows, "at": vector[c, 1]}
        )
        axes.plot(*vector[c], "D", ms=14, mfc=COLOURS[c], mec="black", mew=1.2, zorder=6)
        axes.text(
            *vector[c],
            str(number),
            color="white",
            fontsize=10,
            fontweight="bold",
            ha="center",
            va="center_baseline",
            zorder=7,
        )
    for side, blocks in sides.items():
        names(
            axes,
            side,
            sorted(blocks, key=lambda block: -block["at"]),
            -half,
            half,
            middle - reach,
            middle + reach,
        )

    caption(figure, customer, *item.shape)
    out.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "recsys"}):
        figure.savefig(out / "user-vectors.svg", metadata={"Date": None}, dpi=150)
    figure.savefig(out / "user-vectors.png", dpi=150, pil_kwargs={"optimize": True})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--customer", default="13509")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "picture")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    arguments = parser.parse_args()
    try:
        run = execute(from_tree(EXPERIMENT, "benchmarks/picture.py"), arguments.run, resume=True)
        if arguments.list:
            for apart, customer, counts in kinds(run)[:20]:
                print(f"{customer}  purchases by vector {counts}  apart {apart:.2f}")
            return
        draw(run, arguments.customer, arguments.out)
        print(f"{arguments.out}/user-vectors.svg and .png")
    except InputError as error:
        raise SystemExit(f"picture: {error}") from None


if __name__ == "__main__":
    main()
