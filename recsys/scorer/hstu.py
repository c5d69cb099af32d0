"""HSTU, a causal encoder of histories without a softmax: its blocks, and its last state.

With the vector x_i of position i, element-wise products *, LN layer normalisation with eps 1e-6 and
silu(y) = y sigmoid(y), a block is

    [U, V, Q, K] = silu(LN(x) W)
    A_ij = silu(q_i . k_j + b_pos[i - j] + b_time[bucket(t_i - t_j)]) / N   for j <= i, else 0
    x + (LN(A V) * U) W_o + b_o -> x

N is the number of items that the encoder reads at most, and bucket(d) = floor(ln(max(1, |d|)) /
0.301), at most 128, of a difference d in seconds. With several heads each has its part of Q, K and
V; both biases serve all heads. x is at first the vector of the item.

Source: Zhai et al., "Actions speak louder than words: trillion-parameter sequential transducers for
generative recommendations", ICML 2024. The released code has the time t_{i+1} of the next event in
place of t_i (`times` = "next"), a natural logarithm over 0.301, and N instead of the number of
items; the division by N matters through the eps of LN alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.scorer.nested_state import under

__all__ = ["BUCKETS", "HSTU", "Bias", "Times", "bucket", "pointwise_attention", "run_hstu"]

Times: TypeAlias = Literal["none", "past", "next"]
"""Which time of position i counts: none, its own, or that of the next event."""

BUCKETS = 129
_EPS = 1e-6  # of the layer normalisation
_WIDTH = 0.301  # of a bucket of the logarithm of seconds


@dataclass(frozen=True, eq=False)
class Bias:
    """The biases of the attention, of one block.

    Args:
        position: by the distance of two items, float [L].
        time: by the bucket of the difference of two times, float [129].
    """

    position: Tensor
    time: Tensor

    def of(self, buckets: Tensor | None, length: int) -> Tensor:
        """Return the bias of each query and key, float [l, l], or [n, l, l] with times.

        Args:
            buckets: of the differences of times, int64 [n, l, l]; None: no times.
            length: l, number of items.
        """
        place = torch.arange(length, device=self.position.device)
        distance = (place[:, None] - place).clamp(0, len(self.position) - 1)
        added = self.position[distance]
        return (
            added if buckets is None else added + F.embedding(buckets, self.time[:, None])[..., 0]
        )


def bucket(time: Tensor, moment: Tensor) -> Tensor:
    """Return the buckets of the differences of times, int64 [n, l, l].

    Args:
        time: of the keys, in seconds, float64 [n, l].
        moment: of the queries, as `time`.
    """
    seconds = (moment[:, :, None] - time[:, None, :]).abs().clamp_min(1.0)
    return (seconds.log() / _WIDTH).long().clamp_max(BUCKETS - 1)


def pointwise_attention(
    query: Tensor, key: Tensor, value: Tensor, heads: int, bias: Tensor, size: int
) -> Tensor:
    """Return A V of histories of equal length, float [n, l, d].

    Args:
        query, key, value: float [n, l, d].
        heads: number of heads.
        bias: added to the products, float [l, l] or [n, l, l].
        size: N, which divides A.
    """
    q, k, v = (
        part.view(*part.shape[:-1], heads, -1).transpose(1, 2) for part in (query, key, value)
    )
    scores = q @ k.mT + (bias if bias.dim() == 2 else bias[:, None])
    weights = F.silu(scores).tril() / size  # after silu, whose value at a bias is not zero
    return (weights @ v).transpose(1, 2).flatten(2)


def _same(x: Tensor) -> Tensor:
    return x


def run_hstu(
    x: Tensor,
    weights: Mapping[str, Tensor],
    blocks: int,
    attend: Callable[[int, Tensor, Tensor, Tensor], Tensor],
    drop: Callable[[Tensor], Tensor] = _same,
) -> Tensor:
    """Return the states of positions, float [..., d].

    Args:
        x: inputs, float [..., d].
        weights: of the blocks, by the names of `recsys.nn.hstu.PackedHSTU`.
        blocks: number of blocks.
        attend: A V of a block, from its number and Q, K, V.
        drop: dropout of what a block adds.
    """
    size = x.shape[-1:]
    for index in range(blocks):
        own = under(f"{index}.", weights)
        normed = F.layer_norm(x, size, own["norm.weight"], own["norm.bias"], eps=_EPS)
        gate, value, query, key = F.silu(F.linear(normed, own["read.weight"])).chunk(4, dim=-1)
        attended = attend(index, query, key, value)
        attended = F.layer_norm(
            attended, size, own["norm_attended.weight"], own["norm_attended.bias"], eps=_EPS
        )
        x = x + drop(F.linear(attended * gate, own["write.weight"], own["write.bias"]))
    return x


@dataclass(frozen=True, eq=False)
class HSTU:
    """The encoder as a frozen value, for histories of one block.

    Args:
        table: vectors of the items of a history, float32 [n_items, d].
        item: vectors of the items that are scored, float32 [n_items, d].
        weights: of the blocks, with their biases.
        blocks: number of blocks.
        heads: number of heads.
        length: N, number of items of a history that it reads, the last ones.
        times: which times count.
        is_cosine: the state is divided by its length; `item` then has rows of length 1.
    """

    table: Tensor
    item: Tensor
    weights: Mapping[str, Tensor]
    blocks: int
    heads: int
    length: int
    times: Times
    is_cosine: bool

    kind: ClassVar[str] = "hstu"

    @property
    def reads_time(self) -> bool:
        return self.times != "none"

    def to(self, device: torch.device | str) -> HSTU:
        """Return the encoder with its tensors on a device."""
        return replace(
            self,
            table=self.table.to(device),
            item=self.item.to(device),
            weights={name: tensor.to(device) for name, tensor in self.weights.items()},
        )

    @torch.no_grad()
    def __call__(self, item: Tensor, length: Tensor, *times: Tensor) -> Tensor:
        """Return the states after the last items of histories, [n, d].

        Args:
            item: item rows, int64 [n, w], oldest first; what follows the end of a history is read
                by none of its items.
            length: number of items of each history, int64 [n], from 1 to w.
            times: if it reads times, in seconds: those of the items, float64 [n, w], and the
                moments of the queries, float64 [n], which are read with times = "next".
        """
        x = F.embedding(item, self.table)  # an item out of bounds is an error
        buckets = None
        if self.reads_time:
            time, now = times
            moment = time
            if self.times == "next":
                moment = torch.cat([time[:, 1:], now[:, None]], dim=1)
                moment = moment.scatter(1, length[:, None] - 1, now[:, None])
            buckets = bucket(time, moment)

        def attend(index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            bias = Bias(self.weights[f"{index}.position"], self.weights[f"{index}.time"])
            added = bias.of(buckets, item.shape[1])
            return pointwise_attention(query, key, value, self.heads, added, self.length)

        states = run_hstu(x, self.weights, self.blocks, attend)
        ends = (length - 1)[:, None, None].expand(-1, 1, x.shape[-1])
        state = states.gather(1, ends)[:, 0]
        return F.normalize(state, dim=1) if self.is_cosine else state

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and JSON metadata from which `restore` builds an equal encoder."""
        tensors = {"table": self.table, "item": self.item}
        tensors |= {f"blocks.{name}": tensor for name, tensor in self.weights.items()}
        return tensors, {
            "kind": self.kind,
            "blocks": self.blocks,
            "heads": self.heads,
            "length": self.length,
            "times": self.times,
            "is_cosine": self.is_cosine,
        }

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> HSTU:
        """Build the encoder that `state` described."""
        return cls(
            tensors["table"],
            tensors["item"],
            under("blocks.", tensors),
            int(meta["blocks"]),
            int(meta["heads"]),
            int(meta["length"]),
            meta["times"],
            bool(meta["is_cosine"]),
        )
