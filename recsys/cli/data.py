"""`recsys data`: named data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys.cli.show import print_json, table
from recsys.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from recsys.data.catalog import Entry
    from recsys.data.features import Encoder

__all__ = ["app"]

app = typer.Typer(
    help="Data sets by name: list, show, fetch, stats, add; and features of items.",
    no_args_is_help=True,
)

Name = Annotated[
    str, typer.Argument(help="A name that `recsys data list` shows.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="For machines.")]


@app.command("list")
def list_(json: Json = False) -> None:
    """All data sets that are known by name."""
    from recsys.data import catalog

    rows: list[dict[str, Any]] = []
    for name in catalog.names():
        try:
            entry = catalog.entry(name)
        except InputError as error:  # one bad file of the user's must not hide the others
            rows.append({"name": name, "title": str(error), "state": "broken"})
            continue
        rows.append(_plain(entry, brief=True))
    if json:
        print_json(rows)
        return
    cells = [
        [
            row["name"],
            row["title"],
            *(_count(row.get(key)) for key in ("users", "items", "interactions")),
            row.get("licence", ""),
            _where(row),
        ]
        for row in rows
    ]
    table(
        ["name", "title", "users", "items", "interactions", "licence", "where"],
        cells,
        right=["users", "items", "interactions"],
    )


@app.command()
def show(name: Name, json: Json = False) -> None:
    """What is known of a data set: terms, origin, how it is read."""
    from recsys.data import catalog

    entry = catalog.entry(name)
    plain = _plain(entry)
    if json:
        print_json(plain)
        return
    rows = [
        [key, value if isinstance(value, str) else _count(value)]
        for key in ("title", "licence", "home", "note", "users", "items", "interactions", "folder")
        if (value := plain.get(key)) not in (None, "")
    ]
    rows.insert(2, ["may be passed on", "yes" if entry.redistribution else "no, or not clearly"])
    rows.append(["where", _where(plain)])
    rows += [
        ["file", f"{file['url']}{_bytes(file['size'])}; {_checksum(file)}"]
        for file in plain["files"]
    ]
    rows += [
        ["by hand" if number == 0 else "", f"({number + 1}) {step}"]
        for number, step in enumerate(entry.manual)
    ]
    rows.append(["read", ", ".join(f"{key} = {value!r}" for key, value in plain["read"].items())])
    rows += [["features", ", ".join(entry.features)]] if entry.features else []
    table(["", name], rows)


@app.command()
def fetch(name: Name, json: Json = False) -> None:
    """Download a data set, check it, unpack it."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from recsys.data import catalog

    entry = catalog.entry(name)
    before = catalog.state(entry)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=json or not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=None, visible=False)
        folder = catalog.ensure_local(
            entry, lambda done, total: bar.update(task, completed=done, total=total, visible=True)
        )
    plain = _plain(entry)
    if json:
        print_json({"name": name, "folder": str(folder), "before": before, "files": plain["files"]})
        return
    typer.echo(
        f"{name} is in {folder}" + ("" if before == "to fetch" else f" ({before}, nothing to do)")
    )
    typer.echo(f"licence: {entry.licence}")
    for file in plain["files"]:
        typer.echo(f"{file['name']}: {_checksum(file)}")


