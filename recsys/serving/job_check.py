"""Check a finished job: sizes and hashes of its parts, and a sample of its lists computed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.config import to_dict
from recsys.errors import InputError
from recsys.files import sha256_of
from recsys.serving.job import PartWriter, Writing, job_folder
from recsys.serving.job_folder import read_manifest
from recsys.serving.list_files import load
from recsys.serving.order import STDIN, Order, Prepared, prepare

__all__ = ["Check", "check_job"]

SAMPLE = 200  # lists that are computed again
_CLOSE = 1e-5  # share of a score below which two scores count as equal
_COLUMNS = {"item": pl.String, "rank": pl.Int64, "score": pl.Float64, "source": pl.String}


@dataclass(frozen=True)
class Check:
    """One check of a job.

    Args:
        claim: what should hold.
        holds: whether it holds.
        result: what was seen.
    """

    claim: str
    holds: bool
    result: str


def check_job(
    out: Path,
    run: str | None = None,
    *,
    sample: int = SAMPLE,
    seed: int = 0,
    note: Callable[[str], object] = lambda _: None,
) -> list[Check]:
    """Check the folder of a finished job.

    Args:
        out: the folder.
        run: folder of the run; None: that of the manifest.
        sample: lists that are computed again, drawn at random.
        seed: of the draw.
        note: as in `recsys.serving.order.prepare`.

    Raises:
        InputError: it is not the folder of a finished job, or the run cannot be read.
    """
    manifest = read_manifest(out)
    if manifest["status"] != "finished":
        raise InputError(
            "the job is not finished",
            place=str(out),
            remedy="run its command again, which goes on where it stopped",
        )
    checks = list(_of_files(out, manifest))
    order = _order(out, manifest, run)
    if order is None:
        return checks
    prepared = prepare(order, note)
    same = _same_request(out, manifest, prepared)
    checks.append(same)
    if same.holds and all(check.holds for check in checks):
        checks.append(_sampled(out, manifest, prepared, sample, seed))
    return checks


def _of_files(out: Path, manifest: Mapping[str, Any]) -> Iterator[Check]:
    """Yield a check of sizes and hashes, and one of the number of rows."""
    parts = manifest["parts"]
    damaged = []
    for part in parts:
        path = out / "lists" / Path(part["file"]).name
        if not path.is_file():
            damaged.append(f"{part['file']} is missing")
        elif path.stat().st_size != part["bytes"] or sha256_of(path) != part["sha256"]:
            damaged.append(f"{part['file']} has other bytes")
    listed = {Path(part["file"]).name for part in parts}
    present = {path.name for path in (out / "lists").glob("*")} if (out / "lists").is_dir() else ()
    damaged += [f"lists/{name} is not a part" for name in sorted(set(present) - listed)]
    result = "; ".join(damaged[:5]) or f"{len(parts)} parts"
    yield Check("every part has the size and the SHA-256 of the manifest", not damaged, result)
    rows = sum(part["rows"] for part in parts)
    yield Check("rows add up", rows == manifest["rows"], f"{rows:,} of {manifest['rows']:,}")


def _order(out: Path, manifest: Mapping[str, Any], run: str | None) -> Order | None:
    """Return the order of a job; None if it was not asked for by paths, or from standard input."""
    if "order" not in manifest:
        return None
    place = str(out / "manifest.json")
    order = Order.from_json(manifest["order"], f"{place} order")
    if order.histories == STDIN:
        return None
    return order if run is None else Order(**{**to_dict(order), "run": run})


def _same_request(out: Path, manifest: Mapping[str, Any], prepared: Prepared) -> Check:
    """Check that run, data and files are still those that decided the bytes."""
    writing = Writing(out, manifest["batch"], manifest["format"], prepared.identity)
    identity = job_folder(writing, prepared.recommender, prepared.asked).identity
    differing = [
        key
        for key, value in identity.items()
        if key != "environment" and manifest.get(key) != value
    ]
    return Check(
        "run, data, files and options are those of the manifest",
        not differing,
        f"{', '.join(differing)} differ" if differing else "equal",
    )


def _sampled(
    out: Path, manifest: Mapping[str, Any], prepared: Prepared, sample: int, seed: int
) -> Check:
    """Compute a sample of the lists again, and compare them with those of the parts."""
    asked, recommender = prepared.asked, prepared.recommender
    writing = Writing(out, manifest["batch"], manifest["format"], prepared.identity)
    folder = job_folder(writing, recommender, asked)
    writer = PartWriter(folder, recommender, asked, writing.batch)
    n = len(asked)
    chosen = np.sort(np.random.default_rng(seed).choice(n, min(sample, n), replace=False))
    differing = []
    for number in np.unique(chosen // writing.batch).tolist():
        span = writer.span(number)
        rows = chosen[(chosen >= span.start) & (chosen < span.stop)]
        some = replace(asked.take(rows), ids=asked.ids[rows])
        expected = _lists(recommender.frame(some))
        ids = pl.Series(some.ids.cast(pl.String).to_list())
        written = load(folder.path(number), folder.format)
        written = written.filter(pl.col(written.columns[0]).cast(pl.String).is_in(ids.implode()))
        actual = _lists(written)
        differing += [
            each for each in ids.unique() if not _agree(expected.get(each), actual.get(each))
        ]
    result = f"{len(chosen)} of {n:,} lists, {len(differing)} differ"
    if differing:
        result += f", such as that of {differing[0]!r}"
    return Check("lists that are computed again are those of the parts", not differing, result)


def _lists(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return the lists of recommendations by the id of who asked, as text.

    A list that was asked for several times is kept once.
    """
    if not frame.height:
        return {}
    name = frame.columns[0]
    plain = frame.select(
        pl.col(name).cast(pl.String),
        *(pl.col(column).cast(dtype) for column, dtype in _COLUMNS.items()),
    )
    once = plain.unique(subset=[name, "rank"], keep="first", maintain_order=True)
    return {key: part for (key,), part in once.partition_by(name, as_dict=True).items()}


def _agree(expected: pl.DataFrame | None, actual: pl.DataFrame | None) -> bool:
    """Return whether two lists agree, up to the rounding of scores and the order of near ties."""
    if expected is None or actual is None:
        return expected is None and actual is None
    if expected.height != actual.height or not expected["source"].equals(actual["source"]):
        return False
    scores = expected["score"].to_numpy()
    room = _CLOSE * max(1.0, float(np.abs(scores).max()))
    if np.abs(scores - actual["score"].to_numpy()).max() > room:
        return False
    swapped = (expected["item"] != actual["item"]).to_numpy()
    near = np.abs(np.diff(scores, append=scores[-1])) <= room  # the item after the last is unknown
    near[1:] |= near[:-1]
    return bool((near | ~swapped).all())
