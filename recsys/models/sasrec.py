"""SASRec: the next item of a history by causal self-attention.

The encoder reads the last `length` items of a history (`recsys.scorer.transformer`; its state after
item k is h_k) and the score of item i is h_k . E_i, with the table E that is also the input. Every
position k of a training history has the next item y as its target. Objective: mean over positions
of one of

    sampled    -s_y + log(exp(s_y) + sum over negatives j != y of exp(s_j))
    softmax    -s_y + log(sum over all items j of exp(s_j))
    bce        -log sigmoid(s_y) - mean over negatives j of log(1 - sigmoid(s_j))
    gbce       the same with a weight of the target, see `recsys.nn.next_item` (gSASRec)

Source: Kang, McAuley, "Self-attentive sequential recommendation", ICDM 2018, which is loss = "bce"
with one negative of its own for each position, outside the history: `sampler.pool` = "own".

Sampled scores are corrected for a proposal that is not uniform (`log_q`): "both" subtracts log q of
an item from the scores of targets and negatives; "negatives" subtracts log(K q) from those of the K
negatives only, which estimates the full softmax.

eSASRec is variant = "ligr" with width = 4 (Beauty) or 1 (Toys), loss = "sampled" and 256 own
uniform negatives, as in its public code. gSASRec is loss = "gbce" with 256 own negatives (Petrov,
Macdonald, RecSys 2023); there an output table differs from the input table, here it does not.
Relative positions are reconstructed.

Differs from the paper: positions are counted from the end of a history; dropout hides outputs of
attention, not its weights; a batch holds whole histories without padding, each once an epoch, where
the authors draw users with replacement; the default loss is a softmax over a pool of negatives that
a batch shares. Matrices are drawn from the Xavier normal distribution.
"""

from __future__ import annotations

from typing import Annotated, Literal

from torch import nn

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.errors import InputError
from recsys.models import Network
from recsys.nn.losses import Terms
from recsys.nn.next_item import Correction, NextItem, check_negatives, look_up
from recsys.nn.transformer import PackedTransformer
from recsys.sampling import BatchOf, By, Sampler, SequenceBatch, Sequences, Windows
from recsys.scorer import SequenceEncoder
from recsys.scorer.stored_histories import StoredHistories
from recsys.scorer.transformer import Blocks, Positions, Variant

__all__ = ["SASRec"]


_T = 0.75  # of gSASRec


@settings
class SASRec:
    """Self-attention over a user's last items predicts the next one (Kang and McAuley, 2018)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Embedding dimension."""
    length: Annotated[int, Bound(ge=1)] = 50
    """Number of items of a history that the encoder reads, the last ones."""
    blocks: Annotated[int, Bound(ge=1)] = 1
    """Number of attention blocks."""
    heads: Annotated[int, Bound(ge=1)] = 1
    """Attention heads; they divide `dim`."""
    variant: Variant = "original"
    """original: keys and values from unnormalised inputs, as in the authors' code. pre-norm: all
    from normalised inputs. ligr: gated residuals and SwiGLU, the block of eSASRec."""
    width: Annotated[int, Bound(ge=1)] = 1
    """Width of the inner layer of a block, as a multiple of `dim`; eSASRec has 4 or 1."""
    positions: Positions = "learned"
    """learned: a vector for each distance to the end is added to the input. relative: a number for
    each head and distance of two items is added to the attention."""
    scaled: bool = False
    """Multiply item vectors by sqrt(dim) at the input, as the authors' code does."""
    dropout: Annotated[float, Bound(ge=0, lt=1)] = 0.2
    """Share of elements of inputs and layers that are hidden in a step."""
    loss: Literal["sampled", "softmax", "bce", "gbce"] = "sampled"
    """sampled: softmax over target and negatives. softmax: over all items; it draws no negatives.
    bce: binary cross-entropy of target and negatives. gbce: the same, calibrated by `t`."""
    t: Annotated[float, Bound(ge=0, le=1)] = _T
    """Calibration of gbce: 0 gives bce, 1 weights the target by the share of items drawn."""
    sampler: Sampler = Sampler(pool="shared", negatives=2048)
    log_q: Correction = "both"
    """Correction of sampled scores for the proposal: of target and negatives, or of negatives."""
    sessions: By = "auto"
    """Whose events form a history. auto: those of a session if the data have sessions, else those
    of a user."""
    windows: Windows = "last"
    """Training histories longer than `length`. last: the last events. all: consecutive windows
    train each event once."""
    batch_of: BatchOf = "positions"
    """What train.batch_size counts: positions, or histories, as papers do."""

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise InputError(
                f"heads = {self.heads} must divide dim = {self.dim}",
                remedy="choose heads = 1, or another dim",
            )
        check_negatives(self.loss, self.sampler, self.log_q)
        if self.loss != "gbce" and self.t != _T:
            raise InputError(
                f"t = {self.t} has no effect with loss = '{self.loss}'",
                remedy="leave t out, or use loss = 'gbce'",
            )
        self.stream()

    def stream(self) -> Sequences:
        """Return what the batches of the training hold."""
        sampler = None if self.loss == "softmax" else self.sampler
        return Sequences(self.length, sampler, self.windows, self.sessions, self.batch_of)

    def build(self, train: Dataset) -> Network:
        return _SASRec(self, train)


class _SASRec(Network):
    def __init__(self, recipe: SASRec, train: Dataset) -> None:
        super().__init__()
        self.recipe = recipe
        self.stored = StoredHistories.of(train.log, recipe.length, times=False)
        self.item = nn.Embedding(train.n_items, recipe.dim)
        nn.init.xavier_normal_(self.item.weight)
        shape = Blocks(recipe.blocks, recipe.heads, recipe.variant, recipe.scaled, recipe.positions)
        self.encoder = PackedTransformer(
            recipe.dim, recipe.length, shape, recipe.dropout, recipe.width
        )
        self.objective = NextItem.of(recipe.loss, recipe.sampler, recipe.log_q, train, t=recipe.t)
        # The full softmax reads the whole table, not rows of it.
        self.rows = () if recipe.loss == "softmax" else (self.item,)

    @property
    def stream(self) -> Sequences:
        return self.recipe.stream()

    def loss(self, batch: SequenceBatch) -> Terms:
        items, targets, pool = look_up(self.item, batch)
        state = self.encoder(items, batch.groups)
        return self.objective.terms(batch, state, targets, pool, self.item)

    def scorer(self) -> SequenceEncoder:
        return SequenceEncoder(self.encoder.frozen(self.item), self.stored)
