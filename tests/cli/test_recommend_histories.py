"""`recsys recommend --histories` and `--items`: what they print, write, resume and refuse."""

from __future__ import annotations

import io
import json
from pathlib import Path

import polars as pl
import pytest
from mistakes import LOG, MF, invoke

KNN = MF[: MF.index("[model]")] + '[model]\nname = "itemknn"\n' + MF[MF.index("\n[evaluate]") :]
BLEND = KNN.replace('"itemknn"', '"blend"\nfirst = "runs/knn"\nsecond = "runs/mf"')
VISITS = """session,item,time
s1,i04,2024-05-01 10:02
s2,i05,2024-05-01 10:00
s1,i02,2024-05-01 10:00
s1,i04,2024-05-01 10:03
"""
LINES = '{"id": "s1", "items": ["i02", "i04"]}\n{"id": "s2", "items": ["i05"]}\n'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of a method that reads histories, of one that does not, and of both joined."""
    folder = tmp_path_factory.mktemp("histories")
    (folder / "log.csv").write_text(LOG)
    (folder / "visits.csv").write_text(VISITS)
    (folder / "visits.jsonl").write_text(LINES)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, text in (("knn", KNN), ("mf", MF), ("blend", BLEND)):
            (folder / f"{name}.toml").write_text(text)
            code, _, err = invoke(f"run {name}.toml -q --out runs/{name} name={name}")
            assert code == 0, err
    return folder


@pytest.fixture
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    return made


def answered(command: str) -> tuple[list[dict], list[str]]:
    """Return the rows of a command that prints JSON, and its notes."""
    code, out, err = invoke(f"{command} --json")
    assert code == 0, err
    return json.loads(out), err.splitlines()


def test_a_log_of_sessions_and_lines_of_json_get_the_same_lists(here: Path) -> None:
    by_log, log_notes = answered("recommend runs/knn --histories visits.csv -k 3")
    by_lines, notes = answered("recommend runs/knn --histories visits.jsonl -k 3")
    assert by_log == by_lines
    assert [row["user"] for row in by_log] == ["s1"] * 3 + ["s2"] * 3
    assert not {"i02", "i04"} & {row["item"] for row in by_log if row["user"] == "s1"}
    assert log_notes == [
        "recsys: visits.csv: a log, 2 histories in order of time (ids: session, items: item)"
    ]
    assert notes == ["recsys: visits.jsonl: JSON lines, 2 histories"]


def test_standard_input(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(LINES))
    rows, notes = answered("recommend runs/knn --histories - -k 3")
    assert rows == answered("recommend runs/knn --histories visits.jsonl -k 3")[0]
    assert notes == ["recsys: standard input: JSON lines, 2 histories"]


def test_seen_items_on_request(here: Path) -> None:
    rows, _ = answered("recommend runs/knn --histories visits.csv -k 30 --keep-seen")
    assert {"i02", "i04"} < {row["item"] for row in rows if row["user"] == "s1"}


def test_a_job_in_parts_goes_on_and_is_the_whole(here: Path, tmp_path: Path) -> None:
    names = [f"v{n}" for n in range(7)]
    lines = [json.dumps({"id": name, "items": ["i02", "i04"]}) for name in names]
    (tmp_path / "many.jsonl").write_text("\n".join(lines))
    ask = f"recommend runs/knn --histories {tmp_path / 'many.jsonl'} -k 2"
    job = f"{ask} --out {tmp_path / 'parts'} --batch 3"
    code, out, _ = invoke(job)
    assert (code, out.strip()) == (
        0,
        f"14 recommendations for 7 histories (0 by popularity): {tmp_path / 'parts'}",
    )
    (tmp_path / "parts" / "lists" / "part-00001.parquet").unlink()
    code, out, _ = invoke(job)
    assert "reused 2 parts" in out
    parts = pl.read_parquet(tmp_path / "parts" / "lists")
    assert parts.to_dicts() == answered(ask)[0]
    code, out, _ = invoke(f"{ask} --out {tmp_path / 'one.parquet'}")
    assert code == 0
    assert pl.read_parquet(tmp_path / "one.parquet").equals(parts)


def test_the_first_ten_are_shown(here: Path, tmp_path: Path) -> None:
    lines = [json.dumps({"id": f"v{n}", "items": ["i02"]}) for n in range(12)]
    (tmp_path / "many.jsonl").write_text("\n".join(lines))
    code, out, _ = invoke(f"recommend runs/knn --histories {tmp_path / 'many.jsonl'} -k 1")
    assert code == 0
    assert out.endswith("the first 10 of 12 histories; --out writes all\n")


def test_items_by_histories_and_by_vectors(here: Path, tmp_path: Path) -> None:
    (tmp_path / "items.txt").write_text("item\ni05\ni04\n")
    rows, notes = answered(f"recommend runs/knn --items {tmp_path / 'items.txt'} -k 2")
    assert [row["query_item"] for row in rows] == ["i05", "i05", "i04", "i04"]
    assert {row["source"] for row in rows} == {"model"}
    assert not notes
    history, _ = answered("recommend runs/knn --histories visits.csv -k 2")
    assert [row["item"] for row in rows[:2]] == [
        row["item"] for row in history if row["user"] == "s2"
    ]
    rows, notes = answered(f"recommend runs/mf --items {tmp_path / 'items.txt'} -k 2")
    assert {row["source"] for row in rows} == {"vectors"}
    assert not notes


def test_an_unknown_item_to_ask_for_is_a_note(here: Path, tmp_path: Path) -> None:
    (tmp_path / "items.txt").write_text("i05\nI04\n")
    rows, notes = answered(f"recommend runs/knn --items {tmp_path / 'items.txt'} -k 2")
    assert [row["source"] for row in rows] == ["model"] * 2 + ["popular"] * 2
    assert notes == [
        "recsys: 1 of 2 items unknown to the run, such as 'I04', while 'i04' is one: "
        "ranked by popularity"
    ]


MISTAKES = {
    "no column of items": (
        {"visits.txt": "session,thing,when\ns1,i04,1\ns1,i02,2\n"},
        "runs/knn --histories {visits.txt}",
        "visits.txt: no column looks like the items; the columns are session, thing, when; call it",
    ),
    "no column of ids": (
        {"visits.csv": "who,item\ns1,i04\n"},
        "runs/knn --histories {visits.csv}",
        "no column looks like the ids of the histories; the columns are who, item; call it user",
    ),
    "no known item, and unknown = error": (
        {"visits.csv": "user,item\nzoe,x1\nmax,x2\n"},
        "runs/knn --histories {visits.csv} --unknown error",
        "histories: history 'zoe' holds no known item (2 of 2 histories); leave such histories out",
    ),
    "an empty file": (
        {"visits.csv": ""},
        "runs/knn --histories {visits.csv}",
        "visits.csv: the file is empty; give a file with interactions",
    ),
    "an empty file of lines": (
        {"visits.jsonl": "\n"},
        "runs/knn --histories {visits.jsonl}",
        "visits.jsonl: the file is empty; give a file",
    ),
    "a header alone": (
        {"visits.csv": "user,item\n"},
        "runs/knn --histories {visits.csv}",
        "visits.csv: there is a header and no row below it; give a file with interactions",
    ),
    "no such file": (
        {},
        "runs/knn --histories nowhere.csv",
        "nowhere.csv: no such file",
    ),
    "histories and a user": (
        {},
        "runs/knn --histories visits.csv --user u01",
        "--user and --users do not go with --histories; all histories of the file are answered",
    ),
    "histories and items": (
        {},
        "runs/knn --histories visits.csv --items log.csv",
        "--histories and --items do not go together; ask for each on its own",
    ),
    "items of a method that can do neither": (
        {"items.txt": "i04\n"},
        "runs/blend --items {items.txt}",
        "runs/blend (blend): cannot rank what goes with an item: this 'blend' scorer neither reads "
        "a history nor has item vectors; use itemknn, ease, ials",
    ),
    "a line that is not JSON": (
        {"visits.jsonl": '{"id": "a", "items": ["i04"]}\n{"id": "b", "items": ["i04"\n'},
        "runs/knn --histories {visits.jsonl}",
        "visits.jsonl, line 2: not valid JSON: ",
    ),
    "a line without items": (
        {"visits.jsonl": '{"id": "a", "item": "i04"}\n'},
        "runs/knn --histories {visits.jsonl}",
        "visits.jsonl, line 1: expected an object with the keys id (or user) and items, got "
        "['id', 'item']; write {",
    ),
    "items that are not a list": (
        {"visits.jsonl": '{"id": "a", "items": "i04"}\n'},
        "runs/knn --histories {visits.jsonl}",
        "visits.jsonl, line 1: expected a list of ids as items, got i04; write {",
    ),
    "an id that is missing": (
        {"visits.jsonl": '{"id": null, "items": ["i04"]}\n'},
        "runs/knn --histories {visits.jsonl}",
        "visits.jsonl, line 1: expected an id, got None; write {",
    ),
    "ids and users in one file": (
        {"visits.jsonl": '{"id": "a", "items": []}\n{"user": "b", "items": []}\n'},
        "runs/knn --histories {visits.jsonl}",
        "visits.jsonl, line 2: some lines have an id and others a user; use one of the two",
    ),
    "an id that comes twice": (
        {"visits.jsonl": '{"id": "a", "items": ["i04"]}\n\n{"id": "a", "items": ["i05"]}\n'},
        "runs/knn --histories {visits.jsonl}",
        "visits.jsonl, line 3: duplicate id 'a', as on line 1; give one history per id",
    ),
    "a list of no length": (
        {},
        "runs/knn --histories visits.csv -k 0",
        "invalid value for '-k' / '--k': ",
    ),
    "a method that reads no histories": (
        {},
        "runs/mf --histories visits.csv",
        "runs/mf (mf): cannot answer a history: this 'factors' scorer has a learned vector per "
        "user, which cannot be computed from a history; use itemknn, ease, gfcf, ials",
    ),
    "a blend with a part that reads none": (
        {},
        "runs/blend --histories visits.csv",
        "runs/blend (blend): the second part of this blend: cannot answer a history",
    ),
    "the earlier name": (
        {},
        "runs/knn --new-users visits.csv",
        "--new-users has another name now; recsys recommend runs/knn --histories visits.csv",
    ),
    "items of which none is known": (
        {"items.txt": "x1\nx2\n"},
        "runs/knn --items {items.txt}",
        "items.txt: unknown item 'x1' (2 of 2 are unknown)",
    ),
    "seen items of an item": (
        {"items.txt": "i04\n"},
        "runs/knn --items {items.txt} --keep-seen",
        "an item never goes with itself",
    ),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_one_line_and_nothing_is_written(
    here: Path, tmp_path: Path, what: str
) -> None:
    files, command, says = MISTAKES[what]
    for name, content in files.items():
        (tmp_path / name).write_text(content)
        command = command.replace(f"{{{name}}}", str(tmp_path / name))
    code, out, err = invoke(f"recommend {command} --out {tmp_path / 'lists.parquet'}")
    assert (code, out) == (2, "")
    assert says in err
    assert err.startswith("recsys: ")
    assert err.count("\n") == 1
    assert "; " in err
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)
