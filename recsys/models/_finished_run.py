"""The scorers that blend and fallback combine: finished runs, and methods without gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from recsys.data.types import Dataset, Vocab
from recsys.errors import InputError, first_line, suggest
from recsys.models import Network, names, recipe
from recsys.scorer import Scorer
from recsys.tensors import load_scorer

__all__ = ["part_of"]


def part_of(given: str, train: Dataset, place: str) -> Scorer:
    """Return the scorer of a finished run, or of a method without gradients, built on the data.

    Args:
        given: folder of the run, or name of the method.
        train: the data of the run, or the data to build the method on.
        place: the key of the setting, for error messages.

    Raises:
        InputError: `given` is neither of the two, is a method that needs training, or is a run that
            was trained on other data.
    """
    if given in names():
        built = recipe(given)().build(train)
        if isinstance(built, Network):
            raise InputError(
                f"'{given}' has to be trained, and a blend trains nothing",
                place=place,
                remedy="run it first, and give the folder of its run",
            )
        return built
    folder = Path(given).expanduser()
    if not (folder / "scorer.safetensors").exists():
        raise InputError(
            f"'{given}' is neither the folder of a finished run nor a method",
            place=place,
            remedy=suggest(given, names()) if "/" not in given else "check the path",
        )
    _check_training_data(folder, train, place)
    scorer, _ = load_scorer(folder / "scorer.safetensors")
    return scorer


def _check_training_data(folder: Path, train: Dataset, place: str) -> None:
    """Refuse a run whose users, items or training interactions are not those of `train`."""
    try:
        users, items, seen = (
            pl.read_parquet(folder / f"{name}.parquet") for name in ("users", "items", "seen")
        )
        of_run = [Vocab(users["id"], "user"), Vocab(items["id"], "item")]
        keys = np.unique(
            seen["user"].to_numpy().astype(np.int64) * train.n_items + seen["item"].to_numpy()
        )
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"the run in '{folder}' cannot be read: {first_line(error)}",
            place=place,
            remedy="the run is damaged: restore it, or run again",
        ) from None
    cause = _difference(of_run, keys, train)
    if cause is not None:
        raise InputError(
            f"the run in '{folder}' {cause}",
            place=place,
            remedy="give runs with the same [data] and [split], and without refit",
        )


def _difference(of_run: list[Vocab], keys: np.ndarray, train: Dataset) -> str | None:
    """Return how the data of a run differ from `train`; None if they do not.

    Args:
        of_run: vocabularies of the users and the items of the run.
        keys: the distinct training interactions of the run, user * n_items + item, ascending.
        train: the data to compare with.
    """
    here = (train.users, train.items)
    sizes = tuple(len(vocab.ids) for vocab in of_run)
    for vocab, own in zip(of_run, here, strict=True):
        if vocab.fingerprint == own.fingerprint:
            continue
        if sizes == (train.n_users, train.n_items):
            return f"is of other users or items ({_id_difference(vocab, own)})"
        count = f"{sizes[0]} x {sizes[1]}, here {train.n_users} x {train.n_items}"
        return f"is of other users or items ({count})"
    own_keys = np.unique(train.pairs.key)
    if np.array_equal(keys, own_keys):
        return None
    both = len(np.intersect1d(keys, own_keys, assume_unique=True))
    return f"has learned from other pairs ({len(keys)}, here {len(own_keys)}, {both} in both)"


def _id_difference(of_run: Vocab, here: Vocab) -> str:
    """Return how two vocabularies of the same size differ, with an id if one is missing here."""
    if of_run.ids.dtype != here.ids.dtype:
        return f"its {of_run.name} ids are {of_run.ids.dtype}, here {here.ids.dtype}"
    unknown = np.flatnonzero(here.rows(of_run.ids) < 0)
    if len(unknown):
        return f"its {of_run.name} {of_run.ids[int(unknown[0])]!r} is not here"
    return f"its {of_run.name}s are in another order"
