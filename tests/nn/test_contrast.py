"""InfoNCE in blocks against the whole matrix by autograd; nodes with counts against copies."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from recsys.nn import infonce as module
from recsys.nn.infonce import contrast, info_nce

NODES, DIM = 37, 6


def views(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(NODES, DIM, generator=generator, dtype=dtype)
    return one, one * 0.5 + torch.randn(NODES, DIM, generator=generator, dtype=dtype)


def value_and_gradients(loss, *views: Tensor) -> list[Tensor]:
    given = [view.clone().requires_grad_() for view in views]
    value = loss(*given)
    return [value.detach(), *torch.autograd.grad(3 * value, given)]


@pytest.mark.parametrize("block", [1, 5 * NODES, 10 * NODES + 3, 1 << 19])
@pytest.mark.parametrize("temperature", [0.2, 1.5])
def test_blocks_are_the_whole(block, temperature, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_NUMBERS", block)
    ours = value_and_gradients(lambda a, b: contrast(a, b, temperature), *views())
    for got, expected in zip(
        ours, value_and_gradients(lambda a, b: info_nce(a, b, temperature), *views()), strict=True
    ):
        assert torch.allclose(got, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("block", [4 * NODES, 1 << 19])
def test_a_count_is_a_node_written_out_as_often(block, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_NUMBERS", block)
    count = torch.randint(1, 6, (NODES,), generator=torch.Generator().manual_seed(1))
    ours = value_and_gradients(lambda a, b: contrast(a, b, 0.2, count), *views())
    again = torch.repeat_interleave(torch.arange(NODES), count)
    for got, expected in zip(
        ours,
        value_and_gradients(lambda a, b: info_nce(a[again], b[again], 0.2), *views()),
        strict=True,
    ):
        assert torch.allclose(got, expected, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(ours[0], contrast(*views(), 0.2), atol=1e-3)


def test_small_temperatures_do_not_underflow():
    """At 0.002 the share of a node's own view is as small as exp(-1000), which no float32 holds."""
    one, other = views(torch.float32)
    ours = value_and_gradients(lambda a, b: contrast(a, b, 0.002), one, other)
    expected = value_and_gradients(lambda a, b: info_nce(a, b, 0.002), one.double(), other.double())
    assert all(torch.isfinite(part).all() for part in ours)
    assert ours[0].item() == pytest.approx(expected[0].item(), rel=1e-5)


def test_a_view_that_is_held_has_no_gradient():
    one, other = views()
    other.requires_grad_()
    (gradient,) = torch.autograd.grad(contrast(one, other, 0.2), other)
    (expected,) = torch.autograd.grad(info_nce(one, other, 0.2), other)
    assert torch.allclose(gradient, expected, rtol=1e-10)
    with torch.no_grad():
        assert contrast(one, other, 0.2).item() == pytest.approx(
            info_nce(one, other, 0.2).item(), rel=1e-12
        )


def test_one_node_and_half_precision():
    one = torch.ones(1, 3)
    assert contrast(one, -one, 0.2).item() == 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = contrast(*(view.bfloat16() for view in views()), 0.2)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(info_nce(*views(), 0.2).item(), rel=0.02)
