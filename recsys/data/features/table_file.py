"""Feature tables that are written to disk, with their encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from recsys.data.features.encoder import KEY, Encoder, encoder_path
from recsys.errors import InputError
from recsys.files import write_atomic

__all__ = ["write_features"]


def write_features(
    path: str | Path,
    items: pl.Series,
    vectors: np.ndarray,
    present: np.ndarray,
    encoder: Encoder | None = None,
    *,
    keep: bool = True,
) -> Path:
    """Write a feature table as Parquet: the columns `item` and `values` of items with a vector.

    The table is written completely or not at all.

    Args:
        path: of the table.
        items: ids [n].
        vectors: [n, d], stored as float32.
        present: which items have a vector, bool [n].
        encoder: what made the vectors; the table gets its id.
        keep: whether the encoder is written next to the table, too.

    Returns:
        The path of the table.

    Raises:
        InputError: no item has a vector, the name does not end in .parquet, or a file cannot be
            written.
    """
    path = Path(path)
    if path.suffix != ".parquet":
        raise InputError(
            f"'{path.name}' does not end in .parquet",
            place="--out",
            remedy=f"call it {path.stem}.parquet",
        )
    if not present.any():
        raise InputError(
            "no item has a vector",
            place=str(path),
            remedy="name columns that describe the items",
        )
    frame = pl.DataFrame(
        {
            "item": items.filter(pl.Series(present)),
            "values": pl.Series(vectors[present], dtype=pl.Array(pl.Float32, vectors.shape[1])),
        }
    )

    def write(temporary: Path) -> None:
        """Write the table, and put the encoder in place just before the table replaces its own."""
        metadata = {KEY: encoder.id} if encoder else None
        frame.write_parquet(temporary, compression="zstd", metadata=metadata)
        if encoder and keep:
            write_atomic(encoder_path(path), encoder.save)

    write_atomic(path, write)
    return path
