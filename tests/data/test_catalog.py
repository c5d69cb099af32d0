"""Data sets by name: shipped entries, the user's entries, and the way from a url to a folder."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import threading
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.data import catalog
from recsys.data.features import ItemTable, feature_table, read_titles
from recsys.data.load import load
from recsys.data.reading import read
from recsys.data.types import Vocab
from recsys.errors import InputError

CSV = "user,item,rating,time\n1,10,5,100\n1,11,3,200\n2,10,4,300\n"
RATINGS = "userId,movieId,rating,timestamp\n1,10,5.0,978300760\n2,20,3.0,978302109\n"
SHIPPED = tomllib.loads((Path(catalog.__file__).parent / "catalog.toml").read_text())


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """Nothing of these tests touches the user's own folders or the network."""
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RECSYS_OFFLINE", raising=False)
    return tmp_path / "home"


@pytest.fixture
def csv(tmp_path) -> Path:
    path = tmp_path / "ratings.csv"
    path.write_text(CSV)
    return path


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def mine(home: Path, name: str, text: str) -> Path:
    path = home / "catalog" / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# --- what is shipped


@pytest.mark.parametrize("name", list(SHIPPED))
def test_shipped_entry(name):
    entry = catalog.entry(name)
    assert entry.title
    assert entry.licence != "not stated"
    assert entry.home.startswith("https://")
    assert catalog.state(entry) == (
        "built-in" if entry.builtin else "to fetch" if entry.files else "by hand"
    )
    for file in entry.files:
        assert file.url.startswith("https://")
    assert entry.read.format != "auto"
    assert entry.read.path or entry.read.train
    if entry.manual:
        assert any(f"recsys data add {name} --path" in step for step in entry.manual)
    assert entry.redistribution == (name == "online-retail")
    named = (
        [entry.read.path]
        if entry.read.path
        else [entry.read.train, entry.read.valid, entry.read.test]
    )
    if entry.files and not entry.files[0].unpack:  # what is read is what is downloaded
        assert {file.name for file in entry.files} == {path for path in named if path}


def test_shipped_entries_cover_what_people_use():
    wanted = {
        "online-retail",
        "ml-100k",
        "ml-1m",
        "ml-20m",
        "ml-32m",
        "gowalla",
        "yelp2018",
        "amazon-book",
        "lastfm",
        "steam-200k",
        "book-crossing",
    }
    assert wanted | {
        "retailrocket",
        "adressa",
        "amazon-2014-beauty",
        "amazon-2014-baby",
        "amazon-2018-electronics",
    } <= set(catalog.names())


def test_known_checksums():
    known = {
        name: [file.sha256[:8] for file in catalog.entry(name).files]
        for name in ("gowalla", "yelp2018", "amazon-book")
    }
    assert known == {
        "gowalla": ["7244696f", "099a2a73"],
        "yelp2018": ["1e956872", "9cd9b379"],
        "amazon-book": ["52906602", "62507549"],
    }


def test_unknown_name_is_helped():
    with pytest.raises(InputError, match="did you mean 'ml-100k'") as caught:
        catalog.entry("ml100k")
    assert "recsys data list" in caught.value.remedy
    with pytest.raises(InputError, match="no data set is called"):
        catalog.source_of("../../etc/passwd")


def test_builtin_data_set():
    source = catalog.source_of("online-retail")
    assert Path(source.path).is_file()
    data = load("online-retail").dataset
    assert (data.n_users, data.n_items, len(data.pairs)) == (4335, 3659, 266_226)
    assert int((data.pairs.clean == 0).sum()) == 6904
    assert data.pairs.weight.max() == 63
    assert {name: table.dim for name, table in data.features.items()} == {"text": 64, "price": 11}
    folder = catalog.builtin_folder()
    described = dict(
        pl.read_parquet(folder / "items.parquet").select("item", "description").iter_rows()
    )
    assert data.titles.to_list() == [described[item] for item in data.items.ids]
    for name, found in data.features.items():
        stored = dict(pl.read_parquet(folder / f"features-{name}.parquet").iter_rows())
        assert found.values.dtype == np.float32
        assert found.present.all()
        assert np.array_equal(
            found.values, np.array([stored[item] for item in data.items.ids], dtype=np.float32)
        )


