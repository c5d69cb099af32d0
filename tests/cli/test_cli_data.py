"""`recsys data ...`: what it prints, and that a mistake is raised for the main command to print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from recsys.cli.data import app
from recsys.data import catalog
from recsys.data.features.encoder import encoder_of, read_encoder
from recsys.errors import InputError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RECSYS_OFFLINE", raising=False)
    return tmp_path / "home"


@pytest.fixture
def log(tmp_path) -> Path:
    path = tmp_path / "log.csv"
    path.write_text("who,what,stars,when\n1,10,5,100\n1,11,3,200\n2,10,4,300\n")
    return path


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.exception or result.output
    return result.stdout


def wrong(*arguments: str) -> InputError:
    result = CliRunner().invoke(app, list(arguments))
    assert isinstance(result.exception, InputError), result.output
    return result.exception


def test_list(home):
    text = said("list")
    rows = json.loads(said("list", "--json"))
    assert [row["name"] for row in rows] == list(catalog.names())
    for row in rows:
        assert row["name"] in text
    first = rows[0]
    assert (first["name"], first["state"], first["licence"], first["interactions"]) == (
        "online-retail",
        "built-in",
        "CC BY 4.0",
        266_226,
    )
    assert "266,226" in text
    assert "to fetch, 6.0 MB" in text
    assert not home.exists()


def test_a_broken_entry_does_not_hide_the_others(home):
    (home / "catalog").mkdir(parents=True)
    (home / "catalog" / "mine.toml").write_text("nonsense")
    rows = {row["name"]: row for row in json.loads(said("list", "--json"))}
    assert rows["mine"]["state"] == "broken"
    assert "not valid TOML" in rows["mine"]["title"]
    assert rows["gowalla"]["state"] == "to fetch"
    assert "broken" in said("list")


def test_show():
    text = said("show", "gowalla")
    assert "7244696fdeb23911319cf7b689f2e15a3c4c92549c873a5677b44e3f13cc3e62, published" in text
    assert "no published checksum" in said("show", "ml-1m")
    assert "recsys data add steam-200k --path" in said("show", "steam-200k")
    shown = json.loads(said("show", "ml-1m", "--json"))
    assert shown["read"]["separator"] == "::"
    assert shown["files"][0]["sha256"] is None
    assert json.loads(said("show", "online-retail", "--json"))["redistribution"] is True
    assert "did you mean 'gowalla'" in str(wrong("show", "gowala"))


def test_states_are_shown_in_words(log):
    said("add", "mine", "--path", str(log), "--user", "who", "--item", "what")
    lines = {line.split()[0]: line for line in said("list").splitlines() if line.strip()}
    assert lines["mine"].rstrip().endswith("user-defined")
    assert lines["steam-200k"].rstrip().endswith("manual download")
    assert "manual download" in said("show", "steam-200k")
    rows = {row["name"]: row["state"] for row in json.loads(said("list", "--json"))}
    assert (rows["mine"], rows["steam-200k"]) == ("yours", "by hand")  # as before, for programs


def test_add_fetch_stats(log, home):
    text = said(
        "add",
        "mine",
        "--url",
        log.as_uri(),
        "--user",
        "who",
        "--item",
        "what",
        "--weight",
        "stars",
        "--time",
        "when",
        "--title",
        "Mine",
    )
    assert "recsys data stats mine" in text
    assert "no published checksum" in said("show", "mine")
    text = said("fetch", "mine")
    assert str(home / "data" / "mine") in text
    assert "recorded at the first download" in text
    assert "nothing to do" in said("fetch", "mine")
    fetched = json.loads(said("fetch", "mine", "--json"))
    assert fetched["before"] == "cached"
    assert len(fetched["files"][0]["recorded"]) == 64
    numbers = json.loads(said("stats", "mine", "--json"))
    assert (numbers["users"], numbers["items"], numbers["interactions"], numbers["weight"]) == (
        2,
        2,
        3,
        [3, 4, 5],
    )
    assert json.loads(said("stats", "mine", "min_weight=4", "--json"))["interactions"] == 2
    text = said("stats", "mine")
    assert "75.0000%" in text
    assert "1970-01-01 00:01:40 to 1970-01-01 00:05:00" in text


def test_add_a_path(log):
    added = json.loads(
        said(
            "add",
            "mine",
            "--path",
            str(log),
            "--user",
            "0",
            "--item",
            "1",
            "--no-header",
            "--set",
            "weight=2",
            "--set",
            "nulls=drop",
            "--json",
        )
    )
    entry = catalog.entry("mine")
    assert Path(added["entry"]).is_file()
    assert (entry.read.user, entry.read.weight, entry.read.header, entry.read.nulls) == (
        0,
        2,
        False,
        "drop",
    )
    assert "already exists" in str(wrong("add", "mine", "--path", str(log)))
    said("add", "mine", "--path", str(log), "--replace")
    assert "did you mean 'user'" in str(wrong("add", "other", "--path", str(log), "--set", "usr=1"))


def test_stats_of_a_path_and_of_the_built_in(log, tmp_path):
    numbers = json.loads(said("stats", str(log), "user=who", "item=what", "--json"))
    assert numbers["interactions"] == 3
    text = said("stats", "online-retail")
    for needed in (
        "4,335",
        "3,659",
        "266,226",
        "97.41% clean, 2.59% noise",
        "2010-12-01 08:26:00 to 2011-12-09 12:50:00",
        "64 numbers, 100.0%",
    ):
        assert needed in text
    assert "no such file" in str(wrong("stats", str(tmp_path / "nothing.csv")))
    assert "did you mean 'min_weight'" in str(wrong("stats", "online-retail", "min_weigth=4"))


def test_features_of_the_built_in_items(tmp_path):
    out = tmp_path / "features" / "words.parquet"
    text = said(
        "features",
        "online-retail",
        "--text",
        "description",
        "--dim",
        "16",
        "--words",
        "--out",
        str(out),
    )
    assert "16 numbers for 3,6" in text
    assert f'features = {{ words = "{out}" }}' in text
    money = tmp_path / "money.parquet"
    told = json.loads(
        said("features", "online-retail", "--log", "price", "--out", str(money), "--json")
    )
    assert told == {"file": str(money), "dim": 1, "items": 3659, "present": 3659}
    found = json.loads(
        said("stats", "online-retail", f'features={{words="{out}", money="{money}"}}', "--json")
    )["features"]
    assert {name: table["dim"] for name, table in found.items()} == {
        "text": 64,
        "price": 11,
        "words": 16,
        "money": 1,
    }


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((), "no features are requested"),
        (("--text", "title", "--numeric", "price"), "separate modalities"),
        (("--text", "titel"), "did you mean 'title'"),
        (("--text", "title", "--dim", "9"), "ask for 1 or fewer"),
        (("--numeric", "title"), "'red cup' is not a number"),
        (("--numeric", "price", "--words"), "--words does not go"),
        (("--numeric", "price", "--dim", "8"), "--dim does not go"),
        (("--text", "title", "--encoder", "nowhere", "--dim", "8"), "--dim does not go"),
        (("--like", "nothing.parquet"), "no such file"),
        (("--text", "title", "--encoder", "nowhere"), "nothing is downloaded"),
        (("--images", "nowhere"), "give --backbone"),
        (
            ("--images", "nowhere", "--backbone", "resnet18", "--weights", "w.safetensors"),
            "no such folder",
        ),
        (("--text", "title", "--item", "idd"), "no column 'idd'"),
    ],
)
def test_features_that_cannot_be_made(tmp_path, arguments, match):
    items, out = tmp_path / "items.csv", tmp_path / "f.parquet"
    items.write_text("id,title,price\n1,red cup,2\n2,red lamp,3\n")
    assert match in str(wrong("features", str(items), "--out", str(out), *arguments))
    assert not out.exists()


ITEMS = (
    "1,red cup,2,a\n2,red lamp,3,b\n3,blue cups,5,a\n4,blue tea cup,1,b\n5,red tea,9,a\n6,,4,b\n"
)


@pytest.mark.parametrize(
    ("options", "differs", "says"),
    [
        (
            ("--text", "title,kind", "--dim", "3"),
            ("--dim", "2"),
            "--dim differs from that of --like, which had 3",
        ),
        (
            ("--text", "title", "--words", "--dim", "2"),
            ("--text", "kind"),
            "--text differs from that of --like, which had title",
        ),
        (
            ("--log", "price", "--numeric", "id", "--categorical", "kind"),
            ("--numeric", "price"),
            "--numeric differs from that of --like, which had id",
        ),
        (
            ("--numeric", "price"),
            ("--images", "folder"),
            "--images differs from that of --like, which had none",
        ),
    ],
)
def test_new_items_encoded_like_the_old(tmp_path, options, differs, says):
    """Two items alone get the vectors that they have among all; a new fit would give others."""
    head, rows = "id,title,price,kind\n", ITEMS.splitlines(keepends=True)
    (tmp_path / "items.csv").write_text(head + ITEMS)
    (tmp_path / "new.csv").write_text(
        (head + rows[4] + rows[1]).replace("id,", "sku,")
        if "id" not in options
        else head + rows[4] + rows[1]
    )
    old, new = tmp_path / "old.parquet", tmp_path / "new.parquet"
    said("features", str(tmp_path / "items.csv"), *options, "--out", str(old))
    item = () if "id" in options else ("--item", "sku")
    said("features", str(tmp_path / "new.csv"), "--like", str(old), "--out", str(new), *item)
    said(
        "features",
        str(tmp_path / "new.csv"),
        "--like",
        str(old),
        "--out",
        str(new),
        *item,
        *options,
    )  # the same again is no fault
    first, second = (dict(pl.read_parquet(path).iter_rows()) for path in (old, new))
    assert set(second) == {"5", "2"}
    for name, values in second.items():
        np.testing.assert_allclose(values, first[name], atol=1e-5)
    assert encoder_of(new) == encoder_of(old) is not None
    new.unlink()
    for arguments, match in (
        (differs, says),
        (("--out", str(old)), "--out is the table of --like"),
    ):
        assert match in str(
            wrong(
                "features",
                str(tmp_path / "new.csv"),
                "--out",
                str(new),
                "--like",
                str(old),
                *item,
                *arguments,
            )
        )
    assert not new.exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["--item", "id", "--text", "title, kind", "--words", "--dim", "2"],
            '{"dim": 2, "item": "id", "words": true, "text": ["title", "kind"]}',
        ),
        (
            ["--categorical", "kind", "--log", "price"],
            '{"log": ["price"], "categorical": ["kind"]}',
        ),
    ],
)
def test_options_in_the_file_of_an_encoder(tmp_path, arguments, text):
    """Their order and the absence of those that are not given are part of the bytes."""
    items, out = tmp_path / "items.csv", tmp_path / "made.parquet"
    items.write_text("id,title,price,kind\n" + ITEMS)
    said("features", str(items), *arguments, "--out", str(out))
    assert json.dumps(dict(read_encoder(out).options)) == text


def test_networks_are_told_by_their_weights(tmp_path, monkeypatch):
    """Nothing is fitted: the same folder of a sentence encoder, wherever it lies."""
    monkeypatch.setattr(
        "recsys.nn.pretrained.sentence_vectors",
        lambda texts, folder: (np.ones((len(texts), 2)), np.ones(len(texts), dtype=bool)),
    )
    items, old, new = tmp_path / "items.csv", tmp_path / "old.parquet", tmp_path / "new.parquet"
    items.write_text("id,title,price,kind\n" + ITEMS)
    for name in ("here", "there", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text("other" if name == "other" else "same")
    said(
        "features",
        str(items),
        "--text",
        "title",
        "--encoder",
        str(tmp_path / "here"),
        "--out",
        str(old),
    )
    for name in ("here", "there"):
        said(
            "features",
            str(items),
            "--like",
            str(old),
            "--encoder",
            str(tmp_path / name),
            "--out",
            str(new),
        )
        assert encoder_of(new) == encoder_of(old)
    said("features", str(items), "--like", str(old), "--out", str(new))
    error = wrong(
        "features",
        str(items),
        "--like",
        str(old),
        "--encoder",
        str(tmp_path / "other"),
        "--out",
        str(new),
    )
    assert "is not the network that made the vectors of --like" in str(error)


def test_what_needs_a_hand_or_a_network(monkeypatch):
    assert "recsys data add retailrocket --path" in str(wrong("fetch", "retailrocket"))
    monkeypatch.setenv("RECSYS_OFFLINE", "1")
    assert "RECSYS_OFFLINE" in str(wrong("fetch", "gowalla"))
    assert "built-in, nothing to do" in said("fetch", "online-retail")


def test_help_imports_nothing_heavy():
    heavy = {"torch", "polars", "pydantic", "numpy", "scipy"}
    code = f"import sys; import recsys.cli.data; print(sorted({heavy!r} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
