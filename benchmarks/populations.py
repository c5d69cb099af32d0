"""Compare two ways to train several settings of a small method: as one program, or in turn.

    python benchmarks/populations.py                   # processor seconds on one thread
    python benchmarks/populations.py --device cuda     # seconds by the clock

Eight settings (lr, l2) of matrix factorization with the BPR loss get the same batches. Apart, each
is a pair of tables and a fused Adam of torch, as in `fit`, without the loop around it. Together, a
row of a table holds the row of each of the eight, so that a step is one lookup, one backward pass
and one update. The figures are in docs/decisions/0009-populations.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

Batches = list[
    tuple[Tensor, Tensor, Tensor]
]  # users [B], items [B], items drawn against them [B, N]

# users, items, dim, batch, negatives, steps; the last two are Steam-200k
SIZES = [
    (300, 200, 8, 128, 1, 60),
    (1500, 400, 16, 512, 2, 40),
    (3757, 5113, 16, 512, 4, 20),
    (3757, 5113, 64, 2048, 4, 8),
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device, members = torch.device(arguments.device), arguments.members
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "one thread"
    print(f"{members} members on {where}; milliseconds for a step of all")
    print(
        "users  items  dim  batch  negatives    apart  together  ratio  largest difference",
        flush=True,
    )
    for users, items, dim, batch, negatives, steps in SIZES:
        draw = torch.Generator().manual_seed(0)
        tables = [
            torch.randn(members, rows, dim, generator=draw).mul_(0.1).to(device)
            for rows in (users, items)
        ]
        lr, l2 = (
            torch.logspace(-3, -2, members, device=device),
            torch.logspace(-4, -2, members, device=device),
        )
        shapes = ((users, (batch,)), (items, (batch,)), (items, (batch, negatives)))
        batches = [
            tuple(torch.randint(high, shape, generator=draw).to(device) for high, shape in shapes)
            for _ in range(steps)
        ]
        one, first = timed(lambda: apart(tables, lr, l2, batches), device)  # noqa: B023
        all_, second = timed(lambda: together(tables, lr, l2, batches), device)  # noqa: B023
        far = max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True))
        print(
            f"{users:>5}  {items:>5}  {dim:>3}  {batch:>5}  {negatives:>9}  "
            f"{1000 * one / steps:>7.2f}  "
            f"{1000 * all_ / steps:>8.2f}  {one / all_:>5.2f}  {far:.1e}",
            flush=True,
        )


def apart(tables: list[Tensor], lr: Tensor, l2: Tensor, batches: Batches) -> list[Tensor]:
    """Train one member after the other; return both tables of all members, [P, rows, dim]."""
    trained = []
    for number in range(len(lr)):
        user, item = (table[number].clone().requires_grad_() for table in tables)
        optimizer = torch.optim.Adam([user, item], lr=float(lr[number]), fused=True)
        for users, pos, neg in batches:
            optimizer.zero_grad(set_to_none=True)
            u, i = user.index_select(0, users), item.index_select(0, pos)
            j = item.index_select(0, neg.reshape(-1)).view(*neg.shape, -1)
            ahead = (u * i).sum(-1, keepdim=True) - torch.einsum("bd,bnd->bn", u, j)
            squared = (u.square().sum(-1) + i.square().sum(-1) + j.square().sum(-1).mean(1)).mean()
            (softplus(-ahead).mean() + l2[number] * squared).backward()
            optimizer.step()
        trained.append((user.detach(), item.detach()))
    return [torch.stack(each) for each in zip(*trained, strict=True)]


def together(tables: list[Tensor], lr: Tensor, l2: Tensor, batches: Batches) -> list[Tensor]:
    """Train all members at once; return the same tables as `apart`."""
    members, _, dim = tables[0].shape
    stacked = [
        table.permute(1, 0, 2).reshape(table.shape[1], members * dim).clone().requires_grad_()
        for table in tables
    ]
    moments = [(torch.zeros_like(table), torch.zeros_like(table)) for table in stacked]
    size, (user, item) = lr.repeat_interleave(dim), stacked
    for step, (users, pos, neg) in enumerate(batches, 1):
        user.grad = item.grad = None
        u, i = (
            user.index_select(0, users).view(-1, members, dim),
            item.index_select(0, pos).view(-1, members, dim),
        )
        j = item.index_select(0, neg.reshape(-1)).view(*neg.shape, members, dim)
        ahead = (u * i).sum(-1).unsqueeze(1) - torch.einsum("bpd,bnpd->bnp", u, j)
        squared = (u.square().sum(-1) + i.square().sum(-1) + j.square().sum(-1).mean(1)).mean(0)
        (softplus(-ahead).mean((0, 1)) + l2 * squared).sum().backward()
        # Adam with a step size for each column; torch's own takes one for the whole table.
        with torch.no_grad():
            for table, (mean, square) in zip(stacked, moments, strict=True):
                mean.lerp_(table.grad, 0.1)
                square.mul_(0.999).addcmul_(table.grad, table.grad, value=0.001)
                scale = square.sqrt().div_((1 - 0.999**step) ** 0.5).add_(1e-8)
                table.sub_(scale.reciprocal_().mul_(mean).mul_(size / (1 - 0.9**step)))
    return [table.detach().view(-1, members, dim).permute(1, 0, 2) for table in stacked]


def timed(work: Callable[[], list[Tensor]], device: torch.device) -> tuple[float, list[Tensor]]:
    """Return the seconds of the better of two tries, processor time on a CPU, and the result."""
    clock, took = time.process_time if device.type == "cpu" else time.perf_counter, float("inf")
    for _ in range(2):
        began = clock()
        result = work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        took = min(took, clock() - began)
    return took, result


if __name__ == "__main__":
    main()
