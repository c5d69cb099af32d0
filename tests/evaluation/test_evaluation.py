"""Evaluation against a plain loop per user, its protocols, its report on disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from asking import asked
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import best_first
from planted import two_camps

from recsys.comparison.comparison import compare
from recsys.config import build, to_dict
from recsys.data.splitting.splits import SplitRule, split
from recsys.data.types import FeatureTable, Interactions
from recsys.errors import InputError
from recsys.evaluation.breakdown import by_activity, by_popularity
from recsys.evaluation.evaluator import Evaluation, Report, evaluate
from recsys.evaluation.slices import GROUPS
from recsys.models.mf import MF
from recsys.scorer import Factors, MultiFactors, Product
from recsys.training.loop import Train, fit

EVERYTHING = (
    "recall@3",
    "ndcg@3",
    "precision@3",
    "hit@3",
    "mrr@3",
    "map@3",
    "ndcg@7",
    "auc",
    "map",
    "mrr",
    "ndcg",
    "coverage@3",
    "gini@3",
)


def pairs(dense: np.ndarray) -> Interactions:
    user, item = np.nonzero(dense)
    return Interactions(user, item, *dense.shape)


def pairs_of(matrix: sp.spmatrix) -> Interactions:
    found = matrix.tocoo()
    return Interactions(found.row, found.col, *found.shape)


def scorer_of(scores: np.ndarray) -> Product:
    """Exactly these scores."""
    return Product(
        (
            sp.csr_matrix(np.eye(len(scores), dtype=np.float32)),
            torch.from_numpy(scores.astype(np.float32)),
        )
    )


def world(
    seed: int, n_users: int, n_items: int, tied: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scores, train, valid, test; disjoint but for a few test pairs that were seen."""
    generator = np.random.default_rng(seed)
    scores = (
        generator.integers(0, 3, size=(n_users, n_items))
        if tied
        else generator.permuted(np.tile(np.arange(n_items), (n_users, 1)), axis=1)
    )
    part = generator.choice(4, size=(n_users, n_items), p=[0.5, 0.2, 0.1, 0.2])
    test = part == 3
    test[0, 0] = True
    return scores, (part == 1) | (test & (generator.random(test.shape) < 0.1)), part == 2, test


def plain(scores: np.ndarray, seen: np.ndarray, test: np.ndarray) -> dict[str, list[float]]:
    """The definitions, one user at a time."""
    out: dict[str, list[float]] = {
        name: [] for name in EVERYTHING if not name.startswith(("coverage", "gini"))
    }
    for score, masked, mine in zip(scores, seen, test, strict=True):
        relevant = set(np.flatnonzero(mine).tolist())
        if not relevant:
            continue
        listed = [i for i in best_first(score) if not masked[i]]
        for k in (3, 7):
            hits = [i in relevant for i in listed[:k]]
            best = sum(1 / np.log2(p + 2) for p in range(min(k, len(relevant))))
            out[f"ndcg@{k}"].append(sum(h / np.log2(p + 2) for p, h in enumerate(hits)) / best)
            if k == 3:
                out["recall@3"].append(sum(hits) / len(relevant))
                out["precision@3"].append(sum(hits) / k)
                out["hit@3"].append(float(any(hits)))
                out["mrr@3"].append(next((1 / (p + 1) for p, h in enumerate(hits) if h), 0.0))
                out["map@3"].append(
                    sum(sum(hits[: p + 1]) / (p + 1) for p, h in enumerate(hits) if h)
                    / min(k, len(relevant))
                )
        pool = score[~masked]
        reachable = [i for i in relevant if not masked[i]]
        rank = sorted(
            float((pool > score[i]).sum() + ((pool == score[i]).sum() + 1) / 2) for i in reachable
        )
        out["map"].append(sum((q + 1) / r for q, r in enumerate(rank)) / len(relevant))
        out["mrr"].append(1 / rank[0] if rank else 0.0)
        out["ndcg"].append(
            sum(1 / np.log2(r + 1) for r in rank)
            / sum(1 / np.log2(p + 2) for p in range(len(relevant)))
        )
        length, m = len(pool), len(reachable)
        auc = (
            (sum(length - r + 1 for r in rank) - m * (m + 1) / 2) / (m * (length - m))
            if 0 < m < length
            else float("nan")
        )
        out["auc"].append(auc)
    return out


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 14), st.booleans())
def test_equal_to_a_loop_over_users(seed, n_users, n_items, tied):
    scores, train, valid, test = world(seed, n_users, n_items, tied)
    report = evaluate(
        scorer_of(scores),
        pairs(train),
        pairs(test),
        Evaluation(metrics=EVERYTHING),
        also_seen=pairs(valid),
    )
    for name, wanted in plain(scores, train | valid, test).items():
        np.testing.assert_allclose(report.values(name), wanted, atol=1e-9, err_msg=name)
        known = [value for value in wanted if not np.isnan(value)]
        if known:
            assert report[name] == pytest.approx(np.mean(known))
        else:
            assert np.isnan(report[name])
    assert report.n_users == int(test.any(1).sum())
    np.testing.assert_array_equal(report.per_user["user"], np.flatnonzero(test.any(1)))


