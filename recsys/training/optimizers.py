"""Which optimiser updates which parameter, by what step size, and what its state must hold."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from recsys.errors import InputError
from recsys.models import Network
from recsys.nn.row_optimizer import RowOptimizer

__all__ = [
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

_EPS = 1e-8  # of Adam and Adagrad, on dense and on touched rows alike


def make_optimizers(
    network: Network, kind: OptimizerName, lr: float, *, touched: bool, weight_decay: float = 0.0
) -> list[torch.optim.Optimizer]:
    """One optimiser for whole tensors and, if rows are touched singly, one for tables.

    Args:
        network: whose parameters; its tables are told whether their gradients are to be sparse.
        kind, lr, weight_decay: of the optimiser.
        touched: update only the rows of tables that a batch touched.

    Raises:
        InputError: a kind or a network that cannot leave rows out.
    """
    if touched and kind == "adamw":
        raise InputError(
            "adamw decays every row, so it cannot touch some only",
            place="[train] rows",
            remedy="use optimizer = 'adam', or rows = 'dense'",
        )
    if touched and not network.rows:
        remedy = "use rows = 'dense' with this method"
        raise InputError(
            "every row has a gradient at every step, so none can be left out",
            place="[train] rows",
            remedy=remedy,
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
        optimizers.append(RowOptimizer(rows, kind, lr, eps=_EPS))
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
            params, lr=lr, eps=_EPS, fused=all(param.device.type == "cpu" for param in params)
        )
    return torch.optim.SGD(params, lr=lr, fused=True)


def params_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Its parameters, in the order of its groups."""
    return [param for group in optimizer.param_groups for param in group["params"]]


def clip(network: Network, limit: float) -> None:
    """Scale all gradients together so that their norm is at most `limit`; sparse ones are added up per row first."""
    dense: list[Tensor] = []
    for param in network.parameters():
        if param.grad is None:
            continue
        if param.grad.is_sparse:
            param.grad = param.grad.coalesce()
            dense.append(param.grad._values())
        else:
            dense.append(param.grad)
    norm = torch.stack([grad.norm() for grad in dense]).norm()
    scale = (limit / norm.clamp_min(1e-12)).clamp_max(1.0)
    for grad in dense:
        grad.mul_(scale)


def lr_factor(
    schedule: Schedule, done: int, steps: int, epochs: int, *, warmup: int, decay: float
) -> float:
    """What a step size is of the highest.

    Args:
        schedule: of the steps after the warm-up: 1, down to 0 by a line or half a cosine, or `decay` to the number of whole epochs.
        done: steps before this one.
        steps: of an epoch.
        epochs: of the whole training.
        warmup: steps over which it rises by a line.
        decay: of an epoch, for "exponential".
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
    """All that moves in optimisers: "optimiser.parameter.key" -> tensor."""
    return {
        f"{index}.{place}.{key}": value
        for index, optimizer in enumerate(optimizers)
        for place, param in enumerate(params_of(optimizer))
        for key, value in optimizer.state.get(param, {}).items()
    }


def put_state(
    optimizers: list[torch.optim.Optimizer],
    state: dict[str, Tensor],
    device: torch.device,
    *,
    begun: bool,
) -> None:
    """What `state_of` gave in place of their own.

    Args:
        begun: a step was made, so that nothing may be missing.

    Raises:
        KeyError: something is missing.
        IndexError, ValueError: it is of other optimisers.
    """
    for name, tensor in state.items():
        index, place, key = name.split(".", 2)
        optimizer = optimizers[int(index)]
        # Step counters live where the optimiser wants them: fused ones on the device, ours on the host.
        home = "cpu" if isinstance(optimizer, RowOptimizer) and tensor.dim() == 0 else device
        optimizer.state[params_of(optimizer)[int(place)]][key] = tensor.to(home)
    if begun:
        check_state(optimizers)


def check_state(optimizers: list[torch.optim.Optimizer]) -> None:
    """Refuse a state that lacks what a step has left behind."""
    wanted = {
        "Adam": {"step", "exp_avg", "exp_avg_sq"},
        "AdamW": {"step", "exp_avg", "exp_avg_sq"},
        "Adagrad": {"step", "sum"},
    }
    for optimizer in optimizers:
        keys = (
            {"sgd": set(), "adagrad": {"second"}, "adam": {"first", "second", "step"}}[
                optimizer.kind
            ]
            if isinstance(optimizer, RowOptimizer)
            else None
        )
        needed = wanted.get(type(optimizer).__name__, set()) if keys is None else keys
        for param in params_of(optimizer):
            missing = needed - optimizer.state[param].keys()
            if missing:
                raise KeyError(f"optimiser state without {', '.join(sorted(missing))}")
