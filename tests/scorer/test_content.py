"""Features as networks read them: what is filled in, what is counted, what is left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from recsys.data.types import Dataset, FeatureTable, Interactions, Vocab
from recsys.nn.distinct import counted, distinct
from recsys.nn.feature_layers import (
    FeatureProjection,
    Table,
    _projected,
    affine,
    feature_values,
    side_by_side,
    values_and_known,
    warm_items,
)
from recsys.nn.negative_pool import from_pool
from recsys.nn.tables import xavier
from recsys.sampling import Sampler


def data(values: np.ndarray, present: list[bool], met: tuple[int, ...] = (0, 1)) -> Dataset:
    pairs = Interactions(np.zeros(len(met), dtype=np.int32), np.array(met), 1, len(values))
    return Dataset(
        pairs,
        Vocab.range(1),
        Vocab.range(len(values)),
        {"text": FeatureTable(values, np.array(present))},
    )


def test_the_mean_is_of_training_items_that_have_the_modality():
    values = np.arange(10, dtype=np.float32).reshape(5, 2)
    train = data(values, [True, False, True, True, False], met=(0, 1, 2))
    found = feature_values(train)["text"]
    assert found[[1, 4]].tolist() == [[2.0, 3.0]] * 2, "item 1 has none, item 3 nobody has met"
    assert found[[0, 2, 3]].tolist() == values[[0, 2, 3]].tolist()
    assert feature_values(train, impute="zero")["text"][[1, 4]].tolist() == [[0.0, 0.0]] * 2
    assert values[1].tolist() == [2.0, 3.0]
    other = replace(train, pairs=train.pairs.take(np.array([0])))
    assert feature_values(other)["text"][1].tolist() == [0.0, 1.0], "of this training set alone"


def test_where_no_training_item_has_it():
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert feature_values(data(values, [False, False, True]))["text"].tolist() == [[4.0, 5.0]] * 3
    assert not feature_values(data(values, [False] * 3))["text"].any()


def test_halves_are_wide_before_they_are_added_up():
    """2,000 times 60 is more than a half can count to, and 60.03 is no half."""
    values = np.full((2001, 1), 60.03, dtype=np.float16)
    train = data(values, [True] * 2000 + [False], met=tuple(range(2000)))
    found = feature_values(train)["text"]
    assert found.dtype == torch.float32
    assert found[2000, 0].item() == pytest.approx(float(values[0, 0]), abs=1e-6)


def test_rows_are_scaled_after_gaps_are_filled():
    values = np.array([[3.0, 4.0], [0.0, 1.0], [9.0, 9.0], [0.0, 0.0]], dtype=np.float32)
    found = feature_values(data(values, [True, True, False, True]), scale="row")["text"]
    assert found[0].tolist() == pytest.approx([0.6, 0.8])
    assert found[2].tolist() == pytest.approx((np.array([1.5, 2.5]) / np.hypot(1.5, 2.5)).tolist())
    assert found[3].tolist() == [0.0, 0.0]


def test_what_is_whole_is_not_copied_and_never_changed():
    values = np.ones((2, 3), dtype=np.float32)
    train = data(values, [True, True])
    assert np.shares_memory(feature_values(train)["text"].numpy(), values)
    table = Table(feature_values(train)["text"], train=True)
    with torch.no_grad():
        table.values.zero_()
    assert values.all()
    values.flags.writeable = False
    assert feature_values(train)["text"].all(), "read-only arrays are copied"


def test_side_by_side_keeps_the_order():
    train = data(np.ones((2, 1), dtype=np.float32), [True, True])
    train = replace(
        train,
        features={
            "b": train.features["text"],
            "a": FeatureTable(np.zeros((2, 2), dtype=np.float32), np.ones(2, dtype=bool)),
        },
    )
    assert side_by_side(feature_values(train)).tolist() == [[1.0, 0.0, 0.0]] * 2


@pytest.mark.parametrize("n", [8, 20])
def test_distinct_rows_and_their_places(n):
    first, second = torch.tensor([5, 2, 5]), torch.tensor([[7, 2], [1, 5], [5, 5]])
    rows, places = distinct(first, second, n=n)
    assert rows.tolist() == [1, 2, 5, 7]
    assert torch.equal(rows[places[0]], first)
    assert torch.equal(rows[places[1]], second)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("block", [1, 7, 1 << 18])
def test_rows_that_are_projected(block, bias, monkeypatch):
    """Values and gradients are those of autograd, step after step in the same memory.

    Also where the gradients of two steps are added up.
    """
    monkeypatch.setattr("recsys.nn.feature_layers._BLOCK_NUMBERS", block)
    torch.manual_seed(0)
    table, linear = Table(torch.randn(9, 3), train=True).double(), affine(3, 4, bias=bias).double()
    plain, same = table.values.detach().clone().requires_grad_(), affine(3, 4, bias=bias).double()
    same.load_state_dict(linear.state_dict())
    for step, (rows, clear) in enumerate(
        (
            ([0, 4], True),
            ([4, 8, 1], True),
            ([2], False),
            ([2, 3], False),
            ([7, 2], True),
            ([], True),
            ([5], True),
        )
    ):
        wanted, weight = (
            torch.tensor(rows, dtype=torch.int64),
            torch.randn(len(rows), 4, dtype=torch.float64),
        )
        if clear:
            table.values.grad = plain.grad = None
            linear.zero_grad()
            same.zero_grad()
        ours, expected = _projected(table, linear, wanted), same(plain[wanted])
        assert torch.allclose(ours, expected, rtol=1e-12)
        (ours * weight).sum().backward()
        (expected * weight).sum().backward()
        assert torch.allclose(table.values.grad, plain.grad, rtol=1e-12), step
        for one, other in zip(linear.parameters(), same.parameters(), strict=True):
            assert torch.allclose(one.grad, other.grad, rtol=1e-12), step
    frozen = Table(torch.ones(3, 3), train=False).double()
    assert torch.equal(
        _projected(frozen, linear, torch.tensor([1])), linear(torch.ones(1, 3, dtype=torch.float64))
    )


@pytest.mark.parametrize("train", [False, True])
def test_every_modality_has_a_map_of_its_own(train):
    values = {"text": torch.randn(5, 3), "price": torch.randn(5, 1)}
    told, rows = FeatureProjection(values, 4, train=train), torch.tensor([3, 0])
    for part, some, name, linear in zip(told(), told(rows), values, told.maps, strict=True):
        assert torch.allclose(part, values[name] @ linear.weight.T + linear.bias)
        assert torch.allclose(some, part[rows])
    assert [table.embedding_dim for table in told.learned] == ([3, 1] if train else [])
    assert not FeatureProjection({}, 4, train=train)(rows)


def test_rows_and_how_often_they_occur():
    rows = torch.randint(9, (30,), generator=torch.Generator().manual_seed(0))
    for got, expected in zip(
        counted(rows, 12), torch.unique(rows, return_counts=True), strict=True
    ):
        assert torch.equal(got, expected)
    assert [part.tolist() for part in counted(rows[:0], 3)] == [[], []]


def test_pools():
    train = data(np.ones((4, 1), dtype=np.float32), [True] * 4)
    assert warm_items(train).tolist() == [True, True, False, False]
    popular = Sampler(proposal="popularity", alpha=0.5)
    assert from_pool(Sampler(), "all") == Sampler()
    assert from_pool(popular, "warm") == Sampler(proposal="popularity", alpha=0.5, items="warm")
    assert from_pool(Sampler(negatives=7), "warm") == Sampler(negatives=7, items="warm")


def test_start_values():
    torch.manual_seed(0)
    table, layer = xavier(300, 20), affine(30, 500, "xavier")
    edge, rows, weight, bias = (
        (6 / 320) ** 0.5,
        table.weight.detach(),
        layer.weight.detach(),
        layer.bias.detach(),
    )
    assert float(rows.abs().max()) <= edge
    assert float(rows.std()) == pytest.approx(edge / 3**0.5, rel=0.05)
    assert float(weight.std()) == pytest.approx((2 / 530) ** 0.5, rel=0.05)
    assert float(bias.abs().max()) <= 30**-0.5
    assert affine(3, 2, bias=False).bias is None


def test_known_are_items_that_have_a_modality_or_borrow_one():
    pairs = Interactions(np.array([0, 0, 0]), np.array([0, 1, 2]), 1, 5)
    image = FeatureTable(np.eye(5, 3, dtype=np.float32), np.array([True, True, True, False, False]))
    text = FeatureTable(np.eye(5, 2, dtype=np.float32), np.array([True, True, False, True, False]))
    train = Dataset(pairs, Vocab(["u"]), Vocab([*"abcde"]), features={"image": image, "text": text})
    had = [image.present.tolist(), text.present.tolist()]
    for impute, expected in (("mean", had), ("zero", had), ("nearest", [[True] * 4 + [False]] * 2)):
        values, known = values_and_known(train, impute=impute)
        assert [known[name].tolist() for name in ("image", "text")] == expected, impute
        for name, read in feature_values(train, impute=impute).items():
            assert torch.equal(values[name], read)