SLICED = ("all", "new", "new in all", "warm", "warm in all")


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 9),
    st.integers(2, 14),
    st.booleans(),
    st.permutations(SLICED),
    st.integers(1, 5),
)
def test_slices_equal_a_loop_over_users(seed, n_users, n_items, tied, slices, several):
    """Test items of a kind are ranked among their kind; users without such items do not count."""
    scores, train, valid, test = world(seed, n_users, n_items, tied)
    train[:, np.random.default_rng(seed).random(n_items) < 0.4] = False
    given = tuple(slices[:several])
    if "all" not in given:  # whole lists are those of all items
        given = (*given, "all")
    report = evaluate(
        scorer_of(scores),
        pairs(train),
        pairs(test),
        Evaluation(metrics=EVERYTHING, candidates=given),
        also_seen=pairs(valid),
    )
    mine = np.flatnonzero(test.any(1))
    seen, new = train | valid, ~train.any(0)
    for part in given:
        kind = {"n": new, "w": ~new, "a": np.ones_like(new)}[part[0]]
        pool = kind if part in ("new", "warm") else np.ones_like(kind)
        some = (test & kind).any(1)
        for name, wanted in plain(scores, seen | ~pool, test & kind).items():
            shown = name if part == "all" else f"{name}[{part}]"
            values = report.values(shown)
            np.testing.assert_allclose(values[some[mine]], wanted, atol=1e-9, err_msg=shown)
            assert np.isnan(values[~some[mine]]).all()
        if part in ("new", "warm") and some.any():
            listed = {
                i
                for score, masked in zip(scores[some], seen[some], strict=True)
                for i in best_of(score, masked | ~kind, 3)
            }
            assert report[f"coverage@3[{part}]"] == pytest.approx(len(listed) / kind.sum())
    assert set(report.names) == {
        name if part == "all" else f"{name}[{part}]" for part in given for name in EVERYTHING
    } - {f"{name}@3[{kind} in all]" for name in ("coverage", "gini") for kind in ("new", "warm")}


def best_of(score: np.ndarray, masked: np.ndarray, k: int) -> list[int]:
    return [i for i in best_first(score) if not masked[i]][:k]


def test_a_slice_may_be_in_the_name_alone():
    scores, train, _, test = world(3, 8, 12, False)
    train[:, ::3] = False
    test[:, ::3] |= np.random.default_rng(0).random((8, 4)) < 0.5
    report = evaluate(
        scorer_of(scores),
        pairs(train),
        pairs(test),
        Evaluation(metrics=("ndcg@3", "ndcg@3[new]", "auc[warm in all]")),
    )
    both = evaluate(
        scorer_of(scores),
        pairs(train),
        pairs(test),
        Evaluation(metrics=("ndcg@3",), candidates=("new", "all")),
    )
    assert report.names == ("ndcg@3", "ndcg@3[new]", "auc[warm in all]")
    assert both.names == ("ndcg@3[new]", "ndcg@3")
    assert report["ndcg@3[new]"] == both["ndcg@3[new]"]
    assert (report.values("ndcg@3[new]") != report.values("ndcg@3")).any()
    assert any(
        note.startswith(f"new: {(~train.any(0)).sum()} of 12 items") for note in report.notes
    )
    assert (
        report.interval("ndcg@3[new]")[0]
        < report["ndcg@3[new]"]
        < report.interval("ndcg@3[new]")[1]
    )


def test_a_slice_without_users():
    """A split by new items holds no warm test item. The slice is empty, and a note says so."""
    parts = split(two_camps(users=40)[0], SplitRule(by="new-item"))
    evaluation = Evaluation(
        metrics=("ndcg@5", "coverage@5", "auc"), candidates=("new", "warm", "all", "new in all")
    )
    recipe = MF(dim=4)
    fitted = fit(
        recipe, parts.train, parts.valid, Train(epochs=2, batch_size=64, device="cpu"), evaluation
    )
    report = evaluate(
        fitted.scorer,
        parts.train.pairs,
        parts.test.open("a test"),
        evaluation,
        also_seen=parts.valid.pairs,
    )
    assert "no user has a held-back warm item: [warm] is not defined" in report.notes
    assert np.isnan(report["ndcg@5[warm]"])
    assert np.isnan(report["coverage@5[warm]"])
    assert report["ndcg@5"] == report["ndcg@5[new in all]"]
    assert report["ndcg@5[new]"] > report["ndcg@5"]
    assert report["auc[new]"] != report["auc"]
    cell = compare({"one": report, "two": report}, ["ndcg@5[new]", "ndcg@5[warm]"]).cell(
        "one", "ndcg@5[new]"
    )
    assert cell.mean == pytest.approx(report["ndcg@5[new]"])


