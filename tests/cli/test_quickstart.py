"""From a file to a table without a TOML file."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import polars as pl
import pytest
from mistakes import LOG, invoke

from recsys.config import shipped_folder, shipped_names
from recsys.evaluation.metrics import FULL_RANKING
from recsys.experiment.execution import Run, open_run
from recsys.experiment.experiment import read
from recsys.quickstart import Wish, canonical, metric_at


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "log.csv").write_text(LOG)
    return tmp_path


def done(command: str) -> tuple[str, str]:
    code, out, err = invoke(command)
    assert code == 0, err
    return out, err


def run_of(command: str) -> Run:
    out, _ = done(f"{command} --json")
    return open_run(json.loads(out)["run"])


@pytest.mark.parametrize("options", ["", "--model mf -k 5 --metric recall train.epochs=2"])
def test_a_file_gives_the_numbers_of_its_toml(here: Path, options: str) -> None:
    by_file = run_of(f"run log.csv {options}")
    done(f"init log.csv --out first.toml {options}")
    by_toml = run_of("run first.toml")
    assert by_file.meta.experiment == by_toml.meta.experiment
    assert by_file.experiment.to_toml() == by_toml.experiment.to_toml()
    assert by_file.split.fingerprint == by_toml.split.fingerprint
    for part in ("valid", "test"):
        assert by_file.report(part).per_user.equals(by_toml.report(part).per_user)
    assert by_file.fingerprint == by_toml.fingerprint


def test_init_names_what_it_guessed(here: Path) -> None:
    Path("shop.csv").write_text(LOG.replace("user,item,rating,time", "product,visitor,price,when"))
    out, err = done("init shop.csv")
    assert out.splitlines() == ["written: shop.toml", "next: recsys run shop.toml"]
    text = Path("shop.toml").read_text()
    assert "# columns guessed: user = 'visitor', item = 'product', time = 'when'" in text
    assert "# columns not read: price" in text
    assert "columns not read: price" in err
    data = tomllib.loads(text)["data"]
    assert data == {"path": "shop.csv", "user": "visitor", "item": "product", "time": "when"}
    code, _, err = invoke("init shop.csv")
    assert (code, "already exists; choose another --out" in err) == (2, True)


def test_a_file_without_header_and_one_without_times(here: Path) -> None:
    Path("bare.csv").write_text(LOG.partition("\n")[2])
    done("init bare.csv")
    tree = tomllib.loads(Path("bare.toml").read_text())
    positions = {"user": 0, "item": 1, "weight": 2, "time": 3, "header": False}
    assert tree["data"] == {"path": "bare.csv", **positions}
    assert tree["split"]["order"] == "time"
    bare, named = run_of("run bare.csv"), run_of("run log.csv")
    assert bare.report("test").per_user.equals(named.report("test").per_user)
    pl.read_csv("log.csv").select("user", "item").write_csv("pairs.csv")
    done("init pairs.csv")
    tree = tomllib.loads(Path("pairs.toml").read_text())
    assert "order" not in tree["split"]
    assert run_of("run pairs.csv").split.rule == "ratio 0.8/0.1/0.1 per user, random with seed 0"


def test_a_column_that_holds_nothing_is_not_named(here: Path) -> None:
    frame = pl.read_csv("log.csv").with_columns(rating=pl.lit(None, pl.String))
    frame.write_csv("empty.csv")
    done("init empty.csv")
    assert "weight" not in tomllib.loads(Path("empty.toml").read_text())["data"]
    run_of("run empty.toml")


def test_a_source_that_is_split_stays_split(here: Path) -> None:
    frame = pl.read_csv("log.csv")
    Path("parts").mkdir()
    frame.head(180).write_csv("parts/train.csv")
    frame.tail(60).write_csv("parts/test.csv")
    done("init parts")
    assert tomllib.loads(Path("parts.toml").read_text())["split"] == {
        "by": "presplit",
        "valid_share": 0.1,
    }
    assert run_of("run parts").meta.status == "finished"


def test_options_change_an_experiment_too(here: Path) -> None:
    done("init log.csv --out base.toml --model mf")
    changed = run_of("run base.toml --model EASE --data log.csv --metric recall --k 5")
    assert changed.meta.method == "ease"
    assert changed.experiment.evaluate.monitor == "recall@5"
    assert run_of("run --data log.csv model.k=3").experiment.method == "itemknn"


def test_compare_runs_methods_on_one_split(here: Path) -> None:
    out, err = done("compare ease log.csv ItemKNN --k 5 --json")
    assert not err
    rows = json.loads(out)
    assert {cell["method"] for cell in rows["cells"]} == {"ease", "itemknn"}
    folders = sorted(Path("runs").glob("compare-log-*/*"))
    runs = [open_run(folder) for folder in folders]
    assert len({run.pairs_fingerprint for run in runs}) == 1
    assert [run.experiment.evaluate.monitor for run in runs] == ["ndcg@5"] * 2
    alone = run_of("run log.csv --model ease --k 5")
    assert alone.report("test").per_user.equals(runs[0].report("test").per_user)
    out, err = done("compare --data log.csv popular ease")
    assert "default settings of each method, not tuned; refit on train + valid" in err
    assert "paired tests of ndcg@20" in out


def test_benchmark_of_a_file_is_that_of_its_plan(here: Path) -> None:
    small = "seeds=1 trials=1"
    out, _ = done(f"benchmark log.csv ease {small} --json")
    done(f"init log.csv --benchmark --model ease {small}")
    plan, _ = done("benchmark log-benchmark.toml --json --out runs/by-plan")
    numbers = [
        {
            (cell["method"], cell["metric"]): cell["mean"]
            for cell in json.loads(text)["data"]["log"]["cells"]
        }
        for text in (out, plan)
    ]
    assert numbers[0] == numbers[1]
    assert len(numbers[0]) == 9


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("run ease", "'ease' is a method, and needs data; recsys run FILE --model ease"),
        ("compare ease itemknn", "recsys compare ratings.csv ease itemknn"),
        ("compare log.csv eas", "unknown method 'eas'; did you mean 'ease'?"),
        ("compare log.csv base.toml", "base.toml: is not a method"),
        ("run recbole.yaml", "recsys run data/ml-100k/ml-100k.inter --model lightgcn"),
        ("run log.cvs", "did you mean 'log.csv'?"),
        ("run ease-online-retial", "did you mean"),
        ("run online-retial", "did you mean 'online-retail'?"),
        ("run", "give data or a TOML file, as in recsys run ratings.csv"),
        ("run log.csv --model bpr", "did you mean 'mf'?"),
        ("run log.csv mdel.l2=3", "unknown section or key 'mdel'; did you mean 'model'?"),
        ("run log.csv -k 0", "see recsys run --help"),
        ("run two.csv", 'check it): user = "left" and item = "right"'),
        ("benchmark base.toml", "recsys run base.toml, or recsys benchmark DATA ease"),
        ("init base.toml", "recsys run base.toml, or give data"),
        ("tune log.csv", "recsys init log.csv --model mf"),
        ("compare", "recsys compare ratings.csv ease itemknn"),
        ("benchmark", "recsys benchmark ratings.csv ease lightgcn"),
    ],
)
def test_what_people_type_is_answered(here: Path, command: str, answer: str) -> None:
    Path("two.csv").write_text("left,right,note\n" + "a,b,1\nc,d,2\n" * 9)
    Path("recbole.yaml").write_text("model: LightGCN\ndataset: ml-100k\ndata_path: data/\n")
    Path("base.toml").write_text('[data]\npath = "log.csv"\n[model]\nname = "ease"\n')
    code, out, err = invoke(command)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert answer in err


def test_every_shipped_file_has_names(here: Path) -> None:
    names = shipped_names()
    assert len(names) > 100
    for name in ("online-retail/ease", "ease-online-retail", "online-retail-EASE"):
        assert read(name) == read(shipped_folder() / "online-retail" / "ease.toml")
    assert read("configs/online-retail/ease.toml").name == "ease"


def test_words_for_methods_and_metrics() -> None:
    assert [canonical(word) for word in ("LightGCN", "Item-KNN", "mult_vae")] == [
        "lightgcn",
        "itemknn",
        "multvae",
    ]
    assert [metric_at(word, 5) for word in ("ndcg", "auc", "hit@3", "recall[new]")] == [
        "ndcg@5",
        "auc",
        "hit@3",
        "recall@5[new]",
    ]
    assert "auc" in FULL_RANKING
    assert Wish("LightGCN").model == "lightgcn"
