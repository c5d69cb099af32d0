"""BERT4Rec: masked items of a history by bidirectional self-attention.

The encoder reads the last `length` items of a history, some of which a mask replaces
(`recsys.scorer.transformer`, variant "post-norm"; its state at position k is h_k). The score of
item i at a masked position is h_k . E_i + b_i, with the table E that is also the input, and the
target is the item y behind the mask. Objective: mean over masked positions of one of

    softmax    -s_y + log(sum over all items j of exp(s_j))
    sampled    -s_y + log(exp(s_y) + sum over negatives j != y of exp(s_j))
    bce, gbce  see `recsys.nn.next_item`

A query is answered by a mask behind the last `length` - 1 items.

Source: Sun, Liu, Wu, Pei, Lin, Ou, Jiang, "BERT4Rec: sequential recommendation with bidirectional
encoder representations from transformer", CIKM 2019, which is loss = "softmax".

Certain: the blocks, the cloze objective, the mask at the end. [recalled]: the published shares of
masked items, 0.6 on Beauty, 0.4 on Steam, 0.2 on MovieLens; two blocks and two heads. According to
a replication study (Petrov, Macdonald, RecSys 2022, [recalled]) the method needs 10 to 30 times the
steps of SASRec.

Differs from the paper: a window has round(`masked` * its length) masked positions, at least one,
where each position is masked with this chance; a share `last` of all windows occurs a second time
in an epoch with the last position masked alone (reconstructed from "we also produce samples that
only mask the last item"); positions are counted from the end of a history; dropout hides outputs of
attention, not its weights; a masked item is always replaced by the mask. Matrices are drawn from
the Xavier normal distribution.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.errors import InputError
from recsys.models import Network
from recsys.nn.losses import Terms
from recsys.nn.next_item import Correction, NextItem, check_negatives, look_up
from recsys.nn.tables import frozen
from recsys.nn.transformer import PackedTransformer
from recsys.sampling import BatchOf, By, Masking, Sampler, SequenceBatch, Sequences, Windows
from recsys.scorer import SequenceEncoder
from recsys.scorer.cloze import Cloze
from recsys.scorer.stored_histories import StoredHistories
from recsys.scorer.transformer import Blocks

__all__ = ["BERT4Rec"]


_T = 0.75  # of gSASRec


@settings
class BERT4Rec:
    """Bidirectional self-attention predicts masked items of a history (Sun et al., CIKM 2019)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Embedding dimension."""
    length: Annotated[int, Bound(ge=2)] = 50
    """Number of items of a history that the encoder reads, the last ones; of a query one less."""
    blocks: Annotated[int, Bound(ge=1)] = 2
    """Number of attention blocks."""
    heads: Annotated[int, Bound(ge=1)] = 2
    """Attention heads; they divide `dim`."""
    width: Annotated[int, Bound(ge=1)] = 4
    """Width of the inner layer of a block, as a multiple of `dim`."""
    masked: Annotated[float, Bound(gt=0, lt=1)] = 0.2
    """Share of the items of a history that are masked."""
    last: Annotated[float, Bound(ge=0, le=1)] = 0.1
    """Histories that occur once more in an epoch with their last item masked alone, as a share."""
    dropout: Annotated[float, Bound(ge=0, lt=1)] = 0.2
    """Share of elements of inputs and layers that are hidden in a step."""
    loss: Literal["softmax", "sampled", "bce", "gbce"] = "softmax"
    """softmax: over all items; it draws no negatives. sampled: over target and negatives. bce:
    binary cross-entropy of target and negatives. gbce: the same, calibrated by `t`."""
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
    cover each event."""
    batch_of: BatchOf = "positions"
    """What train.batch_size counts: positions, masked or not, or histories, as papers do."""

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
        masking = Masking(self.masked, self.last)
        by, batch_of = self.sessions, self.batch_of
        return Sequences(self.length, sampler, self.windows, by, batch_of, masking)

    def build(self, train: Dataset) -> Network:
        return _BERT4Rec(self, train)


class _BERT4Rec(Network):
    def __init__(self, recipe: BERT4Rec, train: Dataset) -> None:
        super().__init__()
        self.recipe = recipe
        self.stored = StoredHistories.of(train.log, recipe.length - 1, times=False)
        # The last coordinate of a row is the bias of the item's score.
        self.item = nn.Embedding(train.n_items, recipe.dim + 1)
        self.mask = nn.Parameter(torch.zeros(recipe.dim))
        with torch.no_grad():
            nn.init.xavier_normal_(self.item.weight)
            self.item.weight[:, -1] = 0.0
        shape = Blocks(recipe.blocks, recipe.heads, "post-norm")
        self.encoder = PackedTransformer(
            recipe.dim, recipe.length, shape, recipe.dropout, recipe.width, causal=False
        )
        self.objective = NextItem.of(recipe.loss, recipe.sampler, recipe.log_q, train, t=recipe.t)
        # The full softmax reads the whole table, not rows of it.
        self.rows = () if recipe.loss == "softmax" else (self.item,)

    @property
    def stream(self) -> Sequences:
        return self.recipe.stream()

    def loss(self, batch: SequenceBatch) -> Terms:
        assert batch.at is not None
        items, targets, pool = look_up(self.item, batch)
        state = self.states(items[:, :-1], batch).index_select(0, batch.at)
        state = nn.functional.pad(state, (0, 1), value=1.0)
        return self.objective.terms(batch, state, targets, pool, self.item)

    def states(self, items: Tensor, batch: SequenceBatch) -> Tensor:
        """Return the state of each position of a batch, masked where it is, float [T, d].

        Args:
            items: vectors of the items, float [T, d]. Those of masked positions are not read.
            batch: the batch.
        """
        assert batch.at is not None
        masks = self.mask.to(items.dtype).expand(len(batch.at), -1)
        states: Tensor = self.encoder(items.index_copy(0, batch.at, masks), batch.groups)
        return states

    def scorer(self) -> SequenceEncoder:
        encoder = self.encoder
        item, mask, position = (frozen(part) for part in (self.item, self.mask, encoder.position))
        cloze = Cloze(item, mask, position, encoder.weights(), encoder.shape)
        return SequenceEncoder(cloze, self.stored)
