"""Every command on a small log with outside ids, from the file to the recommendation."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from mistakes import LOG, MF, invoke

from recsys import models
from recsys.cli import app, main
from recsys.experiment.execution import open_run

ROOT = Path(__file__).parents[2]


def run(command: str, code: int = 0) -> str:
    """The standard output of a command that ends as expected, without a word on standard error."""
    found, out, err = invoke(command)
    assert found == code, err
    assert not err, err
    return out


def plain(command: str, code: int = 0) -> object:
    """What a command prints for machines."""
    return json.loads(run(command, code))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a log, an item table, an experiment and two runs of it."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "log.csv").write_text(LOG)
    (folder / "items.csv").write_text(
        "item,title\n" + "".join(f"i{i:02d},Thing {i}\n" for i in range(30))
    )
    (folder / "plain.toml").write_text(MF)
    (folder / "mf.toml").write_text(MF.replace("[model]", 'titles = "items.csv"\n\n[model]', 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, more in (("one", ""), ("two", "model.dim=4 train.seed=1")):
            code, _, err = invoke(f"run mf.toml -q --out runs/{name} name={name} {more}")
            assert code == 0, err
    return folder


@pytest.fixture
def here(made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The working folder of a test; what it writes goes into its own."""
    monkeypatch.chdir(made)
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "home"))
    before = {
        path: path.read_bytes()
        for path in made.rglob("*")
        if path.is_file() and path.name != "openings.jsonl"
    }
    yield tmp_path
    after = {
        path: path.read_bytes()
        for path in made.rglob("*")
        if path.is_file() and path.name != "openings.jsonl"
    }
    assert before == after, "a test has changed what the others share"


def outside(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = (
        [sys.executable, "-c", code, *arguments]
        if code
        else [sys.executable, "-m", "recsys.cli", *arguments]
    )
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


LOOK = """
import sys
from recsys import cli
sys.argv[0] = "recsys"
try:
    cli.main()
except SystemExit as stop:
    heavy = sorted({"torch", "polars", "pandas", "numpy", "scipy"} & set(sys.modules))
    print("code", stop.code, "heavy", heavy)
"""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--help"], "compare"),
        (["--version"], "0."),
        (["run", "--help"], "--resume"),
        (["data", "--help"], "fetch"),
    ],
)
def test_help_and_version_need_nothing_heavy(arguments: list[str], says: str) -> None:
    done = outside(*arguments, code=LOOK)
    assert says in done.stdout
    assert "code 0 heavy []" in done.stdout.splitlines(), done.stdout + done.stderr
    assert not done.stderr


def test_a_command_without_words_gives_help() -> None:
    code, out, err = invoke("")
    assert (code, out) == (2, "")
    assert "Usage: recsys" in err
    assert {"run", "compare", "recommend"} <= set(err.split())


def test_every_command_speaks_to_machines() -> None:
    from typer.main import get_command

    def verbs(command: Any) -> list[Any]:
        return (
            [verb for inner in command.commands.values() for verb in verbs(inner)]
            if hasattr(command, "commands")
            else [command]
        )

    found = verbs(get_command(app))
    assert len(found) > 15
    assert [
        verb.name
        for verb in found
        if "--json" not in {word for option in verb.params for word in option.opts}
    ] == []


def test_every_command_says_what_it_is_for() -> None:
    from typer.main import get_command

    for name, command in get_command(app).commands.items():
        assert command.help, name
        assert f"recsys {name}" in run(f"{name} --help")


def test_models(here: Path) -> None:
    assert plain("models --json") == {name: models.summary(name) for name in models.names()}
    assert "lightgcn" in run("models")


@pytest.mark.parametrize("name", models.names())
def test_models_with_a_name(here: Path, name: str) -> None:
    printed = run(f"models {name}")
    assert models.summary(name) in printed
    assert "setting" in printed
    schema = plain(f"models {name} --json")
    assert schema["title"] == models.recipe(name).__name__
    assert set(schema.get("properties", {})) == set(models.recipe(name).__dataclass_fields__)


