"""What a denoiser did in a run: which pairs it held for noise, how well that goes with the labels, and how the losses went.

pairs.parquet     one row a training pair: outside ids, title and label where known, loss, weight, epochs in which it was dropped, the epoch in which
                  it was relabelled (null: never), and the verdict when training ended: kept, dropped or relabelled
curve.parquet     one row an epoch: mean loss of clean and noisy pairs, how many were dropped and relabelled, precision and recall
popularity.parquet  one row a fifth of the training pairs, those of the least popular items first: how many were held for noise
curve.svg         the same as a picture, where matplotlib is installed
summary.json      counts, precision, recall, AUC

The labels are those of the data and have trained nothing. The verdicts are those after the last epoch, which need not be the best one.
"""

from __future__ import annotations

import functools
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.errors import InputError, first_line
from recsys.experiment.execution import Run, open_run
from recsys.files import write_atomic, write_json
from recsys.statistics.roc import auc
from recsys.tensors import read_tensors

__all__ = ["Detection", "area", "detect", "draw", "save"]

_CURVE = {
    "epoch": pl.Int64,
    "loss": pl.Float64,
    "clean": pl.Float64,
    "noisy": pl.Float64,
    "weight_clean": pl.Float64,
    "weight_noisy": pl.Float64,
}
_CURVE |= {
    "dropped": pl.Int64,
    "relabelled": pl.Int64,
    "precision": pl.Float64,
    "recall": pl.Float64,
}


@dataclass(frozen=True, eq=False)
class Detection:
    """What was held for noise.

    Args:
        kind: of the denoiser.
        pairs: one row a training pair: user, item, title?, label?, loss, weight, dropped, relabelled, verdict.
        curve: one row an epoch: epoch, loss, clean, noisy, weight_clean, weight_noisy, dropped, relabelled, precision, recall; null where not known.
        summary: `pairs`, `epochs`, `dropped`, `relabelled`; with labels also `noise`, `precision` and `recall` of the verdicts (null where there is
            nothing to divide by), `auc_loss` of the last loss, `auc_verdict` of the epochs without a part as a positive (of the weight,
            where pairs are only weighed), and `precision_at_noise`: of as many pairs of largest loss as there is noise, the share that is.
    """

    kind: str
    pairs: pl.DataFrame
    curve: pl.DataFrame
    summary: dict[str, Any]

    def suspects(self, k: int = 10) -> pl.DataFrame:
        """The k pairs held for noise of largest loss; where none is, the k of largest loss."""
        held = self.pairs.filter(pl.col("verdict") != "kept")
        return (
            (held if held.height else self.pairs)
            .sort("loss", descending=True, maintain_order=True)
            .head(k)
        )

    def by_popularity(self, parts: int = 5) -> pl.DataFrame:
        """What was held for noise among pairs of seldom met and of often met items: to drop the tail and to find noise are two things.

        Args:
            parts: as many groups of items, with about as many training pairs each; an item belongs where the middle one of its pairs stands.

        Returns:
            A row a group that has items, the least popular first: `items`, their pairs from `least` to `most` an item, `pairs`, the shares
            `dropped` and `relabelled` of these, the mean `weight` and `loss`, and with labels the share that is `noise`.
        """
        items = self.pairs.group_by("item").agg(met=pl.len()).sort("met", "item")
        place = (pl.col("met").cum_sum() - pl.col("met") / 2) / self.pairs.height
        items = items.with_columns(part=(place * parts).floor().cast(pl.Int64))
        columns = [
            pl.col("item").n_unique().alias("items"),
            pl.col("met").min().alias("least"),
            pl.col("met").max().alias("most"),
            pl.len().alias("pairs"),
            *(pl.col("verdict").eq(name).mean().alias(name) for name in ("dropped", "relabelled")),
            *(pl.col(name).cast(pl.Float64).mean() for name in ("weight", "loss")),
        ]
        if "label" in self.pairs.columns:
            columns.append(pl.col("label").eq(0).mean().alias("noise"))
        return (
            self.pairs.join(items, on="item")
            .group_by("part")
            .agg(columns)
            .sort("part")
            .drop("part")
        )


def detect(folder: str | Path) -> Detection:
    """Read what a run's denoiser left; of a run with a refit, that of the refit, which is what ships.

    Raises:
        InputError: no run, or one without a denoiser, or damaged files.
    """
    run = open_run(folder)
    part = next(
        (
            name
            for name in ("refit", "fit")
            if (run.folder / name / "denoiser.safetensors").exists()
        ),
        None,
    )
    if part is None:
        remedy = 'run with train.denoise.kind = "dcf", or "watch" to look only'
        raise InputError("had no denoiser", place=str(run.folder), remedy=remedy)
    state, about = read_tensors(run.folder / part / "denoiser.safetensors")
    try:
        columns = {
            name: state[name].numpy() for name in ("loss", "weight", "dropped", "relabelled")
        }
        kind, epochs = str(about["kind"]), int(about["epochs"])
    except (KeyError, TypeError, ValueError) as error:
        place = str(run.folder / part / "denoiser.safetensors")
        raise InputError(
            f"lacks {error}", place=place, remedy="the run is damaged: restore it, or run again"
        ) from None
    pairs = _pairs(run, columns)
    curve = _curve(run.folder / part / "history.jsonl", pairs)
    return Detection(kind, pairs, curve, _summary(pairs, epochs))


def area(score: np.ndarray, positive: np.ndarray) -> float | None:
    """AUC: the probability that a positive has a larger score than a negative, ties half; None where one of them is missing.

    Args:
        score: float [n].
        positive: bool [n].
    """
    value = auc(score, positive)
    return None if np.isnan(value) else value