@app.command()
def stats(
    what: Annotated[
        str,
        typer.Argument(
            metavar="NAME|PATH", help="A name, or a file or folder.", show_default=False
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(help="How to read it, as in min_weight=4.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Users, items, interactions, times, labels, features of a data set or a file."""
    from recsys.config import override
    from recsys.data.load import load
    from recsys.data.summary import summary

    chosen = override({}, settings or [])
    if "source" in chosen:
        raise InputError(
            "source goes first, without its name",
            place="command line",
            remedy=f"recsys data stats {chosen['source']}",
        )
    found = summary(load(what, **chosen))
    if json:
        print_json(found)
        return
    rows = [
        ["users", f"{found['users']:,}" + _dead(found, "users")],
        ["items", f"{found['items']:,}" + _dead(found, "items")],
        [
            "interactions",
            f"{found['interactions']:,}"
            + "".join(
                f" + {found[part]:,} {part}"
                for part in ("valid", "test")
                if found[part] is not None
            ),
        ],
        ["density", f"{found['density']:.4%}"],
    ]
    rows += [
        [
            key.replace("_", " "),
            "  ".join(f"{share} {value:,.0f}" for share, value in found[key].items()),
        ]
        for key in ("per_user", "per_item")
    ]
    rows.append(["time", " to ".join(found["time"]) if found["time"] else "none"])
    if found["weight"]:
        rows.append(
            [
                "weight",
                "{:g} to {:g}, mean {:.3g}".format(
                    found["weight"][0], found["weight"][2], found["weight"][1]
                ),
            ]
        )
    if found["labels"] is not None:
        rows.append(["labels", f"{found['labels']:.2%} clean, {1 - found['labels']:.2%} noise"])
    if found["behaviours"]:
        rows.append(
            [
                "behaviours",
                ", ".join(f"{name} {count:,}" for name, count in found["behaviours"].items()),
            ]
        )
    for name, modality in found["features"].items():
        rows.append(
            [
                f"feature {name}",
                f"{modality['dim']} numbers, {modality['present']:.1%} of the items",
            ]
        )
    if found["titles"] is not None:
        rows.append(["titles", f"{found['titles']:.1%} of the items"])
    rows += [["" if number else "read", line] for number, line in enumerate(found["history"])]
    rows += [[f"note: {note['check']}", note["message"]] for note in found["findings"]]
    rows.append(["fingerprint", found["fingerprint"]])
    table(["", what], rows)


@app.command()
def add(
    name: Annotated[
        str,
        typer.Argument(
            help="Lower-case letters, digits, - and _; a shipped name says where that data set lies.",
            show_default=False,
        ),
    ],
    path: Annotated[
        Path | None, typer.Option(help="File or folder that is here.", show_default=False)
    ] = None,
    url: Annotated[
        list[str] | None,
        typer.Option(help="File to download; again for several.", show_default=False),
    ] = None,
    sha256: Annotated[
        list[str] | None, typer.Option(help="Checksum of each url.", show_default=False)
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            help="csv, parquet, inter, adjacency, ...; told from the file when not given.",
            show_default=False,
        ),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(help="Column of users, a name or a position from 0.", show_default=False),
    ] = None,
    item: Annotated[str | None, typer.Option(help="Column of items.", show_default=False)] = None,
    time: Annotated[str | None, typer.Option(help="Column of times.", show_default=False)] = None,
    weight: Annotated[
        str | None, typer.Option(help="Column of ratings or counts.", show_default=False)
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Column of labels, 1 clean, 0 noise.", show_default=False)
    ] = None,
    behaviour: Annotated[
        str | None, typer.Option(help="Column of behaviours.", show_default=False)
    ] = None,
    separator: Annotated[
        str | None, typer.Option(help="Between fields.", show_default=False)
    ] = None,
    header: Annotated[
        bool | None,
        typer.Option(
            "--header/--no-header",
            help="Whether the first line names the columns.",
            show_default=False,
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Any other key of [data], as in min_weight=4.", show_default=False
        ),
    ] = None,
    title: Annotated[str | None, typer.Option(help="In words.", show_default=False)] = None,
    licence: Annotated[str | None, typer.Option(help="Its terms.", show_default=False)] = None,
    home: Annotated[str | None, typer.Option(help="Its page.", show_default=False)] = None,
    note: Annotated[str | None, typer.Option(help="What to know.", show_default=False)] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Overwrite an entry of yours.")
    ] = False,
    json: Json = False,
) -> None:
    """Give a data set of yours a name, or say where one that was fetched by hand lies."""
    from recsys.config import override
    from recsys.data import catalog

    columns = {
        "user": user,
        "item": item,
        "time": time,
        "weight": weight,
        "label": label,
        "behaviour": behaviour,
    }
    read: dict[str, Any] = {
        key: int(value) if value.isdigit() else value
        for key, value in columns.items()
        if value is not None
    }
    read |= {
        key: value
        for key, value in (("format", format), ("separator", separator), ("header", header))
        if value is not None
    }
    read |= override({}, setting or [])
    about = {"title": title, "licence": licence, "home": home, "note": note}
    written = catalog.add(
        name,
        path=path,
        urls=url or [],
        sha256=sha256 or [],
        read=read,
        about=about,
        replace=replace,
    )
    if json:
        print_json({"name": name, "entry": str(written)})
    else:
        typer.echo(f"{name} is known now ({written}); `recsys data stats {name}` reads it")


@app.command()
def features(
    source: Annotated[
        str,
        typer.Argument(
            metavar="NAME|PATH",
            help="A table with a row per item, Parquet or .csv, or a name that has one.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The modality, a .parquet file.", show_default=False)],
    item: Annotated[
        str | None,
        typer.Option(
            help="Column of the ids; told from the usual names when not given.", show_default=False
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMNS",
            help="Vectors of these texts, as in title,description.",
            show_default=False,
        ),
    ] = None,
    dim: Annotated[
        int | None,
        typer.Option(
            help="Numbers in a vector of a text; 128 where not given.", min=1, show_default=False
        ),
    ] = None,
    words: Annotated[
        bool,
        typer.Option("--words", help="Words and pairs of words as terms, not groups of letters."),
    ] = False,
    encoder: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a sentence encoder that makes the vectors instead.", show_default=False
        ),
    ] = None,
    numeric: Annotated[
        str | None,
        typer.Option(metavar="COLUMNS", help="Numbers, standardised.", show_default=False),
    ] = None,
    log: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMNS",
            help="Numbers above 0: their logarithm, standardised.",
            show_default=False,
        ),
    ] = None,
    categorical: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMNS", help="Kinds, a number 0 or 1 for each.", show_default=False
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder with an image per item, called after its id.", show_default=False
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="What makes vectors of images, as timm calls it.", show_default=False),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Its weights, .safetensors; none are downloaded.", show_default=False),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(
            help="A modality made by this command: encode other items exactly as its own were.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Make one modality of items: of their texts, of columns, or of images; or encode other items like one."""
    from recsys.data.catalog import item_table
    from recsys.data.features import read_encoder, write_features

    named: dict[str, Any] = {"item": item, "dim": dim, "words": words, "backbone": backbone}
    named |= {
        name: _names(given)
        for name, given in (
            ("text", text),
            ("numeric", numeric),
            ("log", log),
            ("categorical", categorical),
        )
    }
    named |= {
        name: str(path.resolve())
        for name, path in (("encoder", encoder), ("images", images), ("weights", weights))
        if path
    }
    asked = {name: given for name, given in named.items() if given}
    kept = None if like is None else read_encoder(like)
    if kept is None:
        _require_one_kind(asked)
        asked = ({"dim": 128} if text and not encoder else {}) | asked
    else:
        asked = _as_before(kept, asked)
        if like is not None and out.resolve() == like.resolve():
            raise InputError(
                "--out is the table of --like", place="command line", remedy="choose another --out"
            )
    frame, ids = item_table(source, asked.get("item"))
    vectors, present, made = _vectors(frame, ids, source, asked, kept)
    written = write_features(out, ids, vectors, present, made, keep=kept is None)
    if json:
        print_json(
            {
                "file": str(written),
                "dim": vectors.shape[1],
                "items": len(ids),
                "present": int(present.sum()),
            }
        )
        return
    typer.echo(f"{written}: {vectors.shape[1]} numbers for {present.sum():,} of {len(ids):,} items")
    if like is None:
        typer.echo(f'to use it, write in [data]: features = {{ {out.stem} = "{written}" }}')


