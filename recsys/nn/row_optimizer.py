"""Optimisers that update only the embedding rows a batch touched.

A dense optimiser passes over whole tables at every step, and with small batches that pass is most of the work. These read
the sparse gradients that `nn.Embedding(sparse=True)` gives and touch those rows alone. The result differs slightly from the
dense optimiser: a row that is not touched keeps its momentum instead of decaying it (the "lazy" variant of Adam).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

__all__ = ["RowOptimizer"]


class RowOptimizer(torch.optim.Optimizer):
    """SGD, Adagrad or Adam over sparse row gradients.

    Args:
        params: embedding tables [n, d] whose gradients are sparse.
        kind: "sgd", "adagrad" or "adam".
        lr: step size.
        betas: decay of the two moments of Adam; bias correction counts steps, not visits of a row.
        eps: added to the root of the second moment.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        kind: Literal["sgd", "adagrad", "adam"],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})
        self.kind = kind

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update the rows that have a gradient."""
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._update(table, table.grad, group)

    def _update(self, table: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        rows, total = _sum_by_row(grad)
        state, lr, eps = self.state[table], group["lr"], group["eps"]
        if self.kind == "sgd":
            _add(table, rows, total, -lr)
            return
        if not state:
            state["second"] = torch.zeros_like(table)
            if self.kind == "adam":
                state["first"] = torch.zeros_like(table)
                state["step"] = torch.zeros((), dtype=torch.float64)
        second = _read(state["second"], rows)
        if self.kind == "adagrad":
            _write(state["second"], rows, second.addcmul_(total, total))
            _add(table, rows, total.div_(second.sqrt_().add_(eps)), -lr)
            return
        beta1, beta2 = group["betas"]
        state["step"] += 1
        step = float(state["step"])
        first = _read(state["first"], rows).lerp_(total, 1 - beta1)
        second.mul_(beta2).addcmul_(total, total, value=1 - beta2)
        _write(state["first"], rows, first)
        _write(state["second"], rows, second)
        scale = (1 - beta2**step) ** 0.5
        _add(
            table,
            rows,
            first.div_(second.sqrt_().add_(eps * scale)),
            -lr * scale / (1 - beta1**step),
        )


def _sum_by_row(grad: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct rows [R] and the sum of their gradients [R, d] of a sparse gradient."""
    index, values = grad._indices()[0], grad._values()
    rows, where = torch.unique(index, return_inverse=True)
    if len(rows) == len(index):  # no row twice: a permutation, nothing to add up
        total = torch.empty_like(values)
        _write(total, where, values)
        return rows, total
    if values.device.type == "cpu":  # sequential there, so the same bytes every time
        return rows, values.new_zeros(len(rows), values.shape[1]).index_add_(0, where, values)
    return rows, torch.ops.aten.embedding_dense_backward(values, where, len(rows), -1, False)


def _read(table: Tensor, rows: Tensor) -> Tensor:
    return table.detach().index_select(0, rows)


def _write(table: Tensor, rows: Tensor, values: Tensor) -> None:
    """table[rows] = values; rows are distinct. numpy writes rows at twice the speed of torch on the CPU."""
    if table.device.type == "cpu":
        _view(table)[rows.numpy()] = values.numpy()
    else:
        table.detach().index_copy_(0, rows, values)


def _add(table: Tensor, rows: Tensor, values: Tensor, scale: float) -> None:
    """table[rows] += scale * values; rows are distinct."""
    _write(table, rows, _read(table, rows).add_(values, alpha=scale))


def _view(table: Tensor) -> np.ndarray:
    view: np.ndarray = table.detach().numpy()
    return view
