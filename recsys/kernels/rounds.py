"""The rounds of an epoch as a stream, and the kernel over the cells of one round."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from recsys.data.types import Interactions
from recsys.kernels import arguments
from recsys.kernels.arguments import Candidates, Cell, Rules, Scratch, Tables
from recsys.kernels.cells import Cells, n_blocks, sieve_of
from recsys.kernels.pair_kernel import train_cell
from recsys.kernels.task import PairTask
from recsys.sampling import Sampler, proposal_of, proposal_weights, stream_seed

__all__ = ["PairRounds", "Round", "rules_of", "train_round"]

_KINDS = {
    "bpr": arguments.BPR,
    "bce": arguments.BCE,
    "hinge": arguments.HINGE,
    "ccl": arguments.CCL,
    "square": arguments.SQUARE,
    "softmax": arguments.SOFTMAX,
}
_SPACES = {"free": arguments.FREE, "ball": arguments.BALL, "sphere": arguments.SPHERE}
_BANDS = {"released": arguments.EACH_PAIR, "paper": arguments.MEAN_OF_PAIRS}


@dataclass(frozen=True, eq=False)
class Round:
    """The cells of one round; no two of them share a user or an item.

    Args:
        cells: pairs and where their negatives come from.
        candidates: how negatives are drawn.
        epoch, step: position in the stream; steps are counted within the epoch.
    """

    cells: list[Cell]
    candidates: Candidates
    epoch: int
    step: int

    def __len__(self) -> int:
        """Return the number of pairs."""
        return sum(len(cell.row) for cell in self.cells)


class PairRounds:
    """The stream of rounds: every pair once in an epoch.

    Order and blocks are functions of (seed, epoch). A negative is a function of (seed, epoch,
    position of the pair in the training interactions).

    Args:
        pairs: the training interactions.
        sampler: how negatives are drawn.
        seed: seed of every draw.
        correct: whether the loss corrects for the proposal.
        blocks: blocks of users and of items; None: as many as suit the data.
    """

    def __init__(
        self,
        pairs: Interactions,
        sampler: Sampler,
        *,
        seed: int,
        correct: bool = False,
        blocks: int | None = None,
    ) -> None:
        self.seed, self.size = seed, len(pairs)
        counts = torch.bincount(torch.tensor(pairs.item), minlength=pairs.n_items)
        warm = counts > 0 if sampler.items == "warm" else None
        weight = proposal_weights(sampler, counts, warm)
        log_q = proposal_of(sampler, counts, warm).log_q if correct else None
        blocks = n_blocks(pairs.n_users, pairs.n_items) if blocks is None else blocks
        self._cells = Cells(pairs, None if weight is None else weight.numpy(), seed, blocks)
        indptr = pairs.csr.indptr.astype(np.int64)
        indices = pairs.csr.indices.astype(np.int32)
        self._candidates = Candidates(
            indptr,
            indices,
            *sieve_of(indptr, indices),
            np.empty(0, np.float32) if log_q is None else log_q.numpy(),
            np.uint64(0),
            sampler.negatives,
            sampler.rounds if sampler.reject else -1,
        )

    @property
    def interactions(self) -> int:
        """Pairs per epoch."""
        return self.size

    @property
    def notes(self) -> tuple[str, ...]:
        """Nothing: every pair is in an epoch."""
        return ()

    def __len__(self) -> int:
        """Return the number of rounds per epoch."""
        return self._cells.blocks

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Round]:
        """Yield the rounds of one epoch from step `start` on."""
        key = np.uint64(stream_seed(self.seed, epoch, "pair", "negatives"))
        candidates = self._candidates._replace(key=key)
        for step, cells in enumerate(self._cells.epoch(epoch)):
            if step >= start:
                yield Round(cells, candidates, epoch, step)


def rules_of(task: PairTask, negatives: int, *, eps: float, triplets: float) -> Rules:
    """Return the rules of a task, with a learning rate of 0.

    Args:
        task: the objective.
        negatives: candidates of a pair.
        eps: what Adagrad adds to a root.
        triplets: number by which the weight of the diversity is divided.
    """
    loss, diversity = task.loss, task.diversity
    band = diversity if task.vectors > 1 and diversity is not None and diversity.weight else None
    return Rules(
        kind=_KINDS[loss.kind],
        keep=loss.n_kept(negatives),
        warp=loss.reduce == "warp",
        margin=loss.margin,
        temperature=loss.temperature,
        weight=loss.weight,
        euclidean=True if task.similarity == "euclidean" else None,
        lr=0.0,
        eps=eps,
        l2=task.l2,
        user_space=_SPACES[task.user_space],
        item_space=_SPACES[task.item_space],
        radius=task.radius,
        band=arguments.NO_BAND if band is None else _BANDS[band.form],
        band_weight=0.0 if band is None else band.weight / triplets,
        low=0.0 if band is None else band.low,
        high=0.0 if band is None else band.high,
        below=band is not None and band.below,
        above=band is not None and band.above,
    )


def train_round(tables: Tables, batch: Round, rules: Rules, threads: int) -> float:
    """Update the tables with the pairs of a round, and return the sum of their losses.

    Args:
        tables: what is changed.
        batch: the round.
        rules: loss and update.
        threads: cells that are computed at the same time; the result does not depend on it.
    """

    def train(cell: Cell) -> float:
        return train_cell(tables, batch.candidates, cell, rules, _space(tables, batch))

    if threads == 1 or len(batch.cells) == 1:
        losses = [train(cell) for cell in batch.cells]
    else:
        with ThreadPoolExecutor(threads) as pool:
            losses = list(pool.map(train, batch.cells))
    return sum(losses)


def _space(tables: Tables, batch: Round) -> Scratch:
    size = batch.candidates.number + 1
    return Scratch(
        items=np.empty(size, np.int64),
        winners=np.empty(size, np.int64),
        scores=np.empty(size, np.float32),
        slopes=np.empty(size, np.float64),
        grad=np.empty(tables.user.shape[1:], np.float32),
        moved=np.empty(tables.item.shape[1:], np.float32),
    )
