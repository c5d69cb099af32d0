"""`recsys noise`: the list, the curves and the numbers of a run whose noise is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from mistakes import invoke, without
from sklearn.metrics import precision_score, recall_score, roc_auc_score

from recsys.errors import InputError
from recsys.experiment.execution import Run, data_of, execute
from recsys.experiment.experiment import from_tree
from recsys.report.denoising import area, detect, draw, save
from recsys.tensors import read_tensors

DCF = {"kind": "dcf", "drop": 0.2, "ramp": 10, "relabel": 0.1, "of": "pairs"}


def write_log(folder: Path) -> Path:
    """Two camps with users and items that have names, and titles."""
    rng = np.random.default_rng(0)
    rows = [
        (f"u{user:02d}", f"i{item:02d}")
        for user in range(40)
        for item in rng.permutation(np.arange(user % 2, 30, 2))[:9]
    ]
    path = folder / "log.csv"
    pl.DataFrame(rows, schema=["user", "item"], orient="row").write_csv(path)
    pl.DataFrame(
        {"item": [f"i{i:02d}" for i in range(30)], "title": [f"thing {i}" for i in range(30)]}
    ).write_csv(folder / "titles.csv")
    return path


def tree(path: Path, denoise: dict[str, Any], **more: Any) -> dict[str, Any]:
    train = {"epochs": 8, "batch_size": 100, "lr": 0.05, "device": "cpu", "denoise": denoise}
    return {
        "data": {"path": str(path), "titles": str(path.parent / "titles.csv")},
        "split": {"noise": {"kind": "random", "share": 0.15}},
        "model": {"name": "mf", "dim": 8, "loss": {"kind": "bce"}},
        "train": train,
        "evaluate": {"metrics": ["ndcg@5"], "monitor": "ndcg@5"},
    } | more


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs by what their denoiser is, each made once."""
    folder = tmp_path_factory.mktemp("noise")
    path, runs = write_log(folder), {}

    def make(name: str, denoise: dict[str, Any], **more: Any) -> Run:
        if name not in runs:
            runs[name] = execute(from_tree(tree(path, denoise, **more)), folder / name)
        return runs[name]

    return make


def test_the_numbers_are_those_of_another_library(made):
    run = made("dcf", DCF)
    found = detect(run.folder)
    noise, held = (
        (found.pairs["label"] == 0).to_numpy(),
        (found.pairs["verdict"] != "kept").to_numpy(),
    )
    assert found.summary["pairs"] == len(noise)
    assert found.summary["noise"] == noise.sum() > 20
    assert found.summary["precision"] == pytest.approx(precision_score(noise, held))
    assert found.summary["recall"] == pytest.approx(recall_score(noise, held))
    assert found.summary["auc_loss"] == pytest.approx(roc_auc_score(noise, found.pairs["loss"]))
    rounds = found.pairs["dropped"] + (9 - found.pairs["relabelled"]).fill_null(0)
    assert found.summary["auc_verdict"] == pytest.approx(roc_auc_score(noise, rounds))
    worst = found.pairs.sort("loss", descending=True).head(int(noise.sum()))
    assert found.summary["precision_at_noise"] == pytest.approx((worst["label"] == 0).mean())
    assert found.summary["auc_loss"] > 0.6
    assert found.summary["epochs"] == len(run.history) == 8


