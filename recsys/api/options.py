"""Types of the keyword arguments of the Python interface.

Each class has the keys of one settings class, which documents them and checks their values:
`recsys.data.reading.Source` for `[data]`, `SplitRule` for `[split]`, `Train` for `[train]`,
`Evaluation` for `[evaluate]`. `tests/test_public_api.py` compares the keys and the choices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias, TypedDict

from recsys.data.splitting import Missing, Noise
from recsys.nn.denoise import Denoise

__all__ = ["EvaluateOptions", "LoadOptions", "SplitOptions", "TrainOptions"]

Column: TypeAlias = str | int | None  # name of a column, or its position from 0
Moment: TypeAlias = str | int | float | None  # ISO date, unix seconds, or a share of the time span
Table: TypeAlias = Mapping[str, object]  # settings within a setting, as in TOML


class LoadOptions(TypedDict, total=False):
    """Settings `[data]` without `source`; those of features also take tables in memory."""

    path: str | None
    train: str | None
    valid: str | None
    test: str | None
    behaviour_files: Mapping[str, str | Mapping[str, str]] | None
    format: str
    user: Column
    item: Column
    time: Column
    weight: Column
    clean: Column
    behaviour: Column
    session: Column
    clicked: Column
    position: Column
    separator: str | None
    quote: str | None
    header: bool | None
    ordered: bool
    nulls: Literal["error", "drop"]
    titles: str | None
    features: str | Path | Mapping[str, object] | None
    user_features: str | Path | Mapping[str, object] | None
    relations: Mapping[str, str | Mapping[str, str]] | None
    min_weight: float | None
    clean_weight: float | None
    session_gap: float | None
    keep_log: bool | None
    behaviours: Sequence[str] | None
    auxiliary: Sequence[str] | None
    since: str | int | None
    until: str | int | None
    duplicates: Literal["first", "last", "sum", "error"]
    user_core: int
    item_core: int
    min_user: int


class SplitOptions(TypedDict, total=False):
    """Settings `[split]`."""

    by: Literal[
        "auto",
        "ratio",
        "last",
        "time",
        "new-item",
        "label",
        "presplit",
        "libcml",
        "next-item",
        "global-time",
        "session",
        "new-user",
        "cold-user",
        "basket",
        "fold",
    ]
    ratios: Sequence[float]
    per: Literal["user", "all"]
    order: Literal["random", "time"]
    k: int
    valid_from: Moment
    test_from: Moment
    new_items: float
    warm_share: float
    valid_share: float
    ask: Literal["each", "once"]
    targets: Literal["next", "all-later"]
    windows: int | None
    window: int
    positions: Literal["all", "last"]
    new_users: float
    given: float
    folds: int | None
    fold: int
    seed: int
    drop_cold: bool
    drop_new_items: bool
    noise: Noise | Table
    clean_valid: bool
    missing: Missing | Table
    join_parts: bool


class TrainOptions(TypedDict, total=False):
    """Settings `[train]`."""

    epochs: int
    batch_size: int
    lr: float
    optimizer: Literal["adam", "adamw", "adagrad", "sgd"]
    update: Literal["batch", "pair"]
    rows: Literal["dense", "touched"]
    weight_decay: float
    schedule: Literal["constant", "linear", "cosine", "exponential"]
    lr_decay: float
    warmup: int
    clip: float | None
    precision: Literal["float32", "bfloat16"]
    compile: bool
    eval_every: int
    patience: int | None
    min_epochs: int | Literal["auto"]
    select: Literal["metric", "loss"]
    trim: float
    denoise: Denoise | Table
    seed: int
    device: str
    checkpoint_seconds: float


Candidates: TypeAlias = Literal[
    "all", "new", "new in all", "warm", "warm in all", "cold users", "warm users"
]


class EvaluateOptions(TypedDict, total=False):
    """Settings `[evaluate]`."""

    metrics: Sequence[str]
    monitor: str
    skip_short_users: bool
    min_test_full: int
    keep_valid: bool
    exclude: Literal["auto", "history", "none"]
    candidates: Candidates | Literal["sampled"] | Sequence[Candidates]
    sampled: int
    sampled_by: Literal["uniform", "popularity"]
    estimator: Literal["none", "rank", "bv", "mle", "bv_mle", "entropy"]
    seed: int
    block: int
    groups: bool
