"""Gradients by central differences, for the tests of whole networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from recsys.models import Network


def check_gradients(net: Network, batch: Any, *, step: float = 1e-6, rel: float = 1e-5) -> None:
    """Compare the gradient of every parameter along a random direction with differences.

    Noise and dropout are drawn from the same seed each time.

    The network has to be in double precision, and its loss smooth where it stands.
    """

    def value() -> torch.Tensor:
        torch.manual_seed(7)
        return net.loss(batch).total()

    for name, parameter in net.named_parameters():
        (gradient,) = torch.autograd.grad(value(), parameter)
        generator = torch.Generator().manual_seed(len(name))
        direction = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        before, values = parameter.detach().clone(), []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.copy_(before + sign * step * direction)
            values.append(value().item())
        with torch.no_grad():
            parameter.copy_(before)
        slope = (values[0] - values[1]) / (2 * step)
        assert slope == pytest.approx(float((gradient * direction).sum()), rel=rel, abs=1e-8), name