def test_check(here: Path) -> None:
    tree = plain("check mf.toml model.dim=12 --json")
    assert (tree["model"]["name"], tree["model"]["dim"], tree["train"]["epochs"]) == ("mf", 12, 2)
    resolved = here / "resolved.toml"
    resolved.write_text(run("check mf.toml model.dim=12"))
    assert plain(f"check {resolved} --json") == tree, (
        "what is printed is an experiment, and the same one"
    )
    assert "30 users x 30 items, 180 train / 30 valid / 30 test" in run("check mf.toml --data")


def test_settings_without_effect_are_named(here: Path) -> None:
    loss, sampler, denoise = (
        "model.loss={kind='bpr',margin=0.5,rho=3.0}",
        "model.sampler={pool='in-batch',negatives=5}",
        "train.denoise={beta=0.9}",
    )
    code, out, err = invoke(f'check mf.toml "{loss}" "{sampler}" "{denoise}"')
    assert code == 0
    assert "margin = 0.5" in out
    assert err.splitlines() == [
        "note: [model] loss.margin = 0.5 has no effect with the rest of loss",
        "note: [model] loss.rho = 3.0 has no effect with the rest of loss",
        "note: [model] sampler.negatives = 5 has no effect with the rest of sampler",
        "note: [train] denoise.beta = 0.9 has no effect with the rest of denoise",
    ]
    assert invoke(f"run mf.toml --out {here / 'run'} --quiet")[2] == "", (
        "what was not given is not told of"
    )


def test_run(here: Path) -> None:
    out = here / "run"
    done = plain(f"run mf.toml --out {out} name=tried --json")
    assert (done["run"], done["name"], done["method"], done["status"]) == (
        str(out),
        "tried",
        "mf",
        "finished",
    )
    assert [row["metric"] for row in done["test"]] == ["recall@5", "ndcg@5"]
    for row in done["test"] + done["valid"]:
        assert 0 <= row["low"] <= row["mean"] <= row["high"] <= 1
        assert row["users"] == 30
    expected = {
        "config.toml",
        "run.json",
        "scorer.safetensors",
        "users.parquet",
        "items.parquet",
        "seen.parquet",
        "openings.jsonl",
        "fit",
        "valid",
        "test",
    }
    assert {path.name for path in out.iterdir()} == expected
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    again = plain(f"run --resume {out} --json")
    assert again == done
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}, (
        "a finished run stays as it is"
    )


def test_run_tells_of_its_progress_on_standard_error(here: Path) -> None:
    code, out, err = invoke(f"run mf.toml --out {here / 'run'}")
    assert code == 0
    for piece in (
        "log.csv: csv",
        "30 users x 30 items",
        "epoch    1  loss",
        "epoch    2  loss",
        "valid ndcg@5",
    ):
        assert piece in err
    for piece in ("test: mf (mf)", "95 % interval", f"run: {here / 'run'}"):
        assert piece in out
    assert "epoch    " not in out
    assert "all 2 epochs done" in out


def test_run_goes_to_runs_unless_told(
    here: Path, monkeypatch: pytest.MonkeyPatch, made: Path
) -> None:
    monkeypatch.chdir(here)
    folder = Path(
        plain(f"run {made / 'plain.toml'} data.path={made / 'log.csv'} name=mine --json")["run"]
    )
    assert folder.parent == Path("runs")
    assert folder.name.startswith("mine-")
    assert (folder / "run.json").exists()


def test_the_same_experiment_gives_the_same_bytes(here: Path, made: Path) -> None:
    run(f"run mf.toml -q --out {here / 'again'} name=one")
    for name in (
        "scorer.safetensors",
        "users.parquet",
        "items.parquet",
        "seen.parquet",
        "config.toml",
        "test/per_user.parquet",
    ):
        assert (here / "again" / name).read_bytes() == (
            made / "runs" / "one" / name
        ).read_bytes(), name


