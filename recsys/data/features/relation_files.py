"""Relations from files: RecBole `.kg` with `.link`, `.net`, KGAT `kg_final.txt`, and tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.config import build, settings
from recsys.data.features.tables import seen_from
from recsys.data.finding import Finding
from recsys.data.ids import match_id_type
from recsys.data.reading.text_files import require
from recsys.data.relations import Relations, Side
from recsys.data.types import Vocab
from recsys.data.unmatched import Tell
from recsys.errors import InputError, first_line

__all__ = ["RELATIONS", "RelationFile", "read_relations", "relations_of"]

# What the relations of a data set are called, and what their first entities are.
RELATIONS: Mapping[str, Side] = {"knowledge": "item", "social": "user"}
_SEPARATORS = ("\t", ",", ";", " ")
_TRIPLE = "write a line per edge: head, relation, tail; or the two users of a social edge"


@settings
class RelationFile:
    """A file of edges, and the file that links items to entities.

    Args:
        path: `head relation tail` a line, or two ends of an edge: tab, comma, semicolon or blank
            between them, with or without a header.
        link: `item entity` a line, where entities have ids of their own; none: the file with the
            same name that ends in .link, if there is one. Without it an entity whose id is that of
            an item is this item.
    """

    path: str
    link: str | None = None


def relations_of(
    where: Mapping[str, str | Mapping[str, str]],
    base: Path,
    users: Vocab,
    items: Vocab,
    tell: Tell | None = None,
) -> dict[str, Relations]:
    """Return the relations that `[data] relations` names.

    Args:
        where: a file, or the settings of `RelationFile`, by name.
        base: folder that relative paths are looked up in first; then the working folder.
        users, items: the vocabularies.
        tell: called with findings about edges that are left out.

    Raises:
        InputError: another name than those of `RELATIONS`, and errors of `read_relations`.
    """
    relations = {}
    for name, value in where.items():
        if name not in RELATIONS:
            raise InputError(
                f"'{name}' is not a valid name of relations",
                place="[data] relations",
                remedy=f"choose {' or '.join(RELATIONS)}",
            )
        tree: Mapping[str, Any] = {"path": value} if isinstance(value, str) else value
        form = build(RelationFile, tree, f"[data] relations {name}")
        path = seen_from(base, form.path)
        link = None if form.link is None else seen_from(base, form.link)
        if link is None and path.with_suffix(".link").exists() and path.suffix == ".kg":
            link = path.with_suffix(".link")
        first = RELATIONS[name]
        vocab = items if first == "item" else users
        relations[name] = read_relations(path, vocab, first, link=link, tell=tell, name=name)
    return relations


def read_relations(
    path: Path,
    vocab: Vocab,
    first: Side = "item",
    *,
    link: Path | None = None,
    tell: Tell | None = None,
    name: str = "relations",
) -> Relations:
    """Return the edges of a file.

    Edges of a social graph whose users are not in the data are left out. Duplicate edges count
    once.

    Args:
        path: of the file, see `RelationFile`.
        vocab: the items, or the users of a social graph.
        first: what the vocabulary holds.
        link: the file that links items to entities.
        tell: called with findings about edges that are left out, and about the share of linked
            items or users.
        name: of the relations, in findings.

    Raises:
        InputError: a file is missing or has other columns, or no item or user has an edge.
    """
    frame = _edges(path)
    entity = _linked(vocab, link)
    ends = [_rows(frame[side], entity) for side in ("head", "tail")]
    others = Vocab(pl.Series("entity", [], dtype=pl.String), "entity")
    dropped = 0
    if first == "user":
        kept = (ends[0] >= 0) & (ends[1] >= 0) & (ends[0] != ends[1])
        dropped = int((~kept).sum())
        frame, ends = frame.filter(pl.Series(kept)), [end[kept] for end in ends]
    else:
        unknown = pl.concat(
            [frame[side].filter(pl.Series(end < 0)) for side, end in zip(_SIDES, ends, strict=True)]
        )
        others = Vocab.of(unknown, "entity")
        for index, side in enumerate(_SIDES):
            numbers = len(vocab) + others.rows(frame[side])
            ends[index] = np.where(ends[index] < 0, numbers, ends[index])
    names = frame["relation"].unique().sort()
    code = Vocab(names).rows(frame["relation"])
    triples = np.unique(np.stack([ends[0], code, ends[1]], axis=1), axis=0)
    texts = tuple(names.to_list())
    head, relation, tail = triples.T
    relations = Relations(head, relation, tail, texts, len(vocab), others, first)
    if not relations.linked.any():
        raise InputError(
            f"no {first} of the data has an edge",
            place=str(path),
            remedy=f"write entities by the ids of the {first}s, such as {vocab.ids[0]!r}, "
            "or give a file that links them: link = ...",
        )
    if tell is not None:
        tell(_coverage(relations, name, dropped))
    return relations


_SIDES = ("head", "tail")


def _coverage(relations: Relations, name: str, dropped: int) -> Finding:
    linked = relations.linked
    message = f"{int(linked.sum()):,} of {len(linked):,} {relations.first}s have an edge"
    if dropped:
        message += f"; {dropped:,} edges to unknown users or to themselves are left out"
    few = 2 * linked.sum() < len(linked)
    return Finding(f"relations {name}", "warning" if few else "ok", int((~linked).sum()), message)


def _linked(vocab: Vocab, link: Path | None) -> pl.DataFrame:
    """Return `row` of the vocabulary for each `entity`, as text."""
    if link is None:
        ids, rows = vocab.ids.cast(pl.String), np.arange(len(vocab))
        return pl.DataFrame({"entity": ids, "row": rows})
    table = _columns(link, 2)
    given = match_id_type(table["0"], vocab.ids.dtype, str(link))
    rows = vocab.rows(given)
    known = pl.DataFrame({"entity": table["1"], "row": rows}).filter(pl.col("row") >= 0)
    return known.unique("entity", keep="first", maintain_order=True)


def _rows(ends: pl.Series, entity: pl.DataFrame) -> np.ndarray:
    """Return the row of each end in the vocabulary, -1 for other entities."""
    joined = ends.to_frame("entity").join(entity, on="entity", how="left", maintain_order="left")
    return joined["row"].fill_null(-1).to_numpy().astype(np.int64)


def _edges(path: Path) -> pl.DataFrame:
    """Return head, relation and tail of each line, as text."""
    frame = _columns(path, 3, 2)
    if frame.width == 2:
        frame = frame.with_columns(pl.lit("edge").alias("relation"))
        return frame.select(head="0", relation="relation", tail="1")
    return frame.rename({"0": "head", "1": "relation", "2": "tail"})


def _columns(path: Path, *widths: int) -> pl.DataFrame:
    """Return the columns of a file as text, called "0", "1", ...

    Raises:
        InputError: it is missing, cannot be read, or has another number of columns.
    """
    require(path)
    try:
        with path.open(encoding="utf-8") as file:
            first = file.readline()
        separator = next((each for each in _SEPARATORS if each in first.strip()), "\t")
        frame = pl.read_csv(
            path,
            separator=separator,
            has_header=False,
            infer_schema=False,
            quote_char='"' if separator in ",;" else None,
        )
    except (OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"cannot be read as edges: {first_line(error)}", place=str(path), remedy=_TRIPLE
        ) from None
    if frame.width not in widths:
        raise InputError(
            f"has {frame.width} columns, expected {' or '.join(map(str, widths))}",
            place=str(path),
            remedy=_TRIPLE,
        )
    frame = frame.rename({name: str(index) for index, name in enumerate(frame.columns)})
    head = [str(value) for value in frame.row(0)] if frame.height else []
    named = ("head", "source", "item", "user", "entity", "subject")
    if any(":" in value for value in head) or (head and head[0].lower().startswith(named)):
        frame = frame.slice(1)
    gaps = frame.select(pl.any_horizontal(pl.all().is_null())).to_series()
    if gaps.any():
        line = int(np.flatnonzero(gaps.to_numpy())[0]) + 1
        raise InputError("a field is empty", place=f"{path}, edge {line}", remedy=_TRIPLE)
    return frame
