"""Start values of tables, and the copies that scorers keep."""

from __future__ import annotations

import pytest
import torch

from recsys.nn.tables import embedding, frozen, half_square, node_table, xavier


def test_start_values():
    torch.manual_seed(0)
    assert float(embedding(2000, 8, 0.3).weight.detach().std()) == pytest.approx(0.3, rel=0.03)
    bound = (6 / 1008) ** 0.5
    weight = xavier(1000, 8).weight.detach()
    assert 0.99 * bound < float(weight.abs().max()) <= bound
    nodes = node_table(1000, 20, 8).weight.detach()
    assert nodes.shape == (1020, 8)
    assert 0.99 * bound < float(nodes[:1000].abs().max()) <= bound
    assert bound < float(nodes[1000:].abs().max()) <= (6 / 28) ** 0.5


def test_half_the_squared_norm():
    one, other = torch.tensor([1.0, 2.0]), torch.tensor([[3.0], [4.0]])
    assert float(half_square(one, other)) == 15


def test_a_frozen_table_is_a_copy_without_gradient():
    table = embedding(3, 2, 1.0)
    bias = torch.nn.Parameter(torch.ones(3))
    before = table.weight.detach().clone()
    copy, bias_copy = frozen(table), frozen(bias)
    with torch.no_grad():
        table.weight.zero_()
        bias.zero_()
    assert torch.equal(copy, before)
    assert torch.equal(bias_copy, torch.ones(3))
    assert not copy.requires_grad
    assert not bias_copy.requires_grad
