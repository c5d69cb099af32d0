"""`recsys data features`: item features from texts, columns or images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys.cli.show import print_json
from recsys.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from recsys.data.features.encoder import Encoder

__all__ = ["features"]

_COMMAND_LINE = "command line"
_DIM = 128  # of a vector of a text


def _columns_option(help: str) -> Any:
    return typer.Option(metavar="COLUMNS", help=help, show_default=False)


def _path_option(help: str) -> Any:
    return typer.Option(help=help, show_default=False)


Source = Annotated[
    str,
    typer.Argument(
        metavar="NAME|PATH",
        help="A table with a row per item, Parquet or .csv, or the name of a data set with one.",
        show_default=False,
    ),
]
Out = Annotated[Path, _path_option("The modality to write, a .parquet file.")]
Item = Annotated[
    str | None,
    typer.Option(
        help="Column of the item ids; default: one of the usual names.", show_default=False
    ),
]
Text = Annotated[
    str | None, _columns_option("Make vectors of these texts, as in title,description.")
]
Dim = Annotated[
    int | None,
    typer.Option(help=f"Length of a text vector; default: {_DIM}.", min=1, show_default=False),
]
Words = Annotated[
    bool,
    typer.Option("--words", help="Use words and pairs of words as terms, not groups of letters."),
]
SentenceEncoder = Annotated[
    Path | None, _path_option("Folder of a sentence encoder, which makes the vectors instead.")
]
Numeric = Annotated[str | None, _columns_option("Numbers, which are standardised.")]
Log = Annotated[str | None, _columns_option("Numbers above 0, whose logarithms are standardised.")]
Categorical = Annotated[
    str | None, _columns_option("Categories, which become one number each, 0 or 1.")
]
Images = Annotated[Path | None, _path_option("Folder with an image per item, named by its id.")]
Backbone = Annotated[
    str | None, typer.Option(help="Name of an image network in timm.", show_default=False)
]
Weights = Annotated[
    Path | None, _path_option("Weights of the image network, .safetensors; none are downloaded.")
]
Like = Annotated[
    Path | None,
    _path_option("A modality made by this command: encode other items exactly as its own."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True)
class _Options:
    """The options that describe a modality.

    The order of the fields is that of the keys in the file of an encoder.

    Args:
        dim: length of a text vector.
        item: column of the item ids.
        words: whether terms are words and pairs of words.
        backbone: name of an image network in timm.
        text: columns of texts.
        numeric, log, categorical: columns of numbers and categories.
        encoder: folder of a sentence encoder.
        images: folder of the images.
        weights: file with the weights of the image network.
    """

    dim: int | None = None
    item: str | None = None
    words: bool = False
    backbone: str | None = None
    text: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    encoder: str | None = None
    images: str | None = None
    weights: str | None = None

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> _Options:
        """Return the options that `to_json` gave; unknown keys are ignored."""
        names = {field.name for field in dataclasses.fields(cls)}
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in plain.items()
            if name in names
        }
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Return the given options as plain values, for the file of an encoder."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value
        }

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of numbers and categories."""
        return self.numeric + self.log + self.categorical

    def given(self, *names: str) -> list[str]:
        """Return those of some options that are given."""
        return [name for name in names if getattr(self, name)]


@dataclass(frozen=True)
class _Modality:
    """The vectors of one modality.

    Args:
        vectors: one vector per item; float32 [n_items, dim].
        present: whether the item has one; bool [n_items].
        encoder: what made the vectors.
    """

    vectors: np.ndarray
    present: np.ndarray
    encoder: Encoder


def features(
    source: Source,
    out: Out,
    item: Item = None,
    text: Text = None,
    dim: Dim = None,
    words: Words = False,
    encoder: SentenceEncoder = None,
    numeric: Numeric = None,
    log: Log = None,
    categorical: Categorical = None,
    images: Images = None,
    backbone: Backbone = None,
    weights: Weights = None,
    like: Like = None,
    json: Json = False,
) -> None:
    """Make one modality of items, from their texts, columns or images.

    With --like, encode other items as an existing modality does.
    """
    from recsys.data.catalog import item_table
    from recsys.data.features import read_encoder, write_features

    options = _Options(
        item=item,
        dim=dim,
        words=words,
        backbone=backbone,
        text=_names(text),
        numeric=_names(numeric),
        log=_names(log),
        categorical=_names(categorical),
        encoder=_absolute(encoder),
        images=_absolute(images),
        weights=_absolute(weights),
    )
    kept = None if like is None else read_encoder(like)
    if kept is None:
        _require_one_kind(options)
        if text and not encoder:
            options = dataclasses.replace(options, dim=options.dim or _DIM)
    else:
        options = _options_of_kept(kept, options)
        if like is not None and out.resolve() == like.resolve():
            raise InputError(
                "--out is the table of --like", place=_COMMAND_LINE, remedy="choose another --out"
            )
    frame, ids = item_table(source, options.item)
    modality = _modality(frame, ids, source, options, kept)
    written = write_features(
        out, ids, modality.vectors, modality.present, modality.encoder, keep=kept is None
    )
    width, present = modality.vectors.shape[1], int(modality.present.sum())
    if json:
        print_json({"file": str(written), "dim": width, "items": len(ids), "present": present})
        return
    typer.echo(f"{written}: {width} numbers for {present:,} of {len(ids):,} items")
    if like is None:
        typer.echo(f'to use it, write in [data]: features = {{ {out.stem} = "{written}" }}')


