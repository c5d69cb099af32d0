"""A training that ended too early is marked: the rule, the loop, and every table."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from mistakes import LOG, MF, invoke

from recsys.benchmark.running import benchmark
from recsys.comparison.comparison import compare
from recsys.config import settings
from recsys.data.types import Dataset, Interactions, Vocab
from recsys.evaluation.evaluator import Evaluation, Report
from recsys.experiment.execution import execute, open_run
from recsys.experiment.experiment import read
from recsys.models import Network
from recsys.nn.losses import Terms
from recsys.report.document import page, sections
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors
from recsys.study.tuning import open_study
from recsys.training.loop import Fitted, Train, fit
from recsys.training.progress import EpochDone, EpochEntry, Event, StepDone
from recsys.training.stopping import (
    DIP,
    RISING,
    Stopping,
    curve_of,
    first_of_patience,
    marked,
    marks,
    reasons,
    signs,
    stopping,
    waited,
)


def every(step: int, *values: float) -> list[tuple[int, float]]:
    """A curve with an evaluation after every `step` epochs."""
    return [(step * (place + 1), value) for place, value in enumerate(values)]


# The curve of MGCN in the report: best at epoch 2, falling until 8, and rising again when a
# patience of 5 ended it at 12.
MGCN = every(2, 0.20, 0.17, 0.15, 0.14, 0.16, 0.18)


@pytest.mark.parametrize(
    ("curve", "reason", "wanted"),
    [
        # Rising: the best is the last, whatever ended it.
        (every(1, 0.1, 0.2, 0.3), "epochs", (RISING,)),
        (every(4, 0.1, 0.3, 0.2, 0.31), "epochs", (RISING,)),
        (every(1, 0.1, 0.2), "time", (RISING,)),
        (every(1, 0.1, 0.2), "kill", (RISING,)),
        (every(5, 0.1), "epochs", (RISING,)),
        # Not rising: the best came before, or the last only equals it.
        (every(1, 0.1, 0.3, 0.2), "epochs", ()),
        (every(1, 0.1, 0.3, 0.3), "epochs", ()),
        (every(1, 0.1, 0.3, 0.29), "time", ()),
        # A dip: the first of all is the best.
        (MGCN, "patience", (DIP,)),
        (MGCN[:4], "patience", (DIP,)),
        (every(1, 0.3, 0.2), "patience", (DIP,)),
        # A dip after an early best, rising again.
        (every(4, 0.19, 0.20, 0.17, 0.15, 0.14, 0.16, 0.17), "patience", (DIP,)),
        (every(1, 0.1, 0.2, 0.3, 0.1, 0.1, 0.1, 0.12, 0.14, 0.16), "patience", (DIP,)),
        (every(1, 0.1, 0.2, 0.1, 0.1, 0.12, 0.12, 0.13), "patience", (DIP,)),
        # An early best, and only a fall or a level after it: nothing suggests more epochs.
        (every(1, 0.1, 0.3, 0.29, 0.28, 0.27, 0.26), "patience", ()),
        (every(1, 0.1, 0.3, 0.2, 0.2, 0.2, 0.2), "patience", ()),
        # A long rise, then patience: what it is made for.
        (every(1, 0.1, 0.2, 0.3, 0.4, 0.35, 0.36, 0.37), "patience", ()),
        # The same dips where no patience ended them.
        (MGCN, "epochs", ()),
        (MGCN, "kill", ()),
        # Nothing is known.
        ([], "epochs", ()),
        (every(1, 0.5), "closed form", ()),
    ],
)
def test_marks_by_hand(curve: list[tuple[int, float]], reason: Any, wanted: tuple[str, ...]):
    assert marks(curve, reason) == wanted


def test_what_is_said_by_hand():
    found = stopping(MGCN, "patience", 12, 80)
    assert (found.best_epoch, found.best_evaluation, found.evaluations) == (2, 1, 6)
    assert str(found).startswith(
        "patience: no better for 5 evaluations, 12 of at most 80 epochs; "
        "kept epoch 2, evaluation 1 of 6 on valid; early dip: "
    )
    assert "5 evaluations after an early best" in str(found)
    done = str(stopping(every(4, 0.1, 0.2), "epochs", 8, 8))
    assert done.startswith("all 8 epochs done; kept epoch 8, evaluation 2 of 2 on valid; still r")
    assert str(stopping((), "closed form", 0, 0)) == "closed form"
    assert str(stopping(MGCN, "time", 12, 80)).startswith("its time was up after 12 of at most 80")
    assert str(stopping(MGCN, "kill", 12, 80)).startswith("killed, or still going, after 12 of")
    assert str(stopping(MGCN, "interrupted", 12, 80)).startswith("interrupted after 12 of")
    assert "never evaluated on valid" in str(stopping((), "epochs", 9, 9))


def test_a_record_comes_back():
    for each in (stopping(MGCN, "patience", 12, 80), stopping((), "closed form", 0, 0)):
        assert Stopping.from_plain(json.loads(json.dumps(each.plain()))) == each


def test_several_seeds_by_hand():
    rising = stopping(every(1, 0.1, 0.2), "epochs", 2, 2)
    dip = stopping(MGCN, "patience", 12, 80)
    fine = stopping(every(1, 0.1, 0.3, 0.2), "patience", 3, 9)
    assert (reasons([dip, fine]), marked([dip, fine]), signs([dip, fine])) == (
        "patience",
        "early dip 1 of 2",
        "‡",
    )
    assert reasons([dip, rising, fine]) == "patience 2, epochs 1"
    assert marked([rising, rising]) == "still rising"
    assert signs([dip, rising]) == "†‡"
    assert (reasons([]), marked([]), signs([])) == ("", "", "")


def test_the_curve_is_turned_so_that_more_is_better():
    history = [
        EpochEntry(epoch=1, seconds=1.0, loss=1.0),
        EpochEntry(epoch=2, seconds=1.0, valid={"ndcg@5": 0.2, "gini@5": 3.0}, valid_loss=0.7),
        EpochEntry(epoch=4, seconds=1.0, valid={"ndcg@5": 0.1}, valid_loss=0.6),
    ]
    assert curve_of(history, "ndcg@5") == [(2, 0.2), (4, 0.1)]
    assert curve_of(history, "gini@5") == [(2, -3.0)]  # less is better
    assert curve_of(history, "ndcg@5", "loss") == [(2, -0.7), (4, -0.6)]
    assert curve_of(history, "recall@5") == []


@pytest.mark.parametrize(
    ("epochs", "min_epochs", "first"),
    [(100, "auto", 20), (80, "auto", 16), (12, "auto", 2), (4, "auto", 0), (80, 0, 0), (8, 30, 30)],
)
def test_where_patience_begins(epochs: int, min_epochs: Any, first: int):
    assert first_of_patience(epochs, min_epochs) == first


@pytest.mark.parametrize(
    ("curve", "first", "wanted"),
    [
        (MGCN, 0, 5),
        (MGCN, 2, 5),
        (MGCN, 8, 2),
        (MGCN, 16, 0),
        (every(2, 0.1, 0.2, 0.3, 0.2), 4, 1),
        (every(2, 0.1, 0.2, 0.2, 0.2), 0, 2),  # of equals the first is the best
        ([], 0, 0),
    ],
)
def test_evaluations_that_count_by_hand(curve, first, wanted):
    assert waited(curve, first) == wanted


# The loop.

N_USERS, N_ITEMS = 12, 30
PAIRS = Interactions(
    np.arange(N_USERS - 1).repeat(2),
    np.tile([3, 4], N_USERS - 1).astype(np.int64),
    N_USERS,
    N_ITEMS,
)
TRAIN = Dataset(
    PAIRS,
    Vocab(pl.Series([f"u{u}" for u in range(N_USERS)]), "user"),
    Vocab(pl.Series([f"i{i}" for i in range(N_ITEMS)]), "item"),
)
VALID = Interactions(np.array([N_USERS - 1]), np.array([0]), N_USERS, N_ITEMS)
EVALUATION = Evaluation(metrics=("mrr@30",), monitor="mrr@30")


class _Course(Network):
    """Ranks the one valid item at a place that the epoch decides."""

    def __init__(self, places: tuple[int, ...]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        self.places, self.sampler = places, Sampler(negatives=1)

    def loss(self, batch: Batch) -> Terms:
        self.epoch.fill_(batch.epoch)
        return Terms(self.weight * 0 + torch.ones(len(batch)))

    def scorer(self) -> Factors:
        items = -torch.arange(N_ITEMS, dtype=torch.float32)
        items[0] = 0.5 - self.places[int(self.epoch)]
        return Factors(torch.ones(N_USERS, 1), items[:, None])


@settings
class Course:
    """A known curve: the rank of the valid item after each epoch; its mrr is 1 / rank."""

    places: tuple[int, ...] = (1,)

    def build(self, train: Dataset) -> Network:
        return _Course(self.places)


def trained(places: tuple[int, ...], folder: Path | None = None, **changes: Any) -> Fitted:
    config = Train(**{"batch_size": 64, "device": "cpu", "epochs": len(places)} | changes)
    return fit(
        Course(places=places),
        TRAIN,
        VALID,
        config,
        EVALUATION,
        folder=folder,
        resume=folder is not None,
    )


# Twenty epochs, evaluated every second one: the curve falls from epoch 2 to 8, rises from 10 on,
# and is above its start from 14 on.
VALLEY = (5, 5, 7, 7, 9, 9, 10, 10, 8, 8, 6, 6, 4, 4, 3, 3, 2, 2, 2, 2)


def test_a_valley_is_seen_out_by_default():
    caught = trained(VALLEY, eval_every=2, patience=5, min_epochs=0)
    assert (caught.best_epoch, len(caught.history)) == (2, 12)
    assert caught.stopping.marks == (DIP,)
    assert "no better for 5 evaluations" in caught.stopped
    through = trained(
        VALLEY, eval_every=2, patience=5
    )  # waits from epoch 4 on, so 14 is still seen
    assert (through.best_epoch, len(through.history)) == (18, 20)
    assert (through.stopping.reason, through.stopping.marks) == ("epochs", ())


@pytest.mark.parametrize(
    ("min_epochs", "epochs_done", "best"),
    [(0, 3, 1), (1, 3, 1), (2, 4, 1), (3, 5, 1), (4, 8, 6), (5, 8, 6), (9, 9, 6)],
)
def test_patience_waits_from_min_epochs_on(min_epochs, epochs_done, best):
    # Patience 2: two evaluations after the later of the best (1, then 6) and min_epochs.
    places = (3, 5, 5, 6, 6, 2, 4, 4, 4)
    fitted = trained(places, patience=2, min_epochs=min_epochs)
    assert (len(fitted.history), fitted.best_epoch) == (epochs_done, best)
    assert fitted.stopping.reason == ("epochs" if epochs_done == 9 else "patience")


def test_without_patience_all_epochs_are_done():
    fitted = trained(VALLEY, eval_every=2, patience=None, min_epochs=0)
    assert (fitted.stopping.reason, fitted.stopping.epochs) == ("epochs", 20)
    rising = trained(VALLEY[:16], eval_every=2, patience=None)
    assert rising.stopping.marks == (RISING,)


def test_without_valid_nothing_is_marked():
    config = Train(epochs=3, batch_size=64, device="cpu")
    fitted = fit(Course(places=(1, 1, 1)), TRAIN, None, config, EVALUATION)
    assert fitted.stopping == Stopping("epochs", 3, 3, 3, 0, 0)


class _Power(Exception):
    pass


@pytest.mark.parametrize("min_epochs", ["auto", 0, 3, 7])
def test_a_resumed_training_waits_as_long(tmp_path, min_epochs):
    places = (3, 5, 5, 6, 6, 6, 7, 7, 8, 8, 8, 8)
    config = {"patience": 3, "min_epochs": min_epochs, "checkpoint_seconds": 0.0}
    whole = trained(places, **config)
    done = max(1, {"auto": 2}.get(min_epochs, min_epochs)) + 3
    assert len(whole.history) == done
    for stop in range(1, done):
        folder = tmp_path / str(stop)

        def cut(event: Event, stop: int = stop) -> None:
            if isinstance(event, StepDone) and event.epoch == stop:
                raise _Power

        with pytest.raises(_Power):
            fit(
                Course(places=places),
                TRAIN,
                VALID,
                Train(batch_size=64, device="cpu", epochs=12, **config),
                EVALUATION,
                folder=folder,
                watch=cut,
            )
        again = trained(places, folder, **config)
        assert again.stopping == whole.stopping


def test_a_longer_training_goes_on_from_a_dip(tmp_path):
    config = {"eval_every": 2, "patience": 5, "checkpoint_seconds": 0.0}
    first = trained(VALLEY, tmp_path, min_epochs=0, **config)
    assert first.stopping.marks == (DIP,)
    # What patience waits for shapes no step, so a checkpoint goes on with another min_epochs.
    assert trained(VALLEY, tmp_path, min_epochs=8, **config).best_epoch == 18


# The tables.


def report(shift: float) -> Report:
    generator = np.random.default_rng(1)
    base = generator.random(200)
    values = base + shift + 0.01 * np.random.default_rng(int(100 * shift)).normal(size=200)
    frame = pl.DataFrame({"user": np.arange(200, dtype=np.int32), "ndcg@5": values})
    return Report(frame, {}, ("ndcg@5",), 200, "all candidates", ())


FINE = stopping(every(1, 0.1, 0.3, 0.2), "patience", 3, 9)
ENDED = {
    "good": FINE,
    "rising": stopping(every(1, 0.1, 0.2), "epochs", 2, 2),
    "dipped": [stopping(MGCN, "patience", 12, 80)],
}


@pytest.fixture(scope="module")
def compared():
    reports = {"good": report(0.2), "rising": report(0.1), "dipped": report(0.0)}
    return compare(reports, stopping=ENDED)


def test_no_difference_is_called_significant_without_naming_the_undertrained_side(compared):
    assert all(test.p_holm < 1e-6 for test in compared.tests)
    named = {(test.first, test.second): test.undertrained for test in compared.tests}
    assert named == {
        ("good", "rising"): ("rising",),
        ("good", "dipped"): ("dipped",),
        ("rising", "dipped"): ("rising", "dipped"),
    }
    assert compared.cell("good", "ndcg@5").bold
    assert compared.beside("good", "ndcg@5") == "†‡"
    rows = compared.tests_table()["undertrained"].to_list()
    assert rows == ["rising", "dipped", "rising, dipped"]
    assert [test["undertrained"] for test in json.loads(compared.json())["tests"]] == [
        ["rising"],
        ["dipped"],
        ["rising", "dipped"],
    ]


def test_every_form_of_the_table_has_the_marks(compared):
    lines = compared.markdown().splitlines()
    assert "**†‡ [" in lines[2]
    assert lines[2].startswith("| good | **")
    assert lines[3].startswith("| rising † |")
    assert lines[4].startswith("| dipped ‡ |")
    assert "What ended the training: good patience; rising epochs; dipped patience." in lines
    assert any(line.startswith("† still rising: ") and line.endswith(": rising.") for line in lines)
    assert any(line.startswith("‡ early dip: ") and line.endswith(": dipped.") for line in lines)
    assert any("difference to rising or dipped may be one of training" in line for line in lines)
    table = pl.read_csv(compared.csv().encode())
    assert table["stopped"].to_list() == ["patience", "epochs", "patience"]
    assert table["marks"].to_list() == [None, "still rising", "early dip"]
    plain = json.loads(compared.json())
    assert plain["undertrained"] == {"rising": "still rising", "dipped": "early dip"}
    assert plain["stopping"]["dipped"][0]["marks"] == ["early dip"]
    assert r"rising\textsuperscript{\textdagger}" in compared.latex()
    assert r"dipped\textsuperscript{\textdaggerdbl}" in compared.latex()


def test_a_comparison_of_nothing_but_whole_trainings_has_no_marks():
    reports = {"a": report(0.2), "b": report(0.0)}
    known = compare(reports, stopping={"a": FINE, "b": stopping((), "closed form", 0, 0)})
    unknown = compare(reports)
    for each in (known, unknown):
        assert each.undertrained == ()
        assert not set("†‡") & set(each.markdown() + each.latex())
        assert [test.undertrained for test in each.tests] == [()]
    assert "What ended the training: a patience; b closed form." in known.markdown()
    assert "What ended" not in unknown.markdown()


def test_some_seeds_of_a_method_are_counted():
    rising = ENDED["rising"]
    got = compare(
        {"a": [report(0.2), report(0.21)], "b": [report(0.0), report(0.01)]},
        stopping={"a": [FINE, FINE], "b": [rising, FINE]},
    )
    assert got.tests[0].undertrained == ("b",)
    assert any(line.endswith(": b (1 of 2 runs).") for line in got.undertrained)
    assert got.table()["marks"].to_list() == [None, "still rising 1 of 2"]
    assert got.table()["stopped"].to_list() == ["patience", "epochs 1, patience 1"]


# Runs.


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of a list of the most popular and of MF, whose learning rate decides how it ends."""
    folder = tmp_path_factory.mktemp("stopping")
    (folder / "log.csv").write_text(LOG)
    text = MF.replace('["recall@5", "ndcg@5"]', '["mrr@5", "ndcg@5"]')
    (folder / "mf.toml").write_text(text)
    (folder / "popular.toml").write_text(text.replace('name = "mf"\ndim = 8', 'name = "popular"'))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, words in {
            "popular": "name=popular",
            "mf": "name=mf train.epochs=3 train.lr=0.05",
            "short": "name=short train.epochs=1",
        }.items():
            config = "popular.toml" if name == "popular" else "mf.toml"
            code, _, err = invoke(f"run {config} -q --out runs/{name} {words}")
            assert code == 0, err
    return folder


