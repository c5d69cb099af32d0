"""A bidirectional encoder of histories: its state at a mask that follows the last item.

The items of a history and a mask behind them are the input of blocks of variant "post-norm"
(`recsys.scorer.transformer`), in which every position sees all positions. The mask has position 0,
the last item position 1. Source: Sun et al., "BERT4Rec: sequential recommendation with
bidirectional encoder representations from transformer", CIKM 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.scorer.nested_state import under
from recsys.scorer.transformer import Blocks, between_heads, run_blocks

__all__ = ["Cloze"]


@dataclass(frozen=True, eq=False)
class Cloze:
    """The encoder as a frozen value, for histories of one block.

    Args:
        item: item vectors, whose last coordinate is the bias of the item's score, float32
            [n_items, d + 1].
        mask: vector of the mask, float32 [d].
        position: vectors of the distances to the mask, float32 [length + 1, d].
        weights: of the blocks and of the layer behind them.
        shape: the shape of the encoder.
    """

    item: Tensor
    mask: Tensor
    position: Tensor
    weights: Mapping[str, Tensor]
    shape: Blocks

    reads_time: ClassVar[bool] = False

    @property
    def length(self) -> int:
        """Number of items of a history that it reads, the last ones."""
        return int(self.position.shape[0]) - 1

    def to(self, device: torch.device | str) -> Cloze:
        """Return the encoder with its tensors on a device."""
        return replace(
            self,
            item=self.item.to(device),
            mask=self.mask.to(device),
            position=self.position.to(device),
            weights={name: tensor.to(device) for name, tensor in self.weights.items()},
        )

    @torch.no_grad()
    def __call__(self, item: Tensor, length: Tensor, *_: Tensor) -> Tensor:
        """Return the states at the masks behind histories, ending in 1, [n, d + 1].

        Args:
            item: item rows, int64 [n, w], oldest first; what follows the end of a history is not
                read.
            length: number of items of each history, int64 [n], from 1 to w.
        """
        at = length[:, None]
        column = torch.arange(item.shape[1] + 1, device=item.device)
        x = F.embedding(F.pad(item, (0, 1)), self.item)[..., :-1]
        x = torch.where((column == at)[..., None], self.mask, x)
        x = x + self.position[(at - column).clamp_min(0)]
        seen = (column <= at)[:, None, None, :]
        heads = self.shape.heads

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            return between_heads(query, key, value, heads, seen)

        ends = at[..., None].expand(-1, 1, x.shape[-1])
        states = run_blocks(
            x, self.weights, self.shape, (attend, attend), last=lambda all_: all_.gather(1, ends)
        )
        return F.pad(states[:, 0], (0, 1), value=1.0)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and JSON metadata from which `restore` builds an equal encoder."""
        tensors = {"item": self.item, "mask": self.mask, "position": self.position}
        tensors |= {f"blocks.{name}": tensor for name, tensor in self.weights.items()}
        return tensors, {"kind": "cloze", "blocks": self.shape.blocks, "heads": self.shape.heads}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Cloze:
        """Build the encoder that `state` described."""
        shape = Blocks(int(meta["blocks"]), int(meta["heads"]), "post-norm")
        weights = under("blocks.", tensors)
        return cls(tensors["item"], tensors["mask"], tensors["position"], weights, shape)