def test_a_slice_selects():
    """Without brackets and without "all", the monitor is that of the first slice."""
    evaluation = Evaluation(
        metrics=("ndcg@5",), candidates=("new", "new in all"), monitor="recall@5"
    )
    assert evaluation.monitor == "recall@5[new]"
    assert build(Evaluation, to_dict(evaluation)) == evaluation
    assert (
        Evaluation(
            metrics=("ndcg@5",), candidates=("new", "all"), monitor="ndcg@5[new in all]"
        ).monitor
        == "ndcg@5[new in all]"
    )
    assert Evaluation(candidates=("warm", "all")).monitor == "ndcg@20"
    parts = split(two_camps(users=40)[0], SplitRule(by="new-item"))
    fitted = fit(
        MF(dim=4),
        parts.train,
        parts.valid,
        Train(epochs=3, batch_size=64, device="cpu"),
        evaluation,
    )
    values = [entry.valid["recall@5[new]"] for entry in fitted.history]
    assert fitted.best_epoch == 1 + int(np.argmax(values))


RANKED = tuple(name for name in EVERYTHING if not name.startswith(("coverage", "gini")))


def groups_of(train: np.ndarray) -> list[str]:
    """Popularity group of each item: thirds of the training interactions, item by item."""
    count = train.sum(0).astype(int)
    groups, before = ["tail"] * len(count), 0
    for item in sorted(range(len(count)), key=lambda i: -count[i]):
        if count[item]:
            groups[item] = GROUPS[min(3 * before // int(count.sum()), 2)]
        before += int(count[item])
    return groups


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(2, 14), st.booleans(), st.booleans()
)
def test_popularity_slices_equal_a_loop_over_users(seed, n_users, n_items, tied, groups):
    """Test items of the group count, ranked in the whole catalogue."""
    scores, train, valid, test = world(seed, n_users, n_items, tied)
    names = tuple(f"{name}[{group}]" for group in GROUPS for name in RANKED)
    how = Evaluation(metrics=(*names, "recall@3"), groups=groups)
    report = evaluate(scorer_of(scores), pairs(train), pairs(test), how, also_seen=pairs(valid))
    assert report.names == (*names, "recall@3")
    users, group = test.any(1), np.array(groups_of(train))
    for part in GROUPS:
        some = (test & (group == part)).any(1)
        wanted = plain(scores, train | valid, test & (group == part))
        for name in RANKED:
            values = report.values(f"{name}[{part}]")
            np.testing.assert_allclose(values[some[users]], wanted[name], atol=1e-9, err_msg=name)
            assert np.isnan(values[~some[users]]).all()
    only = evaluate(
        scorer_of(scores),
        pairs(train),
        pairs(test),
        Evaluation(metrics=("recall@3",), groups=True),
        also_seen=pairs(valid),
    )
    for part in GROUPS:
        np.testing.assert_array_equal(
            only.values(f"recall@3[{part}]"), report.values(f"recall@3[{part}]")
        )


def test_a_popularity_slice_keeps_the_rules_of_its_settings():
    """`skip_short_users` counts the test items of the slice; the columns of `groups` do not."""
    scores, train, _, test = world(4, 60, 40, False)
    how = Evaluation(metrics=("recall@5[tail]", "recall@5"), skip_short_users=True, groups=True)
    report = evaluate(scorer_of(scores), pairs(train), pairs(test), how)
    tail = (test & (np.array(groups_of(train)) == "tail")).sum(1)[test.any(1)]
    np.testing.assert_array_equal(np.isnan(report.values("recall@5[tail]")), tail < 5)
    alone = Evaluation(metrics=("recall@5",), skip_short_users=True, groups=True)
    plainly = evaluate(scorer_of(scores), pairs(train), pairs(test), alone)
    np.testing.assert_array_equal(np.isnan(plainly.values("recall@5[tail]")), tail < 1)


def test_popularity_slices_select_and_are_broken_down():
    """A popularity slice can be monitored, and three of them make a table by popularity."""
    parts = split(two_camps(users=40)[0], SplitRule(by="ratio"))
    evaluation = Evaluation(metrics=("ndcg@5",), monitor="recall@5[tail]")
    fitted = fit(
        MF(dim=4),
        parts.train,
        parts.valid,
        Train(epochs=3, batch_size=64, device="cpu"),
        evaluation,
    )
    values = [entry.valid["recall@5[tail]"] for entry in fitted.history]
    assert fitted.best_epoch == 1 + int(np.argmax(values))
    names = tuple(f"ndcg@5[{group}]" for group in GROUPS)
    test = parts.test.open("a test")
    report = evaluate(fitted.scorer, parts.train.pairs, test, Evaluation(metrics=names))
    table = by_popularity(report)
    assert table["metric"].to_list() == ["ndcg@5"] * 3
    assert table["mean"].to_list() == pytest.approx([report[name] for name in names])
    some = evaluate(fitted.scorer, parts.train.pairs, test, Evaluation(metrics=names[:2]))
    with pytest.raises(InputError, match="groups = true"):
        by_popularity(some)
    for metric, k in ((names[0], 5), ("ndcg@5[new]", 20), ("auc", 20)):
        grouped = Evaluation(metrics=(metric,), groups=True)
        table = by_popularity(evaluate(fitted.scorer, parts.train.pairs, test, grouped))
        assert set(table["metric"]) == {f"recall@{k}"}


PARTIAL = {"opauc@40%": (1.0, 0.4), "tpauc@50%x40%": (0.5, 0.4), "llpauc@50%x40%": (0.5, 0.4)}


def plain_partial(scores: np.ndarray, seen: np.ndarray, test: np.ndarray) -> dict[str, list[float]]:
    """Every pair that is kept, one user at a time."""
    out: dict[str, list[float]] = {name: [] for name in PARTIAL}
    for score, masked, mine in zip(scores, seen, test, strict=True):
        if not mine.any():
            continue
        pos, neg = np.sort(score[mine & ~masked]), np.sort(score[~mine & ~masked])[::-1]
        for name, (a, b) in PARTIAL.items():
            n_pos = int(a * len(pos) + 1e-9)
            kept = pos[:n_pos] if name.startswith("tpauc") else pos[::-1][:n_pos]
            won = [(p > n) + (p == n) / 2 for p in kept for n in neg[: int(b * len(neg) + 1e-9)]]
            out[name].append(float(np.mean(won)) if won else float("nan"))
    return out


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 9),
    st.integers(1, 60),
    st.booleans(),
    st.integers(0, 4),
)
def test_partial_auc_equals_a_loop_over_users(seed, n_users, n_items, tied, block):
    scores, train, valid, test = world(seed, n_users, n_items, tied)
    how = Evaluation(metrics=(*PARTIAL, "auc", "opauc@100%"), block=block)
    report = evaluate(scorer_of(scores), pairs(train), pairs(test), how, also_seen=pairs(valid))
    for name, wanted in plain_partial(scores, train | valid, test).items():
        np.testing.assert_allclose(report.values(name), wanted, atol=1e-9, err_msg=name)
    np.testing.assert_array_equal(report.values("opauc@100%"), report.values("auc"))


