"""Metrics of other packages: found by an entry point, named in TOML, monitored and tuned on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mistakes import invoke
from planted import two_camps

from recsys import plugins
from recsys.data.types import Interactions
from recsys.errors import InputError
from recsys.evaluation import metrics
from recsys.evaluation.evaluator import Evaluation, evaluate
from recsys.evaluation.metrics import parse
from recsys.experiment.execution import open_run
from recsys.models.mf import MF
from recsys.study.tuning import open_study
from recsys.training.loop import Train, fit

PACKAGE = """
import numpy as np

from recsys.evaluation import ListContext, ListMetric, RankContext, RankMetric


def first(context: ListContext) -> np.ndarray:
    return np.where(context.n_relevant > 0, context.hits[:, 0], np.nan)


def worst_rank(context: RankContext) -> np.ndarray:
    bounds = zip(context.indptr[:-1], context.indptr[1:])
    return np.array([max(context.rank[a:b], default=np.nan) for a, b in bounds])


FIRST = ListMetric(first)
WORST_RANK = RankMetric(worst_rank, higher=False)
SHORT = ListMetric(lambda context: np.zeros(1 + len(context.items)))
SEVERAL = ListMetric(lambda context: np.zeros(2), about="catalogue")
RECALL = ListMetric(first)
"""
POINTS = """[recsys.metrics]
first = recsys_mine:FIRST
worst_rank = recsys_mine:WORST_RANK
short = recsys_mine:SHORT
several = recsys_mine:SEVERAL
recall = recsys_mine:RECALL
bare = recsys_mine:first
absent = recsys_mine:NOTHING
broken = recsys_not_there:FIRST
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A package with metrics, as an installer leaves it."""
    site = tmp_path / "site"
    about = site / "recsys_mine-1.dist-info"
    about.mkdir(parents=True)
    (site / "recsys_mine.py").write_text(PACKAGE)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: recsys-mine\nVersion: 1\n")
    (about / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(str(site))
    plugins._points.cache_clear()
    yield tmp_path
    plugins._points.cache_clear()
    plugins.load.cache_clear()


def test_a_metric_of_another_package_is_computed(plugin):
    data, held = two_camps()
    how = Evaluation(metrics=("first@5", "first@5[new]", "worst_rank", "precision@1", "mrr"))
    scorer = fit(MF(dim=4), data, held, Train(epochs=2, device="cpu"), Evaluation()).scorer
    report = evaluate(scorer, data.pairs, held, how)
    assert report.names == how.metrics
    np.testing.assert_array_equal(report.values("first@5"), report.values("precision@1"))
    assert np.isnan(report["first@5[new]"])
    single = np.diff(held.csr.indptr)[report.per_user["user"].to_numpy()] == 1
    np.testing.assert_allclose(
        report.values("worst_rank")[single], 1 / report.values("mrr")[single]
    )
    assert (parse("first@5").higher, parse("worst_rank").higher) == (True, False)


def test_a_built_in_metric_is_not_replaced(plugin):
    assert parse("recall@5").kind is metrics.AT_CUTOFF["recall"]


@pytest.mark.parametrize(
    ("name", "cause", "remedy"),
    [
        ("first", "needs a cut-off", "first@20"),
        ("worst_rank@5", "takes no cut-off", "write worst_rank"),
        ("frist@5", "unknown metric", "did you mean 'first@5'"),
        ("worst_rnak", "unknown metric", "did you mean 'worst_rank'"),
        ("bare@5", "must be a ListMetric or a RankMetric, got function", "entry point"),
        ("absent@5", "cannot be imported", "install"),
        ("broken@5", "No module named 'recsys_not_there'", "install"),
    ],
)
def test_a_mistake_is_answered(plugin, name, cause, remedy):
    with pytest.raises(InputError) as caught:
        parse(name)
    assert cause in caught.value.cause
    assert remedy in caught.value.remedy


def test_a_broken_package_leaves_the_other_metrics_alone(plugin):
    assert parse("ndcg@5").k == 5
    with pytest.raises(InputError, match="did you mean 'ndcg@5'"):
        parse("ndgc@5")


@pytest.mark.parametrize(
    ("name", "cause"), [("short@2", "a value for each of 2 users"), ("several@2", "one number")]
)
def test_a_function_that_returns_something_else_is_refused(plugin, name, cause):
    data, _ = two_camps()
    scorer = fit(MF(dim=2), data, None, Train(epochs=1, device="cpu"), Evaluation()).scorer
    sizes = scorer.n_users, scorer.n_items
    train = Interactions(np.array([0, 1]), np.array([0, 1]), *sizes)
    test = Interactions(np.array([0, 1]), np.array([2, 3]), *sizes)
    with pytest.raises(InputError, match=cause):
        evaluate(scorer, train, test, Evaluation(metrics=(name,)))


def test_it_is_refused_from_sampled_candidates(plugin):
    with pytest.raises(InputError, match="first@5 has no estimator"):
        Evaluation(metrics=("first@5",), monitor="auc", candidates="sampled")


def test_it_is_named_in_toml_monitored_and_tuned_on(plugin):
    pairs = two_camps()[0].pairs
    log = plugin / "log.csv"
    rows = [f"u{user},i{item}" for user, item in zip(pairs.user, pairs.item, strict=True)]
    log.write_text("\n".join(["user,item", *rows]) + "\n")
    config = plugin / "mine.toml"
    config.write_text(
        f'[data]\npath = "{log}"\n[model]\nname = "mf"\ndim = 4\n'
        '[train]\nepochs = 3\ndevice = "cpu"\n'
        '[evaluate]\nmetrics = ["first@5", "recall@5"]\nmonitor = "first@5"\n'
        '[tune]\ntrials = 2\n[tune.space]\n"model.dim" = { choices = [2, 4] }\n'
    )
    code, _, err = invoke(f"run {config} --out {plugin / 'run'} -q")
    assert (code, err) == (0, "")
    run = open_run(plugin / "run")
    values = [entry.valid["first@5"] for entry in run.history]
    assert run.stopping.best_epoch == 1 + int(np.argmax(values))
    assert "first@5" in run.report("test").names
    code, _, err = invoke(f"tune {config} --out {plugin / 'study'} -q")
    assert (code, err) == (0, "")
    study = open_study(plugin / "study")
    assert study.best is not None
    values = [trial.values[0] for trial in study.trials]
    assert study.best.values[0] == max(values)
    assert all(0 <= value <= 1 for value in values)