@pytest.fixture
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    return made


def test_a_run_says_why_it_stopped(here):
    code, out, _ = invoke("run mf.toml train.epochs=1 -q --out runs/again")
    assert code == 0
    *_, why, place = out.strip().splitlines()
    assert place == "run: runs/again"
    assert why.startswith("stopped: all 1 epochs done; kept epoch 1, evaluation 1 of 1 on valid; ")
    assert "still rising" in why
    shutil.rmtree(here / "runs" / "again")
    record = json.loads((here / "runs" / "short" / "run.json").read_text())
    assert record["stopping"]["reason"] == "epochs"
    assert record["stopping"]["marks"] == ["still rising"]
    assert json.loads((here / "runs" / "popular" / "run.json").read_text())["stopping"][
        "reason"
    ] == ("closed form")


def test_a_run_without_the_record_is_judged_by_its_history(here, tmp_path):
    for name in ("popular", "mf", "short"):
        shutil.copytree(here / "runs" / name, tmp_path / name)
        place = tmp_path / name / "run.json"
        meta = json.loads(place.read_text())
        kept = meta.pop("stopping")
        meta["stopped"] = {"popular": "closed form"}.get(name, f"all {kept['allowed']} epochs done")
        place.write_text(json.dumps(meta))
        assert open_run(tmp_path / name).stopping == open_run(here / "runs" / name).stopping