@pytest.mark.parametrize("kind", ["dot", "cosine", "euclidean"])
@pytest.mark.parametrize("several", [False, True])
def test_partial_auc_of_vectors(kind, several):
    """Users are far from the items, so -|u - v|^2 has ties in single precision that the ranking
    does not have. Every third item has a twin."""
    generator = torch.Generator().manual_seed(1)
    user, item = (
        torch.randn(20, 3, 4, generator=generator) + 300,
        torch.randn(90, 4, generator=generator),
    )
    item[::3] = item[1::3]
    scorer = MultiFactors(user, item, kind) if several else Factors(user[:, 0], item, kind)
    _, train, _, test = world(8, 20, 90, False)
    query, key = (part.double().numpy() for part in scorer.as_dot()[:2])
    scores = np.einsum("ucd,nd->ucn", query, key).max(1) if several else query @ key.T
    report = evaluate(scorer, pairs(train), pairs(test), Evaluation(metrics=tuple(PARTIAL)))
    for name, wanted in plain_partial(scores, train.astype(bool), test.astype(bool)).items():
        np.testing.assert_allclose(
            report.values(name), wanted, atol=0.02, err_msg=name
        )  # single precision may turn near pairs around
        assert np.nanmin(report.values(name)) >= 0
        assert np.nanmax(report.values(name)) <= 1


def test_partial_auc_ties_what_the_ranking_ties():
    """|u|^2 = 10^6 swallows what tells the two items apart, and no ranking looks at it."""
    user, item = (
        torch.tensor([[1000.0, 0.0]]),
        torch.tensor([[1.0e-6, 0.0], [2.0e-6, 0.0], [0.0, 0.0]]),
    )
    assert Factors(user, item, "euclidean").score(asked(torch.tensor([0])))[0].unique().numel() == 1
    how = Evaluation(metrics=("opauc@50%", "opauc@100%"))
    report = evaluate(
        Factors(user, item, "euclidean"), pairs(np.zeros((1, 3))), pairs(np.array([[1, 0, 0]])), how
    )
    assert (report["opauc@50%"], report["opauc@100%"]) == (0.0, 0.5)


def test_partial_auc_is_a_metric_of_the_full_ranking():
    scores, train, _, test = world(3, 40, 50, True)
    everyone, some = (
        evaluate(
            scorer_of(scores),
            pairs(train),
            pairs(test),
            Evaluation(metrics=("opauc@10%",), min_test_full=n),
        )
        for n in (1, 12)
    )
    n_test = test.sum(1)[test.any(1)]
    np.testing.assert_array_equal(np.isnan(some.values("opauc@10%")), n_test < 12)
    kept = n_test >= 12
    np.testing.assert_array_equal(
        some.values("opauc@10%")[kept], everyone.values("opauc@10%")[kept]
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["dot", "cosine", "euclidean"]), st.booleans())
def test_maxdiv_equals_a_loop(seed, kind, several):
    generator = torch.Generator().manual_seed(seed)
    item = torch.randn(30, 3, generator=generator)
    user = torch.randn(12, 2, 3, generator=generator)
    scorer = (
        MultiFactors(user, item, kind)
        if several
        else Factors(user[:, 0], item, kind, torch.randn(30, generator=generator))
    )
    _, train, _, test = world(seed, 12, 30, False)
    report = evaluate(
        scorer,
        pairs(train),
        pairs(test),
        Evaluation(metrics=("maxdiv@4", "recall@4"), skip_short_users=True),
    )
    vectors = (
        (torch.nn.functional.normalize(item, dim=1) if kind == "cosine" else item).double().numpy()
    )
    wanted = []
    for user_row in np.flatnonzero(test.any(1)):
        score = scorer.score(asked(torch.tensor([int(user_row)])))[0].numpy().copy()
        score[train[user_row]] = -np.inf
        top = [i for i in best_first(score)[:4] if np.isfinite(score[i])]
        wanted.append(sum(float(((vectors[i] - vectors[j]) ** 2).sum()) for i in top for j in top))
    np.testing.assert_allclose(
        report.values("maxdiv@4"), wanted, rtol=1e-5, atol=1e-9
    )  # every user with a test item, short or not
    assert report["maxdiv@4"] == pytest.approx(np.mean(wanted), rel=1e-5)
    assert report.notes == evaluate(scorer, pairs(train), pairs(test)).notes