def test_evaluate(here: Path, made: Path) -> None:
    openings = (made / "runs/one/openings.jsonl").read_text().splitlines()
    found = plain("""evaluate runs/one 'metrics=["hit@3", "recall@30"]' monitor=hit@3 --json""")
    assert [row["metric"] for row in found["metrics"]] == ["hit@3", "recall@30"]
    assert found["metrics"][1]["mean"] == 1.0, "30 items hold every test item"
    assert found["groups"] == {}
    added = (made / "runs/one/openings.jsonl").read_text().splitlines()[len(openings) :]
    assert [json.loads(line)["reason"] for line in added] == ["evaluate: other metrics"]
    assert plain("evaluate runs/one --part valid --json")["metrics"][0]["users"] == 30
    grouped = plain("evaluate runs/one --groups --json")["groups"]
    assert set(grouped) == {"by user activity", "by item popularity"}
    assert {row["group"] for row in grouped["by item popularity"]} == {"head", "mid", "tail"}
    assert "by item popularity" in run("evaluate runs/one --groups")


def test_compare_in_every_form(here: Path) -> None:
    compare = "compare runs/one runs/two"
    found = plain(f"{compare} --json")
    assert plain(f"{compare} --format json") == found
    assert found["methods"] == ["one", "two"]
    assert found["metrics"] == ["recall@5", "ndcg@5"]
    assert found["n_users"] == 30
    assert {(test["metric"], test["first"], test["second"]) for test in found["tests"]} == {
        ("recall@5", "one", "two"),
        ("ndcg@5", "one", "two"),
    }
    means = {(cell["method"], cell["metric"]): cell["mean"] for cell in found["cells"]}
    rows = list(csv.DictReader(io.StringIO(run(f"{compare} --format csv").strip())))
    assert {(row["method"], row["metric"]): float(row["mean"]) for row in rows} == means
    markdown = run(f"{compare} --format markdown")
    assert markdown.startswith("| method | recall@5 | ndcg@5 |")
    assert f"{means['one', 'ndcg@5']:.4f}" in markdown
    latex = run(f"{compare} --format latex")
    assert latex.startswith(r"\begin{tabular}{lrr}")
    assert r"\bottomrule" in latex
    table = run(compare)
    for piece in ("one", "two", "ndcg@5", f"{means['two', 'recall@5']:.4f}", "30 users"):
        assert piece in table


def test_compare_one_metric_against_a_baseline_into_a_file(here: Path) -> None:
    out = here / "deep" / "table.md"
    assert str(out) in run(
        f"compare runs/one runs/two --metric ndcg@5 --baseline two --format markdown --out {out}"
    )
    assert out.read_text().startswith("| method | ndcg@5 |")
    found = plain("compare runs/one runs/two --metric ndcg@5 --baseline two --json")
    assert [(test["first"], test["second"]) for test in found["tests"]] == [("one", "two")]


def test_recommend_on_the_screen(here: Path) -> None:
    rows = told(
        "recommend runs/one --user u03 --user stranger -k 3 --titles --json",
        "1 of 2 users unknown to the run, such as 'stranger': ranked by popularity",
    )
    expected = [
        (user, rank, source)
        for user, source in (("u03", "model"), ("stranger", "popular"))
        for rank in (1, 2, 3)
    ]
    assert [(row["user"], row["rank"], row["source"]) for row in rows] == expected
    assert all(row["title"] == f"Thing {int(row['item'][1:])}" for row in rows)
    assert (
        told(
            "recommend runs/one --user stranger --unknown skip --json",
            "1 of 1 users unknown to the run, such as 'stranger': left out",
        )
        == []
    )
    printed = run("recommend runs/one --user u03 -k 2")
    assert rows[0]["item"] in printed
    assert "first" not in printed
    assert [row["user"] for row in plain("recommend runs/one -k 1 --json")] == [
        f"u{i:02d}" for i in range(30)
    ], "all of them for a machine"
    printed = run("recommend runs/one -k 1")
    assert "u09" in printed
    assert "u10" not in printed
    assert printed.endswith("the first 10 of 30 users; --out writes all\n")