def test_a_killed_run_says_how_far_it_came(here, tmp_path):
    shutil.copytree(here / "runs" / "mf", tmp_path / "half")
    place = tmp_path / "half" / "run.json"
    meta = json.loads(place.read_text())
    for key in ("stopping", "stopped", "best_epoch"):
        meta.pop(key)
    place.write_text(json.dumps(meta | {"status": "running"}))
    history = tmp_path / "half" / "fit" / "history.jsonl"
    history.write_text("".join(line + "\n" for line in history.read_text().splitlines()[:2]))
    found = open_run(tmp_path / "half", finished=False).stopping
    assert (found.reason, found.epochs, found.allowed, found.evaluations) == ("kill", 2, 3, 2)
    code, _, err = invoke(f"compare {tmp_path / 'half'} runs/short")
    assert code == 2
    assert "killed, or still going, after 2 of at most 3 epochs" in err


def test_an_interrupted_run_is_on_record_and_goes_on(here, tmp_path):
    def stop(event: Event) -> None:
        if isinstance(event, EpochDone) and event.entry.epoch == 2:
            raise KeyboardInterrupt

    experiment = read(here / "mf.toml", ["train.epochs=3", "train.lr=0.05", "name=mf"])
    with pytest.raises(KeyboardInterrupt):
        execute(experiment, tmp_path / "cut", watch=stop)
    meta = json.loads((tmp_path / "cut" / "run.json").read_text())
    assert (meta["status"], meta["stopping"]["reason"], meta["stopping"]["epochs"]) == (
        "interrupted",
        "interrupted",
        2,
    )
    whole = execute(experiment, tmp_path / "cut", resume=True)
    assert whole.stopping == open_run(here / "runs" / "mf").stopping
    assert whole.meta.status == "finished"