def save(detection: Detection, out: Path) -> list[Path]:
    """Write the files named above; returns their paths. The picture is left out where matplotlib is not installed."""
    frames = {
        "pairs": detection.pairs,
        "curve": detection.curve,
        "popularity": detection.by_popularity(),
    }
    paths = [out / f"{name}.parquet" for name in frames] + [out / "summary.json"]
    for path, frame in zip(paths, frames.values(), strict=False):
        write_atomic(path, functools.partial(frame.write_parquet, compression="zstd"))
    write_json(paths[-1], {"kind": detection.kind, **detection.summary})
    picture = draw(detection)
    if picture is not None:
        paths.append(out / "curve.svg")
        write_atomic(paths[-1], lambda path: path.write_bytes(picture))
    return paths


def draw(detection: Detection) -> bytes | None:
    """Losses of clean and noisy pairs over epochs, and below what was held for noise, as SVG; None without matplotlib."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        return None
    curve, known = detection.curve, detection.curve["clean"].is_not_null().any()
    epoch = curve["epoch"].to_numpy()
    with mpl.rc_context({"svg.hashsalt": "recsys", "font.size": 9}):
        figure = Figure(figsize=(6, 5.5), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True)
        lines = (
            {"clean": "clean pairs", "noisy": "noisy pairs"}
            if known
            else {"loss": "all pairs and negatives"}
        )
        for name, words in lines.items():
            upper.plot(epoch, curve[name].to_numpy(), label=words)
        upper.set_ylabel("mean loss")
        upper.legend(frameon=False)
        names = ("precision", "recall") if known else ("dropped", "relabelled")
        for name in names:
            lower.plot(epoch, curve[name].cast(pl.Float64).to_numpy(), label=name)
        lower.set_ylabel("of pairs held for noise" if known else "pairs")
        lower.set_xlabel("epoch")
        lower.legend(frameon=False)
        for axes in (upper, lower):
            axes.spines[["top", "right"]].set_visible(False)
        figure.suptitle(f"denoiser: {detection.kind}", fontsize=10)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _pairs(run: Run, columns: dict[str, np.ndarray]) -> pl.DataFrame:
    path = run.folder / "seen.parquet"
    try:
        seen = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        said = first_line(error)
        raise InputError(
            f"cannot be read: {said}",
            place=str(path),
            remedy="the run is damaged: restore it, or run again",
        ) from None
    size = len(columns["loss"])
    if seen.height != size:
        cause = f"holds {seen.height} pairs, the denoiser knew {size}"
        raise InputError(
            cause, place=str(path), remedy="files of two runs were mixed: restore or run again"
        )
    train = run.train
    frame = pl.DataFrame(
        {"user": train.users.ids.gather(seen["user"]), "item": train.items.ids.gather(seen["item"])}
    )
    if train.titles is not None:
        frame = frame.with_columns(title=train.titles.gather(seen["item"]))
    if "label" in seen.columns:
        frame = frame.with_columns(label=seen["label"])
    frame = frame.with_columns(**{name: pl.Series(values) for name, values in columns.items()})
    verdict = (
        pl.when(pl.col("relabelled") > 0)
        .then(pl.lit("relabelled"))
        .when(pl.col("weight") == 0)
        .then(pl.lit("dropped"))
        .otherwise(pl.lit("kept"))
    )
    relabelled = (
        pl.when(pl.col("relabelled") > 0).then("relabelled").otherwise(None).alias("relabelled")
    )
    return frame.with_columns(verdict.alias("verdict"), relabelled)


def _curve(path: Path, pairs: pl.DataFrame) -> pl.DataFrame:
    try:
        entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot be read: {error}",
            place=str(path),
            remedy="the run is damaged: restore it, or run again",
        ) from None
    noise = int((pairs["label"] == 0).sum()) if "label" in pairs.columns else None
    rows = []
    for entry in entries:
        told = entry.get("denoise", {})
        row = {name: told.get(name, entry.get(name)) for name in _CURVE}
        if noise is not None and "dropped_noisy" in told:
            hit, held = (
                told["dropped_noisy"] + told["relabelled_noisy"],
                told["dropped"] + told["relabelled"],
            )
            row |= {
                "precision": hit / held if held else None,
                "recall": hit / noise if noise else None,
            }
        rows.append(row)
    return pl.DataFrame(rows, schema=_CURVE)


def _summary(pairs: pl.DataFrame, epochs: int) -> dict[str, Any]:
    verdict = pairs["verdict"]
    found: dict[str, Any] = {"pairs": pairs.height, "epochs": epochs}
    found |= {
        "dropped": int((verdict == "dropped").sum()),
        "relabelled": int((verdict == "relabelled").sum()),
    }
    if "label" not in pairs.columns:
        return found
    noise, held = (pairs["label"] == 0).to_numpy(), (verdict != "kept").to_numpy()
    loss = pairs["loss"].to_numpy()
    without = pairs["dropped"].to_numpy() + np.where(
        pairs["relabelled"].is_null(), 0, epochs + 1 - pairs["relabelled"].fill_null(0).to_numpy()
    )
    score = without if without.any() else 1 - pairs["weight"].to_numpy()
    many, hit = int(noise.sum()), int((noise & held).sum())
    found |= {
        "noise": many,
        "precision": hit / int(held.sum()) if held.any() else None,
        "recall": hit / many if many else None,
    }
    largest = np.argsort(-loss, kind="stable")[:many]
    found |= {"auc_loss": area(loss, noise), "auc_verdict": area(score, noise)}
    return found | {"precision_at_noise": float(noise[largest].mean()) if many else None}
