"""Preparation: which interactions of a log are kept.

Each step takes a frame with the columns user and item and returns the rows to keep, with a line for
the history. `prepare` runs the steps that the settings ask for, in a fixed order, on each part of a
source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
import polars as pl

from recsys.data.pair_numbers import pair_numbers, repeated_pairs
from recsys.data.raw_parts import RawParts
from recsys.data.reading.source import LOG_ROLES, NONE, Source
from recsys.data.sessions import with_sessions
from recsys.data.times import count_ticks, moment, ticks_at
from recsys.data.types import Vocab
from recsys.errors import InputError, suggest

__all__ = [
    "behaviours",
    "clicks",
    "duplicates",
    "k_core",
    "labels",
    "min_user",
    "positives",
    "prepare",
    "steps_of",
    "window",
]

# The rows that are kept, and a line for the history; None if nothing was done.
StepResult: TypeAlias = tuple[pl.DataFrame, str | None]
Step: TypeAlias = Callable[[pl.DataFrame], StepResult]


def prepare(parts: RawParts, source: Source) -> RawParts:
    """Return the interactions that the settings keep; the order of the rows does not change.

    Args:
        parts: the interactions as they were read.
        source: the settings.

    Raises:
        InputError: a setting that needs a column that is missing, settings that keep no row, or a
            core of a source that is already split (a core of train alone would be another data
            set).
    """
    _check_cores(parts, source)
    _check_columns(parts, source)
    parts = with_sessions(parts, source)
    frames = parts.frames
    logs = _logs(frames, source) if source.keep_log else {}
    auxiliary = _auxiliary(frames, source)
    history = list(parts.history)
    for step in (clicks, *steps_of(source, _behaviours_of(frames))):
        for name in list(frames):
            frames[name], note = step(frames[name])
            if note:
                history.append(note if name == "all" else f"{name}: {note}")
    for name in ("all", "train"):
        if name in frames and not frames[name].height:
            raise InputError(
                "no interaction is left",
                place="[data]",
                remedy=f"loosen the settings; {'; '.join(history[-3:])}",
            )
    # Users and items that a core removes leave the data set, also if the format numbers them.
    drops_users = source.min_user or source.user_core or source.item_core
    return RawParts(
        all=frames.get("all"),
        train=frames.get("train"),
        valid=frames.get("valid"),
        test=frames.get("test"),
        users=None if drops_users else parts.users,
        items=None if source.item_core else parts.items,
        history=tuple(history),
        in_file_order=parts.in_file_order,
        logs=logs,
        auxiliary=auxiliary,
    )


def _logs(frames: Mapping[str, pl.DataFrame], source: Source) -> dict[str, pl.DataFrame]:
    """Return every event of each part between `since` and `until`."""
    if source.since is None and source.until is None:
        return dict(frames)
    return {name: window(each, source.since, source.until)[0] for name, each in frames.items()}


def _auxiliary(frames: Mapping[str, pl.DataFrame], source: Source) -> dict[str, pl.DataFrame]:
    """Return the events of the auxiliary behaviours of each part, between `since` and `until`.

    What was shown and not clicked is left out.

    Raises:
        InputError: the data have no behaviours, or a behaviour never occurs.
    """
    if not source.auxiliary:
        return {}
    known = _behaviours_of(frames)
    kept = {}
    for name, frame in frames.items():
        events, _ = behaviours(frame, source.auxiliary, known, setting="auxiliary")
        events, _ = clicks(events)
        if source.since is not None or source.until is not None:
            events, _ = window(events, source.since, source.until)
        kept[name] = events
    return kept


def steps_of(source: Source, known: Sequence[str] | None = None) -> list[Step]:
    """Return the steps that the settings ask for, in their order.

    The order is: behaviours, threshold, window, duplicates, labels, min_user, core. The threshold
    applies to the weight that represents a pair. For duplicates = "sum" or "last" that weight is
    known only after duplicates are merged, so the threshold follows then: a purchase that was
    returned is not a positive. Otherwise every row is compared with the threshold, before the first
    of those that pass is kept.

    Args:
        source: the settings.
        known: the behaviours of all parts, as for `behaviours`.
    """
    steps: list[Step] = []
    if source.behaviours is not None:
        steps.append(partial(behaviours, names=source.behaviours, known=known))
    threshold: list[Step] = [partial(positives, min_weight=source.min_weight)]
    if source.min_weight is None and source.clean_weight is not None:
        threshold = []  # clean_weight keeps all rows, and labels those below it as noise
    merge_first = source.duplicates in ("sum", "last")
    if not merge_first:
        steps += threshold
    if source.since is not None or source.until is not None:
        steps.append(partial(window, since=source.since, until=source.until))
    steps.append(partial(duplicates, how=source.duplicates))
    if merge_first:
        steps += threshold
    if source.clean_weight is not None:
        steps.append(partial(labels, clean_weight=source.clean_weight))
    if source.min_user:
        steps.append(partial(min_user, least=source.min_user))
    if source.user_core or source.item_core:
        steps.append(partial(k_core, user_core=source.user_core, item_core=source.item_core))
    return steps


def _check_cores(parts: RawParts, source: Source) -> None:
    """Raise an error if a core is asked for of a source that is already split."""
    cores = [name for name in ("min_user", "user_core", "item_core") if getattr(source, name)]
    if cores and parts.all is None:
        raise InputError(
            f"{', '.join(cores)} cannot be taken of presplit files",
            place="[data]",
            remedy="leave it out, or give the whole log as path",
        )


def _check_columns(parts: RawParts, source: Source) -> None:
    """Raise an error if no file has a named column of sessions, clicks or places."""
    for role in ("session", *LOG_ROLES):
        column = getattr(source, role)
        if column in (None, NONE) or any(role in each.columns for each in parts.frames.values()):
            continue
        raise InputError(
            f"no file has the column {column!r} for {role}",
            place=f"[data] {role}",
            remedy="name a column of the files, or leave it out",
        )


def clicks(frame: pl.DataFrame) -> StepResult:
    """Keep rows that were clicked, without the columns that belong to the log alone."""
    pairs = frame.drop(LOG_ROLES, strict=False)
    if "clicked" not in frame.columns:
        return pairs, None
    return _counted(frame, pairs.filter(frame["clicked"] == 1), "clicked")


def positives(frame: pl.DataFrame, min_weight: float | None = None) -> StepResult:
    """Keep rows whose weight is at least a threshold.

    Args:
        frame: the rows.
        min_weight: the threshold; None: keep weights above 0, or all rows of data without weights.

    Raises:
        InputError: `min_weight` without weights.
    """
    if min_weight is None:
        if "weight" not in frame.columns:
            return frame, None
        kept = frame.filter(pl.col("weight") > 0)
        if kept.height == frame.height:
            return frame, None
        return _counted(frame, kept, "weight above 0 (no min_weight is set)")
    _need(frame, "weight", "min_weight")
    # In float64: a float32 column would round the threshold, and 16777217 would become 16777216.
    kept = frame.filter(pl.col("weight").cast(pl.Float64) >= min_weight)
    return _counted(frame, kept, f"min_weight {_exact(min_weight)}")


def labels(frame: pl.DataFrame, clean_weight: float) -> StepResult:
    """Label every row by its weight: 1 if it is at least `clean_weight`, else 0.

    Raises:
        InputError: the data have no weights, or already have labels.
    """
    _need(frame, "weight", "clean_weight")
    if "clean" in frame.columns:
        raise InputError(
            "the data have labels already",
            place="[data] clean_weight",
            remedy="leave out clean_weight, or the column of labels",
        )
    clean = (frame["weight"].cast(pl.Float64) >= clean_weight).cast(pl.Int8)
    n_noise = frame.height - clean.sum()
    return (
        frame.with_columns(clean=clean),
        f"clean_weight {_exact(clean_weight)}: {n_noise} of {frame.height} rows labelled as noise",
    )


def _behaviours_of(frames: Mapping[str, pl.DataFrame]) -> list[str] | None:
    """Return the behaviours of all parts, or None if no part has behaviours."""
    named = [frame["behaviour"] for frame in frames.values() if "behaviour" in frame.columns]
    return pl.concat(named).unique().sort().to_list() if named else None


def behaviours(
    frame: pl.DataFrame,
    names: Sequence[str],
    known: Sequence[str] | None = None,
    *,
    setting: str = "behaviours",
) -> StepResult:
    """Keep rows with one of some behaviours.

    Args:
        frame: the rows.
        names: the behaviours to keep.
        known: the behaviours that occur in any part of the source; None: those of the frame.
        setting: the key that names them, for errors.

    Raises:
        InputError: the column of behaviours is missing, or a behaviour never occurs.
    """
    _need(frame, "behaviour", setting)
    if known is None:
        known = [str(name) for name in frame["behaviour"].unique().sort()]
    for name in names:
        if name not in known:
            raise InputError(
                f"no row has the behaviour '{name}'",
                place=f"[data] {setting}",
                remedy=suggest(name, known),
            )
    kept = frame.filter(pl.col("behaviour").is_in(list(names)))
    return _counted(frame, kept, f"behaviours {', '.join(names)}")


def window(
    frame: pl.DataFrame, since: str | int | None = None, until: str | int | None = None
) -> StepResult:
    """Keep rows with since <= time < until.

    Args:
        frame: the rows.
        since, until: ISO dates or unix times; None: no limit.

    Raises:
        InputError: the times are missing, or a limit is not a time.
    """
    _need(frame, "time", "since and until")
    (time,), unit = count_ticks([frame["time"]])
    is_kept = np.ones(frame.height, dtype=bool)
    words = []
    if since is not None:
        is_kept &= time >= ticks_at(moment(since, "since"), unit)
        words.append(f"since {since}")
    if until is not None:
        is_kept &= time < ticks_at(moment(until, "until"), unit)
        words.append(f"until {until}")
    return _counted(frame, frame.filter(pl.Series(is_kept)), " ".join(words))


def duplicates(frame: pl.DataFrame, how: str = "first") -> StepResult:
    """Keep one row per user and item, in its place.

    Args:
        frame: user, item and optional columns.
        how: "first" or "last" in time (equal times, and rows without times, in the order of the
            frame), "sum" for the first with the sum of the weights (of data without weights: the
            number of rows), or "error".

    Raises:
        InputError: how is "error" and a pair occurs twice.
    """
    if how == "sum":
        weight = pl.col("weight").cast(pl.Float64) if "weight" in frame.columns else pl.lit(1.0)
        frame = frame.with_columns(weight.alias("weight"))
    pairs = pair_numbers(frame)
    repeated = repeated_pairs(pairs)
    if not repeated.any():
        return frame, None
    rows = np.flatnonzero(repeated)
    if how == "error":
        user, item = frame.row(int(rows[0]))[:2]
        raise InputError(
            f"user {user!r} interacted with item {item!r} more than once",
            place="[data]",
            remedy='set duplicates to "first", "last" or "sum"',
        )
    known = [frame[name].gather(rows) for name in ("time", "weight") if name in frame.columns]
    several = pl.DataFrame([pl.Series("pair", pairs[rows]), pl.Series("row", rows), *known])
    if "time" in frame.columns:
        several = several.sort("time", maintain_order=True)
    if how == "sum":
        several = several.with_columns(_sum().over("pair").alias("weight"))
    keep: Literal["first", "last"] = "last" if how == "last" else "first"
    one = several.unique("pair", keep=keep, maintain_order=True)
    is_kept = ~repeated
    is_kept[one["row"].to_numpy()] = True
    if how == "sum":
        weights = frame["weight"].to_numpy().copy()
        weights[one["row"].to_numpy()] = one["weight"].to_numpy()
        frame = frame.with_columns(pl.Series("weight", weights))
    return _counted(frame, frame.filter(pl.Series(is_kept)), f"duplicates {how}")


def _sum() -> pl.Expr:
    """Return the sum of the weights, 0 if it is not larger than the rounding error.

    0.1 + 0.2 - 0.3 is 5.6e-17, although all that was bought was returned.
    """
    weight = pl.col("weight")
    rounding = weight.abs().sum() * (weight.len() * float(np.finfo(np.float64).eps))
    return pl.when(weight.sum().abs() > rounding).then(weight.sum()).otherwise(0.0)


def min_user(frame: pl.DataFrame, least: int) -> StepResult:
    """Keep users with at least `least` rows; items are not filtered."""
    return _counted(frame, frame.filter(pl.len().over("user") >= least), f"min_user {least}")


def k_core(frame: pl.DataFrame, user_core: int = 0, item_core: int = 0) -> StepResult:
    """Keep the largest part in which every user has `user_core` rows and every item `item_core`.

    Repeated pairs count as often as they occur, so merge them first.
    """
    users, items = (Vocab.of(frame[role]).rows(frame[role]) for role in ("user", "item"))
    rows = np.arange(frame.height)
    n_users = int(users.max(initial=-1)) + 1
    n_items = int(items.max(initial=-1)) + 1
    while len(rows):
        enough = np.bincount(users, minlength=n_users)[users] >= user_core
        enough &= np.bincount(items, minlength=n_items)[items] >= item_core
        if enough.all():
            break
        rows = rows[enough]
        users, items = users[enough], items[enough]
    words = f"user_core {user_core} item_core {item_core}"
    if user_core == item_core:
        words = f"k_core {user_core}"
    return _counted(frame, frame[rows], words)


def _need(frame: pl.DataFrame, column: str, setting: str) -> None:
    """Raise an error if a setting needs a column that is missing."""
    if column not in frame.columns:
        raise InputError(
            f"{setting} needs a {column} column, which the data lack",
            place="[data]",
            remedy=f'name it: {column} = "..."; found: {", ".join(frame.columns)}',
        )


def _exact(number: float) -> str:
    """Return a threshold in its usual notation: 4, 0.5, 16777217."""
    return repr(int(number)) if float(number).is_integer() else repr(float(number))


def _counted(before: pl.DataFrame, after: pl.DataFrame, words: str) -> StepResult:
    """Return the rows that are kept, with a line on how many there were and are."""
    return after, f"{words}: {before.height} -> {after.height} rows"
