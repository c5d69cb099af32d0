"""Every pair of an epoch has the same weight.

There is no short last batch, whose mean over few pairs would step as far as that of the others.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted import two_camps

from recsys.config import settings
from recsys.data.types import Dataset, Interactions, Vocab
from recsys.errors import InputError
from recsys.models import Network
from recsys.models.cml import CML
from recsys.models.cpe import CPE
from recsys.models.deca import DeCA
from recsys.models.dpcml import DPCML
from recsys.models.gmf import GMF
from recsys.models.mf import MF
from recsys.models.sfcml import SFCML
from recsys.nn.denoise import Denoise
from recsys.nn.losses import Loss, Terms
from recsys.sampling import Batch, Sampler, Users
from recsys.scorer import Factors, Scorer
from recsys.training.loop import Train, fit
from recsys.training.progress import Event, StepDone, Watch

TRAIN, _ = two_camps(users=20, items=20, each=5, kept=2)


def pairs_of(n: int) -> Dataset:
    """Users with one pair each."""
    pairs = Interactions(np.arange(n), np.arange(n) % 3, n, 3)
    return Dataset(pairs, Vocab.range(n), Vocab.range(3), {})


class Each(Network):
    """One number per pair, whose loss is the number itself.

    So a step of plain SGD shows the weight that the pair had in it.
    """

    def __init__(self, n: int) -> None:
        super().__init__()
        self.sampler, self.value = Sampler(negatives=1), torch.nn.Embedding(n, 1)
        torch.nn.init.zeros_(self.value.weight)

    def loss(self, batch: Batch) -> Terms:
        return Terms(self.value(batch.row)[:, 0])

    def scorer(self) -> Scorer:
        return Factors(self.value.weight.detach().clone(), torch.ones(3, 1))


@settings
class Recipe:
    """A number for every pair."""

    def build(self, train: Dataset) -> Network:
        return Each(len(train.pairs))


@pytest.mark.parametrize(
    ("n", "batch_size", "lengths"),
    [(13, 6, {4: 8, 5: 5}), (11, 10, {5: 5, 6: 6}), (12, 4, {4: 12}), (9, 50, {9: 9})],
)
def test_every_pair_has_nearly_the_same_weight_in_an_epoch_of_sgd(n, batch_size, lengths):
    """13 pairs in batches of at most 6 are 4, 4 and 5, by hand.

    As 6, 6 and 1, the last pair would have six times the weight of the others.
    """
    config = Train(epochs=1, batch_size=batch_size, lr=1.0, optimizer="sgd", device="cpu")
    moved = -fit(Recipe(), pairs_of(n), None, config).scorer.user[:, 0]
    counted = {length: int((moved - 1 / length).abs().lt(1e-6).sum()) for length in lengths}
    assert counted == lengths
    assert float(moved.max() / moved.min()) <= max(lengths) / min(lengths) + 1e-5


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "adagrad"])
@pytest.mark.parametrize("rows", ["dense", "touched"])
def test_batches_are_even_under_every_optimiser(optimizer, rows):
    if (optimizer, rows) == ("adamw", "touched"):
        pytest.skip("adamw decays every row")
    steps: list[int] = []

    def watch(event: Event) -> None:
        if isinstance(event, StepDone):
            steps.append(event.pairs)

    size = len(TRAIN.pairs)
    config = Train(epochs=2, batch_size=size - 1, lr=0.01, optimizer=optimizer, rows=rows)
    fit(MF(dim=4, l2=0.0), TRAIN, None, config, watch=watch)
    assert sorted(steps) == sorted([size // 2, size - size // 2] * 2)


def stopped_at(moment: int) -> Watch:
    count = iter(range(1, 999))

    def watch(_: Event) -> None:
        if next(count) == moment:
            raise InterruptedError

    return watch


@pytest.mark.parametrize(
    ("recipe", "batch_size"),
    [
        (MF(dim=4), 23),
        (CML(dim=4, loss=Loss(kind="hinge"), sampler=Sampler(negatives=3, unit="triplet")), 50),
        (SFCML(dim=4, l2=1e-3, decay="table"), 7),
    ],
    ids=["pairs", "triplets", "users"],
)
@pytest.mark.parametrize("moment", [1, 4, 6])
def test_resuming_within_an_epoch_of_even_batches(tmp_path, recipe, batch_size, moment):
    config = Train(
        epochs=3,
        batch_size=batch_size,
        lr=0.05,
        optimizer="adagrad",
        checkpoint_seconds=0.0,
        device="cpu",
    )
    whole = fit(recipe, TRAIN, None, config).scorer
    with pytest.raises(InterruptedError):
        fit(recipe, TRAIN, None, config, folder=tmp_path, watch=stopped_at(moment))
    again = fit(recipe, TRAIN, None, config, folder=tmp_path, resume=True).scorer
    assert torch.equal(whole.user, again.user)
    assert torch.equal(whole.item, again.item)


@pytest.mark.parametrize("kind", [CML, DPCML])
def test_a_step_of_triplets_is_the_mean_of_its_triplets(kind):
    """Compare with a naive loop over the triplets of a batch, with one negative each.

    An epoch has ten times as many triplets as pairs.
    """
    torch.manual_seed(0)
    loss = Loss(kind="hinge", reduce="each", margin=1.0)
    changes = {"vectors": 1} if kind is DPCML else {"user_space": "sphere"}
    net = kind(dim=4, loss=loss, sampler=Sampler(negatives=10, unit="triplet"), **changes).build(
        TRAIN
    )
    batches = net.stream.open(TRAIN, batch_size=16, seed=0)
    assert batches.size == 10 * len(TRAIN.pairs)
    batch = next(iter(batches.epoch(0)))
    values = []
    for user, pos, (neg,) in zip(
        batch.user.tolist(), batch.pos.tolist(), batch.neg.tolist(), strict=True
    ):
        point, near, far = net.user.weight[user], net.item.weight[pos], net.item.weight[neg]
        apart = 1 + (point - near).square().sum() - (point - far).square().sum()
        values.append(max(0.0, float(apart.detach())))
    assert float(net.loss(batch).total().detach()) == pytest.approx(np.mean(values), rel=1e-5)


def test_triplets_are_refused_where_a_loss_looks_at_all_negatives_of_a_pair():
    triplets = Sampler(negatives=10, unit="triplet")
    for reduce in ("hardest", "warp", "top"):
        with pytest.raises(InputError, match=f"loss.reduce = '{reduce}' looks at all of them"):
            CML(loss=Loss(kind="hinge", reduce=reduce), sampler=triplets)
    with pytest.raises(InputError, match=r"loss\.reduce = 'hardest' looks at all of them"):
        DPCML(sampler=triplets)
    for kind in (CPE, DeCA):
        with pytest.raises(InputError, match="the loss of this method looks at all of them"):
            kind(sampler=triplets)


def test_triplets_are_refused_by_denoisers():
    config = Train(epochs=1, device="cpu", denoise=Denoise(kind="tce", drop=0.1, ramp=2))
    with pytest.raises(InputError, match="judges a pair once per epoch"):
        fit(GMF(sampler=Sampler(negatives=2, unit="triplet")), TRAIN, None, config)


@pytest.mark.parametrize("decay", ["batch", "table"])
def test_whom_sfcml_decays(decay):
    """The gradient of l2 is l2 times the row, for users of the batch or all, and all items."""
    gradients = []
    for l2 in (0.0, 0.5):
        torch.manual_seed(0)
        net = SFCML(dim=4, l2=l2, decay=decay).build(TRAIN).double()
        batch = next(iter(Users().open(TRAIN, batch_size=5, seed=0).epoch(0)))
        net.loss(batch).total().backward()
        gradients.append((net.user.weight.grad, net.item.weight.grad))
    users = gradients[1][0] - gradients[0][0]
    reached = torch.zeros(TRAIN.n_users, 1, dtype=torch.float64)
    reached[batch.user if decay == "batch" else slice(None)] = 1
    assert torch.allclose(users, 0.5 * reached * net.user.weight.detach())
    assert torch.allclose(gradients[1][1] - gradients[0][1], 0.5 * net.item.weight.detach())


def test_under_adagrad_decay_of_the_table_scatters_who_was_not_met():
    """A first step of Adagrad is lr times the sign of the gradient.

    So l2 = 1e-9 moves a user as far as l2 = 1 would.
    """
    moved = {}
    for decay in ("batch", "table"):
        torch.manual_seed(0)
        net = SFCML(dim=16, l2=1e-9, decay=decay, user_space="ball").build(TRAIN).double()
        start = net.user.weight.detach().clone()
        batch = next(iter(Users().open(TRAIN, batch_size=5, seed=0).epoch(0)))
        optimizer = torch.optim.Adagrad(net.parameters(), lr=0.05, eps=1e-30)
        net.loss(batch).total().backward()
        optimizer.step()
        others = torch.ones(TRAIN.n_users, dtype=torch.bool)
        others[batch.user] = False
        moved[decay] = (net.user.weight.detach() - start)[others]
        expected = -0.05 * start[others].sign()
    assert not moved["batch"].any()
    assert torch.allclose(moved["table"], expected, atol=1e-6)
