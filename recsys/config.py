"""TOML to frozen, typed values and back, strictly.

A settings class is declared once, with types, bounds and defaults:

    @settings
    class Train:
        \"\"\"How to train.\"\"\"
        lr: Annotated[float, Bound(gt=0)] = 1e-3

Constructing one from Python and reading one from a file run the same checks, and both answer a mistake with an
`InputError` that names the place and suggests the word that was meant.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import json
import math
import re
import textwrap
import tomllib
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, time
from pathlib import Path
from typing import Any, Literal, TypeVar, dataclass_transform

import pydantic
from pydantic import Field as Bound
from pydantic.dataclasses import dataclass as pydantic_dataclass

from recsys.errors import InputError, suggest

__all__ = [
    "ALIASES",
    "Bound",
    "build",
    "defaults",
    "describe",
    "difference",
    "from_toml",
    "override",
    "read_toml",
    "schema",
    "settings",
    "to_dict",
    "to_toml",
]

T = TypeVar("T")

# Words that users of other libraries type, and ours for the same thing.
ALIASES: Mapping[str, str] = {
    "learning_rate": "lr",
    "embedding_size": "dim",
    "embedding_dim": "dim",
    "embed_dim": "dim",
    "emb_size": "dim",
    "factors": "dim",
    "n_factors": "dim",
    "num_factors": "dim",
    "latent_dim": "dim",
    "n_layers": "layers",
    "num_layers": "layers",
    "train_batch_size": "batch_size",
    "batch": "batch_size",
    "bs": "batch_size",
    "eval_batch_size": "block",
    "n_epochs": "epochs",
    "num_epochs": "epochs",
    "max_epochs": "epochs",
    "stopping_step": "patience",
    "early_stopping": "patience",
    "min_epoch": "min_epochs",
    "minimum_epochs": "min_epochs",
    "start_from_epoch": "min_epochs",
    "eval_step": "eval_every",
    "num_negatives": "negatives",
    "n_neg": "negatives",
    "num_neg": "negatives",
    "train_neg_sample_args": "sampler",
    "reg": "l2",
    "reg_weight": "l2",
    "regularization": "l2",
    "regularisation": "l2",
    "lambda": "l2",
    "topk": "cutoffs",
    "k_list": "cutoffs",
    "valid_metric": "monitor",
    "random_state": "seed",
    "dataset": "source",
    "neighbors": "k",
    "neighbours": "k",
    "n_neighbors": "k",
    "evaluation": "evaluate",
    "eval": "evaluate",
    "training": "train",
    "trainer": "train",
    "user_id": "user",
    "item_id": "item",
    "timestamp": "time",
    "rating": "weight",
}


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field, Bound)
)
def settings(cls: type[T]) -> type[T]:
    """Turn a class into a frozen, keyword-only dataclass whose values are checked on construction.

    Raises (on construction):
        InputError: an unknown key, a wrong type, a value out of bounds or a missing key.
    """
    checked: Any = pydantic_dataclass(
        frozen=True,
        kw_only=True,
        config=pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False),
    )(cls)
    construct = checked.__init__

    def __init__(self: Any, *args: Any, **values: Any) -> None:
        if args:
            raise InputError(
                f"{cls.__name__} takes its settings by name",
                remedy=f"write {cls.__name__}(key=value)",
            )
        for key, value in values.items():
            if isinstance(value, int) and not -(2**63) <= value < 2**63:
                raise InputError(
                    f"{key} = {_short(value)}: a whole number has at most 64 bits here, as in TOML",
                    remedy="correct the value",
                )
        try:
            construct(self, **{key: _tuples(value) for key, value in values.items()})
        except pydantic.ValidationError as error:
            raise _first(error, checked) from None

    checked.__init__ = __init__
    checked.__settings__ = True
    return typing.cast(type[T], checked)


def build(cls: type[T], values: Mapping[str, Any], place: str = "", base: T | None = None) -> T:
    """Build a settings class, nested ones too, from plain values such as TOML gives.

    A key that is not given keeps its default; in a nested table that is the default it has there: `[model.loss]` of CML with nothing but a margin
    is the loss of CML with that margin.

    Args:
        cls: a class made by `settings`.
        values: plain numbers, strings, lists and tables.
        place: what to call this table in an error, as in `cml.toml: [model]`.
        base: where keys that are not given come from; None: from the class.

    Raises:
        InputError: as `settings`, with the place.
    """
    hints, optional, usual = (
        _hints(typing.cast(Any, cls)),
        _unset(typing.cast(Any, cls), base),
        defaults(cls, base),
    )
    converted: dict[str, Any] = {} if base is None else dict(usual)
    for key, value in values.items():
        inner, each = _settings_class(hints.get(key)), _settings_class_of_values(hints.get(key))
        if value == "none" and key in optional:
            converted[key] = None
        elif inner is not None and isinstance(value, Mapping):
            default = usual.get(key)
            converted[key] = build(
                inner,
                value,
                f"{place} {key}".strip(),
                default if isinstance(default, inner) else None,
            )
        elif each is not None and isinstance(value, Mapping):
            where = f"{place} {key}".strip()
            for name, item in value.items():
                if not isinstance(item, Mapping):
                    listed = isinstance(item, list | tuple) and "choices" in _hints(
                        typing.cast(Any, each)
                    )
                    inside = f"choices = {_value(item)}" if listed else "key = value"
                    raise InputError(
                        f"'{name}' is a table, not a {'list' if listed else 'value'}",
                        place=where,
                        remedy=f"write {_key(name)} = {{ {inside} }}",
                    )
            converted[key] = {
                name: build(each, item, f"{where} {_key(name)}") for name, item in value.items()
            }
        else:
            converted[key] = value
    try:
        return cls(**converted)
    except InputError as error:
        raise (error.at(place) if place else error) from None


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file into plain values.

    Raises:
        InputError: the file is missing, unreadable or not TOML (with line and column).
    """
    path = Path(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        near = sorted(str(p) for p in path.parent.glob("*.toml")) if path.parent.is_dir() else []
        raise InputError(
            "no such file",
            place=str(path),
            remedy=suggest(str(path), near) if near else "check the path",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"not valid TOML: {error}", place=str(path), remedy="see https://toml.io for the syntax"
        ) from None
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}",
            place=str(path),
            remedy="check the path and its permissions",
        ) from None


