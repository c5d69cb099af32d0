"""Batches of packed histories: the target of a position is the next item, or a masked one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from recsys.data.histories import Histories
from recsys.data.times import TICKS
from recsys.data.types import Dataset, Interactions
from recsys.errors import InputError
from recsys.notebook import counted
from recsys.sampling.batches import SequenceBatch
from recsys.sampling.masking import Masking, uniform
from recsys.sampling.negatives import Negatives
from recsys.sampling.settings import Sampler
from recsys.sampling.streams import place_of, stream_seed
from recsys.sampling.transfer import to_device
from recsys.sampling.windows import cut

__all__ = ["BatchOf", "By", "SequenceStream", "Sequences", "Windows"]

By: TypeAlias = Literal["auto", "user", "session"]
Windows: TypeAlias = Literal["last", "all"]
BatchOf: TypeAlias = Literal["positions", "histories"]

# Negatives, their mask, and the log proposals, as in `SequenceBatch`.
_Draws: TypeAlias = tuple[Tensor | None, Tensor | None, tuple[Tensor, Tensor] | None]


@dataclass(frozen=True)
class Sequences:
    """Train on batches of histories, packed without padding (`SequenceStream`).

    Args:
        length: maximum number of targets of a history in a batch, at least 1.
        sampler: how the negatives of each target are drawn; None: no negatives.
        windows: "last": of a longer history the last length + 1 events; "all": it is cut into
            windows that cover each target once.
        by: whose events form a history: "user", "session", or "auto": sessions if the log has
            them, else users.
        batch_of: what `batch_size` counts: "positions" or "histories".
        masking: which positions are masked and predicted, of windows of at most `length` events;
            None: each position predicts the next event.
        times: whether the batches hold the times of events.
    """

    length: int = 50
    sampler: Sampler | None = None
    windows: Windows = "last"
    by: By = "auto"
    batch_of: BatchOf = "positions"
    masking: Masking | None = None
    times: bool = False

    of: ClassVar[str] = "histories"

    def __post_init__(self) -> None:
        if self.sampler is not None and self.sampler.unit == "triplet":
            raise InputError(
                "sampler.unit = 'triplet' has no effect on histories, whose positions are trained "
                "together",
                remedy='use unit = "pair"',
            )

    def open(
        self, train: Dataset, *, batch_size: int, seed: int, device: torch.device | str = "cpu"
    ) -> SequenceStream:
        """Return the stream of a training set, see `StreamKind.open`.

        Raises:
            InputError: no history has two events, or the log has no sessions.
        """
        return SequenceStream(train.log, self, batch_size=batch_size, seed=seed, device=device)

    def by_session(self, log: Interactions) -> bool:
        """Return whether the histories of a log are those of its sessions.

        Raises:
            InputError: sessions are asked for, and the log has none.
        """
        if self.by == "session" and log.session is None:
            raise InputError(
                "histories by session need sessions, and the interactions have none",
                remedy="name the column with [data] session, or set [data] session_gap",
            )
        return self.by != "user" and log.session is not None


class SequenceStream:
    """Batches of histories, each position with the next item as its target, or masked positions.

    The histories of an epoch are shuffled, so that a batch holds any of them; within a batch they
    are in order of their lengths, so that an encoder can treat equal lengths together. Histories
    with fewer than two events have no target and are left out. Where `batch_size` counts positions,
    an epoch has ceil(positions / batch_size) batches of about equal size. Histories are not cut to
    fit, so a batch may be larger by less than `length`; there are fewer batches if one would
    otherwise be smaller than a history. Windows that occur once more (`Masking`) are added to these
    batches in equal shares.

    Batches are formed and drawn on the CPU, so that they are the same for every device.

    Args:
        log: the training events.
        sequences: how histories are formed and cut, and their negatives.
        batch_size: positions, or histories, per batch.
        seed: seed of every draw.
        device: device of the batches.

    Raises:
        InputError: no history has two events, or sessions are asked for and the log has none.
    """

    def __init__(
        self,
        log: Interactions,
        sequences: Sequences,
        *,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.sequences, self.batch_size = sequences, batch_size
        self.seed, self.device = seed, torch.device(device)
        self.by_session = sequences.by_session(log)
        histories = (log.visits if self.by_session else log.histories).packed()
        every, masking = sequences.windows == "all", sequences.masking
        window, owner = cut(histories, sequences.length - (masking is not None), every=every)
        if not len(window):
            raise InputError(
                "there is nothing to train on: no history has two events",
                remedy="use more data, or a method that reads no order",
            )
        ahead = int(masking is None)  # events of a window that are a target only
        self.notes = _notes(log, histories, window, self.by_session, ahead)
        # On the host: from the lengths follows how large the tensors of a batch are.
        self.length = torch.from_numpy(window.length - ahead)
        self._begin = torch.tensor(window.begin)
        self._owner = torch.from_numpy(owner)
        self._item = torch.tensor(histories.item, dtype=torch.int64)
        self._time: Tensor | None = None
        if sequences.times:
            assert histories.time is not None
            self._time = torch.from_numpy(histories.time / TICKS[histories.time_unit])
        self._weight = self.length
        if sequences.batch_of == "histories":
            self._weight = torch.ones_like(self.length)
        self._steps = _steps(self._weight, batch_size)
        self._negatives = _negatives(sequences.sampler, histories, window, log, ahead, self.device)

    @property
    def size(self) -> int:
        """Targets per epoch."""
        masking = self.sequences.masking
        if masking is None:
            return int(self.length.sum())
        return int(masking.counts(self.length).sum()) + masking.extra(len(self.length))

    @property
    def interactions(self) -> int:
        """Targets per epoch."""
        return self.size

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return self._steps

    def epoch(self, epoch: int, start: int = 0) -> Iterator[SequenceBatch]:
        """Yield the batches of one epoch from step `start` on: every target once."""
        generator = torch.Generator().manual_seed(stream_seed(self.seed, epoch, "order"))
        order = torch.randperm(len(self.length), generator=generator)
        end = self._weight[order].cumsum(0)
        total, steps = int(end[-1]), len(self)
        # A history belongs to the step within whose share it begins.
        places = torch.tensor([place_of(step, total, steps) for step in range(steps)])
        bounds = [*torch.searchsorted(end - self._weight[order], places).tolist(), len(order)]
        once_more = self._once_more(epoch)
        for step in range(start, steps):
            begin, stop = (place_of(each, len(once_more), steps) for each in (step, step + 1))
            window = order[bounds[step] : bounds[step + 1]]
            yield self.batch(window, epoch, step, alone=once_more[begin:stop])

    def _once_more(self, epoch: int) -> Tensor:
        """Return the windows that occur once more in an epoch, int64."""
        masking = self.sequences.masking
        extra = 0 if masking is None else masking.extra(len(self.length))
        if not extra:
            return torch.empty(0, dtype=torch.int64)
        generator = torch.Generator().manual_seed(stream_seed(self.seed, epoch, "last"))
        return torch.randperm(len(self.length), generator=generator)[:extra]

    def batch(
        self, window: Tensor, epoch: int = 0, step: int = 0, *, alone: Tensor | None = None
    ) -> SequenceBatch:
        """Return the batch of given windows of histories.

        Args:
            window: positions in `length`, int64 [B], on the CPU.
            epoch, step: position in the stream; the draws of negatives and masks follow from it.
            alone: more windows, whose last position is masked alone; None: none.
        """
        n_windows = len(window)
        window = window if alone is None else torch.cat([window, alone])
        length, order = self.length[window].sort(stable=True)
        window = window[order]
        begin = self._begin[window] - (length.cumsum(0) - length)
        n = int(length.sum())
        cell = torch.repeat_interleave(begin, length, output_size=n)
        cell += torch.arange(n)
        owner = self._owner[window]
        each = torch.repeat_interleave(owner, length, output_size=n)
        at, masking = None, self.sequences.masking
        if masking is None:
            on_host = self._item[cell + 1]
        else:
            draw = uniform(stream_seed(self.seed, epoch, "mask"), cell.numpy())
            at = masking.positions(length, order >= n_windows, draw)
            on_host, each = self._item[cell[at]], each[at]
        target = to_device(on_host, self.device)
        draws: _Draws = (None, None, None)
        if self._negatives is not None:
            generator = torch.Generator().manual_seed(stream_seed(self.seed, epoch, step))
            neg, mask = self._negatives.draw(each, on_host, generator)
            draws = (neg, mask, self._negatives.log_q(target, neg))
        item, owner = (to_device(part, self.device) for part in (self._item[cell], owner))
        equal, times = np.unique(length.numpy(), return_counts=True)
        groups = tuple(zip(equal.tolist(), times.tolist(), strict=True))
        moments = self._moments(cell, at)
        at = None if at is None else to_device(at, self.device)
        return SequenceBatch(owner, item, target, groups, *draws, epoch, step, at, *moments)

    def _moments(self, cell: Tensor, at: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Return the times of positions and of their next events, if they are asked for."""
        if self._time is None:
            return None, None
        time = to_device(self._time[cell], self.device)
        return time, None if at is not None else to_device(self._time[cell + 1], self.device)


