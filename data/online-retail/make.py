"""Make the built-in data set out of the raw log of UCI Online Retail.

    python data/online-retail/make.py online_retail.csv.xz [--out FOLDER]

Writes interactions.parquet, items.parquet, users.csv, features-text.parquet,
features-price.parquet and SHA256SUMS. The same raw file gives the same rows anywhere, and the same
bytes under the same versions of polars, numpy, scipy and scikit-learn. Only this script needs
scikit-learn.
README.md explains the columns.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import lzma
import os
import sys
from pathlib import Path

import numpy as np
import polars as pl

# The 541,909 rows of the workbook as published (doi 10.24432/C5BW33), as CSV, xz.
RAW_SHA256 = "2c120f1baead5e0f3017592eeac11d9befabccfd6da375b30daa126c2d99341e"
RAW_COLUMNS = [
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
]

# Every article has a stock code of five digits, some with letters after them. A row without one is
# not an article: POST, C2 and DOT (carriage), M (manual), D (discount), BANK CHARGES, CRUK (a
# commission) and PADS (given away at a price of 0).
ARTICLE = r"^\d{5}"

TEXT_DIM = 64
PRICE_BINS = 10


def main() -> None:
    """Read the command line and make the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("raw", type=Path, help="online_retail.csv.xz")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent, help="folder to write into"
    )
    given = parser.parse_args()
    try:
        packed = given.raw.read_bytes()
    except OSError as error:
        sys.exit(f"{given.raw}: cannot be read: {error.strerror}")
    if (checksum := hashlib.sha256(packed).hexdigest()) != RAW_SHA256:
        sys.exit(
            f"{given.raw}: not the file this script was written for: "
            f"SHA-256 is {checksum}, expected {RAW_SHA256}"
        )
    for path in write(tables(lzma.decompress(packed)), given.out):
        print(f"{path.stat().st_size:>9,} {path}")


def tables(raw: bytes) -> dict[str, pl.DataFrame]:
    """Return the five tables, by file name, from the text of the raw CSV."""
    log = pl.read_csv(io.BytesIO(raw), infer_schema=False)
    if log.columns != RAW_COLUMNS:
        sys.exit(f"columns are {log.columns}, expected {RAW_COLUMNS}")
    log = (
        log.with_row_index("line")
        .filter(pl.col.CustomerID.is_not_null() & pl.col.StockCode.str.contains(ARTICLE))
        .select(
            user=pl.col.CustomerID.cast(pl.Float64).cast(pl.Int32),
            item="StockCode",
            invoice="InvoiceNo",
            time=pl.col.InvoiceDate.str.to_datetime("%Y-%m-%d %H:%M:%S")
            .dt.epoch("s")
            .cast(pl.Int32),
            quantity=pl.col.Quantity.cast(pl.Int32),
            price=pl.col.UnitPrice.cast(pl.Float64),
            description="Description",
            country="Country",
            line="line",
        )
    )
    cancelled = pl.col.invoice.str.starts_with("C")
    bought = log.filter(~cancelled)
    items = articles(bought)
    return {
        "interactions.parquet": events(bought, log.filter(cancelled)),
        "items.parquet": items,
        "users.csv": customers(bought),
        "features-text.parquet": text(items),
        "features-price.parquet": price(items),
    }


def events(bought: pl.DataFrame, cancelled: pl.DataFrame) -> pl.DataFrame:
    """Return one row per customer, article and invoice, in the order of the log.

    Lines of one invoice with the same article are one event. A cancellation marks the rows of its
    customer and article; it never makes or removes one. Articles of one invoice keep the order of
    its lines.
    """
    bought = bought.sort("time", "line")
    result = bought.group_by("user", "item", "invoice").agg(
        time=pl.col.time.first(),
        line=pl.col.line.first(),
        quantity=pl.col.quantity.sum().cast(pl.Int32),
    )
    marked = cancelled.select("user", "item", cancelled=pl.lit(value=True)).unique()
    return (
        result.join(marked, on=["user", "item"], how="left")
        .with_columns(pl.col.cancelled.fill_null(value=False))
        .sort("time", "line")
        .select(
            "user",
            "item",
            "time",
            "quantity",
            "cancelled",
            kept=~pl.col.cancelled,
            InvoiceNo=pl.col.invoice.cast(pl.Int32),
        )
    )


