"""Formats of other packages: an entry point of `recsys.readers` reads a file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from recsys import plugins
from recsys.config import build, from_toml, to_dict, to_toml
from recsys.data.load import load
from recsys.data.reading import Source, read
from recsys.data.reading.formats import _FORMATS, file_format
from recsys.data.reading.source import FORMATS
from recsys.errors import InputError

MODULE = '''
import polars as pl
from pathlib import Path
from recsys.data.reading import RawLog, Source


def read(path: Path, source: Source) -> RawLog:
    """Lines `user>item@time`, or a folder of files with such lines."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    lines = [line for file in files for line in file.read_text().splitlines()]
    user, rest = zip(*(line.split(">") for line in lines))
    item, time = zip(*(line.split("@") for line in rest))
    frame = pl.DataFrame({"user": user, "item": item, "time": time})
    return RawLog(frame, notes=(f"{len(files)} clicks files",))


def in_parts(path, source):
    frame = pl.DataFrame({"user": [0, 0, 2], "item": [1, 0, 1], "part": ["train", "test", "train"]})
    return RawLog(frame, users=range(4), items=range(3))


def bad_part(path, source):
    return RawLog(pl.DataFrame({"user": [0], "item": [1], "part": ["dev"]}))


def no_item(path, source):
    return RawLog(pl.DataFrame({"user": [0]}))


def bad_weight(path, source):
    return RawLog(pl.DataFrame({"user": ["a", "b"], "item": [1, 2], "weight": [1.0, None]}))


def text_in_range(path, source):
    return RawLog(pl.DataFrame({"user": ["a"], "item": [1]}), users=range(3))


def labelled(path, source):
    return RawLog(pl.DataFrame({"user": [0, 1], "item": [1, 0], "label": [1, 0]}))


def shown(path, source):
    columns = {"user": [0, 1, 0], "item": [1, 0, 0], "clicked": [1, 1, 0], "position": [0, 1, 2]}
    return RawLog(pl.DataFrame(columns))


def a_frame(path, source):
    return pl.DataFrame({"user": [0], "item": [1]})