def override(tree: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Apply dotted assignments such as `model.layers=3` to a copy of `tree`.

    The right side is read as TOML; what is not TOML is taken as a string, so that `model.name=cml` needs no quotes.

    Raises:
        InputError: an assignment without `=`, or one that descends into a plain value.
    """
    tree = json.loads(json.dumps(tree, default=str))
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path.strip():
            raise InputError(
                f"'{assignment}' is not an assignment",
                place="command line",
                remedy="write section.key=value",
            )
        *parents, leaf = path.strip().split(".")
        table = tree
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise InputError(
                    f"'{parent}' in '{path}' is a value, not a section",
                    place="command line",
                    remedy="drop what follows it",
                )
        table[leaf] = _literal(text.strip())
    return tree


def defaults(cls: Any, base: Any = None) -> dict[str, Any]:
    """What the fields of a settings class are where they are not given, those that have to be given left out.

    Args:
        cls: made by `settings`.
        base: another of its kind, whose values they are; None: as the class has it.
    """
    return (
        _class_defaults(cls)
        if base is None
        else {field.name: getattr(base, field.name) for field in dataclasses.fields(cls)}
    )


def to_dict(value: Any, base: Any = None) -> dict[str, Any]:
    """The plain values of a settings object, nested ones too, without the keys that are None.

    TOML has no null, so a key that is None although its default is not becomes the word "none", which `build` reads back.

    Args:
        value: of a class made by `settings`.
        base: as of `build`.
    """
    plain: dict[str, Any] = {}
    optional, usual = _unset(typing.cast(Any, type(value)), base), defaults(type(value), base)
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if item is None:
            if field.name in optional:
                plain[field.name] = "none"
            continue
        if isinstance(item, Mapping):
            plain[field.name] = {
                name: to_dict(inner) if dataclasses.is_dataclass(inner) else inner
                for name, inner in item.items()
            }
        else:
            default = usual.get(field.name)
            plain[field.name] = (
                to_dict(item, default if type(default) is type(item) else None)
                if dataclasses.is_dataclass(item)
                else item
            )
    return plain


def difference(before: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> str:
    """Which key of two trees of plain values is the first that differs, to be put after "other settings"; "" where none does."""
    for key in [*before, *(key for key in now if key not in before)]:
        one, other = before.get(key), now.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            if said := difference(one, other, f"{path}{key}."):
                return said
        elif one != other:
            words = ["not set" if value is None else _value(value) for value in (one, other)]
            return f": {path}{key} was {words[0]}, and is {words[1]} now"
    return ""


def to_toml(tree: Mapping[str, Any]) -> str:
    """Write plain values as TOML: scalars first, then one section per table, and one more for a table of tables. `from_toml` reads it back."""
    lines = [
        f"{_key(key)} = {_value(value)}"
        for key, value in tree.items()
        if not isinstance(value, Mapping)
    ]
    for key, value in tree.items():
        if isinstance(value, Mapping):
            own = {
                k: v
                for k, v in value.items()
                if isinstance(v, Mapping)
                and v
                and all(isinstance(inner, Mapping) for inner in v.values())
            }
            lines += ["", f"[{_key(key)}]"]
            lines += [f"{_key(k)} = {_value(v)}" for k, v in value.items() if k not in own]
            for k, v in own.items():
                lines += ["", f"[{_key(key)}.{_key(k)}]"]
                lines += [f"{_key(name)} = {_value(inner)}" for name, inner in v.items()]
    return "\n".join(lines).strip() + "\n"


def from_toml(text: str) -> dict[str, Any]:
    """Read TOML text into plain values."""
    return tomllib.loads(text)


def schema(cls: type) -> dict[str, Any]:
    """The JSON Schema of a settings class, for editors."""
    return pydantic.TypeAdapter(cls).json_schema()


def describe(cls: type) -> list[tuple[str, str, str, str]]:
    """Name, type, default and meaning of each setting; the meaning is the text that stands below the field.

    The settings within a setting follow it with dotted names, with the defaults they have in its place.
    """
    return list(_describe(cls, "", None))


def _describe(cls: type, prefix: str, instance: Any) -> Iterator[tuple[str, str, str, str]]:
    """The rows of one class; `instance` holds the defaults where it stands in another's field."""
    meanings, kinds = _field_texts(cls), typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        required = _required(field)
        value = (
            getattr(instance, field.name)
            if instance is not None
            else None
            if required
            else _default(field)
        )
        name = prefix + field.name
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield name, type(value).__name__, "", meanings.get(field.name, "")
            yield from _describe(type(value), f"{name}.", value)
            continue
        yield (
            name,
            _type_text(kinds[field.name]),
            "required" if required else "none" if value is None else _value(value),
            meanings.get(field.name, ""),
        )


def _default(field: dataclasses.Field[Any]) -> Any:
    value = (
        field.default
        if field.default is not dataclasses.MISSING
        else typing.cast(Any, field.default_factory)()
    )
    return getattr(
        value, "default", value
    )  # pydantic keeps the default of a bounded field inside its own marker


def _type_text(kind: Any) -> str:
    """What may stand there, in the words of TOML: choices by their names."""
    options = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        return " | ".join(str(option) for option in options)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return " | ".join(
            "none" if option is type(None) else _type_text(option) for option in options
        )
    return str(getattr(kind, "__name__", kind)) if not options else str(kind).replace("typing.", "")


def _field_texts(cls: type) -> dict[str, str]:
    """What is said of each field: the text literal below it, or its entry under `Args:` in the docstring of the class."""
    texts: dict[str, str] = {}
    names: list[str] = []
    for line in inspect.cleandoc(cls.__doc__ or "").partition("Args:")[2].splitlines():
        entry = re.match(r"    (\w+(?:, \w+)*): (.*)", line)
        if entry:
            names = entry[1].split(", ")
            texts |= dict.fromkeys(names, entry[2].strip())
        elif line.startswith("        "):
            texts |= {name: f"{texts[name]} {line.strip()}" for name in names}
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    for field, below in itertools.pairwise(body.body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            texts[field.target.id] = " ".join(str(below.value.value).split())
    return texts


def _first(error: pydantic.ValidationError, cls: type) -> InputError:
    """The first complaint of pydantic in our words."""
    details = error.errors(include_url=False)
    detail = details[0]
    key = ".".join(str(part) for part in detail["loc"])
    # A value that is none of several types has a complaint for each.
    wrong = len(
        {
            (each["loc"][:1], *(part for part in each["loc"] if isinstance(part, int)))
            for each in details
        }
    )
    more = f" (and {wrong - 1} more)" if wrong > 1 else ""
    known = [field.name for field in dataclasses.fields(cls)]
    if detail["type"] == "unexpected_keyword_argument":
        return InputError(f"unknown key '{key}'{more}", remedy=suggest(key, known, ALIASES))
    if detail["type"] == "missing" and len(detail["loc"]) > 1:
        return InputError(
            f"{detail['loc'][0]} = {_short(detail['input'])}: a value is missing{more}",
            remedy="give as many as the default has",
        )
    if detail["type"] == "missing":
        return InputError(f"key '{key}' is missing{more}", remedy=f"give it a value: {key} = ...")
    said = detail["msg"].removeprefix("Value error, ")
    said = said[0].lower() + said[1:]
    if detail["type"] == "value_error":  # a rule of ours over several keys
        return InputError(said + more, place=key or None)
    if detail["type"].startswith("dataclass"):
        return InputError(
            f"{key} = {_short(detail['input'])}: a table is wanted, not a value{more}",
            remedy=f"write {key} = {{ key = value }}",
        )
    root = str(detail["loc"][0]) if detail["loc"] else key
    if isinstance(detail["input"], float) and not math.isfinite(detail["input"]):
        said = "input should be a finite number"  # the first of several types may have complained of something else
    if (
        detail["type"] == "tuple_type"
        and len(details) == 1
        and not isinstance(detail["input"], Mapping)
    ):
        return InputError(
            f"{root} = {_short(detail['input'])}: a list is wanted{more}",
            remedy=f"write {root} = [{_value(detail['input'])}]",
        )
    return InputError(
        f"{root} = {_short(detail['input'])}: {said}{more}", remedy="correct the value"
    )


def _settings_class(hint: Any) -> type | None:
    options = (
        typing.get_args(hint)
        if typing.get_origin(hint) in (typing.Union, types.UnionType)
        else (hint,)
    )
    for option in options:
        if getattr(option, "__settings__", False):
            return typing.cast(type, option)
    return None


def _settings_class_of_values(hint: Any) -> type | None:
    """The settings class of the values of a table whose keys are free, `dict[str, Class]`."""
    return _settings_class(typing.get_args(hint)[1]) if typing.get_origin(hint) is dict else None


def _unset(cls: Any, base: Any) -> set[str]:
    """Keys that may be None but are not by default: only these need a word for it."""
    return {
        name
        for name, value in defaults(cls, base).items()
        if value is not None and types.NoneType in typing.get_args(_hints(cls)[name])
    }


@functools.cache
def _class_defaults(cls: Any) -> dict[str, Any]:
    return {
        field.name: _default(field) for field in dataclasses.fields(cls) if not _required(field)
    }


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    """Types of the fields of a settings class; the text of an annotation is read once."""
    return typing.get_type_hints(cls)


def _tuples(value: Any) -> Any:
    """TOML arrays arrive as lists; settings are hashable and hold tuples."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _literal(text: str) -> Any:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return (
        str(value) if isinstance(value, (date, time)) else value
    )  # settings hold dates as text, as `override` makes of those of a file


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _key(key: str) -> str:
    return (
        key if key and all(c.isascii() and (c.isalnum() or c in "_-") for c in key) else _text(key)
    )


def _text(value: str) -> str:
    """A TOML basic string: as in JSON, but no pairs of surrogates and no bare DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    writers: dict[type, Callable[[Any], str]] = {
        bool: lambda v: "true" if v else "false",
        str: _text,
        Path: lambda v: _text(str(v)),
    }
    for kind, write in writers.items():
        if isinstance(value, kind):
            return write(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    if isinstance(value, float):
        return (
            repr(value)
            if value == value and abs(value) != float("inf")
            else {"inf": "inf", "-inf": "-inf"}.get(repr(value), "nan")
        )
    return repr(value)