def told(command: str, *notes: str) -> object:
    """What a command prints for machines, beside notes on standard error."""
    code, out, err = invoke(command)
    assert (code, err) == (0, "".join(f"recsys: {note}\n" for note in notes))
    return json.loads(out)


def job(command: str, *notes: str) -> object:
    """What a job prints for machines; its notes and progress are lines of JSON."""
    code, out, err = invoke(command)
    assert code == 0, err
    events = [json.loads(line) for line in err.splitlines()]
    assert [event["text"] for event in events if event["event"] == "note"] == list(notes)
    last = [event for event in events if event["event"] == "progress"][-1]
    assert last["done"] == last["total"]
    return json.loads(out)


def test_who_gets_nothing_is_said(here: Path) -> None:
    """Half of the users have seen the only candidate; unknown users get it as a popular item."""
    item = pl.read_parquet("runs/one/items.parquet")["id"][0]
    met = pl.read_parquet("runs/one/seen.parquet").filter(pl.col("item") == 0)["user"].n_unique()
    assert 0 < met < 30
    (here / "items.txt").write_text(f"item\n{item}\n")
    note = f"{met} of 30 users get nothing: no item is left for them"
    printed = job(
        f"recommend runs/one --candidates {here / 'items.txt'} "
        f"--out {here / 'best.parquet'} --json",
        note,
    )
    assert printed == {
        "files": [str(here / "best.parquet")],
        "users": 30 - met,
        "fallback": 0,
        "rows": 30 - met,
        "reused": 0,
    }
    rows = told(f"recommend runs/one --candidates {here / 'items.txt'} --json", note)
    assert rows == pl.read_parquet(here / "best.parquet").to_dicts()
    (here / "users.txt").write_text("x1\nu00\nx2\nx1\n")
    note = "2 of 3 users unknown to the run, such as 'x1': left out"
    job(
        f"recommend runs/one --users {here / 'users.txt'} --unknown skip "
        f"--out {here / 'parts'} --json",
        note,
    )


NUMBERS = """[data]
path = "{path}"
user = "Shopper No"
item = "thing"

[model]
name = "popular"
"""


def test_a_file_of_users_is_read_as_the_log_was(here: Path) -> None:
    """Ids as pandas writes integers, below the name of the log's own column."""
    (here / "log.csv").write_text(
        "Shopper No,thing\n"
        + "".join(f"{user}.0,{item}\n" for user in range(1, 9) for item in "abcdef"[user % 3 :])
    )
    (here / "numbers.toml").write_text(NUMBERS.format(path=here / "log.csv"))
    run(f"run {here / 'numbers.toml'} -q --out {here / 'run'}")
    assert open_run(here / "run").train.users.ids.to_list() == [*range(1, 9)]
    (here / "users.csv").write_text("Shopper No,age\n5.0,31\n7,44\n")
    found = plain(f"recommend {here / 'run'} --users {here / 'users.csv'} -k 1 --keep-seen --json")
    assert [(row["user"], row["source"]) for row in found] == [(5, "model"), (7, "model")]
    assert plain(f"recommend {here / 'run'} --user 5.0 --user 7 -k 1 --keep-seen --json") == found
    (here / "run" / "config.toml").unlink()  # without it nobody knows what the header is
    (here / "users.csv").write_text("5.0,31\n7,44\n")
    assert (
        plain(f"recommend {here / 'run'} --users {here / 'users.csv'} -k 1 --keep-seen --json")
        == found
    )


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_recommend_into_a_file(here: Path, ending: str) -> None:
    out = here / f"best.{ending}"
    assert job(f"recommend runs/one --out {out} -k 4 --json") == {
        "files": [str(out)],
        "users": 30,
        "fallback": 0,
        "rows": 120,
        "reused": 0,
    }
    frame = {"parquet": pl.read_parquet, "csv": pl.read_csv, "jsonl": pl.read_ndjson}[ending](out)
    assert frame.columns == ["user", "item", "rank", "score", "source"]
    assert frame["user"].unique(maintain_order=True).to_list() == [f"u{i:02d}" for i in range(30)]
    train = pl.read_parquet("runs/one/seen.parquet")
    users, items = (
        pl.read_parquet(f"runs/one/{name}.parquet")["id"] for name in ("users", "items")
    )
    met = set(zip(users.gather(train["user"]), items.gather(train["item"]), strict=True))
    assert not met & set(frame.select("user", "item").iter_rows())
    assert met & set(
        plainly(
            f"recommend runs/one --out {here / 'all'}.{ending} -k 30 --keep-seen",
            here / f"all.{ending}",
        )
    )


