"""GRU4Rec: the next item of a session by gated recurrent units.

The encoder reads the last `length` items of a history, a session if the data have sessions
(`recsys.scorer.recurrent`; its state after item k is h_k), and the score of item i is h_k . W_i +
b_i. `constrained` scores by the table that is also the input, without b. Every position k has the
next item as its target. Objective: mean over positions of the loss (`recsys.nn.next_item`).

Sources, papers alone: Hidasi, Karatzoglou, Baltrunas, Tikk, "Session-based recommendations with
recurrent neural networks", ICLR 2016; Hidasi, Karatzoglou, "Recurrent neural networks with top-k
gains for session-based recommendations", CIKM 2018.

Certain: the units, and the losses, whose formulas agree with independent computations. [recalled]:
additional negatives with probability count^alpha, alpha from 0.5 to 0.75, 2,048 of them, joined
with the other targets of the batch (sampler = { pool = "mixed", negatives = 2048, proposal =
"popularity" }); Xavier uniform start values; Adagrad with learning rates of 0.05 to 0.1.

Differs from the papers: a batch holds whole sessions, cut at `length` and packed, and the gradient
runs back to the start of each; the papers go through many sessions in parallel and cut the gradient
at every step. Forward states are equal. Scores have no activation function at the end. Negatives
are by default a pool of uniform draws that the batch shares.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from torch import Tensor, nn

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.errors import InputError
from recsys.models import Network
from recsys.nn.losses import Terms
from recsys.nn.next_item import Correction, NextItem, check_negatives, look_up
from recsys.nn.recurrent import PackedRecurrent
from recsys.nn.tables import xavier
from recsys.sampling import BatchOf, By, Sampler, SequenceBatch, Sequences, Windows
from recsys.scorer import SequenceEncoder
from recsys.scorer.stored_histories import StoredHistories

__all__ = ["GRU4Rec"]


@settings
class GRU4Rec:
    """Gated recurrent units over a session predict the next item (Hidasi et al., 2016, 2018)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Dimension of item vectors and states."""
    length: Annotated[int, Bound(ge=1)] = 50
    """Number of items of a history that the encoder reads, the last ones."""
    layers: Annotated[int, Bound(ge=1)] = 1
    """Number of recurrent layers."""
    constrained: bool = True
    """true: items are scored by the vectors that are also the input. false: by vectors of their
    own, with a bias per item."""
    dropout: Annotated[float, Bound(ge=0, lt=1)] = 0.2
    """Share of elements of inputs and states that are hidden in a step."""
    loss: Literal["sampled", "softmax", "bce", "bpr", "top1", "bpr-max", "top1-max"] = "sampled"
    """sampled: softmax over target and negatives. softmax: over all items; it draws no negatives.
    The others compare the target with each negative; "-max" weights the hard ones."""
    score_penalty: Annotated[float, Bound(ge=0)] = 1.0
    """Weight of the squared scores of negatives in "bpr-max"."""
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
        check_negatives(self.loss, self.sampler, self.log_q)
        if self.loss != "bpr-max" and self.score_penalty != 1:
            raise InputError(
                f"score_penalty = {self.score_penalty} has no effect with loss = '{self.loss}'",
                remedy="leave score_penalty out, or use loss = 'bpr-max'",
            )
        self.stream()

    def stream(self) -> Sequences:
        """Return what the batches of the training hold."""
        sampler = None if self.loss == "softmax" else self.sampler
        return Sequences(self.length, sampler, self.windows, self.sessions, self.batch_of)

    def build(self, train: Dataset) -> Network:
        return _GRU4Rec(self, train)


class _GRU4Rec(Network):
    def __init__(self, recipe: GRU4Rec, train: Dataset) -> None:
        super().__init__()
        self.recipe = recipe
        self.stored = StoredHistories.of(train.log, recipe.length, times=False)
        self.item = xavier(train.n_items, recipe.dim)
        self.output = None if recipe.constrained else _with_bias(train.n_items, recipe.dim)
        self.encoder = PackedRecurrent(recipe.dim, recipe.layers, recipe.dropout)
        self.objective = NextItem.of(
            recipe.loss, recipe.sampler, recipe.log_q, train, penalty=recipe.score_penalty
        )
        # The full softmax reads the whole table, not rows of it.
        scored = () if recipe.loss == "softmax" else (self._scored,)
        read = (self.item,) if self.output is not None else ()
        self.rows = (*read, *scored)

    @property
    def stream(self) -> Sequences:
        return self.recipe.stream()

    @property
    def _scored(self) -> nn.Embedding:
        """Vectors of the items that are scored."""
        return self.item if self.output is None else self.output

    def loss(self, batch: SequenceBatch) -> Terms:
        items, targets, pool = self._vectors(batch)
        state = self.encoder(items, batch.groups)
        if self.output is not None:
            state = nn.functional.pad(state, (0, 1), value=1.0)
        return self.objective.terms(batch, state, targets, pool, self._scored)

    def _vectors(self, batch: SequenceBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the vectors of inputs [T, d], targets [T, d'] and drawn items [K, d']."""
        if self.output is None:
            return look_up(self.item, batch)
        _, targets, pool = look_up(self.output, replace(batch, item=batch.item[:0]))
        return self.item(batch.item), targets, pool

    def scorer(self) -> SequenceEncoder:
        encoder = self.encoder.frozen(self.item, self.output, self.recipe.length)
        return SequenceEncoder(encoder, self.stored)


def _with_bias(n: int, dim: int) -> nn.Embedding:
    """Return a table [n, dim + 1] whose last column is a bias that starts from 0."""
    vectors = xavier(n, dim).weight.detach()
    return nn.Embedding(n, dim + 1, _weight=nn.functional.pad(vectors, (0, 1)))
