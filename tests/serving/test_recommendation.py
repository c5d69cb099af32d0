"""Recommendations against a naive loop, and jobs that are interrupted, resumed and refused."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from oracle import best_first, tie

import recsys
from recsys import serving
from recsys.api import recommend
from recsys.data.types import Dataset, Interactions, Vocab
from recsys.errors import InputError
from recsys.scorer import Factors, Product
from recsys.serving import Job, Request, read_ids, similar_items, write_recommendations

USERS, ITEMS, SIZE = 23, 17, 3
OF_REQUEST = {field.name for field in dataclasses.fields(Request)}


def write(
    out: Path, scorer: Any, train: Dataset, users: Any = None, k: int = 10, **options: Any
) -> Job:
    """Write recommendations, the options of the request and those of the files in one mapping."""
    asked = {name: value for name, value in options.items() if name in OF_REQUEST}
    others = {name: value for name, value in options.items() if name not in OF_REQUEST}
    return write_recommendations(out, scorer, train, Request(users, k, **asked), **others)


def world(seed: int = 0, *, numbers: bool = False) -> tuple[Factors, Dataset]:
    """Return integer vectors, for exact scores with ties; one user has seen nothing, one all."""
    rng = np.random.default_rng(seed)
    user, item = (
        torch.from_numpy(rng.integers(-2, 3, (n, SIZE)).astype(np.float32)) for n in (USERS, ITEMS)
    )
    met = rng.random((USERS, ITEMS)) < 0.3
    met[0], met[1] = False, True
    rows = np.nonzero(met)
    users = pl.Series(
        "user", [7 * i for i in range(USERS)] if numbers else [f"u{i:02d}" for i in range(USERS)]
    )
    items = pl.Series(
        "item", [5 * i for i in range(ITEMS)] if numbers else [f"i{i:02d}" for i in range(ITEMS)]
    )
    titles = pl.Series("title", [f"Item {i}" if i % 4 else None for i in range(ITEMS)])
    pairs = Interactions(rows[0].astype(np.int32), rows[1].astype(np.int32), USERS, ITEMS)
    return Factors(user, item), Dataset(
        pairs, Vocab(users, "user"), Vocab(items, "item"), titles=titles
    )


def naive(
    scorer: Factors,
    train: Dataset,
    users: list,
    k: int,
    *,
    seen: bool = True,
    allowed: set[int] | None = None,
    unknown: str = "popular",
) -> list:
    """user, item, rank, score, source, one user and one item at a time."""
    ids, items = train.users.ids.to_list(), train.items.ids.to_list()
    met = {
        (u, i) for u, i in zip(train.pairs.user.tolist(), train.pairs.item.tolist(), strict=True)
    }
    pool = sorted(range(len(items)) if allowed is None else allowed)
    rows = []
    for user in users:
        row = ids.index(user) if user in ids else -1
        free = [i for i in pool if not (seen and (row, i) in met)]
        scores, source = {}, "model"
        if any(u == row for u, _ in met):
            scores = {i: float(scorer.user[row] @ scorer.item[i]) for i in free}
        if not any(u == row for u, _ in met) or (len(free) > 1 and len(set(scores.values())) == 1):
            if unknown == "skip":
                continue
            times = {i: sum(1 for _, item in met if item == i) for i in free}
            scores, source = {i: float(n) for i, n in times.items() if n}, "popular"
        best = sorted(scores, key=lambda i: (-scores[i], tie(i)))[:k]
        rows += [(user, items[i], rank, scores[i], source) for rank, i in enumerate(best, 1)]
    return rows


@hypothesis_settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 5),
    k=st.integers(1, ITEMS + 3),
    seen=st.booleans(),
    numbers=st.booleans(),
    asked=st.none() | st.lists(st.integers(0, USERS + 3), min_size=1, max_size=12),
    candidates=st.none() | st.sets(st.integers(0, ITEMS - 1), min_size=1),
    exclude=st.none() | st.sets(st.integers(0, ITEMS - 1), max_size=5),
    unknown=st.sampled_from(["popular", "skip"]),
)
def test_as_a_naive_loop(
    seed: int, k: int, seen: bool, numbers: bool, asked, candidates, exclude, unknown: str
) -> None:
    scorer, train = world(seed, numbers=numbers)
    ids, items = train.users.ids.to_list(), train.items.ids.to_list()
    stranger = -1 if numbers else "stranger"
    users = None if asked is None else [ids[i] if i < USERS else stranger for i in asked]
    allowed = (set(range(ITEMS)) if candidates is None else candidates) - (exclude or set())
    options = {"filter_seen": seen, "unknown": unknown}
    options["candidates"] = (
        None if candidates is None else [items[i] for i in sorted(candidates, reverse=True)]
    )
    options["exclude"] = None if exclude is None else [items[i] for i in sorted(exclude)]
    if not allowed:
        with pytest.raises(InputError, match="no item is left"):
            recommend(scorer, train, users, k, **options)
        return
    found = recommend(scorer, train, users, k, **options)
    expected = naive(
        scorer,
        train,
        ids if users is None else users,
        k,
        seen=seen,
        allowed=allowed,
        unknown=unknown,
    )
    assert found.rows() == expected
    assert found.columns == ["user", "item", "rank", "score", "source"]


def test_the_seen_is_never_recommended_unless_asked_for() -> None:
    scorer, train = world()
    met = set(
        zip(
            train.users.ids.gather(train.pairs.user),
            train.items.ids.gather(train.pairs.item),
            strict=True,
        )
    )
    answer = recommend(scorer, train, k=ITEMS)
    found = set(answer.select("user", "item").iter_rows())
    assert not found & met
    assert len(found) + len(met) == USERS * ITEMS
    assert "u01" not in answer["user"], "nothing is left for who has seen everything"
    assert recommend(scorer, train, k=ITEMS, filter_seen=False).height == USERS * ITEMS


def test_a_user_asked_for_twice_is_answered_twice_in_the_order_asked() -> None:
    scorer, train = world()
    answer = recommend(scorer, train, ["u05", "who", "u02", "u05"], 2)
    assert answer["user"].to_list() == ["u05", "u05", "who", "who", "u02", "u02", "u05", "u05"]
    assert answer[:2].equals(answer[6:])


def test_unknown_users_by_policy() -> None:
    scorer, train = world()
    assert recommend(scorer, train, ["who"], 3, unknown="skip").rows() == []
    assert recommend(scorer, train, ["who"], 3)["source"].to_list() == ["popular"] * 3
    with pytest.raises(InputError, match="unknown user 'who'"):
        recommend(scorer, train, ["u01", "who"], 3, unknown="error")


def test_titles() -> None:
    scorer, train = world()
    answer = recommend(scorer, train, ["u02", "who"], 5, titles=True)
    wanted = dict(zip(train.items.ids, train.titles, strict=True))
    assert answer["title"].to_list() == [wanted[item] for item in answer["item"]]


@pytest.mark.parametrize(
    "users",
    [
        [7, 14],
        (7, 14),
        np.array([7, 14]),
        np.array([7, 14], dtype=np.int32),
        pl.Series([7, 14]),
        pl.Series([7.0, 14.0]),
        ["7", "14"],
        pd.Series([7, 14]),
        pd.Index([7, 14]),
    ],
    ids=["list", "tuple", "numpy", "int32", "polars", "whole floats", "text", "pandas", "index"],
)
def test_ids_of_any_kind(users: object) -> None:
    scorer, train = world(numbers=True)
    expected = naive(scorer, train, [7, 14], 3)
    answer = serving.recommend(scorer, train, Request(users, 3))
    assert answer.rows() == expected
    assert answer["user"].dtype == pl.Int64


@pytest.mark.parametrize(
    ("users", "unknown", "rows"),
    [
        (["21.0", "14"], "popular", [(21, "model"), (14, "model")]),
        ([8, 21], "popular", [(8, "popular"), (21, "model")]),
        (["guest", "21.0"], "popular", [("guest", "popular"), ("21", "model")]),
        (["guest", 21], "popular", [("guest", "popular"), ("21", "model")]),
        (pd.Series(["guest", 21]), "popular", [("guest", "popular"), ("21", "model")]),
        (pd.Series(["21", "14"], dtype="category"), "popular", [(21, "model"), (14, "model")]),
        ([b"21", b"14"], "popular", [(21, "model"), (14, "model")]),
        (["guest", "21.0"], "skip", [(21, "model")]),
        ([7.5, 14.0], "skip", [(14, "model")]),
        (["21.0.0"], "skip", []),
        ([10**30], "skip", []),
    ],
)
def test_ids_are_read_as_the_loader_reads_them_and_keep_their_type(
    users: object, unknown: str, rows: list
) -> None:
    """Numbers stay numbers for all, unless somebody who is none gets a list."""
    scorer, train = world(numbers=True)
    found = serving.recommend(scorer, train, Request(users, 1, unknown=unknown))
    assert found.select("user", "source").rows() == rows
    assert found["user"].dtype == (
        pl.String if any(isinstance(user, str) for user, _ in rows) else pl.Int64
    )


def test_whole_numbers_in_a_run_of_texts() -> None:
    """What pandas makes of integers in a column with gaps."""
    scorer, train = world()
    train = Dataset(
        train.pairs, Vocab(pl.Series([str(7 * i) for i in range(USERS)]), "user"), train.items
    )
    assert recommend(scorer, train, [21.0, 14.0], 1).select("user", "source").rows() == [
        ("21", "model"),
        ("14", "model"),
    ]


def test_items_are_read_so_too() -> None:
    scorer, train = world(numbers=True)
    usual = recommend(scorer, train, [7], candidates=[5, 10, 15], exclude=[10], filter_seen=False)
    assert usual.height == 2
    assert recommend(
        scorer, train, [7], candidates=["5.0", "10", "15"], exclude=[10.0], filter_seen=False
    ).equals(usual)
    assert similar_items(scorer, train, ["5.0"], 3).equals(similar_items(scorer, train, [5], 3))


def test_half_an_id_is_nobody() -> None:
    scorer, train = world(numbers=True)
    assert recommend(scorer, train, [7.5], 3)["source"].unique().to_list() == ["popular"]
    assert recommend(scorer, train, [7.5, 14.0], 1).select("user", "source").rows() == [
        ("7.5", "popular"),
        ("14", "model"),
    ]
    with pytest.raises(InputError, match="unknown user"):
        recommend(scorer, train, [7.5, 14.0], 3, unknown="error")


@pytest.mark.parametrize(
    "users",
    [
        ["u01", None],
        pd.Series(["u01", None]),
        pd.Series([1, None]),
        pl.Series(["u01", None]),
        np.array([1.0, np.nan]),
        ["u01", ""],
    ],
    ids=["list", "pandas", "pandas numbers", "polars", "numpy", "empty"],
)
def test_a_missing_id_is_an_error(users: object, tmp_path: Path) -> None:
    scorer, train = world()
    with pytest.raises(InputError, match="1 of 2 ids is missing"):
        recommend(scorer, train, users, 3)
    with pytest.raises(InputError, match="1 of 2 ids is missing"):
        write(tmp_path / "job", scorer, train, users, 3)
    assert not (tmp_path / "job").exists()


def test_pandas_in_pandas_out() -> None:
    scorer, train = world()
    users = pd.Series(["u03", "u04"], index=[8, 9], name="customer")
    answer = recsys.recommend(
        scorer,
        train,
        users,
        4,
        exclude=pd.Series(["i00"]),
        candidates=pd.Series([f"i{i:02d}" for i in range(9)]),
    )
    assert isinstance(answer, pd.DataFrame)
    expected = naive(scorer, train, ["u03", "u04"], 4, allowed=set(range(1, 9)))
    assert [tuple(row) for row in answer.itertuples(index=False)] == expected
    assert isinstance(recsys.recommend(scorer, train, ["u03"], 4), pl.DataFrame)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"users": 5}, "users: int cannot be read as a list of ids; give a list"),
        ({"users": "u01"}, "users: str cannot be read as a list of ids"),
        ({"users": {"u01": 1}}, "users: dict cannot be read as a list of ids"),
        ({"users": [[1]]}, "users: expected ids, got List(Int64)"),
        ({"users": np.array([[1, 2]])}, "users: expected ids, got Array(Int64, shape=(2,))"),
        ({"users": [b"u01", b"\xff"]}, "users: list cannot be read as a list of ids"),
        ({"users": [object()]}, "users: expected ids, got Object"),
        (
            {"users": pd.DataFrame({"user": ["u01"]})},
            "users: expected ids, got Struct({'user': String})",
        ),
        ({"candidates": "i01"}, "candidates: str cannot be read as a list of ids"),
        ({"exclude": 3}, "exclude: int cannot be read as a list of ids"),
        ({"exclude": ["i01", None]}, "exclude: 1 of 2 ids is missing"),
        ({"k": 2.5}, "k must be an integer, got 2.5"),
        ({"k": "3"}, "k must be an integer, got '3'"),
        ({"k": 0}, "k must be at least 1, got 0"),
        ({"unknown": "foo"}, "got 'foo'; known: error, popular, skip"),
        ({"unknown": "skipp"}, "did you mean 'skip'?"),
        ({"unknown": None}, "unknown must be 'popular' or 'skip' or 'error', got None"),
        ({"format": "xml"}, "got 'xml'; known: csv, jsonl, parquet"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
    ],
)
def test_what_is_no_argument_is_one_line(tmp_path: Path, arguments: dict, says: str) -> None:
    scorer, train = world()
    with pytest.raises(InputError, match=re.escape(says)):
        write(tmp_path / "job", scorer, train, **arguments)
    assert not (tmp_path / "job").exists()
    if not arguments.keys() & {"format", "batch"}:
        with pytest.raises(InputError, match=re.escape(says)):
            recsys.recommend(scorer, train, **arguments)


@pytest.mark.parametrize(
    ("items", "k", "says"),
    [
        ("i01", 3, "items: str cannot be read"),
        (["i01"], 0, "k must be at least 1, got 0"),
        (["i01"], -5, "k must be at least 1, got -5"),
        (["i01"], 1.5, "1.5"),
    ],
)
def test_what_is_no_question_of_similar_items(items: object, k: object, says: str) -> None:
    scorer, train = world()
    with pytest.raises(InputError, match=re.escape(says)):
        similar_items(scorer, train, items, k)


def test_nothing_to_ask_for() -> None:
    scorer, train = world()
    with pytest.raises(InputError, match="k must be at least 1"):
        recommend(scorer, train, k=0)
    with pytest.raises(InputError, match=r"candidates: unknown item 'i99'.*did you mean"):
        recommend(scorer, train, candidates=["i01", "i99"])
    with pytest.raises(InputError, match="exclude: unknown item"):
        recommend(scorer, train, exclude=["nothing"])
    assert recommend(scorer, train, [], 3).height == 0


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_a_file(tmp_path: Path, ending: str) -> None:
    scorer, train = world()
    out = tmp_path / "deep" / f"best.{ending}"
    told = []
    job = write(out, scorer, train, ["u02", "who"], 3, tell=lambda *done: told.append(done))
    assert job == Job((out,), users=1, fallback=1, rows=6)
    assert told == [(2, 2)]
    assert read(out).rows() == naive(scorer, train, ["u02", "who"], 3)
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file under a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def read(path: Path) -> pl.DataFrame:
    return {".parquet": pl.read_parquet, ".csv": pl.read_csv, ".jsonl": pl.read_ndjson}[
        path.suffix
    ](path)


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize(
    "asked", [None, ["u02", "who", "u02", "u09"], []], ids=["all", "some", "none"]
)
def test_parts_together_are_the_whole(tmp_path: Path, ending: str, asked: list[str] | None) -> None:
    scorer, train = world()
    told = []
    job = write(
        tmp_path / "job",
        scorer,
        train,
        asked,
        4,
        batch=2,
        format=ending,
        model="m",
        tell=lambda *done: told.append(done),
    )
    whole = recommend(scorer, train, asked, 4)
    size = USERS if asked is None else len(asked)
    assert len(job.files) == max(1, -(-size // 2))
    if size:
        assert pl.concat([read(path) for path in job.files]).rows() == whole.rows()
    assert (job.rows, job.reused) == (whole.height, 0)
    assert told[-1] == (size, size)
    manifest = json.loads((tmp_path / "job" / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert [part["file"] for part in manifest["parts"]] == [
        f"lists/{path.name}" for path in job.files
    ]
    assert {key: manifest[key] for key in ("rows", "k", "model", "batch", "format")} == {
        "rows": job.rows,
        "k": 4,
        "model": "m",
        "batch": 2,
        "format": ending,
    }
    assert contents(tmp_path / "job").keys() == {
        *(part["file"] for part in manifest["parts"]),
        "manifest.json",
    }
    again = write(tmp_path / "job", scorer, train, asked, 4, batch=2, format=ending, model="m")
    assert (again.rows, again.users, again.fallback, again.reused) == (
        job.rows,
        job.users,
        job.fallback,
        len(job.files),
    )


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_an_interrupted_job_goes_on_and_ends_with_the_same_bytes(
    tmp_path: Path, ending: str
) -> None:
    scorer, train = world()
    options = {"k": 4, "batch": 5, "format": ending, "model": "m"}
    write(tmp_path / "whole", scorer, train, **options)
    stopped = 0
    for after in (5, 15):

        def stop(done: int, _: int, after: int = after) -> None:
            if done == after:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "cut", scorer, train, tell=stop, **options)
        stopped += 1
        assert json.loads((tmp_path / "cut" / "manifest.json").read_text())["status"] == "running"
        assert len(list((tmp_path / "cut" / "lists").iterdir())) == after // 5
    kept = (tmp_path / "cut" / "lists" / f"part-00000.{ending}").stat().st_mtime_ns
    job = write(tmp_path / "cut", scorer, train, **options)
    assert (stopped, job.reused) == (2, 3)
    assert (tmp_path / "cut" / "lists" / f"part-00000.{ending}").stat().st_mtime_ns == kept, (
        "a finished part is not made again"
    )
    assert contents(tmp_path / "whole") == contents(tmp_path / "cut")


def test_a_killed_write_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, train = world()
    monkeypatch.setattr(
        "recsys.serving.job_folder.save",
        lambda frame, path, format: (path.write_bytes(b"half"), 1 / 0),
    )
    with pytest.raises(ZeroDivisionError):
        write(tmp_path / "job", scorer, train)
    assert contents(tmp_path / "job").keys() == {"manifest.json", "parts.jsonl"}


OTHERS = {
    "model": {"model": "another"},
    "k": {"k": 5},
    "users_fingerprint": {"users": ["u01"]},
    "filter_seen": {"filter_seen": False},
    "unknown": {"unknown": "skip"},
    "candidates": {"exclude": ["i00"]},
    "batch": {"batch": 6},
    "format": {"format": "csv"},
    "titles": {"titles": True},
}


@pytest.mark.parametrize("what", OTHERS)
def test_parts_of_another_job_are_refused(tmp_path: Path, what: str) -> None:
    scorer, train = world()
    usual = {"k": 4, "batch": 5, "model": "m"}
    write(tmp_path / "job", scorer, train, **usual)
    before = contents(tmp_path / "job")
    with pytest.raises(InputError, match=rf"parts of another job \({what} differ\)"):
        write(tmp_path / "job", scorer, train, **(usual | OTHERS[what]))
    assert before == contents(tmp_path / "job")


def test_other_learning_data_are_another_job(tmp_path: Path) -> None:
    scorer, train = world()
    write(tmp_path / "job", scorer, train)
    fewer = train.with_pairs(train.pairs.take(np.arange(len(train.pairs)) > 0))
    with pytest.raises(InputError, match="seen_fingerprint differ"):
        write(tmp_path / "job", scorer, fewer)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    scorer, train = world()
    (tmp_path / "mine").write_text("precious")
    for out in (tmp_path, tmp_path / "mine"):
        with pytest.raises(InputError, match="not the folder of a job"):
            write(out, scorer, train)
    with pytest.raises(InputError, match=r"unknown ending '\.xlsx'"):
        write(tmp_path / "best.xlsx", scorer, train)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("similarity", ["dot", "cosine", "euclidean"])
def test_similar_items_against_a_naive_loop(similarity: str) -> None:
    _, train = world()
    rng = np.random.default_rng(3)
    item = rng.normal(size=(ITEMS, SIZE)).astype(np.float32)
    scorer = Factors(torch.zeros(USERS, SIZE), torch.from_numpy(item), similarity)
    found = similar_items(scorer, train, ["i04", "i11"], 6)
    expected = []
    for row in (4, 11):
        if similarity == "euclidean":
            near = -np.square(item - item[row]).sum(1)
        else:
            near = item @ item[row] / np.linalg.norm(item, axis=1) / np.linalg.norm(item[row])
        order = [i for i in best_first(near) if i != row][:6]
        expected += [(f"i{row:02d}", f"i{i:02d}", rank) for rank, i in enumerate(order, 1)]
    assert found.select("item", "similar", "rank").rows() == expected
    for _, part in found.group_by("item"):
        assert part["score"].is_sorted(descending=True)


def test_similar_items_says_what_it_cannot() -> None:
    scorer, train = world()
    with pytest.raises(InputError, match="unknown item 'none'"):
        similar_items(scorer, train, ["none"])
    with pytest.raises(InputError, match="has no item vectors"):
        similar_items(Product((torch.ones(USERS, 1), torch.ones(1, ITEMS))), train, ["i01"])
    assert similar_items(scorer, train, ["i01"], 99).height == ITEMS - 1


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("ids.txt", "u01\n\n  u02  \nu03", ["u01", "u02", "u03"]),
        ("ids.txt", "user\nu01\n", ["u01"]),
        ("ids.csv", 'user_id,age\nu01,3\n"u02",4\n', ["u01", "u02"]),
        ("ids.csv", "\ufeffuser\nu01\n", ["u01"]),
        ("ids.csv", '"a,b"\n"c ""d"""\n', ["a,b", 'c "d"']),
        ("ids.txt", "007\n7\n", ["007", "7"]),
        ("ids.csv", "CustomerID,age\nu01,3\n", ["u01"]),
        ("ids.txt", "Movie ID\ni01\n", ["i01"]),
        ("ids.txt", "rating\nu01\n", ["rating", "u01"]),
    ],
)
def test_ids_from_text(tmp_path: Path, name: str, content: str, wanted: list[str]) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read_ids(tmp_path / name).to_list() == wanted


@pytest.mark.parametrize(
    ("known", "column", "wanted"),
    [
        (["u01"], "Käufer", ["u01"]),
        (["u01"], None, ["Käufer", "u01"]),
        (["u01"], "käufer", ["Käufer", "u01"]),
        (["u01", "Käufer"], "Käufer", ["Käufer", "u01"]),
        ([1, 2], "Käufer", ["u01"]),
    ],
)
def test_a_header_is_what_the_data_of_the_run_call_it_and_no_id(
    tmp_path: Path, known: list, column: str | None, wanted: list[str]
) -> None:
    (tmp_path / "ids.txt").write_text("Käufer\nu01\n", encoding="utf-8")
    assert (
        read_ids(tmp_path / "ids.txt", Vocab(pl.Series(known), "user"), column).to_list() == wanted
    )


def test_ids_from_parquet(tmp_path: Path) -> None:
    pl.DataFrame({"id": [3, 1], "more": ["a", "b"]}).write_parquet(tmp_path / "ids.parquet")
    assert read_ids(tmp_path / "ids.parquet").to_list() == [3, 1]
