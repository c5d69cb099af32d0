"""`[rerank]` in a TOML file, in `recsys evaluate` and in `recsys recommend`."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from mistakes import LOG, MF, invoke

CATEGORIES = "item,brand\n" + "".join(f"i{i:02d},b{i % 3}\n" for i in range(30))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without rules, and one of the same model with them."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "log.csv").write_text(LOG)
    (folder / "items.csv").write_text(CATEGORIES)
    (folder / "mf.toml").write_text(MF)
    rules = '\n[rerank]\nat_most = {brand = 2}\ncategories = "items.csv"\n'
    (folder / "ruled.toml").write_text(MF + rules)
    with contextlib.chdir(folder):
        assert invoke("run mf.toml -q --out plain")[0] == 0
        assert invoke("run ruled.toml -q --out ruled")[0] == 0
    return folder


@pytest.fixture
def here(runs: Path) -> Iterator[Path]:
    with contextlib.chdir(runs):
        yield runs


def lists(command: str) -> dict[str, list[str]]:
    code, out, err = invoke(f"recommend {command} --json -k 4")
    assert code == 0, err
    frame = pl.DataFrame(json.loads(out))
    return {user: part["item"].to_list() for (user,), part in frame.group_by("user")}


def metrics(command: str) -> dict[str, Any]:
    code, out, err = invoke(f"evaluate {command} --json")
    assert code == 0, err
    return {row["metric"]: row["mean"] for row in json.loads(out)["metrics"]}


def brands(items: list[str]) -> list[int]:
    return [int(item[1:]) % 3 for item in items]


def test_the_rules_of_a_run_decide_its_report_and_its_lists(here: Path) -> None:
    plain, ruled = lists("plain"), lists("ruled")
    assert any(max(map(brands(row).count, range(3))) > 2 for row in plain.values())
    assert all(max(map(brands(row).count, range(3))) <= 2 for row in ruled.values())
    assert lists("plain --rerank at_most.brand=2 --rerank categories=items.csv") == ruled
    assert lists("ruled --rerank at_most.brand=4") == plain
    report = json.loads((here / "ruled" / "test" / "report.json").read_text())
    assert report["protocol"].endswith("re-ranked: categories items.csv, at_most brand 2")
    words = "plain rerank.at_most.brand=2 rerank.categories=items.csv"
    assert metrics(words) == metrics("ruled") != metrics("plain")
    assert invoke("verify ruled")[0] == 0


def test_a_job_states_its_rules_and_is_refused_when_a_file_changes(
    here: Path, tmp_path: Path
) -> None:
    shutil.copy("items.csv", tmp_path / "items.csv")
    out = tmp_path / "job"
    rules = f"--rerank at_most.brand=1 --rerank categories={tmp_path / 'items.csv'}"
    job = f"recommend plain --out {out} {rules} --batch 7"
    assert invoke(job)[0] == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["rerank"]["at_most"] == {"brand": 1}
    frame = pl.read_parquet(out / "lists")
    assert frame.group_by("user").len()["len"].max() == 3
    assert invoke(f"recommend --verify {out}")[0] == 0
    (tmp_path / "items.csv").write_text(CATEGORIES.replace("b2", "b1"))
    code, _, err = invoke(job)
    assert code == 2
    assert "rerank.fingerprint differ" in err


@pytest.mark.parametrize(
    ("command", "cause"),
    [
        ("recommend plain --rerank by=mrm", "got 'mrm'"),
        ("recommend plain --rerank weight=0.3 --rerank by=none --rerank pool=5", "no effect"),
        ("recommend plain --rerank exclusions=gone.csv", "gone.csv"),
        ("run ruled.toml -q rerank.categories=gone.csv --out new", "gone.csv"),
        ("run ruled.toml -q evaluate.candidates=sampled --out new", "makes none"),
        ("evaluate plain rerank.at_most.brand=2", "categories is missing"),
    ],
)
def test_wrong_rules_are_refused(here: Path, command: str, cause: str) -> None:
    code, _, err = invoke(command)
    assert (code, cause in err) == (2, True), err
    assert not Path("new/config.toml").exists()
