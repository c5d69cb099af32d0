"""Optimisers that update only the embedding rows a batch touched.

A dense optimiser passes over whole tables at every step; with small batches that pass is most of
the work. The optimisers here read the sparse gradients of `nn.Embedding(sparse=True)` and update
only those rows. The result differs slightly from the dense optimiser: a row outside the batch
keeps its momentum instead of decaying it (the "lazy" variant of Adam).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from recsys.nn.distinct import distinct

__all__ = ["RowOptimizer", "sum_by_row"]


class RowOptimizer(torch.optim.Optimizer):
    """Apply SGD, Adagrad or Adam to sparse row gradients.

    Args:
        params: embedding tables [n, d] with sparse gradients.
        kind: "sgd", "adagrad" or "adam".
        lr: learning rate.
        betas: decay rates of Adam's two moments; the bias correction counts steps, not updates of a
            row.
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
        rows, total = _to_update(grad)
        state = self.state[table]
        lr = group["lr"]
        eps = group["eps"]
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


def sum_by_row(grad: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct rows [R] of a sparse gradient and the summed gradient of each, [R, d].

    On an accelerator some rows are repetitions with a gradient of zeros, see `distinct`.
    """
    rows, total, _ = _summed(grad)
    return rows, total


def _summed(grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return `sum_by_row`, and the index of each entry of the gradient among the rows."""
    index, values = grad._indices()[0], grad._values()
    if values.device.type != "cpu":
        rows, (inverse,) = distinct(index, n=len(grad))
        total = torch.ops.aten.embedding_dense_backward(values, inverse, len(rows), -1, False)
        return rows, total, inverse
    rows, inverse = torch.unique(index, return_inverse=True)
    if len(rows) == len(index):  # every row once: a permutation, nothing to add up
        total = torch.empty_like(values)
        _write(total, inverse, values)
    else:  # sequential on the CPU, so the result is reproducible to the bit
        total = values.new_zeros(len(rows), values.shape[1]).index_add_(0, inverse, values)
    return rows, total, inverse


def _to_update(grad: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows to write and the gradient of each; equal rows have equal gradients."""
    rows, total, inverse = _summed(grad)
    if rows.device.type == "cpu" or not len(rows):
        return rows, total
    every = torch.arange(len(rows), device=rows.device)
    source = torch.minimum(every, inverse.max())  # the last real row instead of repetitions
    return rows.index_select(0, source), total.index_select(0, source)


def _read(table: Tensor, rows: Tensor) -> Tensor:
    return table.detach().index_select(0, rows)


def _write(table: Tensor, rows: Tensor, values: Tensor) -> None:
    """Assign table[rows] = values; equal rows need equal values.

    On the CPU numpy is twice as fast as torch.
    """
    if table.device.type == "cpu":
        _view(table)[rows.numpy()] = values.numpy()
    else:
        table.detach().index_copy_(0, rows, values)


def _add(table: Tensor, rows: Tensor, values: Tensor, scale: float) -> None:
    """Add scale * values to table[rows], for distinct rows."""
    _write(table, rows, _read(table, rows).add_(values, alpha=scale))


def _view(table: Tensor) -> np.ndarray:
    view: np.ndarray = table.detach().numpy()
    return view