def test_a_partial_auc_can_be_monitored_and_compared():
    data, held = two_camps()
    how = Evaluation(metrics=("opauc@20%", "recall@5", "maxdiv@5"), monitor="opauc@20%")
    fitted = fit(MF(dim=8), data, held, Train(epochs=4, batch_size=64, lr=0.02, device="cpu"), how)
    values = [entry.valid["opauc@20%"] for entry in fitted.history]
    assert all(0 <= value <= 1 for value in values)
    report = evaluate(fitted.scorer, data.pairs, held, how)
    assert report["opauc@20%"] == pytest.approx(max(values))
    same = compare({"one": report, "two": report})
    assert same.metrics == how.metrics


def test_users_without_a_partial_auc_are_counted():
    scores, train, test = np.tile(np.arange(10), (3, 1)), np.zeros((3, 10)), np.zeros((3, 10))
    test[0, 0] = test[1, [1, 2]] = test[2, [0, 1, 2, 3]] = 1
    train[1, 5] = 1
    how = Evaluation(metrics=("tpauc@50%x100%", "opauc@10%", "opauc@50%"))
    report = evaluate(scorer_of(scores), pairs(train), pairs(test), how)
    assert np.isnan(report.values("tpauc@50%x100%")).tolist() == [True, False, False]
    assert np.isnan(report.values("opauc@10%")).all()
    assert report.notes[1:] == (
        "tpauc@50%x100% is not defined for 1 of 3 users: "
        "a fraction of their items is less than one",
        "opauc@10% is not defined for 3 of 3 users: a fraction of their items is less than one",
    )


def test_maxdiv_needs_item_vectors():
    scores, train, _, test = world(2, 8, 12, False)
    test = test & ~train
    report = evaluate(
        scorer_of(scores), pairs(train), pairs(test), Evaluation(metrics=("maxdiv@4", "recall@4"))
    )
    assert np.isnan(report.values("maxdiv@4")).all()
    assert np.isnan(report["maxdiv@4"])
    assert report.notes[-1] == "maxdiv is not defined: the scorer has no item vectors"
    assert report.table()["users"].to_list() == [0, report.n_users]
    assert np.isfinite(report["recall@4"])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_no_number_depends_on_the_block(seed, block):
    scores, train, _, test = world(seed, 9, 14, True)
    one = evaluate(scorer_of(scores), pairs(train), pairs(test), Evaluation(metrics=EVERYTHING))
    other = evaluate(
        scorer_of(scores), pairs(train), pairs(test), Evaluation(metrics=EVERYTHING, block=block)
    )
    assert one.per_user.equals(other.per_user)
    np.testing.assert_array_equal(list(one.whole.values()), list(other.whole.values()))


