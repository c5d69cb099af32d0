"""A network that trains on histories goes through the same trainer as all others."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from asking import asked
from torch.nn import functional as F

from recsys.config import settings
from recsys.data.types import Dataset, Interactions, Vocab
from recsys.errors import InputError
from recsys.models import Network
from recsys.nn.denoise import Denoise
from recsys.nn.losses import Terms
from recsys.sampling import SequenceBatch, Sequences
from recsys.scorer import Factors
from recsys.training.loop import Train, fit
from recsys.training.progress import EpochDone, Event, Note, StepDone

USERS, ITEMS, EVENTS = 30, 12, 9
CONFIG = Train(epochs=6, batch_size=40, lr=0.5, device="cpu", checkpoint_seconds=0.0)


def chains() -> Dataset:
    """Return users who go from item to item by one, each from another start."""
    user = np.repeat(np.arange(USERS), EVENTS)
    step = np.tile(np.arange(EVENTS), USERS)
    pairs = Interactions(user, (user + step) % ITEMS, USERS, ITEMS, time=step)
    return Dataset(pairs, Vocab.range(USERS, "user"), Vocab.range(ITEMS, "item"))


@settings
class Bigram:
    """The next item by the present one, and dropout, whose random numbers are the trainer's."""

    length: int = 4

    def build(self, train: Dataset) -> Network:
        return _Bigram(self, train)


class _Bigram(Network):
    def __init__(self, recipe: Bigram, train: Dataset) -> None:
        super().__init__()
        self.recipe = recipe
        self.last = np.array([items[-1] for items in train.log.histories])
        self.table = torch.nn.Embedding(train.n_items, train.n_items)

    @property
    def stream(self) -> Sequences:
        return Sequences(self.recipe.length)

    def loss(self, batch: SequenceBatch) -> Terms:
        logits = F.dropout(self.table(batch.item), 0.1, self.training)
        return Terms(F.cross_entropy(logits, batch.target, reduction="none"))

    def scorer(self) -> Factors:
        with torch.no_grad():
            return Factors(self.table(torch.from_numpy(self.last)).clone(), torch.eye(ITEMS))


def test_it_learns_what_follows_and_says_what_it_left_out():
    events: list[Event] = []
    fitted = fit(Bigram(), chains(), None, CONFIG, watch=events.append)
    best = fitted.scorer.score(asked(torch.arange(USERS))).argmax(1)
    assert torch.equal(best, (torch.arange(USERS) + EVENTS) % ITEMS)
    assert fitted.history[-1].loss < fitted.history[0].loss
    notes = [event.text for event in events if isinstance(event, Note)]
    assert isinstance(events[0], Note)
    assert tuple(notes) == fitted.notes
    (note,) = notes
    assert "120 of 240 training targets (50.0%) are not trained" in note
    steps = [event for event in events if isinstance(event, StepDone) and event.epoch == 0]
    assert sum(event.pairs for event in steps) == USERS * 4
    assert len([event for event in events if isinstance(event, EpochDone)]) == 6


@pytest.mark.parametrize("stop", [(0, 1), (3, 2), (5, 3)])
def test_it_resumes_from_any_step_to_the_same_bytes(stop, tmp_path):
    def watch(event: Event) -> None:
        if isinstance(event, StepDone) and (event.epoch, event.step) == stop:
            raise InterruptedError

    whole = fit(Bigram(), chains(), None, CONFIG)
    with pytest.raises(InterruptedError):
        fit(Bigram(), chains(), None, CONFIG, folder=tmp_path, watch=watch)
    resumed = fit(Bigram(), chains(), None, CONFIG, folder=tmp_path, resume=True)
    assert torch.equal(resumed.scorer.user, whole.scorer.user)
    assert [entry.loss for entry in resumed.history] == [entry.loss for entry in whole.history]


def test_what_looks_at_pairs_is_refused():
    denoise = dataclasses.replace(CONFIG, denoise=Denoise(kind="rce"))
    with pytest.raises(InputError, match="judges pairs, and this method trains on histories"):
        fit(Bigram(), chains(), None, denoise)
    by_loss = dataclasses.replace(CONFIG, select="loss")
    with pytest.raises(InputError, match="looks at pairs, and this method trains on histories"):
        fit(Bigram(), chains(), chains().pairs, by_loss)