def plainly(command: str, out: Path) -> list[tuple[str, str]]:
    run(command)
    frame = {".parquet": pl.read_parquet, ".csv": pl.read_csv, ".jsonl": pl.read_ndjson}[
        out.suffix
    ](out)
    return list(frame.select("user", "item").iter_rows())


def test_recommend_in_parts_and_again(here: Path) -> None:
    out = here / "parts"
    command = f"recommend runs/one --out {out} -k 2 --batch 7 --format csv"
    assert job(f"{command} --json") == {
        "files": [str(out / "lists" / f"part-0000{i}.csv") for i in range(5)],
        "users": 30,
        "fallback": 0,
        "rows": 60,
        "reused": 0,
    }
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (out / "lists" / "part-00003.csv").unlink()
    assert "reused 4 parts" in run(command)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_recommend_for_listed_users_among_listed_items(here: Path) -> None:
    (here / "users.txt").write_text("u29\nu01\n")
    (here / "items.csv").write_text("item,price\ni02,1\ni04,2\ni05,3\ni06,4\n")
    (here / "not.txt").write_text("i04\n")
    rows = plain(
        f"recommend runs/one --users {here / 'users.txt'} --candidates {here / 'items.csv'} "
        f"--exclude {here / 'not.txt'} --keep-seen --json"
    )
    assert [row["user"] for row in rows] == ["u29"] * 3 + ["u01"] * 3
    assert {row["item"] for row in rows} == {"i02", "i05", "i06"}


KNN = """[data]
path = "log.csv"

[model]
name = "itemknn"

[evaluate]
metrics = ["recall@5", "coverage@5"]
monitor = "recall@5"
"""


def test_recommend_to_users_of_a_log(here: Path) -> None:
    """Users by a log: an unknown one, and one whose history in the log replaces training."""
    (here / "knn.toml").write_text(KNN)
    run(f"run {here / 'knn.toml'} -q --out {here / 'knn'}")
    pl.DataFrame({"user": ["zoe", "zoe", "u01"], "item": ["i02", "i04", "i06"]}).write_csv(
        here / "visits.csv"
    )
    ask = f"recommend {here / 'knn'} --histories {here / 'visits.csv'} -k 3"
    code, out, err = invoke(f"{ask} --json")
    assert code == 0
    assert err.endswith(
        "visits.csv: a log, 2 histories in order of rows (ids: user, items: item)\n"
    )
    found = json.loads(out)
    assert [row["user"] for row in found] == ["zoe"] * 3 + ["u01"] * 3
    assert {row["source"] for row in found} == {"model"}
    assert not {"i02", "i04"} & {row["item"] for row in found if row["user"] == "zoe"}
    code, out, _ = invoke(f"{ask} --out {here / 'out.parquet'}")
    assert "6 recommendations for 2 histories (0 by popularity)" in out
    assert pl.read_parquet(here / "out.parquet").to_dicts() == found