def _require_one_kind(asked: dict[str, Any]) -> None:
    """Refuse options that are not of one modality."""
    columns = any(name in asked for name in ("numeric", "log", "categorical"))
    kinds = [
        kind
        for kind, given in (
            ("--text", "text" in asked),
            ("columns", columns),
            ("--images", "images" in asked),
        )
        if given
    ]
    if len(kinds) != 1:
        cause = (
            "nothing is asked for"
            if not kinds
            else f"{' and '.join(kinds)} are modalities of their own"
        )
        remedy = "give --text, or --numeric, --log and --categorical, or --images: a file for each modality; or --like one that was made"
        raise InputError(cause, place="command line", remedy=remedy)
    if kinds == ["--images"] and not {"backbone", "weights"} <= set(asked):
        raise InputError(
            "--images needs a network",
            place="command line",
            remedy="give --backbone NAME and --weights FILE.safetensors",
        )
    strays: list[str] = [
        name for name in ("encoder", "words", "dim") if name in asked and kinds != ["--text"]
    ]
    strays += [name for name in ("backbone", "weights") if name in asked and kinds != ["--images"]]
    strays += [name for name in ("words", "dim") if name in asked and "encoder" in asked]
    if strays:
        raise InputError(
            f"--{strays[0]} does not go with the rest", place="command line", remedy="leave it out"
        )


