"""Settings: the same checks from Python and from a file, and TOML that comes back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.config import (
    Bound,
    build,
    describe,
    difference,
    from_toml,
    override,
    read_toml,
    schema,
    settings,
    to_dict,
    to_toml,
)
from recsys.errors import InputError, suggest


@settings
class Inner:
    """What is inside."""

    kind: Literal["a", "b"] = "a"
    margin: float = 1.0


@settings
class Outer:
    """What is outside."""

    name: str
    dim: Annotated[int, Bound(ge=1)] = 64
    lr: Annotated[float, Bound(gt=0)] = 1e-3
    patience: Annotated[int, Bound(ge=1)] | None = 10
    clip: float | None = None
    on: bool = False
    cutoffs: tuple[int, ...] = (5, 20)
    inner: Inner = Inner()


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(
    texts,
    st.integers(1, 2**62),
    st.floats(1e-300, 1e300),
    st.none() | st.integers(1, 99),
    st.none() | numbers,
    st.booleans(),
    st.lists(st.integers(-(2**62), 2**62), max_size=4),
    st.sampled_from("ab"),
    numbers,
)
def test_settings_come_back_from_toml(name, dim, lr, patience, clip, on, cutoffs, kind, margin):
    value = Outer(
        name=name,
        dim=dim,
        lr=lr,
        patience=patience,
        clip=clip,
        on=on,
        cutoffs=tuple(cutoffs),
        inner=Inner(kind=kind, margin=margin),
    )
    assert build(Outer, from_toml(to_toml(to_dict(value)))) == value
    assert build(Outer, json.loads(json.dumps(to_dict(value)))) == value


tables = st.dictionaries(
    texts,
    st.one_of(
        st.booleans(),
        st.integers(-(2**62), 2**62),
        st.floats(allow_nan=False),
        texts,
        st.lists(texts, max_size=3),
        st.dictionaries(texts, numbers | texts, max_size=3),
    ),
    max_size=4,
)


@given(st.dictionaries(texts, st.one_of(texts, numbers, tables), max_size=4))
def test_any_tree_comes_back_from_toml(tree):
    assert from_toml(to_toml(tree)) == tree


def test_an_unset_key_comes_back_as_unset():
    """TOML has no null: without a word for it, such a key would come back with its default."""
    plain = to_dict(Outer(name="x", patience=None))
    assert plain["patience"] == "none"
    assert "clip" not in plain
    assert build(Outer, {"name": "x", "patience": "none"}).patience is None
    assert build(Outer, {"name": "none"}).name == "none"
    with pytest.raises(InputError, match="clip"):
        build(Outer, {"name": "x", "clip": "none"})
    with pytest.raises(InputError, match="dim"):
        build(Outer, {"name": "x", "dim": "none"})


@settings
class Deep:
    """What is inside, with a number that may be none."""

    kind: Literal["a", "b"] = "a"
    margin: float = 1.0
    cut: float | None = None


@settings
class Shifted:
    """A table within, whose defaults are not those of its class."""

    inner: Deep = Deep(kind="b", margin=0.7, cut=0.5)
    other: Deep = Deep()


def test_a_table_within_keeps_the_defaults_it_has_there():
    assert build(Shifted, {"inner": {}}) == Shifted()
    assert build(Shifted, {"inner": {"margin": 2.0}}).inner == Deep(kind="b", margin=2.0, cut=0.5)
    assert build(Shifted, {"other": {"margin": 2.0}}).other == Deep(margin=2.0)
    assert build(Deep, {"margin": 3.0}, base=Deep(kind="b")) == Deep(kind="b", margin=3.0)
    unset = Shifted(inner=Deep(kind="b", cut=None))
    assert to_dict(unset)["inner"]["cut"] == "none", (
        "its default there is a number, so it takes a word"
    )
    assert "cut" not in to_dict(unset)["other"]
    for value in (unset, Shifted(), Shifted(inner=Deep(), other=Deep(kind="b", cut=0.1))):
        assert build(Shifted, from_toml(to_toml(to_dict(value)))) == value
    with pytest.raises(InputError, match="cut"):
        build(Shifted, {"other": {"cut": "none"}})


def test_numpy_numbers_are_written_as_numbers():
    value = Outer(name="x", lr=np.float64(0.25))
    assert build(Outer, from_toml(to_toml(to_dict(value)))) == value


def message(action) -> str:
    with pytest.raises(InputError) as caught:
        action()
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"name": "x", "dmi": 3},
            ["unknown key 'dmi'", "did you mean 'dim'?", "known: clip, cutoffs, dim"],
        ),
        (
            {"name": "x", "embedding_size": 3},
            ["unknown key 'embedding_size'", "did you mean 'dim'?"],
        ),
        ({"name": "x", "learning-rate": 3}, ["did you mean 'lr'?"]),
        ({"name": "x", "zzzzzz": 3}, ["unknown key 'zzzzzz'", "known: "]),
        ({}, ["key 'name' is missing"]),
        ({"name": "x", "dim": 0}, ["dim must be at least 1, got 0"]),
        ({"name": "x", "dim": 2.5}, ["dim must be an integer, got 2.5"]),
        ({"name": "x", "dim": "64"}, ["dim must be an integer, got '64'", "without quotes"]),
        ({"name": "x", "dim": True}, ["dim must be an integer, got True"]),
        ({"name": "x", "lr": -1.0}, ["lr must be above 0, got -1.0"]),
        ({"name": "x", "lr": float("nan")}, ["lr must be a finite number, got nan"]),
        ({"name": "x", "lr": [0.1]}, ["lr must be a number, got (0.1,)"]),
        ({"name": "x", "patience": 0}, ["patience must be at least 1, got 0"]),
        ({"name": "x", "on": 1}, ["on must be true or false, got 1"]),
        ({"name": "x", "cutoffs": 5}, ["cutoffs must be a list, got 5"]),
        ({"name": "x", "cutoffs": [5, "x"]}, ["cutoffs must be an integer, got 'x'"]),
        ({"name": 5}, ["name must be text", "got 5"]),
        (
            {"name": "x", "inner": 3},
            ["inner must be a table, got 3", "write inner = { key = value }"],
        ),
        ({"name": "x", "inner": {"kind": "c"}}, ["inner", "kind must be 'a' or 'b', got 'c'"]),
        (
            {"name": "x", "inner": {"margn": 1.0}},
            ["inner", "unknown key 'margn'", "did you mean 'margin'?"],
        ),
    ],
)
def test_a_mistake_is_one_line_with_its_place(values, said):
    line = message(lambda: build(Outer, values, "cml.toml: [model]"))
    assert line.startswith("cml.toml: [model]")
    assert "\n" not in line
    assert all(part in line for part in said)
    if not isinstance(values.get("inner"), dict):
        assert all(
            part in message(lambda: Outer(**values)) for part in said
        )  # the same from Python


def test_several_mistakes_are_counted():
    assert "(and 2 more)" in message(lambda: Outer(name="x", dim=0, lr=0.0, on=3))


def test_settings_are_named_frozen_and_comparable():
    value = Outer(name="x")
    assert "by name" in message(lambda: Outer("x"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.dim = 3
    assert hash(value) == hash(Outer(name="x"))
    assert value == Outer(name="x") != Outer(name="y")
    assert dataclasses.replace(value, dim=3).dim == 3
    with pytest.raises(InputError):
        dataclasses.replace(value, dim=0)
    assert build(Outer, {"name": "x", "lr": 1}).lr == 1.0  # TOML writes 1 for 1.0
    assert build(Outer, {"name": "x", "cutoffs": [1]}).cutoffs == (1,)


def test_overrides():
    tree = {"model": {"dim": 3}, "train": {}}
    got = override(
        tree,
        [
            "model.dim=4",
            "model.name=cml",
            "train.lr=1e-4",
            'new.deep.key="x=y"',
            "train.on=true",
            "model.cutoffs=[1, 2]",
            "model.text=a=b",
        ],
    )
    assert got == {
        "model": {"dim": 4, "name": "cml", "cutoffs": [1, 2], "text": "a=b"},
        "train": {"lr": 1e-4, "on": True},
        "new": {"deep": {"key": "x=y"}},
    }
    assert tree == {"model": {"dim": 3}, "train": {}}
    assert "is not an assignment" in message(lambda: override(tree, ["model.dim"]))
    assert "is not an assignment" in message(lambda: override(tree, ["=3"]))
    assert "'dim' in 'model.dim.x' is a value" in message(lambda: override(tree, ["model.dim.x=3"]))


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "mf.toml").write_text("[model]\nname = 'mf'\n")
    assert read_toml(tmp_path / "mf.toml") == {"model": {"name": "mf"}}
    assert "did you mean" in message(lambda: read_toml(tmp_path / "fm.toml"))
    assert "no such file" in message(lambda: read_toml(tmp_path / "nowhere" / "mf.toml"))
    (tmp_path / "bad.toml").write_text("[model]\nname = mf\n")
    line = message(lambda: read_toml(tmp_path / "bad.toml"))
    assert "not valid TOML" in line
    assert "line 2" in line
    assert "bad.toml" in line
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    assert "not valid TOML" in message(lambda: read_toml(tmp_path / "bytes.toml"))
    assert "cannot be read" in message(lambda: read_toml(tmp_path))


def test_a_path_is_written_as_text():
    assert from_toml(to_toml({"path": Path("C:\\data\\é.csv")})) == {"path": "C:\\data\\é.csv"}


def test_the_schema_tells_bounds_and_refuses_other_keys():
    told = schema(Outer)
    assert told["properties"]["dim"]["minimum"] == 1
    assert told["required"] == ["name"]
    assert told["additionalProperties"] is False


def test_suggestions():
    assert suggest("Dimm", ["dim", "lr"]) == "did you mean 'dim'? known: dim, lr"
    assert suggest("bpr", ["mf"], {"bpr": "mf"}) == "did you mean 'mf'? known: mf"
    assert suggest("bpr", ["dim"], {"bpr": "mf"}) == "known: dim"
    assert suggest("x", []) == "there is nothing to choose from"


def test_an_error_puts_the_outer_place_first():
    error = InputError("is wrong", place="[model] dim", remedy="correct it").at("cml.toml")
    assert str(error) == "cml.toml: [model] dim: is wrong; correct it"
    assert str(InputError("is wrong")) == "is wrong"


def test_nested_settings_are_described_with_the_defaults_of_their_place():
    from recsys.models.dpcml import DPCML

    rows = {name: (kind, default, meaning) for name, kind, default, meaning in describe(DPCML)}
    assert rows["loss.reduce"][:2] == (
        "each | hardest | top | warp | one-of-top | fitting | soft | resampled",
        '"hardest"',
    )
    assert rows["loss.share"][:2] == ("float | none", "none")
    assert rows["sampler.negatives"][:2] == ("int", "10")
    assert rows["user_space"][0] == "free | ball | sphere"
    assert list(rows).index("sampler") == list(rows).index("loss.correct") + 1
    assert all(
        meaning
        for name, (kind, _, meaning) in rows.items()
        if name not in ("loss", "sampler", "diversity")
    )


def test_the_first_difference_is_named() -> None:
    before = {"a": 1, "b": {"c": (1, 2), "d": {"x": "y"}}}
    assert difference(before, dict(before)) == ""
    assert (
        difference(before, {"a": 1, "b": {"c": (1, 2), "d": {"x": 'z"'}}})
        == r': b.d.x was "y", and is "z\"" now'
    )
    assert (
        difference(before, {"a": 1, "b": {"c": (1, 3), "d": {}}})
        == ": b.c was [1, 2], and is [1, 3] now"
    )
    assert (
        difference(before, {"a": 1, "b": {"c": (1, 2), "d": {}}})
        == ': b.d.x was "y", and is not set now'
    )
    assert difference({}, {"e": True}) == ": e was not set, and is true now"
    assert difference({"e": {"f": 1}}, {"e": "none"}) == ': e was { f = 1 }, and is "none" now'


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"metrics": "ndcg@5"},
            """metrics must be a list, got 'ndcg@5'; write metrics = ["ndcg@5"]""",
        ),
        ({"metrics": [1, 2]}, "(and 1 more)"),
    ],
)
def test_what_should_be_a_list_is_said_to_be_one(values: dict[str, Any], said: str) -> None:
    from recsys.evaluation.evaluator import Evaluation

    with pytest.raises(InputError) as caught:
        build(Evaluation, values, "[evaluate]")
    assert said in str(caught.value)


@settings
class Row:
    """A row of a list of tables."""

    name: str
    size: int = 1


@settings
class Rows:
    """A list of tables, as JSON has them."""

    rows: tuple[Row, ...] = ()


def test_a_list_of_tables_becomes_a_tuple_of_settings_and_back():
    rows = Rows(rows=(Row(name="a"), Row(name="b", size=2)))
    assert build(Rows, {"rows": [{"name": "a"}, {"name": "b", "size": 2}]}) == rows
    assert build(Rows, json.loads(json.dumps(to_dict(rows)))) == rows
    line = message(
        lambda: build(Rows, {"rows": [{"name": "a"}, {"name": "b", "sise": 2}]}, "x.json")
    )
    assert line == "x.json rows[1]: unknown key 'sise'; did you mean 'size'? known: name, size"
    assert "rows" in message(lambda: build(Rows, {"rows": [3]}))