def test_features_and_titles_follow_any_vocabulary():
    items = Vocab(pl.Series(["85123A", "nothing", "10002"]), "item")
    found = catalog.features("online-retail", items)["price"]
    assert found.present.tolist() == [True, False, True]
    assert not found.values[1].any()
    assert found.values[0].any()
    assert catalog.titles("online-retail", items).to_list()[1:] == [
        None,
        "INFLATABLE POLITICAL GLOBE",
    ]
    assert catalog.features("gowalla", items) == {}
    assert catalog.titles("gowalla", items) is None


def test_by_hand(home):
    with pytest.raises(InputError, match="cannot be downloaded") as caught:
        catalog.source_of("retailrocket")
    assert "recsys data add retailrocket --path" in caught.value.remedy
    assert not home.exists()


def test_offline_forbids(monkeypatch, home):
    monkeypatch.setenv("RECSYS_OFFLINE", "1")
    with pytest.raises(InputError, match="RECSYS_OFFLINE"):
        catalog.source_of("gowalla")
    assert not home.exists()
    assert catalog.source_of("online-retail").path


def test_folders(monkeypatch, tmp_path):
    monkeypatch.delenv("RECSYS_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "d"))
    assert catalog.data_folder() == tmp_path / "c" / "recsys" / "data"
    assert catalog.catalogue_folder() == tmp_path / "d" / "recsys" / "catalog"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert catalog.data_folder() == Path.home() / ".cache" / "recsys" / "data"


# --- from a url to a folder


def test_download_of_a_file(csv, home):
    catalog.add("mine", urls=[csv.as_uri()], read={"weight": "rating"})
    assert catalog.state(catalog.entry("mine")) == "to fetch"
    source = catalog.source_of("mine")
    assert Path(source.path) == home / "data" / "mine" / "ratings.csv"
    assert read(source).all.height == 3
    assert catalog.state(catalog.entry("mine")) == "cached"
    assert sorted(p.name for p in (home / "data").iterdir()) == ["mine", "mine.sha256"]
    csv.unlink()
    assert catalog.source_of("mine") == source  # from the cache


def test_download_of_an_archive(tmp_path, home):
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("set/ratings.csv", CSV)
        made.writestr(
            "set/movies.dat",
            '10::Amélie (2001)::Comedy\n11::A "quoted" one::Drama\n'.encode("latin-1"),
        )
    about = {
        "texts": {
            "path": "set/movies.dat",
            "item": 0,
            "title": 1,
            "separator": "::",
            "header": False,
            "encoding": "latin-1",
        }
    }
    catalog.add(
        "mine",
        urls=[archive.as_uri()],
        sha256=[sha(archive)],
        read={"path": "set/ratings.csv"},
        about=about,
    )
    data = load("mine").dataset
    assert len(data.pairs) == 3
    assert data.titles.to_list() == ["Amélie (2001)", 'A "quoted" one']
    assert not (home / "data" / "mine" / "set.zip").exists()


def test_several_files(tmp_path):
    for name in ("train", "test"):
        (tmp_path / f"{name}.txt").write_text("0 1 2\n1 0\n")
    urls = [(tmp_path / f"{name}.txt").as_uri() for name in ("train", "test")]
    catalog.add(
        "mine", urls=urls, read={"train": "train.txt", "test": "test.txt", "format": "adjacency"}
    )
    parts = read(catalog.source_of("mine"))
    assert (parts.train.height, parts.test.height) == (3, 3)


def test_published_checksum_is_enforced(csv, home):
    catalog.add("mine", urls=[csv.as_uri()], sha256=["0" * 64])
    with pytest.raises(InputError, match="SHA-256 is"):
        catalog.source_of("mine")
    assert not (home / "data" / "mine").exists()
    assert catalog.checksums("mine") == {}


def test_unknown_checksum_is_trusted_once_and_compared_ever_after(csv, home):
    catalog.add("mine", urls=[csv.as_uri()])
    catalog.source_of("mine")
    assert catalog.checksums("mine") == {"ratings.csv": sha(csv)}
    shutil.rmtree(home / "data" / "mine")
    catalog.source_of("mine")  # the same file again
    shutil.rmtree(home / "data" / "mine")
    csv.write_text(CSV + "3,10,1,400\n")
    with pytest.raises(InputError, match="SHA-256 is") as caught:
        catalog.source_of("mine")
    assert str(home / "data" / "mine.sha256") in caught.value.remedy
    assert not (home / "data" / "mine").exists()
    (home / "data" / "mine.sha256").unlink()
    assert read(catalog.source_of("mine")).all.height == 4
    (home / "data" / "mine.sha256").write_text("nonsense\n")
    with pytest.raises(InputError, match="not a list of checksums"):
        catalog.checksums("mine")


def test_a_data_set_is_whole_or_absent(tmp_path, csv, home):
    catalog.add(
        "mine",
        urls=[csv.as_uri(), (tmp_path / "missing.csv").as_uri()],
        read={"train": "ratings.csv", "test": "missing.csv"},
    )
    with pytest.raises(InputError, match="No such file"):
        catalog.source_of("mine")
    assert not (home / "data" / "mine").exists()
    (tmp_path / "missing.csv").write_text(CSV)
    assert read(catalog.source_of("mine")).test.height == 3
    assert sorted(p.name for p in (home / "data").iterdir()) == ["mine", "mine.sha256"]


def test_hostile_archive_leaves_nothing(tmp_path, home):
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("ratings.csv", CSV)
        made.writestr("../../evil.csv", CSV)
    catalog.add("mine", urls=[archive.as_uri()], read={"path": "ratings.csv"})
    with pytest.raises(InputError, match="out of the folder"):
        catalog.source_of("mine")
    assert not (home / "data" / "mine").exists()
    assert not list(tmp_path.rglob("evil.csv"))


def test_file_that_the_entry_does_not_find(csv):
    catalog.add("mine", urls=[csv.as_uri()], read={"path": "ratings.csv"})
    catalog.source_of("mine")
    catalog.add(
        "other", urls=[csv.as_uri(), csv.with_name("x").as_uri()], read={"path": "else.csv"}
    )
    csv.with_name("x").write_text("x")
    with pytest.raises(InputError, match=r"does not hold 'else.csv'") as caught:
        catalog.source_of("other")
    assert "ratings.csv, x" in caught.value.remedy


def test_several_at_once(csv, home):
    catalog.add("mine", urls=[csv.as_uri()])
    found: list[object] = []

    def go():
        try:
            found.append(catalog.source_of("mine"))
        except BaseException as error:
            found.append(error)

    threads = [threading.Thread(target=go) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 5
    assert len({repr(each) for each in found}) == 1
    assert found[0].path == str(home / "data" / "mine" / "ratings.csv")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/a/b.zip?x=1", "b.zip"),
        ("https://h/%2e%2e", "download"),
        ("https://h/..", "download"),
        ("https://h/", "download"),
        ("https://h/a%2fb", "b"),
    ],
)
def test_name_on_the_disk(url, name):
    assert catalog.File(url=url).name == name


