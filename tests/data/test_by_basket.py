"""Baskets that are held out: what goes with an item, against plain loops."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.data.load import LoadedData, load
from recsys.data.splitting import SplitRule, split
from recsys.data.types import HeldOut, Split
from recsys.errors import InputError
from recsys.evaluation.evaluator import Evaluation, evaluate
from recsys.models import recipe


def orders(n: int = 700, seed: int = 2) -> pl.DataFrame:
    """Lines of 150 invoices of 20 customers, in time; an item may repeat."""
    rng = np.random.default_rng(seed)
    invoice = np.sort(rng.integers(0, 150, n))
    return pl.DataFrame(
        {
            "customer": invoice % 20,
            "item": rng.integers(0, 25, n),
            "invoice": invoice,
            "time": 1_600_000_000 + 60 * invoice,
        }
    )


def loaded(**settings: Any) -> LoadedData:
    usual: dict[str, Any] = {"user": "customer", "session": "invoice", "keep_log": True}
    return load(orders(), **(usual | settings))


def held_test(parts: Split) -> HeldOut:
    assert parts.test is not None
    return parts.test.open("test")


def in_train(parts: Split) -> set[int]:
    ids = parts.train.sessions
    assert ids is not None
    assert parts.train.log.session is not None
    return set(ids.ids.gather(np.unique(parts.train.log.session)).to_list())


@pytest.mark.parametrize(
    "rule", [{}, {"order": "time"}, {"valid_from": 0.7, "test_from": 0.85}], ids=str
)
def test_questions_and_answers_against_a_loop(rule: dict[str, Any]) -> None:
    parts = split(loaded(), SplitRule(by="basket", **rule))
    assert parts.valid is not None
    test = held_test(parts)
    frame = orders()
    baskets = frame.group_by("invoice").agg("item", pl.col("time").first()).sort("invoice")
    train = in_train(parts)
    held = [each for each in baskets.iter_rows(named=True) if each["invoice"] not in train]
    names = parts.train.items.ids.to_list()
    asked = {"valid": answers(parts.valid, names), "test": answers(test, names)}
    rows = [row for row in held if len(set(row["item"])) > 1]
    every = defaultdict(set)
    for row in rows:
        for item in row["item"]:
            every[item] |= set(row["item"]) - {item}
    joined = defaultdict(set)
    for part in asked.values():
        for item, others in part.items():
            joined[item] |= others
    assert joined == every
    if rule:  # no basket of train is later than a held-out one
        assert max(train) < min(row["invoice"] for row in held)
    else:
        assert len(held) == 2 * int(0.1 * baskets.height + 1e-9)


def answers(part: HeldOut, names: list[Any]) -> dict[Any, set[Any]]:
    assert part.unit_name == "item"
    assert part.queries.ids is not None
    assert [names[row] for row in part.unit] == part.queries.ids.to_list()
    history = part.queries.history
    assert history is not None
    assert [each.tolist() for each in history] == [[row] for row in part.unit]
    return {
        names[row]: {names[item] for item in part.answers[at].indices}
        for at, row in enumerate(part.unit)
    }


def test_no_event_of_a_held_out_basket_is_in_train() -> None:
    parts = split(loaded(), SplitRule(by="basket"))
    assert parts.valid is not None
    train = in_train(parts)
    for part in (parts.valid, held_test(parts)):
        own = set(parts.train.sessions.ids.gather(part.pairs.session).to_list())  # type: ignore[union-attr, arg-type]
        assert not own & train
    refit = parts.refit().train
    assert len(refit.log) > len(parts.train.log)
    assert refit.log.session is not None
    held = set(np.unique(held_test(parts).pairs.session).tolist())
    # A pair of train and of test belongs to the basket of train.
    assert not set(np.unique(refit.log.session).tolist()) & held


def test_a_question_is_an_item_and_so_is_its_unit() -> None:
    parts = split(loaded(), SplitRule(by="basket"))
    scorer = recipe("copurchase")().build(parts.train)
    evaluation = Evaluation(metrics=("recall@5", "precision@5"))
    report = evaluate(scorer, parts.train.pairs, held_test(parts), evaluation)
    assert report.unit_name == "item"
    assert report.n_queries == len(held_test(parts).queries)
    scores = scorer.score(held_test(parts).queries).numpy()
    recalls = []
    for row, item in enumerate(held_test(parts).unit):
        scores[row, item] = -np.inf
        best = set(np.argsort(-scores[row], kind="stable")[:5])
        truth = set(held_test(parts).answers[row].indices)
        recalls.append((len(best & truth), len(truth)))
    hits, sizes = np.array(recalls).T
    # Ties at the fifth place may be broken otherwise.
    assert abs(report.mean("recall@5") - (hits / sizes).mean()) < 0.05
    low, high = report.interval("recall@5")
    assert low < report.mean("recall@5") < high


def test_items_that_train_lacks() -> None:
    frame = pl.DataFrame(
        {
            "customer": np.repeat(np.arange(10), 2),
            "item": [0, 1] * 8 + [0, 8, 9, 1],
            "invoice": np.repeat(np.arange(10), 2),
            "time": np.repeat(np.arange(10), 2) + 1_600_000_000,
        }
    )
    data = load(frame, user="customer", session="invoice", keep_log=True)
    rule: dict[str, Any] = {"by": "basket", "order": "time", "ratios": (0.8, 0.0, 0.2)}
    for settings, items, n in (
        ({}, {0, 1}, 2),
        ({"drop_cold": False}, {0, 1, 8, 9}, 4),
        ({"drop_cold": False, "drop_new_items": True}, {8, 9}, 2),
    ):
        parts = split(data, SplitRule(**rule, **settings))
        assert set(held_test(parts).queries.ids.to_list()) == items  # type: ignore[union-attr]
        assert held_test(parts).answers.nnz == n
    assert "2 test items without train rows not asked" in split(data, SplitRule(**rule)).rule


def test_baskets_of_a_file(tmp_path: Path) -> None:
    text = 'milk, bread\n"salt, coarse",milk\n\nbread,,milk,bread\n' + "milk,tea\nbread,tea\n" * 9
    (tmp_path / "baskets.txt").write_text(text)
    data = load(tmp_path / "baskets.txt", format="baskets").dataset
    assert data.n_users == 21
    assert set(data.items.ids.to_list()) == {"milk", "bread", "salt, coarse", "tea"}
    parts = split(data, SplitRule(by="basket"))
    assert len(held_test(parts).queries) >= 2
    (tmp_path / "other.txt").write_text("1;2\n2;3\n")
    other = load(tmp_path / "other.txt", format="baskets", separator=";").dataset
    assert other.items.ids.to_list() == [1, 2, 3]
    (tmp_path / "empty.txt").write_text("\n , \n")
    with pytest.raises(InputError, match="holds no item"):
        load(tmp_path / "empty.txt", format="baskets")
    with pytest.raises(InputError, match="must be one character"):
        load(tmp_path / "other.txt", format="baskets", separator="::")


@pytest.mark.parametrize(
    ("data", "rule", "message"),
    [
        ({"keep_log": None}, {}, "needs every event"),
        ({"time": "none"}, {"order": "time"}, "order = 'time' needs times"),
        ({}, {"order": "time", "test_from": 0.8}, "order has no effect with test_from"),
        ({}, {"valid_from": 0.8}, "valid_from has no effect without test_from"),
        ({}, {"k": 2}, "k has no effect"),
    ],
)
def test_mistakes(data: dict[str, Any], rule: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        split(loaded(**data), SplitRule(by="basket", **rule))
