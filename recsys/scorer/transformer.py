"""A self-attention encoder of histories: its blocks, and its state after the last item.

Symbols: E is the table of items, P the table of positions, p = 0 for the last item of a history.
The input of position k is x_k = s E[i_k] + P[p_k], where s = sqrt(d) with `scaled`, else 1. LN is
layer normalisation with eps 1e-8, A causal attention by heads with an output projection, and
F(y) = W2 relu(W1 y + b1) + b2.

    pre-norm   a = LN1(x),  x + A(a, a, a) -> x,  x + F(LN2(x)) -> x
    original   a = LN1(x),  a + A(a, x, x) -> x,  LN2(x) + F(LN2(x)) -> x
    ligr       a = LN1(x),  x + sigmoid(G1 x + g1) * A(a, a, a) -> x,
               x + sigmoid(G2 x + g2) * S(LN2(x)) -> x,  S(y) = W2 (silu(W1 y) * W3 y)

    post-norm  LN1(x + A(x, x, x)) -> x,  LN2(x + W2 gelu(W1 x + b1) + b2) -> x

A(q, k, v) projects its three arguments to queries, keys and values. After the last block comes one
more LN, with post-norm LN(gelu(W3 x + b3)), as in BERT4Rec (Sun et al., CIKM 2019). "original" is
what the authors' code of SASRec computes: keys and values come from x without normalisation, and
the residual from the normalised x; the output projection is that of later code. Source: Kang,
McAuley, "Self-attentive sequential recommendation", ICDM 2018. "ligr" is the block of eSASRec, as
its public code and RecTools compute it: the gates read x without normalisation, and W1, W2, W3 have
no bias.

With relative positions there is no P. The attention of query i to key j has b[i - j, head] added
before the softmax, with one table b for all blocks, as T5 does (reconstructed for this encoder).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.scorer.nested_state import under

__all__ = [
    "Attend",
    "BlockKind",
    "Blocks",
    "Positions",
    "Transformer",
    "Variant",
    "between_heads",
    "causal_bias",
    "run_blocks",
]

Variant: TypeAlias = Literal["pre-norm", "original", "ligr"]
BlockKind: TypeAlias = Variant | Literal["post-norm"]
Positions: TypeAlias = Literal["learned", "relative"]
Attend: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Returns the attended values of queries, keys and values, each [..., d], as [..., d]."""

_EPS = 1e-8  # of the layer normalisation


@dataclass(frozen=True)
class Blocks:
    """The shape of the encoder.

    Args:
        blocks: number of blocks.
        heads: attention heads; they divide the dimension.
        variant: "pre-norm", "original", "ligr" or "post-norm", see the module.
        scaled: multiply the vectors of items by sqrt(d).
        positions: "learned" or "relative", see the module.
    """

    blocks: int
    heads: int
    variant: BlockKind
    scaled: bool = False
    positions: Positions = "learned"


def _same(x: Tensor) -> Tensor:
    return x


def run_blocks(
    x: Tensor,
    weights: Mapping[str, Tensor],
    shape: Blocks,
    attend: tuple[Attend, Attend],
    drop: Callable[[Tensor], Tensor] = _same,
    last: Callable[[Tensor], Tensor] = _same,
) -> Tensor:
    """Return the states of positions.

    Args:
        x: inputs, float [..., d].
        weights: of the blocks, by the names of `recsys.nn.transformer.PackedTransformer`.
        shape: the shape of the encoder.
        attend: attention of all blocks but the last, and of the last.
        drop: dropout of the outputs of attention, and of both layers of F; with "post-norm" of the
            outer layer only.
        last: selects from [..., d] the positions whose states are needed, in the last block.

    Returns:
        float [..., d], of the positions that `last` selects.
    """
    for index in range(shape.blocks):
        is_last = index == shape.blocks - 1
        own = under(f"{index}.", weights)
        run = _post_norm if shape.variant == "post-norm" else _block
        x = run(x, own, shape.variant, attend[is_last], drop, last if is_last else _same)
    if shape.variant == "post-norm":
        x = F.gelu(_linear(x, weights, "head"))
    return _norm(x, weights, "norm")


def _block(
    x: Tensor,
    weights: Mapping[str, Tensor],
    variant: BlockKind,
    attend: Attend,
    drop: Callable[[Tensor], Tensor],
    last: Callable[[Tensor], Tensor],
) -> Tensor:
    normed = _norm(x, weights, "norm1")
    source = x if variant == "original" else normed
    attended = drop(_attended(normed, source, weights, attend, last))
    kept = last(normed if variant == "original" else x)
    if variant == "ligr":
        x = kept + torch.sigmoid(_linear(kept, weights, "gate1")) * attended
        gate = torch.sigmoid(_linear(x, weights, "gate2"))
        return x + gate * drop(_swiglu(_norm(x, weights, "norm2"), weights, drop))
    x = kept + attended
    normed = _norm(x, weights, "norm2")
    inner = drop(F.relu(_linear(normed, weights, "inner")))
    return (normed if variant == "original" else x) + drop(_linear(inner, weights, "outer"))


def _post_norm(
    x: Tensor,
    weights: Mapping[str, Tensor],
    variant: BlockKind,
    attend: Attend,
    drop: Callable[[Tensor], Tensor],
    last: Callable[[Tensor], Tensor],
) -> Tensor:
    attended = drop(_attended(x, x, weights, attend, last))
    x = _norm(last(x) + attended, weights, "norm1")
    outer = _linear(F.gelu(_linear(x, weights, "inner")), weights, "outer")
    return _norm(x + drop(outer), weights, "norm2")


_PARTS = ("weight", "bias")