# --- the user's own entries


def test_added_path_is_read(csv):
    written = catalog.add(
        "my-log", path=csv, read={"weight": "rating"}, about={"title": "Mine", "licence": None}
    )
    assert tomllib.loads(written.read_text())["read"] == {"weight": "rating", "path": "ratings.csv"}
    assert "my-log" in catalog.names()
    entry = catalog.entry("my-log")
    assert (entry.title, entry.licence, catalog.state(entry)) == ("Mine", "not stated", "yours")
    assert len(load("my-log").dataset.pairs) == 3
    assert len(load("my-log", min_weight=4).dataset.pairs) == 2
    csv.unlink()
    with pytest.raises(InputError, match=r"does not hold 'ratings.csv'"):
        catalog.source_of("my-log")


def test_folder_that_is_gone(tmp_path):
    folder = tmp_path / "log"
    folder.mkdir()
    (folder / "a.csv").write_text(CSV)
    catalog.add("my-log", path=folder)
    assert len(load("my-log").dataset.pairs) == 3
    shutil.rmtree(folder)
    with pytest.raises(InputError, match="gone"):
        catalog.source_of("my-log")


def test_a_shipped_name_says_where_it_lies(tmp_path):
    """Only the place is new; how to read it is known."""
    data = tmp_path / "movielens" / "ml-100k"
    data.mkdir(parents=True)
    (data / "u.data").write_text("1\t10\t5\t100\n2\t11\t3\t200\n")
    (data / "u.item").write_bytes("10|Amélie (2001)|x\n11|Other|y\n".encode("latin-1"))
    for path in (data.parent, data, data / "u.data"):
        catalog.add("ml-100k", path=path, replace=True)
        data_set = load("ml-100k").dataset
        assert len(data_set.pairs) == 2
        assert data_set.titles.to_list() == ["Amélie (2001)", "Other"]
        assert catalog.state(catalog.entry("ml-100k")) == "yours"
    assert catalog.names().count("ml-100k") == 1
    events = tmp_path / "elsewhere.csv"
    events.write_text(
        "timestamp,visitorid,event,itemid,transactionid\n"
        "1433221332117,5,view,7,\n1433221332118,5,transaction,7,1\n"
    )
    catalog.add("retailrocket", path=events)
    found = load("retailrocket", duplicates="last").dataset.pairs
    assert (found.time.tolist(), found.time_unit) == ([1433221332118], "ms")