def test_the_command_line_compares_with_marks(here):
    code, out, _ = invoke("compare runs/short runs/popular runs/mf")
    assert code == 0
    assert "short †" in out
    assert "popular †" not in out
    assert "closed form" in out
    assert "† still rising" in out
    code, out, _ = invoke("compare runs/short runs/popular --json")
    plain = json.loads(out)
    assert plain["undertrained"] == {"short": "still rising"}
    assert plain["tests"][0]["undertrained"] == ["short"]


def test_the_page_has_the_marks(here):
    found = sections([here / "runs" / name for name in ("popular", "short")], users=0)
    text = page(found)
    assert 'aria-label="undertrained: still rising"' in text
    assert "† still rising: " in text
    assert "all 1 epochs done; kept epoch 1" in text
    assert ">stopped by</th>" in text
    assert "Undertrained, so that this may be a matter of training: short †." in text


def test_the_manifest_of_a_scoring_job_says_how_the_model_ended(here, tmp_path):
    for name, marked_as in (("short", ["still rising"]), ("popular", [])):
        code, _, err = invoke(f"recommend runs/{name} --out {tmp_path / name}")
        assert code == 0, err
        training = json.loads((tmp_path / name / "manifest.json").read_text())["training"]
        assert training["marks"] == marked_as
        assert training["reason"] == open_run(here / "runs" / name).stopping.reason


