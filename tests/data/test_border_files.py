"""Files of user and item ids for requests: lists and tables, unknown ids, and exit codes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from mistakes import LOG, MF, invoke

from recsys.data.id_files import read_ids
from recsys.data.types import Vocab
from recsys.errors import InputError
from recsys.experiment.execution import open_run

KNN = MF.replace('name = "mf"\ndim = 8', 'name = "itemknn"')


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("border")
    (folder / "log.csv").write_text(LOG)
    (folder / "knn.toml").write_text(KNN)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        code, _, err = invoke("run knn.toml -q --out runs/knn")
        assert code == 0, err
    return folder


@pytest.fixture
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(made)
    return made


def answered(command: str, code: int = 0) -> tuple[list[dict], str]:
    """What a command recommends, and what it says beside that."""
    status, out, err = invoke(f"recommend runs/knn {command} --json")
    assert status == code, err
    return (json.loads(out) if out else []), err


def write(path: Path, content: str | bytes | pl.DataFrame) -> Path:
    if isinstance(content, pl.DataFrame):
        content.write_parquet(path)
    else:
        raw = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


FRAME = pl.DataFrame({"age": [31, 44], "user_id": ["u07", "u03"], "item": ["i01", "i01"]})

# All of them hold the users u07 and u03, in this order.
USERS = {
    "a list": ("a.txt", "u07\nu03\n"),
    "a list of CSV": ("a.csv", "user\nu07\nu03\n"),
    "a list in quotes": ("a.txt", '"u07"\n"u03"\n'),
    "a list with Windows line ends": ("a.txt", "\ufeffuser\r\nu07\r\nu03\r\n"),
    "CSV, the second column": ("a.csv", "age,user_id\n31,u07\n44,u03\n"),
    "CSV, by another usual name": ("a.csv", "name,CustomerID,note\nAnn,u07,x\nBob,u03,y\n"),
    "CSV in quotes": ("a.csv", '"name","user"\n"Ann, Lady","u07"\n"Bob ""B"" Low","u03"\n'),
    "semicolons and a comma in numbers": ("a.csv", "weight;user\n3,5;u07\n4,25;u03\n"),
    "TSV": ("a.tsv", "seen\tuser_id\n2020-01-01\tu07\n2020-01-02\tu03\n"),
    "tabs in a .txt": ("a.txt", "name\tuser\nAnn May\tu07\nBob\tu03\n"),
    "bars": ("a.dat", "user|age\nu07|31\nu03|44\n"),
    "two colons, no header": ("a.dat", "u07::F::31\nu03::M::44\n"),
    "blanks, no header": ("a.txt", "u07 31\nu03 44\n"),
    "no header, another column": ("a.csv", "31,u07\n44,u03\n"),
    "empty cells beside it": ("a.tsv", "name\tuser\n\tu07\n\tu03\n"),
    "compressed": ("a.csv.gz", "age,user\n31,u07\n44,u03\n"),
    "RecBole": ("a.user", "age:float\tuser_id:token\n31\tu07\n44\tu03\n"),
    "a log": ("a.csv", "item,user,time\ni01,u07,3\ni02,u07,4\ni01,u03,5\ni03,u03,9\n"),
    "Parquet": ("a.parquet", FRAME),
    "Parquet, one column of any name": ("a.parquet", FRAME.select(who="user_id")),
    "Parquet of categories": ("a.pq", FRAME.with_columns(pl.col("user_id").cast(pl.Categorical))),
}


@pytest.mark.parametrize("case", USERS)
def test_the_column_of_users_is_taken(here: Path, tmp_path: Path, case: str) -> None:
    name, content = USERS[case]
    path = write(tmp_path / name, content)
    rows, err = answered(f"--users {path} -k 2")
    assert list(dict.fromkeys(row["user"] for row in rows)) == ["u07", "u03"]
    assert len(rows) == 4
    assert {row["source"] for row in rows} == {"model"}
    assert not err


# All of them hold the items i02 and i05.
ITEMS = {
    "a list": ("b.txt", "i02\ni05\n"),
    "TSV": ("b.tsv", "title\titem_id\nOne thing\ti02\nAnother\ti05\n"),
    "CSV in quotes": ("b.csv", 'title,movieId\n"A, B",i02\n"C ""D""",i05\n'),
    "a log": ("b.csv", "user,item\nu01,i02\nu01,i05\nu02,i05\n"),
    "no header": ("b.csv", "u01,i02\nu09,i05\n"),
    "no header, ids first": ("b.txt", "i02|One thing\ni05|Another\n"),
    "Parquet": ("b.parquet", pl.DataFrame({"title": ["A", "B"], "asin": ["i02", "i05"]})),
}


