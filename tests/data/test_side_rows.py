"""Rows of item tables that match nothing in the log: count, example and near miss."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from mistakes import invoke

from recsys.data.load import load
from recsys.data.types import Vocab
from recsys.data.unmatched import such_as, unmatched

ITEMS = ["0108775015", "0108775044", "1208775051", "0110065001", "1110065002", "0111565001"]
LOST = [int(item) for item in ITEMS]
SAYS = (
    "4 of 6 rows of {} belong to no item of the data, such as 108775015, while '0108775015' is one"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log whose ids have leading zeros, and an experiment that reads features without."""
    draw = random.Random(3)
    rows = "".join(f"u{user},{item}\n" for user in range(12) for item in draw.sample(ITEMS, 5))
    (tmp_path / "log.csv").write_text("user,item\n" + rows)
    vectors = [[float(k), 1.0] for k in range(6)]
    pl.DataFrame({"item": LOST, "values": vectors}).write_parquet(tmp_path / "text.parquet")
    (tmp_path / "f.toml").write_text(
        '[data]\npath = "log.csv"\nfeatures = { text = "text.parquet" }\n'
        '[model]\nname = "popular"\n'
        '[evaluate]\nmetrics = ["recall@2"]\nmonitor = "recall@2"\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "250")
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        "run f.toml --out r",
        "run f.toml --out r -q",
        "check f.toml --data",
        "audit f.toml",
        "data stats log.csv 'features={text=\"text.parquet\"}'",
    ],
)
def test_every_command_that_reads_says_so(command: str, folder: Path) -> None:
    code, out, err = invoke(command)
    assert code == 0, err
    assert SAYS.format("text.parquet") in out + err


def test_features_of_every_kind(folder: Path) -> None:
    vectors = np.arange(12.0).reshape(6, 2)
    np.save(folder / "text.npy", vectors)
    (folder / "text.ids.txt").write_text("\n".join(map(str, LOST)) + "\n")
    np.save(folder / "image.npy", vectors)
    np.save(folder / "image.ids.npy", np.array(LOST))
    (folder / "audio").mkdir()
    for item, vector in zip(LOST, vectors, strict=True):
        np.save(folder / "audio" / f"{item}.npy", vector)
    given = {
        "text": folder / "text.npy",
        "image": folder / "image.npy",
        "audio": folder / "audio",
        "hand": (LOST, vectors),
    }
    found = load("log.csv", features=given).dataset
    messages = {finding.check: finding.message for finding in found.findings}
    for name, place in (("image", "image.npy"), ("hand", "features 'hand'")):
        assert messages[f"ids of feature {name}"] == SAYS.format(place)
    for name, place in (("text", "text.npy"), ("audio", "audio")):  # their ids are texts
        quoted = SAYS.format(place).replace("108775015, while", "'108775015', while")
        assert messages[f"ids of feature {name}"] == quoted
    for table in found.features.values():
        assert table.present.sum() == 2, "only those without a leading zero match"


def test_titles(folder: Path) -> None:
    lines = "".join(f"{item},Title {item}\n" for item in LOST)
    (folder / "items.csv").write_text("item,title\n" + lines)
    (finding,) = load("log.csv", titles="items.csv").dataset.findings
    assert (finding.severity, finding.count) == ("warning", 4)
    assert finding.message == SAYS.format("items.csv").replace("108775015, w", "'108775015', w")


def test_what_fits_says_nothing_and_what_is_more_says_little(folder: Path) -> None:
    vectors = [[1.0]] * 8
    frame = pl.DataFrame({"item": [*ITEMS, "x", "y"], "values": vectors})
    assert load("log.csv", features={"text": frame.head(6)}).dataset.findings == ()
    (finding,) = load("log.csv", features={"text": frame}).dataset.findings
    assert finding.severity == "ok"
    assert (
        finding.message
        == "2 of 8 rows of features 'text' belong to no item of the data, such as 'x'"
    )


@pytest.mark.parametrize(
    ("known", "asked", "near"),
    [
        ("007", 7, "7, while '007' is one"),
        ("B00A", "b00a", "'b00a', while 'B00A' is one"),
        ("x1", " x1", "' x1', while 'x1' is one"),
        (12, "12.0", "'12.0', while 12 is one"),
        ("a", '"a"', "'\"a\"', while 'a' is one"),
        ("7", "8", "'8'"),
        ("70", "7", "'7'"),
    ],
)
def test_near_misses(known: object, asked: object, near: str) -> None:
    items = Vocab(pl.Series("item", [known]), "item")
    assert such_as(pl.Series([asked]), items) == f"such as {near}"
    finding = unmatched(pl.Series([asked, asked]), items, "ids", "t")
    assert finding is not None
    assert (finding.count, finding.message.endswith(near)) == (2, True)


def test_an_id_that_has_its_row_is_no_near_miss() -> None:
    """Both 7 and 007 may be in a table of which the log knows one."""
    items = Vocab(pl.Series("item", ["007", "8"]), "item")
    finding = unmatched(pl.Series(["007", "7", "8"]), items, "ids", "t")
    assert finding is not None
    assert (finding.severity, finding.message) == (
        "ok",
        "1 of 3 rows of t belongs to no item of the data, such as '7'",
    )


def test_users_asked_for(folder: Path) -> None:
    assert invoke("run f.toml --out r -q")[0] == 0
    (folder / "users.txt").write_text("U1\nu2\n")
    code, _, err = invoke("recommend r --users users.txt -k 2")
    assert code == 0, err
    assert "such as 'U1', while 'u1' is one" in err