SAMPLES = {  # a few lines in the form of each publisher: two users, items 10 and 20 (or their text)
    "ml-1m": {
        "ml-1m/ratings.dat": "1::10::5::978300760\n2::20::3::978302109\n",
        "ml-1m/movies.dat": "10::Toy's Story::A\n20::Heat::B\n",
    },
    "ml-20m": {
        "ml-20m/ratings.csv": RATINGS,
        "ml-20m/movies.csv": "movieId,title,genres\n10,Toy's Story,A\n20,Heat,B\n",
    },
    "ml-32m": {
        "ml-32m/ratings.csv": RATINGS,
        "ml-32m/movies.csv": "movieId,title,genres\n10,Toy's Story,A\n20,Heat,B\n",
    },
    "amazon-2014-beauty": {"ratings_Beauty.csv": "1,10,5.0,978300760\n2,20,3.0,978302109\n"},
    "amazon-2018-electronics": {"Electronics.csv": "10,1,5.0,978300760\n20,2,3.0,978302109\n"},
    "lastfm": {
        "user_artists.dat": "userID\tartistID\tweight\n1\t10\t5\n2\t20\t3\n",
        "artists.dat": "id\tname\turl\tpictureURL\n10\tToy's Story\tu\tp\n20\tHeat\tu\n",
    },
    "book-crossing": {
        "BX-Book-Ratings.csv": '"User-ID";"ISBN";"Book-Rating"\n"1";"10";"5"\n"2";"20";"3"\n'
    },
}


@pytest.mark.parametrize("name", SAMPLES)
def test_each_publisher_is_read_as_it_writes(tmp_path, name):
    for path, text in SAMPLES[name].items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    catalog.add(name, path=tmp_path)
    data = load(dataclasses.replace(catalog.source_of(name), user_core=0, item_core=0)).dataset
    assert data.users.ids.to_list() == [1, 2]
    assert data.items.ids.to_list() == [10, 20]
    assert data.pairs.weight.tolist() == [5, 3]
    assert (data.pairs.time is None) == (name in ("lastfm", "book-crossing"))
    if data.pairs.time is not None:
        assert data.pairs.time.tolist() == [978300760, 978302109]
    if len(SAMPLES[name]) > 1:
        assert catalog.titles(name, data.items).to_list() == ["Toy's Story", "Heat"]


def test_noise_labels_of_adressa(tmp_path):
    for part, text in (
        ("train.rating", "0\t1\t1\n1\t2\t0\n"),
        ("valid.rating", "0\t2\t1\n"),
        ("test.negative", "1\t1\t1\n"),
    ):
        (tmp_path / f"adressa.{part}").write_text(text)
    catalog.add("adressa", path=tmp_path)
    found = load("adressa")
    assert found.dataset.pairs.clean.tolist() == [1, 0]
    assert [len(part) for part in found.parts] == [1, 1]


def test_hours_of_steam(tmp_path):
    file = tmp_path / "steam-200k.csv"
    file.write_text(
        '1,"Fallout 4, again",purchase,1.0,0\n1,"Fallout 4, again",play,87.0,0\n'
        "2,Dota 2,purchase,1.0,0\n"
    )
    catalog.add("steam-200k", path=file)
    data = load("steam-200k").dataset
    assert data.items.ids.to_list() == ["Fallout 4, again"]
    assert data.pairs.weight.tolist() == [87.0]