def _as_before(kept: Encoder, asked: dict[str, Any]) -> dict[str, Any]:
    """The options of an encoder; only where things lie may be said anew."""
    from recsys.data.features import PATH_OPTIONS

    for name, given in asked.items():
        before = kept.options.get(name)
        if given != before and not (name in PATH_OPTIONS and (before or name == "item")):
            said = (
                f"it had {','.join(before) if isinstance(before, list) else before}"
                if before
                else "it had none"
            )
            raise InputError(
                f"--{name} differs from that of --like: {said}",
                place="command line",
                remedy="leave it out",
            )
    return {**kept.options, **asked}


def _vectors(
    frame: pl.DataFrame, ids: pl.Series, source: str, asked: dict[str, Any], kept: Encoder | None
) -> tuple[np.ndarray, np.ndarray, Encoder]:
    """Vectors of items, which have one, and what made them: `kept`, or what is fitted to them now."""
    from recsys.data.features import (
        ColumnVectorizer,
        Encoder,
        TextVectorizer,
        fit_columns,
        fit_texts,
        joined_texts,
        sha256_of_files,
    )

    network = asked.get("encoder") or asked.get("weights")
    texts = joined_texts(frame, asked["text"], source) if "text" in asked else []
    if network:
        from recsys.nn.pretrained import image_vectors, images_of, sentence_vectors

        if "text" in asked:
            vectors, present = sentence_vectors(texts, network)
        else:
            vectors, present = image_vectors(
                images_of(asked["images"], ids.to_list()), asked["backbone"], network
            )
        made = Encoder(asked, {"sha256": sha256_of_files(network)})
        if kept is not None and made.id != kept.id:
            raise InputError(
                "is not what made the vectors of --like",
                place=network,
                remedy="say where that is: --encoder, or --weights",
            )
    elif "text" in asked:
        if kept is not None:
            return *TextVectorizer.of(kept).vectors(texts), kept
        fitted_texts, vectors, present = fit_texts(
            texts, asked["dim"], words=asked.get("words", False)
        )
        made = fitted_texts.encoder(asked)
    else:
        columns = [asked.get(name, []) for name in ("numeric", "log", "categorical")]
        fitted = (
            fit_columns(frame, *columns, place=source)
            if kept is None
            else ColumnVectorizer.of(kept)
        )
        vectors, present = fitted.vectors(frame, source)
        made = kept or fitted.encoder(asked)
    return vectors, present, made


def _names(given: str | None) -> list[str]:
    """The names in a list with commas."""
    return [name.strip() for name in given.split(",") if name.strip()] if given else []


def _plain(entry: Entry, *, brief: bool = False) -> dict[str, Any]:
    """An entry as plain values, with where it is and which checksum its files have."""
    from recsys.config import to_dict
    from recsys.data import catalog

    plain = {**to_dict(entry), "state": catalog.state(entry), "size": entry.size}
    if brief:
        keys = (
            "name",
            "title",
            "users",
            "items",
            "interactions",
            "licence",
            "redistribution",
            "state",
            "size",
        )
        return {key: plain.get(key) for key in keys}
    trusted = catalog.checksums(entry.name) if entry.files else {}
    plain["files"] = [
        {
            "name": file.name,
            "url": file.url,
            "size": file.size,
            "sha256": file.sha256,
            "recorded": trusted.get(file.name),
        }
        for file in entry.files
    ]
    defaults = to_dict(type(entry.read)())
    plain["read"] = {
        key: value for key, value in plain["read"].items() if defaults.get(key) != value
    }
    return plain


def _checksum(file: dict[str, Any]) -> str:
    if file["sha256"]:
        return f"SHA-256 {file['sha256']}, published, checked at download"
    if file["recorded"]:
        return f"SHA-256 {file['recorded']}, none known before: recorded at the first download here, compared at every later one"
    return "no checksum known: what comes first is trusted, its SHA-256 recorded and compared from then on"


def _where(row: dict[str, Any]) -> str:
    return row["state"] + (_bytes(row.get("size")) if row["state"] == "to fetch" else "")


def _bytes(size: int | None) -> str:
    return "" if size is None else f", {size / 1e6:,.1f} MB"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _dead(found: dict[str, Any], which: str) -> str:
    dead = found[which] - found[f"{which}_that_occur"]
    return f" ({dead:,} of them never occur)" if dead else ""