'''
READERS = {
    "clicks": "shop_clicks:read",
    "in-parts": "shop_clicks:in_parts",
    "bad-part": "shop_clicks:bad_part",
    "no-item": "shop_clicks:no_item",
    "bad-weight": "shop_clicks:bad_weight",
    "text-in-range": "shop_clicks:text_in_range",
    "a-frame": "shop_clicks:a_frame",
    "gone": "shop_clicks:gone",
    "labelled": "shop_clicks:labelled",
    "shown": "shop_clicks:shown",
    "csv": "shop_clicks:in_parts",
}


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install a package with readers, as an installer leaves it."""
    site = tmp_path / "site"
    about = site / "shop_clicks-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "shop_clicks.py").write_text(MODULE)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: shop-clicks\nVersion: 1.0\n")
    points = [f"{name} = {value}" for name, value in READERS.items()]
    (about / "entry_points.txt").write_text("\n".join(["[recsys.readers]", *points]) + "\n")
    monkeypatch.syspath_prepend(str(site))
    plugins._points.cache_clear()
    plugins.load.cache_clear()
    yield
    plugins._points.cache_clear()
    plugins.load.cache_clear()
    sys.modules.pop("shop_clicks", None)


def test_a_file_is_read_and_its_columns_are_converted(tmp_path: Path) -> None:
    path = tmp_path / "log.clicks"
    path.write_text("ann>i1@1600000000\nbob>i2@1600000060\nann>i2@1600000030\n")
    loaded = load(path, format="clicks", since="2020-09-13 12:26:41")
    pairs = loaded.dataset.pairs
    assert loaded.dataset.users.ids.to_list() == ["ann", "bob"]
    np.testing.assert_array_equal(pairs.time, [1600000030, 1600000060])
    assert loaded.dataset.history[0] == "log.clicks: clicks, 1 clicks files, 3 rows"
    assert read(Source(path=str(path), format="clicks")).in_file_order


def test_a_folder_is_passed_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "days").mkdir()
    (tmp_path / "days" / "train.txt").write_text("ann>i1@1\n")
    (tmp_path / "days" / "test.txt").write_text("bob>i2@2\n")
    loaded = load(tmp_path / "days", format="clicks")
    assert loaded.parts is None
    assert len(loaded.dataset.pairs) == 2


def test_a_split_is_read_file_by_file(tmp_path: Path) -> None:
    (tmp_path / "a.clicks").write_text("ann>i1@1\n")
    (tmp_path / "b.clicks").write_text("ann>i2@2\n")
    loaded = load(tmp_path, format="clicks", train="a.clicks", test="b.clicks")
    assert loaded.parts is not None
    valid, test = loaded.parts
    assert valid is None
    assert test is not None
    assert (len(loaded.dataset.pairs), len(test)) == (1, 1)


def test_one_file_may_hold_all_parts_and_a_range_of_ids(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("x")
    loaded = load(tmp_path / "log", format="in-parts")
    assert loaded.parts is not None
    assert loaded.parts[1] is not None
    assert (loaded.dataset.n_users, loaded.dataset.n_items) == (4, 3)
    assert (len(loaded.dataset.pairs), len(loaded.parts[1])) == (2, 1)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("bad-part", r"log, row 1, column 'part': 'dev' is not a part"),
        ("no-item", r"format 'no-item': the table of .*log lacks the column 'item'"),
        ("bad-weight", r"log, row 2, column 'weight': the weight is empty"),
        ("text-in-range", "users are a range of numbers, but the column 'user' holds text"),
        ("a-frame", "expected a RawLog for .*log, got DataFrame"),
        ("gone", "format 'gone': .*cannot be imported.*gone"),
    ],
)
def test_a_mistake_of_a_reader_is_one_clear_error(tmp_path: Path, name: str, cause: str) -> None:
    (tmp_path / "log").write_text("x")
    with pytest.raises(InputError, match=cause):
        load(tmp_path / "log", format=name)


def test_an_unknown_format_names_those_of_other_packages() -> None:
    with pytest.raises(InputError, match=r"\[data\]: format = 'click' is not a valid choice") as e:
        build(Source, {"path": "a", "format": "click"}, "[data]")
    assert "did you mean 'clicks'" in str(e.value)
    assert "recsys.readers" in str(e.value)


def test_a_format_of_ours_cannot_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,item\n1,2\n")
    assert len(load(tmp_path / "log.csv", format="csv").dataset.pairs) == 1


def test_the_setting_survives_a_file() -> None:
    source = Source(path="a", format="clicks")
    tree = from_toml(to_toml({"data": to_dict(source)}))
    assert build(Source, tree["data"]) == source


def test_every_format_of_ours_has_a_reader() -> None:
    assert tuple(_FORMATS) == FORMATS
    assert file_format("csv") is _FORMATS["csv"]


def test_the_command_line_reads_the_format_of_another_package(tmp_path: Path) -> None:
    """In a process of its own, as after `pip install`."""
    (tmp_path / "log.clicks").write_text("ann>i1@1600000000\nbob>i2@1600000060\n")
    paths = [str(Path(__file__).parents[2]), str(tmp_path / "site")]
    ran = subprocess.run(
        [sys.executable, "-m", "recsys.cli", "data", "stats", "log.clicks", "format=clicks"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "log.clicks: clicks, 1 clicks files, 2 rows" in " ".join(ran.stdout.split())


def test_a_reader_of_an_earlier_version_calls_the_noise_flag_label(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log.txt"
    path.write_text("")
    clean = load(path, format="labelled").dataset.pairs.clean
    assert clean is not None
    assert clean.tolist() == [1, 0]


def test_a_reader_may_return_clicks(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("anything")
    # Without the log its column `position` is not looked at: in earlier versions it meant nothing.
    assert load(tmp_path / "log", format="shown").dataset.pairs.user.tolist() == [0, 1]
    with pytest.raises(InputError, match="'0' is not a position"):
        load(tmp_path / "log", format="shown", keep_log=True)