def test_the_libcml_protocol():
    # Ten items, items 0 and 1 in training, 2 for validation; scores fall with the item row.
    scores = np.tile(np.arange(10, 0, -1), (3, 1))
    train, valid, test = np.zeros((3, 10)), np.zeros((3, 10)), np.zeros((3, 10))
    train[:, :2] = 1
    valid[:, 2] = 1
    test[0, [3, 5, 9]] = 1
    test[1, [3, 4]] = 1
    test[2, 7] = 1
    names = ("precision@3", "recall@3", "ndcg@3", "precision@2", "map", "mrr", "auc")
    libcml = Evaluation(metrics=names, skip_short_users=True, min_test_full=3, keep_valid=True)
    report = evaluate(scorer_of(scores), pairs(train), pairs(test), libcml, also_seen=pairs(valid))
    # Candidates 2..9, L = 8: user 0's test items have the ranks 2, 4, 8; the other two users have
    # fewer than three test items.
    third = 1 / np.log2(3)
    assert report["precision@3"] == pytest.approx(1 / 3)
    assert report["recall@3"] == pytest.approx(1 / 3)
    assert report["ndcg@3"] == pytest.approx(third / (1 + third + 1 / 2))
    assert report["precision@2"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert report["map"] == pytest.approx((1 / 2 + 2 / 4 + 3 / 8) / 3)
    assert report["mrr"] == pytest.approx(1 / 2)
    assert report["auc"] == pytest.approx((7 + 5 + 1 - 6) / (3 * 5))
    counted = dict(zip(report.table()["metric"], report.table()["users"], strict=True))
    assert counted == {
        "precision@3": 1,
        "recall@3": 1,
        "ndcg@3": 1,
        "precision@2": 2,
        "map": 1,
        "mrr": 1,
        "auc": 1,
    }
    assert report.per_user["precision@3"].null_count() == 2
    usual = evaluate(
        scorer_of(scores),
        pairs(train),
        pairs(test),
        Evaluation(metrics=("recall@3", "mrr")),
        also_seen=pairs(valid),
    )
    assert usual["mrr"] == pytest.approx(
        (1 + 1 + 1 / 5) / 3
    )  # the validation item no longer stands above
    assert usual["recall@3"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert usual.protocol != report.protocol


@pytest.mark.parametrize(
    ("name", "three", "five"), [("ml-100k-likes", 899, 722), ("steam-200k", 2488, 1304)]
)
def test_the_libcml_protocol_counts_the_users_its_tables_count(shared_data, name, three, five):
    train, test = (
        pairs_of(sp.load_npz(shared_data / name / f"user_{part}_matrix.npz"))
        for part in ("train", "test")
    )
    popular = Product(
        (
            sp.csr_matrix(np.ones((train.n_users, 1), dtype=np.float32)),
            torch.from_numpy(np.asarray(train.csr.sum(0), dtype=np.float32)),
        )
    )
    libcml = Evaluation(
        metrics=("recall@3", "recall@5", "mrr@5"), skip_short_users=True, keep_valid=True
    )
    assert evaluate(popular, train, test, libcml).table()["users"].to_list() == [three, five, five]


def test_a_perfect_ranking_is_one_everywhere():
    _, train, _, test = world(0, 20, 30, False)
    test &= ~train
    names = (
        "recall@30",
        "ndcg@3",
        "ndcg@30",
        "hit@1",
        "mrr@1",
        "map@5",
        "auc",
        "map",
        "mrr",
        "ndcg",
    )
    report = evaluate(
        scorer_of(test.astype(float) + np.linspace(0, 0.1, 30)),
        pairs(train),
        pairs(test),
        Evaluation(metrics=names),
    )
    for name in names:
        assert report[name] == pytest.approx(1), name


def test_seen_test_pairs_are_counted_and_missed():
    train, test = np.zeros((2, 4)), np.zeros((2, 4))
    train[0, 0] = train[1, 1] = 1
    test[0, [0, 2]] = 1
    test[1, 1] = 1
    scores = np.tile([4.0, 3, 2, 1], (2, 1))
    report = evaluate(
        scorer_of(scores),
        pairs(train),
        pairs(test),
        Evaluation(metrics=("recall@4", "mrr@4", "auc")),
    )
    assert report.notes == (
        "2 of 3 test pairs were already seen and cannot be hit; "
        "1 users have no other test pair and score 0",
    )
    np.testing.assert_allclose(report.values("recall@4"), [0.5, 0])
    np.testing.assert_allclose(report.values("mrr@4"), [0.5, 0])
    np.testing.assert_allclose(report.values("auc"), [0.5, np.nan])


def test_users_without_test_pairs_are_left_out():
    scores, train, _, test = world(1, 8, 12, False)
    test[[2, 5]] = False
    report = evaluate(scorer_of(scores), pairs(train), pairs(test))
    assert not {2, 5} & set(report.per_user["user"])
    assert set(report.names) == set(Evaluation().metrics)


def test_one_pass_serves_every_metric(monkeypatch):
    import recsys.evaluation.full as module

    calls = []
    for name in ("top_k", "ranks"):
        real = getattr(module, name)
        monkeypatch.setattr(
            module,
            name,
            lambda *a, _real=real, _name=name, **k: (calls.append(_name), _real(*a, **k))[1],
        )
    scores, train, _, test = world(1, 8, 12, False)
    evaluate(
        scorer_of(scores),
        pairs(train),
        pairs(test),
        Evaluation(metrics=("recall@3", "ndcg@5", "coverage@4", "novelty@2")),
    )
    assert calls == ["top_k"]
    calls.clear()
    evaluate(scorer_of(scores), pairs(train), pairs(test), Evaluation(metrics=("auc", "map")))
    assert calls == ["ranks"]


def test_diversity_takes_features_where_given():
    scores, train, _, test = world(2, 8, 12, False)
    table = FeatureTable(np.tile([[1.0, 0.0]], (12, 1)).astype(np.float32), np.ones(12, dtype=bool))
    settings_ = Evaluation(metrics=("diversity@4", "novelty@4", "popularity@4", "lift@4"))
    plain_, with_features = (
        evaluate(scorer_of(scores), pairs(train), pairs(test), settings_, features=f)
        for f in (None, table)
    )
    assert with_features["diversity@4"] == pytest.approx(0)
    assert plain_["diversity@4"] > 0.1
    assert plain_["novelty@4"] == with_features["novelty@4"]


def test_factors_and_the_same_scores_as_a_product_agree():
    generator = torch.Generator().manual_seed(0)
    factors = Factors(
        torch.randn(30, 4, generator=generator), torch.randn(40, 4, generator=generator)
    )
    _, train, _, test = world(3, 30, 40, False)
    scores = factors.score(asked(torch.arange(30))).numpy()
    one, other = (
        evaluate(s, pairs(train), pairs(test), Evaluation(metrics=EVERYTHING))
        for s in (factors, scorer_of(scores))
    )
    assert one.per_user.equals(other.per_user)


def test_groups():
    scores, train, _, test = world(4, 60, 40, False)
    report = evaluate(
        scorer_of(scores),
        pairs(train),
        pairs(test),
        Evaluation(metrics=("recall@5", "recall@10", "auc"), groups=True),
    )
    table = by_popularity(report)
    assert table["group"].unique(maintain_order=True).to_list() == ["head", "mid", "tail"]
    assert set(table["metric"]) == {"recall@5", "recall@10"}
    assert table["low"].le(table["mean"]).all()
    active = by_activity(report, pairs(train), groups=3)
    recall = active.filter(metric="recall@5")
    assert recall["users"].sum() == report.n_users
    assert 2 <= len(recall) <= 3
    mean = (recall["mean"] * recall["users"]).sum() / report.n_users
    assert mean == pytest.approx(report["recall@5"])
    assert report.table()["metric"].to_list() == ["recall@5", "recall@10", "auc"]
    with pytest.raises(InputError, match="groups = true"):
        by_popularity(evaluate(scorer_of(scores), pairs(train), pairs(test)))


def test_a_report_survives_the_disk(tmp_path):
    scores, train, _, test = world(5, 12, 10, True)
    report = evaluate(
        scorer_of(scores), pairs(train), pairs(test), Evaluation(metrics=EVERYTHING, groups=True)
    )
    report.save(tmp_path / "run")
    again = Report.load(tmp_path / "run")
    assert again.per_user.equals(report.per_user)
    assert again.table().equals(report.table())
    assert (again.whole, again.names, again.n_users, again.notes, again.protocol) == (
        report.whole,
        report.names,
        report.n_users,
        report.notes,
        report.protocol,
    )
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "per_user.parquet",
        "report.json",
    ]
    assert build(Evaluation, dict(again.settings)) == Evaluation(metrics=EVERYTHING, groups=True)


def damaged(folder: Path, how: str) -> None:
    table, head = folder / "per_user.parquet", folder / "report.json"
    if how == "no json":
        head.unlink()
    elif how == "no table":
        table.unlink()
    elif how == "short table":
        table.write_bytes(table.read_bytes()[:-20])
    elif how == "other table":
        pl.DataFrame({"user": [1]}).write_parquet(table)
    elif how == "not json":
        head.write_text("{")
    elif how == "a list":
        head.write_text("[]")
    elif how == "a newer version":
        head.write_text(json.dumps(json.loads(head.read_text()) | {"version": 99}))
    elif how == "a key less":
        head.write_text(
            json.dumps({k: v for k, v in json.loads(head.read_text()).items() if k != "whole"})
        )
    else:
        key, value = how.split(" = ")
        head.write_text(json.dumps(json.loads(head.read_text()) | {key: json.loads(value)}))


@pytest.mark.parametrize(
    "how",
    [
        "no json",
        "no table",
        "short table",
        "other table",
        "not json",
        "a list",
        "a newer version",
        "a key less",
        'n_users = "12"',
        "n_users = 12.5",
        'names = "ndcg@3"',
        "names = [1]",
        'whole = {"coverage@3": "much"}',
        "metrics = 3",
        "metrics = [1]",
        'metrics = [{"metric": "ndcg@3"}]',
        "unknown = 1",
    ],
)
def test_a_damaged_report_is_one_clear_error(tmp_path, how):
    scores, train, _, test = world(5, 12, 10, True)
    evaluate(scorer_of(scores), pairs(train), pairs(test)).save(tmp_path)
    damaged(tmp_path, how)
    with pytest.raises(InputError) as caught:
        Report.load(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert caught.value.remedy


def test_an_unwritable_folder_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    scores, train, _, test = world(5, 12, 10, True)
    report = evaluate(scorer_of(scores), pairs(train), pairs(test))
    with pytest.raises(InputError, match="cannot be written"):
        report.save(tmp_path / "file" / "run")


def test_a_failed_write_leaves_the_old_report(tmp_path, monkeypatch):
    scores, train, _, test = world(5, 12, 10, True)
    report = evaluate(scorer_of(scores), pairs(train), pairs(test))
    report.save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="the disk is full"):
        report.save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("writer", ["write_bytes", "write_text"])
def test_a_full_disk_at_either_file_leaves_the_old_pair(tmp_path, monkeypatch, writer):
    """Both files are on disk before one of them is replaced."""
    scores, train, valid, test = world(5, 12, 10, True)
    old = evaluate(scorer_of(scores), pairs(train), pairs(test))
    old.save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    new = evaluate(scorer_of(scores), pairs(train), pairs(valid))
    assert not new.per_user.equals(old.per_user)
    failed = []

    def full(path: Path, *_: object, **__: object) -> int:
        failed.append(path.name)
        path.touch()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, writer, full)
        with pytest.raises(InputError, match="the disk is full"):
            new.save(tmp_path)
    assert len(failed) == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert Report.load(tmp_path).per_user.equals(old.per_user)
    new.save(tmp_path)
    assert Report.load(tmp_path).per_user.equals(new.per_user)