def test_a_method_without_histories_ranks_users_by_training(here: Path) -> None:
    """The user row, and a line that what they did since is not read; without users an error."""
    (here / "since.csv").write_text("user,item\nu01,i06\nzoe,i02\n")
    code, out, err = invoke(f"recommend runs/one --histories {here / 'since.csv'} -k 3 --json")
    assert code == 0, err
    rows = {user: [r for r in json.loads(out) if r["user"] == user] for user in ("u01", "zoe")}
    usual = plain("recommend runs/one --user u01 -k 4 --json")
    items = [row["item"] for row in usual if row["item"] != "i06"]
    assert [row["item"] for row in rows["u01"]] == items[:3]
    assert {row["source"] for row in rows["zoe"]} == {"popular"}
    assert (
        "this method reads no history: 1 of 2 histories are ranked by what it learned of their "
        "users in training, and what they did since is not read"
    ) in err
    (here / "new.csv").write_text("user,item\nzoe,i02\n")
    code, _, err = invoke(f"recommend runs/one --histories {here / 'new.csv'}")
    assert code == 2
    assert (
        "runs/one (mf): cannot answer a history: this 'factors' scorer has a learned vector per "
        "user, which cannot be computed from a history; use itemknn, ease" in err
    )


def test_views_are_shown(here: Path) -> None:
    """Names in brackets come out whole, on the way and at the end."""
    (here / "mf.toml").write_text(
        MF.replace("monitor =", 'candidates = ["all", "warm", "new"]\nmonitor =').replace(
            '"ndcg@5"\n', '"ndcg@5[warm]"\n'
        )
    )
    code, out, err = invoke(f"run {here / 'mf.toml'} --out {here / 'run'}")
    assert code == 0, err
    assert "valid ndcg@5[warm] 0." in err
    for name in ("recall@5", "recall@5[warm]", "recall@5[new]"):
        assert f"{name} " in out
    assert "note: no user has a held-back new item: [new] is not defined" in out


def test_audit(here: Path, made: Path) -> None:
    found = plain("audit mf.toml --json")
    assert plain("audit runs/one --json") == found
    assert {"check", "severity", "count"} <= set(found[0])
    assert not [row for row in found if row["severity"] == "error"]
    assert "overlap" in run("audit mf.toml")
    (here / "train.csv").write_text(LOG)
    (here / "test.csv").write_text("\n".join(LOG.splitlines()[:40]) + "\n")
    leak = f"audit plain.toml data.path={here} data.train=train.csv data.test=test.csv"
    assert {
        row["check"] for row in plain(f"{leak} --json", code=1) if row["severity"] == "error"
    } >= {"overlap"}
    assert "overlap" in run(leak, code=1)


def test_verify(here: Path) -> None:
    checks = plain("verify runs/one --json")
    assert all(check["holds"] for check in checks)
    expected = [
        "settings",
        "data and split",
        "learning data",
        "test recall@5",
        "test ndcg@5",
        "valid recall@5",
        "valid ndcg@5",
    ]
    assert [check["check"] for check in checks] == expected
    assert "NO" not in run("verify runs/one")


def broken(command: str) -> set[str]:
    return {check["check"] for check in plain(f"{command} --json", code=1) if not check["holds"]}


