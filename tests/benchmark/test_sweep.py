"""A sweep: names, settings, the search at the first value, and the table over the values."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from small_plan import tree, written

from recsys.benchmark.cell import cell_folder, read_chosen
from recsys.benchmark.curves import Curve, curves_svg
from recsys.benchmark.plan import read_plan
from recsys.benchmark.running import benchmark, todo
from recsys.errors import InputError
from recsys.experiment.execution import open_run

NOISY = {"noise": {"kind": "random"}}
SWEEP = {"setting": "split.noise.share", "values": [0.0, 2.0], "tune": "first"}


def swept(log, **changes: Any) -> dict[str, Any]:
    one = {"one": {"data": {"path": str(log)}}}
    return tree(log, data=one, split=NOISY, sweep=SWEEP) | changes


@pytest.fixture(scope="module")
def done(log, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    plan = read_plan(written(folder, swept(log)))
    return folder / "out", benchmark(plan, folder / "out")


def test_a_sweep_gives_a_data_set_per_value(log, tmp_path):
    two = tree(log)["data"]
    plan = read_plan(written(tmp_path, swept(log, data=two)))
    assert plan.data == ("one+share-0.0", "one+share-2.0", "other+share-0.0", "other+share-2.0")
    shares = [plan.cells[data, "mf"].split.noise.share for data in plan.data]
    assert shares == [0.0, 2.0, 0.0, 2.0]
    assert plan.cells["other+share-2.0", "mf"].split.seed == 1
    assert plan.tuned_on("other+share-2.0", "mf") == "other+share-0.0"


def test_several_settings_take_the_same_value(log, tmp_path):
    both = {"setting": ["split.missing.train", "split.missing.new"], "values": [0.0, 0.5]}
    plan = read_plan(written(tmp_path, swept(log, sweep=both)))
    missing = plan.cells["one+train-0.5", "mf"].split.missing
    assert (missing.train, missing.new) == (0.5, 0.5)
    assert plan.tuned_on("one+train-0.5", "mf") == "one+train-0.5"


def test_only_the_first_value_is_searched(done):
    out, result = done
    assert not result.failed
    first = read_chosen(cell_folder(out, "one+share-0.0", "mf"))
    later = read_chosen(cell_folder(out, "one+share-2.0", "mf"))
    assert not (cell_folder(out, "one+share-2.0", "mf") / "study").exists()
    assert later.settings == first.settings
    assert (later.trials, later.seconds, later.tuned_on) == (2, 0.0, "one+share-0.0")
    run = open_run(cell_folder(out, "one+share-2.0", "mf") / "seed-1")
    assert run.experiment.train.lr == pytest.approx(first.settings["train.lr"])
    assert run.experiment.split.noise.share == 2.0
    assert any("Settings were searched at split.noise.share = 0.0" in note for note in result.notes)


def test_each_value_is_searched_where_asked(log, tmp_path):
    plan = read_plan(written(tmp_path, swept(log, sweep=SWEEP | {"tune": "each"})))
    assert {task.data for task in todo(plan, tmp_path / "out", {})} == set(plan.data)
    plan = read_plan(written(tmp_path, swept(log)))
    assert {task.data for task in todo(plan, tmp_path / "out", {})} == {"one+share-0.0"}


def test_the_table_over_the_values_shows_the_means_of_the_runs(done):
    out, result = done
    table = pl.read_csv(out / "sweep.csv")
    assert table.height == 2 * 2 * 3
    for value in ("0.0", "2.0"):
        row = table.filter(value=float(value), method="ease", metric="ndcg@5").to_dicts()[0]
        report = open_run(cell_folder(out, f"one+share-{value}", "ease") / "seed-1").report("test")
        assert row["mean"] == pytest.approx(report["ndcg@5"])
        assert (row["data"], row["setting"]) == ("one", "split.noise.share")
    means = table.filter(method="ease", metric="ndcg@5")["mean"]
    assert means[0] > means[1], "two false pairs for each true one do harm"
    text = (out / "table.md").read_text()
    assert "## one: ndcg@5 over split.noise.share" in text
    assert "| method | 0.0 | 2.0 |" in text
    plain = json.loads((out / "results.json").read_text())
    assert plain["sweep"]["points"]["one+share-2.0"] == {"base": "one", "value": 2.0}
    assert result.ranks is None, "values of a sweep are not data sets of different origin"
    svg = (out / "sweep.svg").read_text()
    assert svg.count("<polyline") == 2


def test_ranks_use_the_first_value_of_each_data_set(log, tmp_path):
    config = swept(log, data=tree(log)["data"], trials=1, seeds=1)
    result = benchmark(written(tmp_path, config), tmp_path / "out")
    assert result.ranks.n == 2
    firsts = [result.tables[f"{data}+share-0.0"] for data in ("one", "other")]
    ease = [1 + (t.cell("mf", "ndcg@5").mean > t.cell("ease", "ndcg@5").mean) for t in firsts]
    assert result.ranks.ranks[result.ranks.methods.index("ease")] == sum(ease) / 2


def test_folds_are_pooled_into_one_table(log, tmp_path):
    """Every query of every fold is a row; the table of the fold counts are in the files alone."""
    folds = {"setting": "split.fold", "values": [1, 2, 3], "pool": True}
    rule = {"by": "fold", "folds": 3, "valid_share": 0.2}
    plan = swept(log, sweep=folds, split=rule, trials=1, seeds=1)
    result = benchmark(written(tmp_path, plan), tmp_path / "out")
    assert not result.failed
    (pooled,) = result.pooled.values()
    parts = [result.tables[f"one+fold-{fold}"] for fold in (1, 2, 3)]
    cells = [part.cell("mf", "ndcg@5") for part in parts]
    whole = pooled.cell("mf", "ndcg@5")
    n = [cell.queries for cell in cells]
    assert whole.queries == sum(n)
    mean = sum(cell.mean * count for cell, count in zip(cells, n, strict=True)) / sum(n)
    assert whole.mean == pytest.approx(mean)
    assert whole.high - whole.low < max(cell.high - cell.low for cell in cells)
    text = (tmp_path / "out" / "table.md").read_text()
    assert "## one\n" in text
    assert "## one+fold-1" not in text
    assert set(result.table()["data"]) == {"one", "one+fold-1", "one+fold-2", "one+fold-3"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": [0.1]}, "at least two values, got 1"),
        ({"values": [0.1, 0.1]}, "has a value twice"),
        ({"setting": "model.dim"}, "'model.dim' is not a setting of [data] or [split]"),
        ({"setting": "split"}, "'split' is not a setting of [data] or [split]"),
        ({"setting": []}, "needs a setting"),
        ({"setting": "split.noise.shear"}, "did you mean 'share'"),
        ({"setting": "split.by.share"}, "'by' in 'split.by.share' is a value"),
        ({"setting": "split.by", "values": ["ratio", "a/b"]}, "cannot name a data set"),
        ({"values": [0.1, -1.0]}, "share"),
        ({"tune": "last"}, "tune"),
        ({"pool": True}, "pool needs tune = 'each'"),
        ({"sets": 1}, "unknown key 'sets'"),
    ],
)
def test_a_mistake_in_a_sweep_is_an_error(log, tmp_path, change, message):
    config = swept(log, sweep=SWEEP | change, split={"by": "ratio", **NOISY})
    with pytest.raises(InputError) as caught:
        read_plan(written(tmp_path, config))
    assert message in str(caught.value)


def test_numbers_are_placed_to_scale_and_words_at_equal_distances():
    nan = (float("nan"),) * 3
    one = {"mf": ((0.1, 0.0, 0.2), (0.2, 0.1, 0.3), nan)}
    numbers = curves_svg([Curve("a", "ndcg@5", (0, 1, 4), one)], "split.k")
    words = curves_svg([Curve("a", "ndcg@5", ("x", "y", "z"), one)], "split.by")
    assert 'cx="20.0"' in numbers
    assert 'cx="115.0"' in numbers  # a quarter of 380 pixels
    assert 'cx="210.0"' in words  # the middle
    assert "nan" not in numbers