def test_replacing_a_url_forgets_what_it_brought(csv, tmp_path):
    catalog.add("mine", urls=[csv.as_uri()])
    assert read(catalog.source_of("mine")).all.height == 3
    other = tmp_path / "other" / "ratings.csv"
    other.parent.mkdir()
    other.write_text(CSV + "3,10,1,400\n")
    catalog.add("mine", urls=[other.as_uri()], replace=True)
    assert read(catalog.source_of("mine")).all.height == 4


@pytest.mark.parametrize(
    ("name", "given", "match"),
    [
        ("My Set", {"path": "CSV"}, "not a valid name"),
        ("../x", {"path": "CSV"}, "not a valid name"),
        ("a.b", {"path": "CSV"}, "not a valid name"),
        ("online-retail", {"path": "CSV"}, "built in"),
        ("mine", {}, "either a path or urls"),
        ("mine", {"path": "CSV", "urls": ["https://h/f.csv"]}, "either a path or urls"),
        ("mine", {"path": "nowhere.csv"}, "no such file"),
        (
            "mine",
            {"urls": ["https://h/f.csv"], "sha256": ["0" * 64, "1" * 64]},
            "2 checksums for 1",
        ),
        ("mine", {"urls": ["https://h/f.csv"], "sha256": ["abc"]}, "not a SHA-256"),
        ("mine", {"urls": ["https://h/f.csv", "https://g/f.csv"]}, "same name"),
        ("mine", {"path": "CSV", "read": {"usr": 1}}, "did you mean 'user'"),
        ("mine", {"path": "CSV", "read": {"format": "xls"}}, "format"),
        ("mine", {"path": "CSV", "about": {"licens": "x"}}, "did you mean 'licence'"),
        ("gowalla", {"path": "CSV"}, "several files"),
        ("ml-1m", {"path": "FOLDER"}, "does not hold '.*ratings.dat'"),
    ],
)
def test_what_cannot_be_added(csv, home, name, given, match):
    given = {
        key: {"CSV": csv, "FOLDER": csv.parent}.get(value, value)
        if isinstance(value, str)
        else value
        for key, value in given.items()
    }
    with pytest.raises(InputError, match=match):
        catalog.add(name, **given)
    assert not list(home.rglob("*.toml*"))


def test_an_entry_is_not_overwritten_unasked(csv):
    catalog.add("mine", path=csv, about={"title": "first"})
    with pytest.raises(InputError, match="already exists"):
        catalog.add("mine", path=csv, about={"title": "second"})
    assert catalog.entry("mine").title == "first"
    catalog.add("mine", path=csv, about={"title": "second"}, replace=True)
    assert catalog.entry("mine").title == "second"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("titel = 'x'\nfolder = '/tmp'\n[read]\n", "did you mean 'title'"),
        ("folder = '/tmp'\n", "'read' is missing"),
        ("folder = 3\n[read]\n", "folder must be text"),
        ("[read]\npath = '/tmp/x'\n", "names no location"),
        ("folder = '/tmp'\nfiles = [{ url = 'https://h/f' }]\n[read]\n", "more than one location"),
        ("files = 'https://h/f'\n[read]\n", "must be a list of tables"),
        ("files = [{ link = 'https://h/f' }]\n[read]\n", "files 1: key 'url' is missing"),
        ("files = [{ url = 'https://h/f', sha = 'x' }]\n[read]\n", "did you mean 'sha256'"),
        ("files = [{ url = 'https://h/f', sha256 = 'XYZ' }]\n[read]\n", "not a SHA-256"),
        ("builtin = true\n[read]\n", "builtin = true"),
        ("name = 'other'\nfolder = '/tmp'\n[read]\n", "unknown key 'name'"),
        ("folder = '/tmp'\n[read]\nsepartor = ','\n", "did you mean 'separator'"),
        ("not toml", "not valid TOML"),
    ],
)
def test_entries_of_the_user_are_read_strictly(home, text, match):
    path = mine(home, "mine", text)
    with pytest.raises(InputError, match=match) as caught:
        catalog.entry("mine")
    assert caught.value.place.startswith(str(path))
    assert catalog.entry("gowalla").title  # the others are not held up


def test_a_bad_name_of_a_file(home):
    mine(home, "My Set", "folder = '/tmp'\n[read]\n")
    with pytest.raises(InputError, match="not a valid name"):
        catalog.entry("My Set")


