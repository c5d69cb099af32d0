"""Graph propagation with random noise at every layer, for contrasts between noisy views."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.nn.sparse_product import product

__all__ = ["noisy_layers_rows"]


def noisy_layers_rows(
    adjacency: Tensor, start: Tensor, rows: Tensor, layers: int, eps: tuple[float, ...]
) -> tuple[Tensor, Tensor]:
    """Return layers 1..L at some rows for several propagations, with a gradient for `start`.

    The propagations differ in their noise, which is drawn from torch's default generator of the
    device.

    Args:
        adjacency: symmetric sparse CSR [N, N].
        start: layer 0, [N, d].
        rows: distinct nodes, int64 [R].
        layers: L, at least 1.
        eps: length of the noise of each of the V propagations; those without noise (0) come first.

    Returns:
        The layers at `rows` [V, L, R, d], and layer 0 at `rows` [R, d].
    """
    both: tuple[Tensor, Tensor] = _NoisyLayersRows.apply(  # type: ignore[no-untyped-call]
        adjacency, start, rows, layers, eps
    )
    return both


class _NoisyLayersRows(torch.autograd.Function):
    """Linear in `start` up to constants.

    The adjoint is a Horner scheme over the gradients, summed over the propagations.
    """

    @staticmethod
    def forward(
        ctx: Any,
        adjacency: Tensor,
        start: Tensor,
        rows: Tensor,
        layers: int,
        eps: tuple[float, ...],
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(rows)
        ctx.adjacency, ctx.layers = adjacency, layers
        ctx.shape = start.shape
        views, (nodes, dim) = len(eps), start.shape
        out = start.new_empty(layers, len(rows), views, dim)
        # torch has no sparse product in bfloat16.
        with torch.autocast(start.device.type, enabled=False):
            # Before its noise, the first layer is the same for all propagations.
            current = product(adjacency, start)[:, None].repeat(1, views, 1)
            for layer in range(layers):
                if layer:
                    current = product(adjacency, current.view(nodes, -1)).view(nodes, views, dim)
                for view, length in enumerate(eps):
                    if length:
                        _add_noise(current[:, view], length)
                torch.index_select(current, 0, rows, out=out[layer])
        return out.permute(2, 0, 1, 3), start.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None, None, None]:
        (rows,) = ctx.saved_tensors
        share = grads[0].sum(0)
        total = share.new_zeros(ctx.shape)
        for layer in reversed(range(ctx.layers)):
            total = product(ctx.adjacency, total.index_add_(0, rows, share[layer]))
        return None, total.index_add_(0, rows, grads[1]), None, None, None


def _add_noise(vectors: Tensor, length: float) -> None:
    """Move each row by `length` in a random direction of its own orthant, in place.

    Coordinates that are 0 stay 0.
    """
    noise = torch.rand(vectors.shape, dtype=vectors.dtype, device=vectors.device)
    vectors.addcmul_(vectors.sign(), F.normalize(noise, dim=-1), value=length)
