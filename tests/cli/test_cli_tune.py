"""`recsys tune` and `recsys tune show` on a small log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from mistakes import LOG, MF, invoke

TUNE = """
[tune]
trials = 5
startup = 2

[tune.space]
"train.lr" = { low = 1e-3, high = 1e-1, log = true }
"model.dim" = { low = 4, high = 12, step = 4 }
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune")
    (folder / "log.csv").write_text(LOG)
    (folder / "mf.toml").write_text(MF + TUNE)
    (folder / "plain.toml").write_text(MF)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        code, out, err = invoke("tune mf.toml --out runs/study")
        assert code == 0, err
        (folder / "said.out").write_text(out)
        (folder / "said.err").write_text(err)
    return folder


@pytest.fixture
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(made)
    monkeypatch.setenv("COLUMNS", "220")
    return made


def done(command: str) -> str:
    code, out, err = invoke(command)
    assert code == 0, err
    assert not err, err
    return out


def test_a_line_for_each_trial_and_the_best_at_the_end(here: Path) -> None:
    lines = (here / "said.err").read_text().splitlines()
    assert "30 users x 30 items" in lines[0]
    assert [line.split()[0] for line in lines[1:]] == ["0", "1", "2", "3", "4"]
    assert "[own]" in lines[1]
    assert all("best 0." in line and "train.lr=" in line and " s  " in line for line in lines[1:])
    out = (here / "said.out").read_text()
    assert "budget used: 5 trials" in out
    assert "next: recsys run runs/study/best.toml" in out


def test_the_best_can_be_run(here: Path) -> None:
    found = json.loads(done("run runs/study/best.toml --json --out runs/best"))
    shown = json.loads(done("tune show runs/study --json"))
    valid = {row["metric"]: row["mean"] for row in found["valid"]}
    assert valid["ndcg@5"] == pytest.approx(shown["best"]["values"][0])


def test_show_is_readable_and_for_machines(here: Path) -> None:
    out = done("tune show runs/study --top 3")
    assert "mf: 5 trials, finished" in out
    assert "ndcg@5" in out
    assert "share of the differences" in out
    plain = json.loads(done("tune show runs/study --json"))
    assert plain["budget"]["trials"] == 5
    assert len(plain["trials"]) == 5
    assert plain["best"]["number"] in range(5)
    assert plain["best"]["values"][0] == max(trial["ndcg@5"] for trial in plain["trials"])
    assert plain["status"] == "finished"
    assert sum(plain["importance"].values()) == pytest.approx(1)
    numbers = [
        words[0] for line in out.splitlines() if (words := line.split()) and words[0].isdigit()
    ]
    assert len(numbers) == 3
    assert int(numbers[0]) == plain["best"]["number"]


def test_show_of_an_export_that_comes_back(here: Path, tmp_path: Path) -> None:
    assert (
        json.loads(
            done(
                f"tune mf.toml --trials 2 --out {tmp_path / 'new'} --json "
                "--import runs/study/trials.parquet"
            )
        )["budget"]["trials"]
        == 2
    )


def test_a_larger_budget_goes_on(here: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    assert (
        json.loads(done(f"tune mf.toml --trials 2 --json --out {folder}"))["budget"]["trials"] == 2
    )
    more = json.loads(done(f"tune --resume {folder} --trials 5 --json"))
    whole = json.loads(done("tune show runs/study --json"))
    assert [trial["train.lr"] for trial in more["trials"]] == [
        trial["train.lr"] for trial in whole["trials"]
    ]
    assert more["best"] == whole["best"]


def test_the_word_start_may_be_written(here: Path, tmp_path: Path) -> None:
    assert (
        json.loads(done(f"tune start mf.toml tune.trials=1 --json --out {tmp_path / 'study'}"))[
            "budget"
        ]["trials"]
        == 1
    )


def test_without_a_space_the_one_that_ships_is_taken(here: Path, tmp_path: Path) -> None:
    plain = json.loads(done(f"tune plain.toml --trials 1 --json --out {tmp_path / 'study'}"))
    assert {"model.loss", "model.sampler", "train.lr"} <= plain["trials"][0].keys()


def test_a_default_folder_is_named_after_the_experiment(here: Path) -> None:
    out = done("tune mf.toml --trials 1 -q")
    folder = out.splitlines()[-1].removeprefix("study: ")
    assert folder.startswith("runs/mf-tune-")
    assert (here / folder / "best.toml").is_file()


def test_check_and_run_know_the_section(here: Path, tmp_path: Path) -> None:
    assert "[tune.space]" in done("check mf.toml")
    one = json.loads(done(f"run mf.toml --json --out {tmp_path / 'with'} name=x"))
    two = json.loads(done(f"run plain.toml --json --out {tmp_path / 'without'} name=x"))
    assert one["experiment"] == two["experiment"]
    assert one["test"] == two["test"]
    code, _, err = invoke("run mf.toml -q tune.space.train.lrr={low=1,high=2}")
    assert (code, "did you mean 'lr'?" in err) == (2, True)


def test_help_names_both(here: Path) -> None:
    text = done("tune --help")
    assert "start" in text
    assert "show" in text
    assert "--workers" in done("tune start --help")


def test_an_interrupted_study_says_how_it_goes_on(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recsys.study import trial

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trial, "fit", interrupted)
    code, _, err = invoke(f"tune mf.toml -q --out {tmp_path / 'study'}")
    assert code == 130
    assert f"recsys tune --resume {tmp_path / 'study'}" in err
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert invoke(f"tune -q --resume {tmp_path / 'study'}")[0] == 0


def test_a_search_without_effect_is_noted_before_the_first_trial(
    here: Path, tmp_path: Path
) -> None:
    code, _, err = invoke(
        "tune mf.toml --trials 1 tune.space.model.loss.margin={low=0.5,high=2.0} "
        f"--out {tmp_path / 'study'}"
    )
    assert code == 0, err
    assert (
        err.splitlines()[0] == "note: 'model.loss.margin' is searched but has no effect, "
        "for any values of the other fields"
    )


@pytest.mark.parametrize("verb", ["run", "tune"])
def test_an_override_needs_the_file_when_something_goes_on(here: Path, verb: str) -> None:
    code, _, err = invoke(f"{verb} --resume runs/study train.epochs=3")
    assert (code, err.count("\n")) == (2, 1)
    assert "expected a TOML file, got the override 'train.epochs=3'; give the TOML file too" in err
