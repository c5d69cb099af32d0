"""Optimisers by name, the schedule of the learning rate, and the state of optimisers."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from recsys.errors import InputError
from recsys.models import Network
from recsys.nn.row_optimizer import RowOptimizer, sum_by_row

__all__ = [
    "EPS",
    "OptimizerName",
    "Schedule",
    "check_state",
    "clip",
    "lr_factor",
    "make_optimizers",
    "params_of",
    "put_state",
    "state_of",
]

OptimizerName = Literal["adam", "adamw", "adagrad", "sgd"]
Schedule = Literal["constant", "linear", "cosine", "exponential"]

_DENSE_STATE: dict[str, set[str]] = {
    "Adam": {"step", "exp_avg", "exp_avg_sq"},
    "AdamW": {"step", "exp_avg", "exp_avg_sq"},
    "Adagrad": {"step", "sum"},
}
_ROW_STATE: dict[str, set[str]] = {
    "sgd": set(),
    "adagrad": {"second"},
    "adam": {"first", "second", "step"},
}
EPS = 1e-8  # of Adam and Adagrad, for dense and for touched rows


def make_optimizers(
    network: Network, kind: OptimizerName, lr: float, *, touched: bool, weight_decay: float = 0.0
) -> list[torch.optim.Optimizer]:
    """Return an optimiser for whole tensors and, with `touched`, one for embedding tables.

    Args:
        network: the parameters to update. The tables in `network.rows` get sparse gradients if
            `touched`, dense ones otherwise.
        kind: name of the optimiser.
        lr: peak learning rate.
        touched: update only those rows of the tables that a batch uses.
        weight_decay: decoupled weight decay, for adamw.

    Raises:
        InputError: the optimiser or the network must update every row.
    """
    if touched and kind == "adamw":
        raise InputError(
            "adamw decays every row, so it cannot update only the rows of a batch",
            place="[train] rows",
            remedy="use optimizer = 'adam', or rows = 'dense'",
        )
    if touched and not network.rows:
        raise InputError(
            "every row has a gradient at every step, so no row can be left out",
            place="[train] rows",
            remedy="use rows = 'dense' with this method",
        )
    for table in network.rows:
        table.sparse = touched
    tables = {id(table.weight) for table in network.rows} if touched else set()
    rows = [param for param in network.parameters() if id(param) in tables]
    whole = [param for param in network.parameters() if id(param) not in tables]
    optimizers: list[torch.optim.Optimizer] = []
    if whole:
        optimizers.append(_dense(whole, kind, lr, weight_decay))
    if rows and kind != "adamw":
        optimizers.append(RowOptimizer(rows, kind, lr, eps=EPS))
    return optimizers


def _dense(
    params: list[torch.nn.Parameter], kind: OptimizerName, lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    if kind == "adam":
        return torch.optim.Adam(params, lr=lr, fused=True)
    if kind == "adamw":
        return torch.optim.AdamW(params, lr=lr, weight_decay=weight_decay, fused=True)
    if kind == "adagrad":
        return torch.optim.Adagrad(
            params, lr=lr, eps=EPS, fused=all(param.device.type == "cpu" for param in params)
        )
    return torch.optim.SGD(params, lr=lr, fused=True)


def params_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Return the parameters of an optimiser, in the order of its groups."""
    return [param for group in optimizer.param_groups for param in group["params"]]


def clip(network: Network, limit: float) -> None:
    """Scale all gradients together so that their norm is at most `limit`.

    The entries of a sparse gradient are added up per row first.
    """
    dense: list[Tensor] = []
    for param in network.parameters():
        if param.grad is None:
            continue
        if param.grad.is_sparse:
            param.grad = _coalesced(param.grad)
            dense.append(param.grad._values())
        else:
            dense.append(param.grad)
    norm = torch.stack([grad.norm() for grad in dense]).norm()
    scale = (limit / norm.clamp_min(1e-12)).clamp_max(1.0)
    for grad in dense:
        grad.mul_(scale)


def _coalesced(grad: Tensor) -> Tensor:
    """Return a sparse gradient whose entries are added up per row."""
    if grad.device.type == "cpu":
        return grad.coalesce()
    rows, total = sum_by_row(grad)  # `coalesce` would wait for the device
    return torch.sparse_coo_tensor(rows[None], total, grad.shape, check_invariants=False)


def lr_factor(
    schedule: Schedule, done: int, steps: int, epochs: int, *, warmup: int, decay: float
) -> float:
    """Return the learning rate of a step as a factor of the peak learning rate.

    Args:
        schedule: what follows the warm-up. constant: 1; linear: a line down to 0; cosine: half a
            cosine down to 0; exponential: `decay` to the power of the number of whole epochs.
        done: number of steps before this one.
        steps: number of steps per epoch.
        epochs: number of epochs of the whole training.
        warmup: number of steps in which the rate rises linearly.
        decay: factor per epoch, for "exponential".
    """
    factor = min(1.0, (done + 1) / warmup) if warmup else 1.0
    share = min(1.0, max(0, done - warmup) / max(1, epochs * steps - warmup))
    if schedule == "linear":
        factor *= 1 - share
    elif schedule == "cosine":
        factor *= (1 + math.cos(math.pi * share)) / 2
    elif schedule == "exponential":
        factor *= decay ** (done // steps)
    return factor


def state_of(optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Return the state of optimisers as tensors, named "optimiser.parameter.key" by index."""
    return {
        f"{index}.{position}.{key}": value
        for index, optimizer in enumerate(optimizers)
        for position, param in enumerate(params_of(optimizer))
        for key, value in optimizer.state.get(param, {}).items()
    }


def put_state(
    optimizers: list[torch.optim.Optimizer],
    state: dict[str, Tensor],
    device: torch.device,
    *,
    begun: bool,
) -> None:
    """Replace the state of optimisers.

    Args:
        optimizers: the optimisers.
        state: what `state_of` returned.
        device: where the optimisers work.
        begun: whether at least one step was done, so that nothing may be missing.

    Raises:
        KeyError: a part of the state is missing.
        IndexError, ValueError: the state is of other optimisers.
    """
    for name, tensor in state.items():
        index, position, key = name.split(".", 2)
        optimizer = optimizers[int(index)]
        # Step counters: those of fused optimisers are on the device, those of ours on the host.
        home = "cpu" if isinstance(optimizer, RowOptimizer) and tensor.dim() == 0 else device
        optimizer.state[params_of(optimizer)[int(position)]][key] = tensor.to(home)
    if begun:
        check_state(optimizers)


def check_state(optimizers: list[torch.optim.Optimizer]) -> None:
    """Raise an error for a state that lacks what every step leaves behind.

    Raises:
        KeyError: a part of the state is missing.
    """
    for optimizer in optimizers:
        needed = _state_keys(optimizer)
        for param in params_of(optimizer):
            missing = needed - optimizer.state[param].keys()
            if missing:
                raise KeyError(f"optimiser state without {', '.join(sorted(missing))}")


def _state_keys(optimizer: torch.optim.Optimizer) -> set[str]:
    """Return the names of the tensors that an optimiser keeps for each parameter."""
    if isinstance(optimizer, RowOptimizer):
        return _ROW_STATE[optimizer.kind]
    return _DENSE_STATE.get(type(optimizer).__name__, set())