def test_a_benchmark_has_the_marks(here, tmp_path):
    config = tmp_path / "small.toml"
    config.write_text(
        f"""
methods = ["popular", "mf"]
baselines = false
seeds = 1
trials = 1
[data.shop]
data = {{ path = "{here / "log.csv"}" }}
[data.other]
data = {{ path = "{here / "log.csv"}" }}
split = {{ seed = 1 }}
[train]
epochs = 1
[evaluate]
metrics = ["ndcg@5"]
monitor = "ndcg@5"
[method.mf.space]
"train.lr" = {{ low = 1e-3, high = 1e-2, log = true }}
"""
    )
    result = benchmark(config, tmp_path / "out")
    assert not result.failed
    text = (tmp_path / "out" / "table.md").read_text()
    assert text.count("| mf † |") == 2
    assert "| popular † |" not in text
    assert "Ranks of undertrained methods (shop: mf; other: mf) may change." in text
    table = pl.read_csv(tmp_path / "out" / "table.csv")
    assert dict(table.filter(data="shop").select("method", "stopped").iter_rows()) == {
        "popular": "closed form",
        "mf": "epochs",
    }
    assert table.filter(method="mf")["marks"].to_list() == ["still rising"] * 2
    assert set(pl.read_csv(tmp_path / "out" / "tests.csv")["undertrained"]) == {"mf"}
    plain = json.loads((tmp_path / "out" / "results.json").read_text())
    assert plain["data"]["shop"]["undertrained"] == {"mf": "still rising"}
    assert r"mf \textsuperscript{\textdagger}" in (tmp_path / "out" / "table.tex").read_text()


