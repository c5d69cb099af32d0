"""How well a denoiser found the noisy training interactions of a run.

pairs.parquet       one row per training interaction: user and item id, title and label if known,
                    loss, weight, number of epochs in which it was dropped, the epoch in which it
                    was relabelled (null: never), and the verdict when training ended: kept, dropped
                    or relabelled
curve.parquet       one row per epoch: mean loss of clean and noisy interactions, how many were
                    dropped and relabelled, precision and recall
popularity.parquet  one row per fifth of the training interactions, those of the least popular items
                    first: how many were flagged as noise
curve.svg           the curve as a picture, if matplotlib is installed
summary.json        counts, precision, recall, AUC

An interaction is flagged as noise if it was dropped or relabelled. The labels are those of the
data, and no training used them. The verdicts are those after the last epoch, which need not be the
best one.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.errors import InputError, first_line
from recsys.experiment.run import Run, open_run
from recsys.experiment.run_meta import DAMAGED
from recsys.files import write_atomic, write_json
from recsys.statistics.roc import auc
from recsys.tensors import read_tensors
from recsys.training.progress import read_history

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
    """Which training interactions a denoiser flagged as noise.

    Args:
        kind: kind of the denoiser.
        pairs: one row per training interaction: user, item, title?, label?, loss, weight, dropped,
            relabelled, verdict. A column with "?" is there only if it is known.
        curve: one row per epoch: epoch, loss, clean, noisy, weight_clean, weight_noisy, dropped,
            relabelled, precision, recall; null if not known.
        summary: `pairs`, `epochs`, `dropped`, `relabelled`. With labels also `noise`, the number of
            noisy interactions; `precision` and `recall` of the verdicts (null if the denominator is
            0); `auc_loss` of the last loss; `auc_verdict` of the number of epochs in which an
            interaction was not used as a positive (of the weight, if interactions are only
            weighted); and `precision_at_noise`: the share of noise among the interactions of
            largest loss, as many as there is noise.
    """

    kind: str
    pairs: pl.DataFrame
    curve: pl.DataFrame
    summary: dict[str, int | float | None]

    def suspects(self, k: int = 10) -> pl.DataFrame:
        """Return the k flagged interactions of largest loss; of all, if none is flagged."""
        flagged = self.pairs.filter(pl.col("verdict") != "kept")
        frame = flagged if flagged.height else self.pairs
        return frame.sort("loss", descending=True, maintain_order=True).head(k)

    def by_popularity(self, parts: int = 5) -> pl.DataFrame:
        """Return what was flagged, by the popularity of the items.

        It shows whether a denoiser finds noise, or only drops the long tail.

        Args:
            parts: number of groups of items. Each has about as many training interactions. An item
                belongs to the group of its middle interaction.

        Returns:
            One row per group that has items, the least popular first: `items`; the `least` and the
            `most` interactions of an item; `pairs`, the number of interactions; the shares of them
            that were `dropped` and `relabelled`; the mean `weight` and `loss`; and with labels the
            share of `noise`.
        """
        items = self.pairs.group_by("item").agg(count=pl.len()).sort("count", "item")
        middle = (pl.col("count").cum_sum() - pl.col("count") / 2) / self.pairs.height
        items = items.with_columns(part=(middle * parts).floor().cast(pl.Int64))
        columns = [
            pl.col("item").n_unique().alias("items"),
            pl.col("count").min().alias("least"),
            pl.col("count").max().alias("most"),
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
    """Read what the denoiser of a run knew at the end.

    Args:
        folder: the folder of a finished run. Of a run with a refit, the refit is read: its scorer
            is shipped.

    Raises:
        InputError: it is not the folder of a run, the run had no denoiser, or files are damaged.
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
        raise InputError(f"lacks {error}", place=place, remedy=DAMAGED) from None
    pairs = _pairs(run, columns)
    curve = _curve(run.folder / part / "history.jsonl", pairs)
    return Detection(kind, pairs, curve, _summary(pairs, epochs))


def area(score: np.ndarray, positive: np.ndarray) -> float | None:
    """Return the AUC: the probability that a positive has a larger score than a negative.

    Ties count half.

    Args:
        score: float [n].
        positive: bool [n].

    Returns:
        None without a positive or without a negative.
    """
    value = auc(score, positive)
    return None if np.isnan(value) else value


def save(detection: Detection, out: Path) -> list[Path]:
    """Write the files of a detection into a folder, and return their paths.

    The picture is left out if matplotlib is not installed.
    """
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
    """Return the curve as SVG: losses by epoch, and below them what was flagged as noise.

    Returns:
        None if matplotlib is not installed.
    """
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
        lower.set_ylabel("of pairs flagged as noise" if known else "pairs")
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
        raise InputError(
            f"cannot be read: {first_line(error)}",
            place=str(path),
            remedy=DAMAGED,
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
    noise = int((pairs["label"] == 0).sum()) if "label" in pairs.columns else None
    rows = []
    for entry in read_history(path):
        statistics = entry.denoise or {}
        row = {name: statistics.get(name, getattr(entry, name, None)) for name in _CURVE}
        if noise is not None and "dropped_noisy" in statistics:
            row |= _quality(statistics, noise)
        rows.append(row)
    return pl.DataFrame(rows, schema=_CURVE)


def _quality(statistics: Mapping[str, int | float | None], noise: int) -> dict[str, Any]:
    """Return the precision and recall of the interactions a denoiser dropped or relabelled."""

    def total(*names: str) -> float:
        return sum(statistics[name] or 0 for name in names)

    hits = total("dropped_noisy", "relabelled_noisy")
    flagged = total("dropped", "relabelled")
    return {
        "precision": hits / flagged if flagged else None,
        "recall": hits / noise if noise else None,
    }


def _summary(pairs: pl.DataFrame, epochs: int) -> dict[str, int | float | None]:
    verdict = pairs["verdict"]
    summary: dict[str, int | float | None] = {
        "pairs": pairs.height,
        "epochs": epochs,
        "dropped": int((verdict == "dropped").sum()),
        "relabelled": int((verdict == "relabelled").sum()),
    }
    if "label" in pairs.columns:
        summary |= _against_labels(pairs, epochs)
    return summary


def _against_labels(pairs: pl.DataFrame, epochs: int) -> dict[str, int | float | None]:
    """Return the part of the summary that compares the verdicts with the labels."""
    noise = (pairs["label"] == 0).to_numpy()
    flagged = (pairs["verdict"] != "kept").to_numpy()
    loss = pairs["loss"].to_numpy()
    # Epochs in which an interaction was not used as a positive. Relabelling is permanent.
    relabelled = pairs["relabelled"]
    after = np.where(relabelled.is_null(), 0, epochs + 1 - relabelled.fill_null(0).to_numpy())
    unused = pairs["dropped"].to_numpy() + after
    score = unused if unused.any() else 1 - pairs["weight"].to_numpy()
    n_noise, hits = int(noise.sum()), int((noise & flagged).sum())
    largest = np.argsort(-loss, kind="stable")[:n_noise]
    return {
        "noise": n_noise,
        "precision": hits / int(flagged.sum()) if flagged.any() else None,
        "recall": hits / n_noise if n_noise else None,
        "auc_loss": area(loss, noise),
        "auc_verdict": area(score, noise),
        "precision_at_noise": float(noise[largest].mean()) if n_noise else None,
    }
