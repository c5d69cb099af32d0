"""The encoder of histories against its formula, item by item."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from recsys.data.histories import Histories
from recsys.data.query import Queries
from recsys.errors import InputError
from recsys.scorer import Factors, from_state
from recsys.scorer.als_fold_in import RowSolve
from recsys.scorer.feature_encoder import Layer
from recsys.scorer.history_encoder import HistoryEncoder

ITEMS = 6


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def encoder(**changes: Any) -> HistoryEncoder:
    layers = (Layer(normal(4, 3, seed=1), normal(4, seed=2), "tanh"), Layer(normal(2, 4, seed=3)))
    parts: dict[str, Any] = {
        "table": normal(ITEMS, 3),
        "power": 0.5,
        "weight": normal(ITEMS, seed=4).exp(),
        "bias": normal(3, seed=5),
        "activation": "tanh",
        "layers": layers,
    }
    return HistoryEncoder(**parts | changes)


def by_hand(encoder: HistoryEncoder, items: list[int]) -> torch.Tensor:
    total, sum_of_weights = torch.zeros(3), 0.0
    for item in set(items):
        weight = 1.0 if encoder.weight is None else float(encoder.weight[item])
        total += weight * encoder.table[item]
        sum_of_weights += weight
    vector = total / sum_of_weights**encoder.power if items else total
    if encoder.bias is not None:
        vector = vector + encoder.bias
    if encoder.activation == "tanh":
        vector = torch.tanh(vector)
    for layer in encoder.layers:
        vector = layer.weight @ vector
        vector = vector if layer.bias is None else vector + layer.bias
        vector = torch.tanh(vector) if layer.activation == "tanh" else vector
    return vector


LISTS: list[list[int]] = [[0, 3, 1], [], [5], [2, 2, 4, 2], [1, 3, 0], []]


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    "changes",
    [{}, {"weight": None}, {"bias": None, "activation": "none"}, {"layers": ()}],
    ids=["all", "even", "linear", "no layers"],
)
def test_a_vector_is_its_formula(power: float, changes: dict[str, Any]) -> None:
    encode = encoder(power=power, **changes)
    vectors = encode(Histories.of_lists(LISTS))
    expected = torch.stack([by_hand(encode, items) for items in LISTS])
    torch.testing.assert_close(vectors, expected, rtol=1e-5, atol=1e-6)
    assert vectors.dtype == torch.float32


def test_no_item_at_all() -> None:
    encode = encoder()
    vectors = encode(Histories.of_lists([[], []]))
    torch.testing.assert_close(vectors, by_hand(encode, []).expand(2, 2))
    assert encode(Histories.of_lists([])).shape == (0, 2)


def test_an_item_without_a_row_is_left_out() -> None:
    encode = encoder()
    one, other = (encode(Histories.of_lists([items])) for items in ([1, 6, 4, 99], [1, 4]))
    assert torch.equal(one, other)


def test_the_last_interactions_count() -> None:
    encode = encoder(last=2)
    vectors = encode(Histories.of_lists([[0, 3, 1], [3, 1], [0, 1, 3]]))
    assert torch.equal(vectors[0], vectors[1])
    assert torch.equal(vectors[2], vectors[1])
    assert not torch.equal(vectors[0], encoder()(Histories.of_lists([[0, 3, 1]]))[0])


@pytest.mark.parametrize("changes", [{}, {"weight": None, "bias": None, "layers": (), "last": 3}])
def test_it_survives_saving_within_a_scorer(changes: dict[str, Any]) -> None:
    width = 2 if "layers" not in changes else 3
    scorer = Factors(normal(4, width), normal(ITEMS, width, seed=1), encoder=encoder(**changes))
    assert scorer.answers == {"user", "history"}
    assert list(scorer.state()[0])[:2] == ["user", "item"]
    queries = Queries.of_histories(Histories.of_lists([[0, 1, 2, 3], [5]]))
    for other in (from_state(*scorer.state()), scorer.to("cpu")):
        assert torch.equal(other.score(queries), scorer.score(queries))
    tensors, meta = scorer.state()
    del tensors["encoder.table"]
    with pytest.raises(InputError, match="scorer without its part 'table'"):
        from_state(tensors, meta)


def test_a_vector_is_either_solved_or_encoded() -> None:
    with pytest.raises(ValueError, match="either solved or encoded"):
        Factors(normal(4, 2), normal(ITEMS, 2), solve=RowSolve(0.1, 0.1, 1.0), encoder=encoder())