@pytest.mark.parametrize("case", ITEMS)
def test_the_column_of_items_is_taken(here: Path, tmp_path: Path, case: str) -> None:
    name, content = ITEMS[case]
    path = write(tmp_path / name, content)
    only, err = answered(f"--candidates {path} --keep-seen -k 30")
    assert {row["item"] for row in only} == {"i02", "i05"}
    assert not err
    rest, err = answered(f"--exclude {path} --user u01 --keep-seen -k 30")
    assert {row["item"] for row in rest} == {f"i{i:02d}" for i in range(30)} - {"i02", "i05"}
    assert not err


@pytest.mark.parametrize(
    ("column", "content", "expected"),
    [
        ("who", "user,who\nx,a\ny,b\n", ["a", "b"]),  # what the run's own data call them
        (1, "x,a\ny,b\n", ["a", "b"]),
        (1, "nr,who\n1,a\n2,b\n", ["a", "b"]),
        (1, "user,age\na,3\nb,4\n", ["a", "b"]),
        (None, "user,who\na,x\nb,y\n", ["a", "b"]),
        (None, "a,x\nb,y\nc,z\n", ["a", "b", "c"]),
        (None, "q,a\nr,c\n", ["a", "c"]),
    ],
)
def test_the_run_says_which_column(
    tmp_path: Path, column: str | int | None, content: str, expected: list[str]
) -> None:
    path = write(tmp_path / "a.csv", content)
    vocab = Vocab(pl.Series(["a", "b"]), "user")
    assert read_ids(path, vocab, column).to_list() == expected


@pytest.mark.parametrize(
    ("known", "content", "expected"),
    [
        (["a, b", "c"], "a, b\nc, d\n", ["a, b", "c, d"]),
        (["a, b", "x"], "x\na, b\n", ["x", "a, b"]),
        (["x|1", "x|2"], "x|2\nx|3\n", ["x|2", "x|3"]),
        (["two words"], "two words\nthree more\n", ["two words", "three more"]),
        (["one"], "two words\nthree more\n", ["two words", "three more"]),
        (['"q"'], '"q"\n"r"\n', ['"q"', '"r"']),
        (["user"], "user\nx\n", ["user", "x"]),
    ],
)
def test_an_id_may_look_like_a_row(
    tmp_path: Path, known: list[str], content: str, expected: list[str]
) -> None:
    path = write(tmp_path / "a.txt", content)
    assert read_ids(path, Vocab(pl.Series(known), "user")).to_list() == expected


def test_numbers_are_read_as_the_log_was(tmp_path: Path) -> None:
    vocab = Vocab(pl.Series([5, 7, 31]), "user")
    path = write(tmp_path / "a.csv", "age,user\n31,5.0\n7,7.0\n")
    assert vocab.rows(read_ids(path, vocab).str.strip_suffix(".0")).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "a.csv",
            "client_no,age\nu01,3\nu02,4\n",
            "no column looks like the users; found: client_no",
        ),
        ("a.csv", "name,age\nAnn,31\nBob,44\n", "no column looks like the users; found: name, age"),
        ("a.parquet", pl.DataFrame({"a": ["u01"], "b": [1]}), "no column looks like the users"),
        ("a.parquet", pl.DataFrame({"user": [["u01"]]}), r"column 'user' holds List\(String\)"),
        ("a.csv", "user,age\n", "holds no id"),
        ("a.csv", "user\n", "holds no id"),
        ("a.csv", "user,age\nu01,3\nu02\n", "line 3: 1 fields, the first line has 2"),
        ("a.csv", "user\nu01\nu02,4\n", "'u02,4' has 2 fields, the first line has 1"),
        ("a.csv", 'user,age\n"u01,3\nu02,4\n', "quote"),
        ("a.parquet", pl.DataFrame({"user": []}), "holds no id"),
    ],
)
def test_what_cannot_be_read_is_refused(
    here: Path, tmp_path: Path, name: str, content: str | pl.DataFrame, says: str
) -> None:
    path = write(tmp_path / name, content)
    users = open_run(here / "runs/knn").train.users
    with pytest.raises(InputError, match=says):
        read_ids(path, users)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "x1\nx2\nx3\n"),
        ("a.csv", "user,age\nx1,3\nx2,4\nx3,5\n"),
        ("a.csv", "x1,u\nx2,v\nx3,w\n"),
        ("a.parquet", pl.DataFrame({"user": ["x1", "x2", "x3"], "known": ["u01", "u02", "u03"]})),
    ],
)
@pytest.mark.parametrize("unknown", ["popular", "skip", "error"])
def test_no_user_at_all_is_known(
    here: Path, tmp_path: Path, name: str, content: str | pl.DataFrame, unknown: str
) -> None:
    path = write(tmp_path / name, content)
    out = tmp_path / "best.csv"
    code, printed, err = invoke(
        f"recommend runs/knn --users {path} --unknown {unknown} --out {out}"
    )
    assert (code, printed) == (2, "")
    assert "unknown user 'x1' (3 of 3 are unknown)" in err
    assert not out.exists()


