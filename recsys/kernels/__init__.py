"""Compiled kernels for methods that train on pairs, for `[train] update = "pair"`.

A batch pays for whole tensors: gathers, sums by row, and a pass of Python for each operation. The
kernels take one pair after the other: they draw its negatives, compute the scores, write out the
gradient by hand, and move the rows that have one, by SGD or Adagrad. The objective of a pair is
that of a batch that holds this pair alone; the network of the method in torch is the reference that
the tests compare with.

Cells of a block of users and a block of items are computed at the same time. They share no row, so
a training has the same bytes with any number of threads. The decision is
docs/decisions/0024-compiled-pair-kernels.md.

    task         What a method lets the kernels train, and what they cannot do.
    arguments    What the kernels are called with.
    counter      The compiler, and random numbers by key and counter.
    candidates   The compiled draws.
    pair_kernel  The compiled losses and updates.
    cells        Blocks of users and items, and the order of the pairs in an epoch.
    rounds       The rounds of an epoch as a stream, and the kernel over one round.

All but `task` and `arguments` need numba (`pip install "recsys[compiled]"`). The names below are
public; the modules behind them are internal and may change.
"""

from recsys.kernels.task import PairTask, refuse_task, require_numba, without_kernel

__all__ = ["PairTask", "refuse_task", "require_numba", "without_kernel"]