def test_verify_sees_what_was_tampered_with(here: Path, made: Path) -> None:
    def copy(name: str) -> Path:
        return Path(shutil.copytree("runs/one", here / name))

    numbers = copy("numbers")
    report = pl.read_parquet(numbers / "test" / "per_user.parquet")
    report.with_columns(pl.col("ndcg@5") + 0.01).write_parquet(
        numbers / "test" / "per_user.parquet"
    )
    code, _, err = invoke(f"verify {numbers}")
    assert code == 2
    assert "per_user.parquet" in err
    scorer = copy("scorer")
    shutil.copyfile("runs/two/scorer.safetensors", scorer / "scorer.safetensors")
    assert {"test ndcg@5", "valid ndcg@5"} <= broken(f"verify {scorer}")
    assert " NO " in run(f"verify {scorer}", code=1)
    settings = copy("settings")
    config = settings / "config.toml"
    config.write_text(config.read_text().replace("dim = 8", "dim = 9"))
    assert broken(f"verify {settings}") == {"settings"}
    seen = copy("seen")
    pl.read_parquet(seen / "seen.parquet")[1:].write_parquet(seen / "seen.parquet")
    assert "learning data" in broken(f"verify {seen}")
    gone = copy("gone")
    (gone / "test" / "report.json").unlink()
    assert broken(f"verify {gone}") == {"test report"}
    fewer = copy("fewer")
    config = fewer / "config.toml"
    config.write_text(config.read_text().replace('"recall@5", "ndcg@5"', '"ndcg@5"'))
    assert broken(f"verify {fewer}") == {"settings", "test recall@5", "valid recall@5"}


def test_data(here: Path) -> None:
    listed = plain("data list --json")
    assert {"online-retail", "gowalla"} <= {row["name"] for row in listed}
    assert "online-retail" in run("data list")
    assert plain("data show online-retail --json")["name"] == "online-retail"
    assert "online-retail" in run("data show online-retail")
    stats = plain("data stats log.csv --json")
    assert (stats["users"], stats["items"], stats["interactions"]) == (30, 30, 240)
    assert "240" in run("data stats log.csv min_weight=1")
    assert (stats["log"], stats["sessions"]) == (None, None)
    more = plain("data stats log.csv keep_log=true session_gap=86400 --json")
    assert more["log"]["events"] == 240
    assert more["sessions"]["count"] == 30  # every user came on eight days in a row
    assert more["fingerprint"] != stats["fingerprint"]
    shown = run("data stats log.csv keep_log=true session_gap=80000")
    for words in ("events per user", "repeat an item", "equal times", "sessions", "per session"):
        assert words in shown
    shown_log = "user,item,time,hit,place\n1,a,1600000000,1,1\n1,b,1600000000,0,2\n"
    (here / "shown.csv").write_text(shown_log + "1,b,1600000900,1,1\n1,b,1600009600,1,1\n")
    shown = run(f"data stats {here}/shown.csv keep_log=true clicked=hit position=place")
    for words in (
        "3; 1 (33.33%) repeat an item of the user, in 1 user; 1 directly after it",
        "min 3  median 3  75% 3  90% 3  95% 3  99% 3  max 3",
        "100.00% of users span less than a day, median 3 hours",
        "4, 75.00% of them clicked",
        "1: 100.00% of 3  2: 0.00% of 1",
    ):
        assert words in shown
    (here / "visits.csv").write_text("user,item,visit\n1,1,a\n1,2,a\n1,3,b\n")
    run(f"data add visits --path {here}/visits.csv --session visit")
    assert plain("data stats visits --json")["sessions"]["count"] == 2
    run("data add mine --path log.csv")
    assert plain("data stats mine --json")["fingerprint"] == stats["fingerprint"]


def test_interrupt_is_one_line_and_130(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("recsys.experiment.execution.execute", stop)
    assert invoke(f"run mf.toml --out {here / 'run'}") == (
        130,
        "",
        "recsys: interrupted; a run goes on with `recsys run --resume RUN`\n",
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_behind_standard_output(here: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "recsys.cli", "data", "list"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=120,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    assert done.returncode == 75
    assert done.stderr.startswith("recsys: output: ")
    assert done.stderr.count("\n") == 1


def test_main_is_what_the_package_installs() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"]["recsys"] == "recsys.cli:main"
    assert main.__module__ == "recsys.cli"
