"""The HSTU encoder of packed histories, for training."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.nn.dropout import dropout
from recsys.nn.packed import Groups
from recsys.nn.tables import frozen
from recsys.scorer.hstu import BUCKETS, HSTU, Bias, Times, bucket, pointwise_attention, run_hstu

__all__ = ["PackedHSTU"]

_STD = 0.02  # of the start values of the biases of the attention


class PackedHSTU(nn.Module):
    """Compute the state of each position of packed histories; it sees no later item.

    Matrices are drawn from the Xavier normal distribution, those of U, V, Q and K one by one, and
    the biases of the attention from N(0, 0.02^2).

    Args:
        dim: dimension of item vectors and states.
        length: number of positions of the longest history, the N of the attention.
        blocks: number of blocks.
        heads: attention heads; they divide `dim`.
        drop: share of elements that dropout hides, of the inputs and of what a block adds.
        times: which times count.
    """

    def __init__(
        self, dim: int, length: int, blocks: int, heads: int, drop: float, times: Times
    ) -> None:
        super().__init__()
        self.length, self.heads = length, heads
        self.drop, self.times = drop, times
        self.blocks = nn.ModuleDict({str(index): _block(dim) for index in range(blocks)})
        self.biases = nn.ParameterDict()
        for index in range(blocks):
            self.biases[f"{index}:position"] = nn.Parameter(_STD * torch.randn(length))
            if times != "none":
                self.biases[f"{index}:time"] = nn.Parameter(_STD * torch.randn(BUCKETS))

    def forward(
        self,
        items: Tensor,
        groups: Groups,
        time: Tensor | None = None,
        moment: Tensor | None = None,
    ) -> Tensor:
        """Return the states, float [T, d].

        Args:
            items: vectors of the items, float [T, d], oldest first within a history.
            groups: the histories.
            time: times of the items in seconds, float64 [T]; None without times.
            moment: times from which a position counts, as `time`: its own, or the next one.
        """
        sizes = [length * count for length, count in groups]
        buckets: list[Tensor | None] = [None] * len(groups)
        if self.times != "none":
            assert time is not None
            assert moment is not None
            parts = (torch.split(each, sizes) for each in (time, moment))
            for index, ((length, _), *both) in enumerate(zip(groups, *parts, strict=True)):
                buckets[index] = bucket(*(each.view(-1, length) for each in both))

        def attend(index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            bias = self._bias(index)
            attended = []
            parts = (torch.split(part, sizes) for part in (query, key, value))
            for (length, _), differences, *group in zip(groups, buckets, *parts, strict=True):
                q, k, v = (part.unflatten(0, (-1, length)) for part in group)
                added = bias.of(differences, length)
                own = pointwise_attention(q, k, v, self.heads, added, self.length)
                attended.append(own.flatten(0, 1))
            return torch.cat(attended)

        weights = dict(self.blocks.named_parameters())
        return run_hstu(self._drop(items), weights, len(self.blocks), attend, self._drop)

    def _bias(self, block: int) -> Bias:
        position = self.biases[f"{block}:position"]
        if self.times == "none":
            return Bias(position, position)  # the second one is not read
        return Bias(position, self.biases[f"{block}:time"])

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.drop, self.training)

    def frozen(self, item: nn.Embedding, *, is_cosine: bool) -> HSTU:
        """Return the encoder as it is now.

        Args:
            item: vectors of the items.
            is_cosine: items are scored by cosines, not by inner products.
        """
        weights = {name: frozen(tensor) for name, tensor in self.blocks.named_parameters()}
        for block in range(len(self.blocks)):
            bias = self._bias(block)
            weights[f"{block}.position"] = frozen(bias.position)
            weights[f"{block}.time"] = frozen(bias.time)
        table = frozen(item)
        scored = F.normalize(table, dim=1) if is_cosine else table
        blocks, heads = len(self.blocks), self.heads
        return HSTU(table, scored, weights, blocks, heads, self.length, self.times, is_cosine)


def _block(dim: int) -> nn.ModuleDict:
    """Return the parameters of a block, by the names that `run_hstu` reads."""
    read, write = nn.Linear(dim, 4 * dim, bias=False), nn.Linear(dim, dim)
    for matrix in (*torch.chunk(read.weight, 4), write.weight):
        nn.init.xavier_normal_(matrix)
    nn.init.zeros_(write.bias)
    norms = {"norm": nn.LayerNorm(dim), "norm_attended": nn.LayerNorm(dim)}
    return nn.ModuleDict({"read": read, "write": write, **norms})
