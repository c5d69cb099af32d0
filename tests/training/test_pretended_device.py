"""Training on an accelerator, without one: see `pretended_device` and docs/devices.md."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np
import on_device
import pretended_device
import pytest
import test_methods
import torch
from on_device import CUDA_ONLY, NETWORKS, TRAIN
from pretended_device import HostWaits, MixedDevices, Record, pretended

from recsys import ranking
from recsys.data.types import HeldOut
from recsys.evaluation.evaluator import Evaluation, evaluate
from recsys.models.mf import _MF
from recsys.nn.losses import Terms
from recsys.training import learner, loop
from recsys.training.device import pick_device
from recsys.training.loop import fit

if torch.cuda.is_available():
    pytest.skip("needs a process without CUDA: CUDA_VISIBLE_DEVICES=", allow_module_level=True)
pretended_device.register()  # before the first backward pass of the process

# Upper bounds of launched operations per step: a tenth above what was counted, rounded up.
OPERATIONS = {
    "bert4rec": 170,
    "bm3": 230,
    "cdae": 95,
    "clcrec": 200,
    "cml": 95,
    "cpe": 75,
    "deca": 280,
    "directau": 145,
    "dpcml": 120,
    "dropoutnet": 110,
    "dual": 85,
    "duif": 85,
    "fpmc": 100,
    "freedom": 165,
    "gmf": 60,
    "gnn": 120,
    "heater": 175,
    "hstu": 265,
    "lattice": 150,
    "lightgcn": 95,
    "lrml": 85,
    "m2f": 80,
    "mf": 65,
    "mgcn": 400,
    "milk": 190,
    "multvae": 115,
    "nbpo": 145,
    "neumf": 155,
    "sasrec": 155,
    "sfcml": 140,
    "siger": 675,
    "simgcl": 330,
    "simplex": 155,
    "ultragcn": 115,
    "vbpr": 85,
    "xsimgcl": 315,
}


METHODS = [name for name in NETWORKS if name not in CUDA_ONLY]


class Pretended:
    """The pretended device, while it is active."""

    name = pretended_device.NAME

    def __init__(self, record: Record) -> None:
        self.record = record
        self.launched = 0  # operations in the last block of `no_wait`

    @contextlib.contextmanager
    def no_wait(self) -> Iterator[None]:
        before = self.record.launched
        with pretended_device.no_wait(self.record):
            yield
        self.launched = self.record.launched - before


def _seed(device: torch.device, value: int) -> None:
    torch.default_generator.manual_seed(value)
    if device.type == pretended_device.NAME:
        pretended_device.seed(value)


@contextlib.contextmanager
def active(*, own_generator: bool) -> Iterator[Pretended]:
    def pick(name: str) -> torch.device:
        return pretended_device.DEVICE if name == pretended_device.NAME else pick_device(name)

    with (
        on_device.patched(loop, pick_device=pick, seed_device=_seed),
        on_device.patched(learner, seed_device=_seed),
        pretended(own_generator=own_generator) as record,
    ):
        yield Pretended(record)


@pytest.fixture
def device() -> Iterator[Pretended]:
    with active(own_generator=True) as it:
        yield it


@pytest.mark.parametrize("name", METHODS)
def test_an_epoch_never_waits_and_equals_that_of_the_cpu(name):
    """A method outside `DRAW_ON_DEVICE` must do so with other random numbers on the device."""
    with active(own_generator=name not in on_device.DRAW_ON_DEVICE) as device:
        on_device.check_training(device, name)
        steps = on_device.steps_of(name) - 1  # all but the first
        assert 10 < device.launched / steps <= OPERATIONS[name]


@pytest.mark.parametrize(
    "name", sorted(on_device.DRAW_ON_DEVICE - on_device.ALWAYS_DRAW - CUDA_ONLY)
)
def test_without_its_draws_a_method_equals_that_of_the_cpu(name, device):
    """The check on CUDA, whose random numbers are others."""
    on_device.check_quiet(device, name)


def test_mixed_precision(device):
    on_device.check_bfloat16(device, "mf")


def test_every_method_has_a_bound_of_operations():
    assert set(OPERATIONS) == set(METHODS)


@pytest.mark.parametrize(("name", "values"), on_device.VARIANTS, ids=str)
def test_other_settings(name, values):
    recipe = dataclasses.replace(test_methods.recipe(name), **values)
    with active(own_generator=False) as device:
        on_device.check_recipe(device, name, recipe)


@pytest.mark.parametrize("changes", on_device.OPTIMIZERS, ids=str)
def test_optimizers(changes, device):
    on_device.check_training(device, "mf", **changes)


@pytest.mark.parametrize("kind", on_device.DENOISERS)
def test_denoisers(kind):
    with active(own_generator=kind != "random") as device:
        on_device.check_denoiser(device, kind)


@pytest.mark.parametrize("name", ["mf", "cdae", "simgcl", "sasrec"])
def test_resume_is_exact(name, device, tmp_path):
    """Also for methods that draw random numbers on the device: every step seeds it."""
    on_device.check_resume(device, name, tmp_path)


def test_ranking_equals_that_of_the_cpu(device):
    on_device.check_ranking(pretended_device.DEVICE)


@pytest.mark.parametrize("call", ["lists", "ranks"])
def test_waits_of_ranking_grow_with_the_number_of_blocks_only(call, device):
    """Also with more queries per block, and longer histories."""
    scorer, queries = on_device.factors(pretended_device.DEVICE), on_device.queries()
    ranking.top_k(scorer, queries, 10)  # fills the cache of the order of ties
    counts = []
    for block in (4, 8, 40):
        device.record.clear()
        if call == "lists":
            ranking.top_k(scorer, queries, 10, block=block)
        else:
            ranking.ranks(scorer, queries, on_device.targets(), block=block)
        counts.append(len(device.record.waits))
    assert counts[0] - counts[1] == 5 * (counts[1] - counts[2]) / 4  # 10, 5 and 1 blocks
    per_block = (counts[0] - counts[1]) / 5
    assert 0 < per_block <= 8


def test_validation_waits_no_more_often_for_more_queries(device):
    waits = []
    for users in (4, 4, 20):  # the first one fills the cache of the order of ties
        device.record.clear()
        kept = test_methods.HELD.user < users
        held = HeldOut.of_pairs(test_methods.HELD.take(np.flatnonzero(kept)))
        scorer = on_device.factors(pretended_device.DEVICE, TRAIN.n_users, TRAIN.n_items)
        evaluate(scorer, TRAIN.pairs, held, Evaluation())
        waits.append(len(device.record.waits))
    assert 0 < waits[1] == waits[2]


def test_a_step_that_could_be_captured_as_a_graph(device):
    """The step of `tests/gpu`, whose graph is captured there."""
    for name in ("mf", "lightgcn"):
        step = on_device.gradient_step(name, pretended_device.DEVICE)
        with device.no_wait():
            losses = [float(loss.raw) for loss in (on_device.run_step(*step) for _ in range(3))]
        assert losses[2] < losses[0]


def _faulty(fault: str):
    def loss(self: _MF, batch) -> Terms:
        terms = honest(self, batch)
        if fault == "item":
            terms.pair.sum().item()
        elif fault == "bool":
            assert bool((terms.pair < 1e9).all())
        elif fault == "mask":
            terms.pair[terms.pair > 1e9].sum()
        elif fault == "list":
            batch.user.tolist()
        elif fault == "host":
            batch.user.cpu()
        elif fault == "copy":
            torch.zeros(3).to(batch.user.device)
        elif fault == "literal":
            torch.tensor([1.0], device=batch.user.device)
        elif fault in ("unique", "nonzero", "bincount"):
            getattr(torch, fault)(batch.user)
        elif fault == "repeat":
            torch.repeat_interleave(torch.ones_like(batch.user))
        else:
            terms.pair + torch.zeros(len(batch))
        return terms

    honest = _MF.loss
    return loss


FAULTS = ["item", "bool", "mask", "list", "host", "copy", "literal"]
FAULTS += ["unique", "nonzero", "bincount", "repeat"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_wait_is_noticed_with_its_line(fault, device, monkeypatch):
    monkeypatch.setattr(_MF, "loss", _faulty(fault))
    with pytest.raises(HostWaits, match=r"tests/training/test_pretended_device\.py:\d+"):
        on_device.check_training(device, "mf")


def test_planted_mixed_devices_are_an_error(device, monkeypatch):
    monkeypatch.setattr(_MF, "loss", _faulty("mixed"))
    with pytest.raises(MixedDevices, match="expected all tensors on one device"):
        on_device.check_training(device, "mf")


def test_the_rules_of_the_device(device):
    record = device.record
    x = torch.arange(4.0, device="pretend")
    assert x.device == pretended_device.DEVICE
    assert (x + 1).device == x.device
    record.clear()
    allowed = [x[1:3], x.index_select(0, x.long()), x + torch.tensor(2.0), x.sum(), x.clone()]
    allowed.append(torch.repeat_interleave(x.long(), output_size=6))
    allowed.append(torch.ones(4).to(x.device, non_blocking=True))
    assert not record.waits
    assert all(tensor.device == x.device for tensor in allowed)
    assert record.launched >= 6
    assert torch.ones(3).cpu().device.type == "cpu"
    assert not record.waits
    assert x.cpu().tolist() == [0, 1, 2, 3]
    assert [wait.what for wait in record.waits] == ["copy to the host"]
    with pytest.raises(MixedDevices):
        torch.cat([x, torch.ones(2)])


def test_outside_the_block_nothing_changes():
    x = torch.ones(3, requires_grad=True)
    x.square().sum().backward()
    assert type(x.grad) is torch.Tensor
    assert x.grad.tolist() == [2, 2, 2]
    with active(own_generator=True):
        before = torch.rand(2, generator=torch.Generator().manual_seed(1))
    assert torch.equal(before, torch.rand(2, generator=torch.Generator().manual_seed(1)))
    config = dataclasses.replace(test_methods.CONFIG, epochs=1)
    assert fit(test_methods.recipe("mf"), TRAIN, None, config).scorer.device.type == "cpu"