def _names(text: str | None) -> tuple[str, ...]:
    """Return the names in a list with commas."""
    names = (name.strip() for name in (text or "").split(","))
    return tuple(name for name in names if name)


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.resolve())


def _require_one_kind(options: _Options) -> None:
    """Refuse options that do not describe exactly one modality."""
    given = {"--text": options.text, "columns": options.columns, "--images": options.images}
    kinds = [kind for kind, value in given.items() if value]
    if len(kinds) != 1:
        cause = "no features are requested"
        if kinds:
            cause = f"{' and '.join(kinds)} are separate modalities"
        raise InputError(
            cause,
            place=_COMMAND_LINE,
            remedy="give --text, or --numeric, --log and --categorical, or --images: a file for "
            "each modality; or --like with an existing modality",
        )
    if kinds == ["--images"] and not (options.backbone and options.weights):
        raise InputError(
            "--images needs a network",
            place=_COMMAND_LINE,
            remedy="give --backbone NAME and --weights FILE.safetensors",
        )
    strays: list[str] = []
    if kinds != ["--text"]:
        strays += options.given("encoder", "words", "dim")
    if kinds != ["--images"]:
        strays += options.given("backbone", "weights")
    if options.encoder:
        strays += options.given("words", "dim")
    if strays:
        raise InputError(
            f"--{strays[0]} does not go with the other options",
            place=_COMMAND_LINE,
            remedy="leave it out",
        )


def _options_of_kept(kept: Encoder, options: _Options) -> _Options:
    """Return the options of an encoder; only locations may differ from the time of its making."""
    from recsys.data.features import PATH_OPTIONS

    given = options.to_json()
    for name, value in given.items():
        before = kept.options.get(name)
        is_moved = name in PATH_OPTIONS and (before or name == "item")
        if value != before and not is_moved:
            shown = ",".join(before) if isinstance(before, list) else before
            raise InputError(
                f"--{name} differs from that of --like, which had {shown or 'none'}",
                place=_COMMAND_LINE,
                remedy="leave it out",
            )
    return _Options.of({**kept.options, **given})


def _modality(
    frame: pl.DataFrame, ids: pl.Series, source: str, options: _Options, kept: Encoder | None
) -> _Modality:
    """Encode items with a kept encoder, or with one that is fitted to them."""
    if options.encoder or options.weights:
        return _by_network(frame, ids, source, options, kept)
    if options.text:
        return _of_texts(frame, source, options, kept)
    return _of_columns(frame, source, options, kept)


def _by_network(
    frame: pl.DataFrame, ids: pl.Series, source: str, options: _Options, kept: Encoder | None
) -> _Modality:
    """Encode texts or images with a pretrained network."""
    from recsys.data.features import Encoder, joined_texts, sha256_of_files
    from recsys.nn.pretrained import image_vectors, images_of, sentence_vectors

    network = options.encoder or options.weights
    assert network is not None
    if options.text:
        texts = joined_texts(frame, options.text, source)
        vectors, present = sentence_vectors(texts, network)
    else:
        assert options.images is not None
        assert options.backbone is not None
        images = images_of(options.images, ids.to_list())
        vectors, present = image_vectors(images, options.backbone, network)
    plain = options.to_json() if kept is None else kept.options
    encoder = Encoder(plain, {"sha256": sha256_of_files(network)})
    if kept is not None and encoder.id != kept.id:
        raise InputError(
            "is not the network that made the vectors of --like",
            place=network,
            remedy="give the path of that network: --encoder, or --weights",
        )
    return _Modality(vectors, present, encoder)


def _of_texts(
    frame: pl.DataFrame, source: str, options: _Options, kept: Encoder | None
) -> _Modality:
    """Encode texts by their terms."""
    from recsys.data.features import TextVectorizer, fit_texts, joined_texts

    texts = joined_texts(frame, options.text, source)
    if kept is not None:
        return _Modality(*TextVectorizer.of(kept).vectors(texts), kept)
    dim = options.dim or _DIM
    fitted, vectors, present = fit_texts(texts, dim, words=options.words)
    return _Modality(vectors, present, fitted.encoder(options.to_json()))


def _of_columns(
    frame: pl.DataFrame, source: str, options: _Options, kept: Encoder | None
) -> _Modality:
    """Encode numbers and categories."""
    from recsys.data.features import ColumnVectorizer, fit_columns

    if kept is not None:
        return _Modality(*ColumnVectorizer.of(kept).vectors(frame, source), kept)
    fitted = fit_columns(frame, options.numeric, options.log, options.categorical, place=source)
    return _Modality(*fitted.vectors(frame, source), fitted.encoder(options.to_json()))