# --- tables beside the interactions


@pytest.mark.parametrize(
    "kind", [pl.List(pl.Float64), pl.Array(pl.Float16, 2), pl.Array(pl.Int8, 2)]
)
def test_feature_tables_of_any_width(tmp_path, kind):
    path = tmp_path / "f.parquet"
    pl.DataFrame(
        {"item": [3, 1, 9], "values": pl.Series([[1, 2], [3, 4], [5, 6]], dtype=kind)}
    ).write_parquet(path)
    found = feature_table(path, Vocab(pl.Series([1, 2, 3]), "item"))
    assert found.values.tolist() == [[3, 4], [0, 0], [1, 2]]
    assert found.present.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("frame", "match"),
    [
        ({"item": [1, 2], "values": [[1.0], [1.0, 2.0]]}, "different lengths"),
        ({"item": [1, 2], "values": [[1.0], [float("nan")]]}, "not a finite"),
        ({"item": [1, 2], "values": [[1.0], []]}, "empty for item 2"),
        ({"item": [1, 2], "values": [None, None]}, "is Null"),
        ({"item": [1], "values": [["a"]]}, "must hold numbers"),
        ({"item": [1], "values": [1.0]}, "is Float64"),
        ({"item": [1], "vector": [[1.0]]}, "cannot be read"),
        ({"item": [], "values": []}, "`values`"),
    ],
)
def test_bad_feature_tables(tmp_path, frame, match):
    path = tmp_path / "f.parquet"
    pl.DataFrame(frame).write_parquet(path)
    with pytest.raises(InputError, match=match) as caught:
        feature_table(path, Vocab(pl.Series([1]), "item"))
    assert caught.value.place == str(path)


def test_missing_feature_table(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        feature_table(tmp_path / "f.parquet", Vocab(pl.Series([1]), "item"))


TITLES = ItemTable(path="items.csv", item="item", title="name")


@pytest.mark.parametrize("form", [TITLES, None], ids=["by the entry", "by the usual names"])
def test_titles(tmp_path, form):
    path = tmp_path / "items.csv"
    path.write_text('item,name\n2,"Heat, the"\n1,first\n1,second\n')
    titles = read_titles(path, Vocab(pl.Series([1, 2, 3]), "item"), form)
    assert titles.name == "title"
    assert titles.to_list() == ["first", "Heat, the", None]
    of_strings = read_titles(path, Vocab(pl.Series(["2", "x"]), "item"), form)
    assert of_strings.to_list() == ["Heat, the", None]
    path.write_text("item,words\n2,Heat\n")
    with pytest.raises(InputError, match=r"name|title"):
        read_titles(path, Vocab(pl.Series([1]), "item"), form)


def test_titles_that_the_entry_describes_wrongly(tmp_path):
    path, items = tmp_path / "items.csv", Vocab(pl.Series([1]), "item")
    path.write_text('id,name\n2,"Heat, the"\n1,first\n')
    with pytest.raises(InputError, match="did you mean 'name'"):
        read_titles(path, items, ItemTable(path="x", item="id", title="nam"))
    with pytest.raises(InputError, match="no column 7"):
        read_titles(path, items, ItemTable(path="x", item=0, title=7))
    path.write_bytes(b"id,name\n1,\xe9\n")
    with pytest.raises(InputError, match="cannot be read"):
        read_titles(path, items, TITLES)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="cannot be read"):
        read_titles(path, items, TITLES)


# --- real data, where it is


def test_gowalla_where_it_lies(shared_data):
    catalog.add("gowalla", path=shared_data / "gowalla")
    data = load("gowalla")
    entry = catalog.entry("gowalla")
    assert (data.dataset.n_users, data.dataset.n_items) == (entry.users, entry.items)
    assert len(data.dataset.pairs) + len(data.parts[1]) == entry.interactions


def test_movielens_where_it_lies(shared_data):
    catalog.add("ml-100k", path=shared_data / "ml-100k")
    data = load("ml-100k").dataset
    entry = catalog.entry("ml-100k")
    assert (data.n_users, data.n_items, len(data.pairs)) == (
        entry.users,
        entry.items,
        entry.interactions,
    )
    assert data.titles[data.items.ids.to_list().index(1)] == "Toy Story (1995)"