def test_the_list_speaks_of_the_outside(made):
    run = made("dcf", DCF)
    found = detect(run.folder)
    split = data_of(run.experiment)
    state, _ = read_tensors(run.folder / "fit" / "denoiser.safetensors")
    row = split.train.pairs
    assert found.pairs["user"].to_list() == split.train.users.ids.gather(row.user).to_list()
    assert found.pairs["item"].to_list() == split.train.items.ids.gather(row.item).to_list()
    assert found.pairs["label"].to_numpy().tolist() == row.clean.tolist()
    assert found.pairs["title"].to_list() == [
        f"thing {int(item[1:])}" for item in found.pairs["item"]
    ]
    assert found.pairs["loss"].to_numpy().tolist() == state["loss"].tolist()
    assert set(found.pairs["verdict"]) == {"kept", "dropped", "relabelled"}
    for verdict, relabelled, weight in found.pairs.select(
        "verdict", "relabelled", "weight"
    ).iter_rows():
        assert (verdict == "relabelled") == (relabelled is not None)
        assert (weight == 0) == (verdict != "kept")
    suspects = found.suspects(5)
    assert suspects.height == 5
    assert "kept" not in suspects["verdict"].to_list()
    assert suspects["loss"][0] == found.pairs.filter(pl.col("verdict") != "kept")["loss"].max()


def test_the_curve_is_that_of_the_history(made):
    run = made("dcf", DCF)
    curve = detect(run.folder).curve
    assert curve["epoch"].to_list() == list(range(1, 9))
    last = run.history[-1].denoise
    assert curve["clean"][-1] == last["clean"]
    assert curve["noisy"][-1] == last["noisy"]
    held = last["dropped"] + last["relabelled"]
    assert curve["precision"][-1] == pytest.approx(
        (last["dropped_noisy"] + last["relabelled_noisy"]) / held
    )
    found = detect(run.folder)
    assert (found.summary["precision"], found.summary["recall"]) == pytest.approx(
        (curve["precision"][-1], curve["recall"][-1])
    )
    assert found.pairs.filter(pl.col("label") == 1)["loss"].mean() == pytest.approx(
        curve["clean"][-1], rel=1e-6
    )


def test_what_is_written(made, tmp_path):
    found = detect(made("dcf", DCF).folder)
    paths = save(found, tmp_path / "one")
    assert [path.name for path in paths] == [
        "pairs.parquet",
        "curve.parquet",
        "popularity.parquet",
        "summary.json",
        "curve.svg",
    ]
    assert pl.read_parquet(paths[0]).equals(found.pairs)
    assert pl.read_parquet(paths[1]).equals(found.curve)
    assert pl.read_parquet(paths[2]).equals(found.by_popularity())
    assert json.loads(paths[3].read_text()) == {"kind": "dcf", **found.summary}
    assert paths[4].read_bytes().startswith(b"<?xml")
    assert paths[4].read_bytes() == draw(
        detect(made("dcf", DCF).folder)
    )  # the same run, the same picture
    with without("matplotlib")():
        assert [path.suffix for path in save(found, tmp_path / "two")] == [
            ".parquet",
            ".parquet",
            ".parquet",
            ".json",
        ]


def test_weights_instead_of_verdicts(made):
    rce = detect(made("rce", {"kind": "rce"}).folder)
    assert rce.pairs["verdict"].unique().to_list() == ["kept"]
    assert rce.summary["precision"] is None
    assert rce.summary["auc_verdict"] == pytest.approx(
        roc_auc_score(rce.pairs["label"] == 0, 1 - rce.pairs["weight"]), abs=1e-6
    )
    assert rce.curve["weight_noisy"][-1] < rce.curve["weight_clean"][-1]
    watch = detect(made("watch", {"kind": "watch"}).folder)
    assert (watch.pairs["weight"] == 1).all()
    assert watch.suspects(3).height == 3
    assert watch.summary["auc_verdict"] == 0.5