def _steps(weight: Tensor, batch_size: int) -> int:
    """Return the number of batches of an epoch.

    Histories that begin within equal shares of the epoch form a batch. A share that is not smaller
    than the longest history holds the begin of at least one.
    """
    total = int(weight.sum())
    return min(-(-total // batch_size), total // int(weight.max()))


def _negatives(
    sampler: Sampler | None,
    histories: Histories,
    window: Histories,
    log: Interactions,
    ahead: int,
    device: torch.device,
) -> Negatives | None:
    """Return what draws the negatives of the targets in the windows of packed histories."""
    if sampler is None:
        return None
    pairs = Interactions(histories.owner(), histories.item, len(histories), log.n_items)
    target = window.item[_targets(window, ahead).cells()]
    positive = torch.tensor(target, dtype=torch.int64)
    return Negatives(pairs, sampler, device=device, positive=positive)


def _targets(window: Histories, ahead: int) -> Histories:
    """Return the events that can be targets: all but the first `ahead` of each window."""
    return Histories(window.item, window.begin + ahead, window.end)


def _notes(
    log: Interactions, histories: Histories, window: Histories, by_session: bool, ahead: int
) -> tuple[str, ...]:
    """Return which targets the windows leave out, and that the order is unknown if it is."""
    notes = []
    total = int((histories.length - ahead)[histories.length > 1].sum())
    lost = total - int((window.length - ahead).sum())
    if lost > 0:
        notes.append(
            f"{lost:,} of {total:,} training targets ({lost / total:.1%}) are not trained: they "
            'lie before the last model.length of their history; windows = "all" trains them too'
        )
    alone = int((histories.length == 1).sum())
    if alone:
        owners = counted(alone, "session" if by_session else "user")
        notes.append(f"{owners} with one training event left out: nothing follows it")
    if log.time is None and log.order is None:
        notes.append("the order of events is unknown: histories are in the order of the rows")
    return tuple(notes)