def test_one_user_who_is_known_is_enough(here: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "user,age\nx1,3\nu02,4\nx3,5\n")
    rows, err = answered(f"--users {path} -k 1")
    assert [(row["user"], row["source"]) for row in rows] == [
        ("x1", "popular"),
        ("u02", "model"),
        ("x3", "popular"),
    ]
    assert "2 of 3 users unknown to the run, such as 'x1'" in err


@pytest.mark.parametrize(
    ("lines", "note", "left"),
    [
        (["i02", "i98"], "1 of 2 items of --exclude unknown to the run, such as 'i98'", {"i02"}),
        (["x", "y", "i07"], "2 of 3 items of --exclude unknown to the run, such as 'x'", {"i07"}),
        (["i98"], "1 of 1 items of --exclude unknown to the run, such as 'i98'", set()),
    ],
)
def test_an_unknown_item_to_exclude_is_a_note(
    here: Path, tmp_path: Path, lines: list[str], note: str, left: set[str]
) -> None:
    path = write(tmp_path / "b.txt", "\n".join(lines) + "\n")
    rows, err = answered(f"--exclude {path} --user u01 --keep-seen -k 30")
    assert {row["item"] for row in rows} == {f"i{i:02d}" for i in range(30)} - left
    assert err.count("\n") == 1
    assert note in err


def test_an_unknown_item_of_a_new_user_is_a_note(here: Path, tmp_path: Path) -> None:
    """The others say of a user what they say without it; a user with no other item has no pair."""
    clean = "user,item\nzoe,i02\nzoe,i04\nmax,i06\n"
    path = write(tmp_path / "clean.csv", clean)
    plain, err = answered(f"--histories {path} -k 3")
    line = f"recsys: {path}: a log, 2 histories in order of rows (ids: user, items: item)\n"
    assert err == line
    more = "user,item\nzoe,i02\nzoe,x1\nzoe,i04\nmax,x2\nmax,i06\neve,x1\n"
    path = write(tmp_path / "more.csv", more)
    rows, err = answered(f"--histories {path} -k 3")
    assert [row for row in rows if row["user"] != "eve"] == plain
    assert {row["source"] for row in rows if row["user"] == "eve"} == {"popular"}
    assert "2 of 5 items of the histories unknown to the run, such as 'x1'" in err
    assert "3 of 6 events left out" in err
    assert "1 of 3 histories without a known item, such as 'eve': ranked by popularity" in err


def test_new_users_without_any_known_item_get_what_is_popular(here: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "visits.csv", "user,item\nzoe,x1\nmax,x2\n")
    rows, err = answered(f"--histories {path} -k 2")
    assert {row["source"] for row in rows} == {"popular"}
    assert "2 of 2 histories without a known item, such as 'zoe'" in err
    code, out, err = invoke(f"recommend runs/knn --histories {path} --unknown error")
    assert (code, out) == (2, "")
    assert "histories: history 'zoe' holds no known item (2 of 2 histories)" in err
    assert answered(f"--histories {path} --unknown skip")[0] == []


TUNE = """
[tune]
trials = 2
sampler = "random"

[tune.space]
"train.lr" = { choices = [1e30, 1e31] }
"""


@pytest.mark.parametrize(
    ("space", "code"),
    [("[1e30, 1e31]", 1), ("[1e30, 0.01]", 0), ("[0.02, 0.01]", 0)],
)
@pytest.mark.parametrize("more", ["", "--json"])
def test_a_study_whose_trials_all_failed_exits_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, space: str, code: int, more: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_text(LOG)
    experiment = MF.replace("[train]", '[train]\noptimizer = "sgd"\nlr = 1e30') + TUNE
    lines = [line for line in experiment.split("\n") if not line.startswith("lr = 0")]
    (tmp_path / "mf.toml").write_text("\n".join(lines).replace("[1e30, 1e31]", space))
    if code == 0 and "1e30" not in space:
        (tmp_path / "mf.toml").write_text(
            (tmp_path / "mf.toml").read_text().replace("lr = 1e30", "lr = 0.01")
        )
    status, out, err = invoke(f"tune mf.toml -q --out study {more}")
    assert status == code, err
    if code:
        assert "every trial failed: " in err
        assert "lower train.lr" in err
        assert "Traceback" not in err
        again, _, err = invoke("tune -q --resume study")
        assert again == 1
        assert invoke("tune show study")[0] == 0
    else:
        assert "every trial failed" not in err
    assert "study" in out