@pytest.mark.parametrize("parts", [1, 3, 5])
def test_the_tail_and_the_head(made, parts):
    found = detect(made("dcf", DCF).folder)
    told, seen = found.by_popularity(parts), []
    count = found.pairs["item"].value_counts().sort("count", "item")
    before = 0
    for item, met in count.iter_rows():  # an item at a time
        seen.append((int((before + met / 2) * parts / found.pairs.height), item, met))
        before += met
    for row, part in zip(
        told.iter_rows(named=True), sorted({part for part, _, _ in seen}), strict=True
    ):
        items = [item for own, item, _ in seen if own == part]
        pairs = found.pairs.filter(pl.col("item").is_in(items))
        assert (row["items"], row["pairs"]) == (len(items), pairs.height)
        assert (row["least"], row["most"]) == (
            min(n for p, _, n in seen if p == part),
            max(n for p, _, n in seen if p == part),
        )
        gone = {name: pairs["verdict"] == name for name in ("dropped", "relabelled")} | {
            "noise": pairs["label"] == 0
        }
        for name, held in gone.items():
            assert row[name] == pytest.approx(held.mean())
        assert (row["loss"], row["weight"]) == pytest.approx(
            (pairs["loss"].mean(), pairs["weight"].mean())
        )
    assert told["pairs"].sum() == found.pairs.height
    assert told["least"].is_sorted()
    assert found.summary["dropped"] == pytest.approx((told["dropped"] * told["pairs"]).sum())


def test_without_labels_there_is_nothing_to_be_right_about(made, tmp_path):
    found = detect(made("plain", DCF, split={"seed": 1}).folder)
    assert "label" not in found.pairs.columns
    assert set(found.summary) == {"pairs", "epochs", "dropped", "relabelled"}
    assert found.curve["clean"].is_null().all()
    assert found.curve["dropped"][-1] == found.summary["dropped"] > 0
    assert len(save(found, tmp_path)) == 5
    assert "noise" not in found.by_popularity().columns


def test_of_a_refit_it_is_the_refit_that_ships(made):
    run = made("refit", DCF, refit=True)
    found = detect(run.folder)
    split = data_of(run.experiment).refit()
    assert found.pairs.height == len(split.train.pairs)
    assert found.pairs["label"].to_numpy().tolist() == split.train.pairs.clean.tolist()
    assert found.summary["epochs"] == run.meta.best_epoch == found.curve.height


def test_the_area_under_the_curve():
    rng = np.random.default_rng(0)
    for _ in range(20):
        score, positive = rng.integers(0, 5, 30).astype(float), rng.random(30) < 0.3
        if positive.any():
            assert area(score, positive) == pytest.approx(roc_auc_score(positive, score))
    assert area(np.ones(3), np.ones(3, dtype=bool)) is None
    assert area(np.ones(3), np.zeros(3, dtype=bool)) is None


def test_the_command(made):
    folder = made("dcf", DCF).folder
    code, out, err = invoke(f"noise {folder} -k 3")
    assert (code, err) == (0, "")
    assert "auc loss" in out
    assert "thing" in out
    assert (folder / "noise" / "curve.svg").exists()
    code, out, _ = invoke(f"noise {folder} --json")
    told = json.loads(out)
    assert (code, told["kind"], len(told["curve"]), len(told["popularity"])) == (0, "dcf", 8, 5)
    with without("matplotlib")():
        _, out, _ = invoke(f"noise {folder} --out {folder / 'else'}")
    assert "recsys[plot]" in out
    assert not (folder / "else" / "curve.svg").exists()


def test_what_is_no_such_run_is_refused(made, tmp_path):
    with pytest.raises(InputError, match="had no denoiser") as caught:
        detect(made("none", {"kind": "none"}).folder)
    assert "watch" in str(caught.value)
    with pytest.raises(InputError, match="no run"):
        detect(tmp_path)
    shorter = made("shorter", {"kind": "watch"}).folder
    pl.read_parquet(shorter / "seen.parquet").head(-1).write_parquet(shorter / "seen.parquet")
    with pytest.raises(InputError, match="pairs, the denoiser knew"):
        detect(shorter)
    broken = made("broken", DCF).folder
    path = broken / "fit" / "denoiser.safetensors"
    path.write_bytes((made("dcf", DCF).folder / "fit" / "checkpoint.safetensors").read_bytes())
    with pytest.raises(InputError, match="lacks 'loss'"):
        detect(broken)
    code, _, err = invoke(f"noise {broken}")
    assert code == 2
    assert err.count("\n") == 1