def _attended(
    asking: Tensor,
    source: Tensor,
    weights: Mapping[str, Tensor],
    attend: Attend,
    last: Callable[[Tensor], Tensor],
) -> Tensor:
    """Return the outputs of attention, of queries from `asking` and keys and values of `source`."""
    if last is _same and source is asking:
        query, key, value = _linear(asking, weights, "read").chunk(3, dim=-1)
    else:
        dim = asking.shape[-1]
        matrix, bias = (torch.split(weights[f"read.{part}"], [dim, 2 * dim]) for part in _PARTS)
        query = F.linear(last(asking), matrix[0], bias[0])
        key, value = F.linear(source, matrix[1], bias[1]).chunk(2, dim=-1)
    return _linear(attend(query, key, value), weights, "write")


def _swiglu(x: Tensor, weights: Mapping[str, Tensor], drop: Callable[[Tensor], Tensor]) -> Tensor:
    gate, value = F.linear(x, weights["inner.weight"]).chunk(2, dim=-1)
    return F.linear(drop(F.silu(gate) * value), weights["outer.weight"])


def _linear(x: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
    return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _norm(x: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
    return F.layer_norm(
        x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], eps=_EPS
    )


def between_heads(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    heads: int,
    mask: Tensor | None = None,
    *,
    causal: bool = True,
) -> Tensor:
    """Return the attention of each history of equal length, by heads.

    Args:
        query: float [n, m, d].
        key, value: float [n, l, d].
        heads: number of heads.
        mask: for [n, heads, m, l]; bool, True where a query sees a key, or float, which is added to
            the attention; None: see `causal`.
        causal: without a mask, a query sees the keys up to its own, m = l; False: it sees all.

    Returns:
        float [n, m, d].
    """
    q, k, v = (
        part.view(*part.shape[:-1], heads, -1).transpose(1, 2) for part in (query, key, value)
    )
    is_causal = causal and mask is None
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal)
    return attended.transpose(1, 2).flatten(2)


def causal_bias(bias: Tensor, length: int) -> Tensor:
    """Return what is added to the attention of a history, float [heads, l, l].

    Args:
        bias: by the distance of two items, float [L, heads]; larger distances count as L - 1.
        length: l, number of items.
    """
    place = torch.arange(length, device=bias.device)
    distance = place[:, None] - place
    added = bias[distance.clamp(0, len(bias) - 1)].masked_fill(
        (distance < 0)[..., None], -torch.inf
    )
    return added.permute(2, 0, 1)


@dataclass(frozen=True, eq=False)
class Transformer:
    """The causal encoder as a frozen value, for histories of one block.

    Args:
        item: item vectors, float32 [n_items, d].
        position: vectors of the distances to the last item, float32 [length, d]; with relative
            positions the bias of each distance of two items and head, [length, heads].
        weights: of the blocks.
        shape: the shape of the encoder.
    """

    item: Tensor
    position: Tensor
    weights: Mapping[str, Tensor]
    shape: Blocks

    reads_time: ClassVar[bool] = False

    @property
    def length(self) -> int:
        """Number of items of a history that it reads, the last ones."""
        return int(self.position.shape[0])

    def to(self, device: torch.device | str) -> Transformer:
        """Return the encoder with its tensors on a device."""
        return replace(
            self,
            item=self.item.to(device),
            position=self.position.to(device),
            weights={name: tensor.to(device) for name, tensor in self.weights.items()},
        )

    @torch.no_grad()
    def __call__(self, item: Tensor, length: Tensor, *_: Tensor) -> Tensor:
        """Return the states after the last items of histories, [n, d].

        Args:
            item: item rows, int64 [n, w], oldest first; what follows the end of a history is read
                by none of its items.
            length: number of items of each history, int64 [n], from 1 to w.
        """
        column = torch.arange(item.shape[1], device=item.device)
        distance = (length[:, None] - 1 - column).clamp_min(0)
        x = F.embedding(item, self.item)  # an item out of bounds is an error
        if self.shape.scaled:
            x = x * math.sqrt(x.shape[-1])
        seen = (column < length[:, None])[:, None, None, :]
        whole = None
        if self.shape.positions == "relative":
            whole = causal_bias(self.position, item.shape[1])
            added = self.position[distance].permute(0, 2, 1)[:, :, None, :]
            seen = added.masked_fill(~seen, -torch.inf)
        else:
            x = x + self.position[distance]
        ends = (length - 1)[:, None, None].expand(-1, 1, x.shape[-1])
        heads = self.shape.heads
        attend = (
            lambda query, key, value: between_heads(query, key, value, heads, whole),
            lambda query, key, value: between_heads(query, key, value, heads, seen),
        )
        states = run_blocks(
            x, self.weights, self.shape, attend, last=lambda all_: all_.gather(1, ends)
        )
        return states[:, 0]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and JSON metadata from which `restore` builds an equal encoder."""
        tensors = {"item": self.item, "position": self.position}
        tensors |= {f"blocks.{name}": tensor for name, tensor in self.weights.items()}
        shape = self.shape
        meta = {
            "kind": "transformer",
            "blocks": shape.blocks,
            "heads": shape.heads,
            "variant": shape.variant,
            "scaled": shape.scaled,
        }
        if shape.positions != "learned":  # files of earlier versions have no such key
            meta["positions"] = shape.positions
        return tensors, meta

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Transformer:
        """Build the encoder that `state` described."""
        shape = Blocks(
            int(meta["blocks"]),
            int(meta["heads"]),
            meta["variant"],
            bool(meta["scaled"]),
            meta.get("positions", "learned"),
        )
        return cls(tensors["item"], tensors["position"], under("blocks.", tensors), shape)
