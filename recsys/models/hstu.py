"""HSTU: the next item of a history by gated attention without a softmax, small scale.

The encoder reads the last `length` items of a history and, with `times`, when they happened
(`recsys.scorer.hstu`; its state after item k is h_k). The score of item i is cos(h_k, E_i) /
`temperature`, or h_k . E_i with `similarity` = "dot", with the table E that is also the input.
Every position k has the next item y as its target. Objective: mean over positions of one of

    sampled    -s_y + log(exp(s_y) + sum over negatives j != y of exp(s_j))
    softmax    -s_y + log(sum over all items j of exp(s_j))
    bce, gbce  see `recsys.nn.next_item`

Source: Zhai et al., "Actions speak louder than words: trillion-parameter sequential transducers for
generative recommendations", ICML 2024: the encoder of its public experiments, without actions.

Certain: the block, with its buckets of times, as public code computes it. [recalled]: cosines with
temperature 0.05, 128 negatives, AdamW with a learning rate of 0.001.

`times` = "next": position k counts time from its next event, as the released code does. Serving
then needs the moment of the query (`now`), otherwise that of the last event is taken; and position
k reads the moment of its target. "past": position k counts from its own event.

Differs from the released code: no vectors of positions are added to the input, only biases of
distances exist; dropout hides what a block adds; a batch holds whole histories without padding; the
default loss is a softmax over a pool of negatives that a batch shares.
"""

from __future__ import annotations

from typing import Annotated, Literal

from torch import nn

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.errors import InputError
from recsys.models import Network
from recsys.nn.hstu import PackedHSTU
from recsys.nn.losses import Terms
from recsys.nn.next_item import Correction, NextItem, check_negatives, look_up
from recsys.sampling import BatchOf, By, Sampler, SequenceBatch, Sequences, Windows
from recsys.scorer import SequenceEncoder
from recsys.scorer.hstu import Times
from recsys.scorer.stored_histories import StoredHistories

__all__ = ["HSTU"]


_T = 0.75  # of gSASRec
_TEMPERATURE = 0.05


@settings
class HSTU:
    """Gated attention without softmax predicts the next item, with times (Zhai et al., 2024)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Embedding dimension."""
    length: Annotated[int, Bound(ge=1)] = 50
    """Number of items of a history that the encoder reads, the last ones."""
    blocks: Annotated[int, Bound(ge=1)] = 2
    """Number of blocks."""
    heads: Annotated[int, Bound(ge=1)] = 1
    """Attention heads; they divide `dim`."""
    times: Literal["auto", "none", "past", "next"] = "auto"
    """Differences of times in the attention. past: from the event of a position back. next: from
    its next event back, as in the released code; queries then need a moment. auto: past if the data
    have times, else none."""
    similarity: Literal["cosine", "dot"] = "cosine"
    """Score of an item: cosine of state and item vector, or inner product."""
    temperature: Annotated[float, Bound(gt=0)] = _TEMPERATURE
    """The loss divides cosines by it."""
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
        if self.similarity == "dot" and self.temperature != _TEMPERATURE:
            raise InputError(
                f"temperature = {self.temperature} has no effect with similarity = 'dot'",
                remedy="leave temperature out, or use similarity = 'cosine'",
            )
        self.stream(has_times=False)

    def stream(self, *, has_times: bool) -> Sequences:
        """Return what the batches of the training hold.

        Args:
            has_times: whether times are read.
        """
        sampler = None if self.loss == "softmax" else self.sampler
        by, batch_of = self.sessions, self.batch_of
        return Sequences(self.length, sampler, self.windows, by, batch_of, times=has_times)

    def build(self, train: Dataset) -> Network:
        return _HSTU(self, train)


class _HSTU(Network):
    def __init__(self, recipe: HSTU, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.times = recipe, _times(recipe, train)
        self.stored = StoredHistories.of(train.log, recipe.length, times=self.times != "none")
        self.item = nn.Embedding(train.n_items, recipe.dim)
        nn.init.xavier_normal_(self.item.weight)
        self.encoder = PackedHSTU(
            recipe.dim, recipe.length, recipe.blocks, recipe.heads, recipe.dropout, self.times
        )
        self.is_cosine = recipe.similarity == "cosine"
        temperature = recipe.temperature if self.is_cosine else None
        self.objective = NextItem.of(
            recipe.loss, recipe.sampler, recipe.log_q, train, t=recipe.t, temperature=temperature
        )
        # The full softmax reads the whole table, not rows of it.
        self.rows = () if recipe.loss == "softmax" else (self.item,)

    @property
    def stream(self) -> Sequences:
        return self.recipe.stream(has_times=self.times != "none")

    def loss(self, batch: SequenceBatch) -> Terms:
        items, targets, pool = look_up(self.item, batch)
        moment = batch.next_time if self.times == "next" else batch.time
        state = self.encoder(items, batch.groups, batch.time, moment)
        return self.objective.terms(batch, state, targets, pool, self.item)

    def scorer(self) -> SequenceEncoder:
        encoder = self.encoder.frozen(self.item, is_cosine=self.is_cosine)
        return SequenceEncoder(encoder, self.stored)


def _times(recipe: HSTU, train: Dataset) -> Times:
    """Return which times count for these data.

    Raises:
        InputError: times are asked for, and the data have none.
    """
    if recipe.times == "auto":
        return "none" if train.log.time is None else "past"
    if recipe.times != "none" and train.log.time is None:
        raise InputError(
            f"times = '{recipe.times}' needs times, and the interactions have none",
            place="[model]",
            remedy="name the column with [data] time, or use times = 'none'",
        )
    return recipe.times