def customers(bought: pl.DataFrame) -> pl.DataFrame:
    """Return the country of every customer: the one of the most lines, ties by alphabet.

    "Unspecified" is a missing country.
    """
    return (
        bought.group_by("user", "country")
        .len()
        .sort("len", "country", descending=[True, False])
        .unique("user", keep="first", maintain_order=True)
        .select("user", country=pl.col.country.replace("Unspecified", None))
        .sort("user")
    )


def articles(bought: pl.DataFrame) -> pl.DataFrame:
    """Description and price of every article."""
    description = (
        bought.with_columns(pl.col.description.str.replace_all(r"\s+", " ").str.strip_chars(" .,*"))
        .filter(pl.col.description.str.len_chars() > 0)
        .group_by("item", "description")
        .len()
        .sort("len", "description", descending=[True, False])
        .unique("item", keep="first", maintain_order=True)
        .select("item", "description")
    )
    paid = (
        bought.filter(pl.col.price > 0).group_by("item").agg(pl.col.price.median().cast(pl.Float32))
    )
    return (
        bought.select("item")
        .unique()
        .join(description, on="item", how="left")
        .join(paid, on="item", how="left")
        .sort("item")
    )


def text(items: pl.DataFrame) -> pl.DataFrame:
    """TF-IDF of the description's letter groups, reduced by a truncated SVD, rows of length 1.

    Groups of 3 to 5 letters inside words replace words: they match plurals and misspellings, so an
    article with rare words still shares terms with others.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from threadpoolctl import threadpool_limits

    known = items.filter(pl.col.description.is_not_null())
    groups = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), min_df=2, sublinear_tf=True)
    weights = groups.fit_transform(known["description"].to_list())
    with threadpool_limits(1):  # the order of a sum is part of the bytes
        values = TruncatedSVD(TEXT_DIM, algorithm="arpack", random_state=0).fit_transform(weights)
    values *= np.sign(values[np.abs(values).argmax(axis=0), np.arange(TEXT_DIM)])
    length = np.linalg.norm(values, axis=1)
    has_text = (
        length > 1e-6
    )  # nothing in common with any other description: the modality is missing
    return table(
        known["item"].filter(pl.Series(has_text)), values[has_text] / length[has_text, None]
    )


def price(items: pl.DataFrame) -> pl.DataFrame:
    """Return the logarithm of the price, standardised, then the decile of the price as one-hot."""
    known = items.filter(pl.col.price.is_not_null())
    log = np.log(known["price"].to_numpy().astype(np.float64))
    edges = np.quantile(log, np.arange(1, PRICE_BINS) / PRICE_BINS)
    decile = np.searchsorted(edges, log, side="right")
    return table(
        known["item"], np.column_stack([(log - log.mean()) / log.std(), np.eye(PRICE_BINS)[decile]])
    )


def table(items: pl.Series, values: np.ndarray) -> pl.DataFrame:
    """Return one row per article that has the modality, in half precision."""
    return pl.DataFrame(
        {
            "item": items,
            "values": pl.Series(
                values.astype(np.float16), dtype=pl.Array(pl.Float16, values.shape[1])
            ),
        }
    )


def write(frames: dict[str, pl.DataFrame], folder: Path) -> list[Path]:
    """Write every table and SHA256SUMS, each under a temporary name first."""
    folder.mkdir(parents=True, exist_ok=True)
    sums, paths = [], []
    for name, frame in frames.items():
        path = folder / name
        part = path.with_suffix(".tmp")
        if path.suffix == ".csv":
            frame.write_csv(part)
        else:
            frame.write_parquet(
                part,
                compression="zstd",
                compression_level=22,
                row_group_size=1 << 20,
                data_page_size=1 << 24,
            )
        sums.append(f"{hashlib.sha256(part.read_bytes()).hexdigest()}  {name}\n")
        os.replace(part, path)
        paths.append(path)
    path = folder / "SHA256SUMS"
    part = path.with_suffix(".tmp")
    part.write_text("".join(sums), encoding="utf-8")
    os.replace(part, path)
    return [*paths, path]


if __name__ == "__main__":
    main()