def test_intervals_are_of_the_mean_over_users():
    scores, train, _, test = world(6, 200, 30, False)
    report = evaluate(
        scorer_of(scores), pairs(train), pairs(test), Evaluation(metrics=("ndcg@5", "coverage@5"))
    )
    low, high = report.interval("ndcg@5")
    assert low < report["ndcg@5"] < high
    wide = report.interval("ndcg@5", 0.999)
    assert wide[0] < low
    assert wide[1] > high
    assert np.isnan(report.interval("coverage@5")).all()
    table = report.table()
    assert table["low"].null_count() == 1
    with pytest.raises(InputError, match=r"did you mean 'ndcg@5'"):
        report.mean("ndcg@6")
    with pytest.raises(InputError, match="whole system"):
        report.values("coverage@5")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"metrics": ["ndgc@20"]}, "did you mean 'ndcg@20'"),
        ({"metrics": []}, "empty"),
        ({"metrics": ["auc", "auc"]}, "twice"),
        ({"monitor": "auc@3"}, "monitor"),
        ({"monitor": "novelty@3"}, "neither higher nor lower"),
        ({"metric": ["auc"]}, "did you mean 'metrics'"),
        ({"block": -1}, "block"),
        ({"candidates": "some"}, "candidates"),
        ({"candidates": "sampled"}, "coverage@20"),
        ({"candidates": "sampled", "metrics": ["auc"], "sampled_by": "popularity"}, "uniform"),
        ({"candidates": "sampled", "metrics": ["auc"], "groups": True}, "groups"),
        (
            {"candidates": "sampled", "metrics": ["auc", "opauc@5%"], "monitor": "auc"},
            "opauc@5% has no estimator",
        ),
        (
            {"candidates": "sampled", "metrics": ["auc"], "monitor": "tpauc@30%x30%"},
            "tpauc@30%x30% has no estimator",
        ),
        ({"metrics": ["opauc@5"]}, "'5' is not a percentage"),
        ({"metrics": ["opauc@5%", "opauc@5.0%"]}, "names opauc@5% twice"),
        ({"monitor": "maxdiv@10"}, "neither higher nor lower"),
        ({"candidates": "sampled", "metrics": ["auc"], "sampled": 0}, "sampled"),
        ({"candidates": []}, "candidates is empty"),
        ({"candidates": ["new", "new"]}, "twice"),
        ({"candidates": ["new", "sampled"]}, "candidates"),
        (
            {"candidates": "sampled", "metrics": ["auc[new]"], "monitor": "auc"},
            "auc[new] is not estimated",
        ),
        (
            {"candidates": ["new in all"], "metrics": ["ndcg@5", "coverage@5"]},
            "coverage@5 depends on whole lists",
        ),
        (
            {"candidates": "new", "groups": True, "metrics": ["ndcg@5"]},
            "groups needs the lists of all items",
        ),
        ({"metrics": ["coverage@5[new in all]"]}, "write coverage@5, or coverage@5[new]"),
        ({"metrics": ["ndcg@5[tial]"]}, "did you mean 'ndcg@5[tail]'"),
        ({"metrics": ["coverage@5[tail]"]}, "write coverage@5"),
        (
            {"candidates": "sampled", "metrics": ["recall@5[tail]"], "monitor": "auc"},
            "recall@5[tail] is not estimated",
        ),
        ({"metrics": ["ndgc@5[new]"]}, "did you mean 'ndcg@5'"),
        ({"metrics": ["ndcg@5[new]", "ndcg@5[new]"]}, "twice"),
    ],
)
def test_wrong_settings_are_answered_at_read_time(values, said):
    with pytest.raises(InputError) as caught:
        build(Evaluation, values, "cml.toml: [evaluate]")
    assert said in str(caught.value)
    assert str(caught.value).startswith("cml.toml: [evaluate]")


def test_settings_round_trip():
    value = Evaluation(metrics=("ndcg@5", "auc"), skip_short_users=True)
    assert build(Evaluation, to_dict(value)) == value


def test_wrong_data_is_one_clear_error():
    scores, train, _, test = world(7, 5, 6, False)
    with pytest.raises(InputError, match="no interactions"):
        evaluate(scorer_of(scores), pairs(train), pairs(np.zeros((5, 6))))
    with pytest.raises(InputError, match="5 users and test 4"):
        evaluate(scorer_of(scores), pairs(train), pairs(test[:4]))
    with pytest.raises(InputError, match="6 items and train 5"):
        evaluate(scorer_of(scores), pairs(train[:, :5]), pairs(test))
    with pytest.raises(InputError, match="not numbers"):
        evaluate(scorer_of(np.full((5, 6), np.nan)), pairs(train), pairs(test))