@pytest.mark.parametrize(
    ("train", "says"),
    [
        ("train.min_epochs=-1", "min_epochs"),
        ("train.min_epochs=late", "min_epochs"),
        ("train.min_epoch=3", "did you mean 'min_epochs'"),
    ],
)
def test_a_wrong_min_epochs_is_refused(here, train, says):
    code, _, err = invoke(f"check mf.toml {train}")
    assert code == 2
    assert says in err
    assert "Traceback" not in err


def test_the_trials_of_a_study_say_how_they_ended(here, tmp_path):
    limited = (here / "mf.toml").read_text() + (
        '\n[tune]\ntrials = 2\n[tune.space]\n"train.lr" = { low = 1e-3, high = 1e-2, log = true }\n'
    )
    (tmp_path / "plain.toml").write_text(limited.replace("epochs = 2", "epochs = 1"))
    (tmp_path / "limit.toml").write_text(limited + "[tune.limits]\nseconds = 1e-9\n")
    for name in ("plain", "limit"):
        invoke(f"tune {tmp_path / name}.toml -q --out {tmp_path / name}")
    done = open_study(tmp_path / "plain")
    assert done.table()["marks"].to_list() == ["still rising"] * 2
    assert [trial.facts.stopping.reason for trial in done.trials] == ["epochs"] * 2
    cut = open_study(tmp_path / "limit")
    assert {trial.facts.stopping.reason for trial in cut.trials} == {"time"}
    code, out, _ = invoke(f"tune show {tmp_path / 'plain'}")
    assert code == 0
    assert "its training: all 1 epochs done; kept epoch 1" in out
