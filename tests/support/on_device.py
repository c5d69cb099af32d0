"""Check trainings on an accelerator; the pretended device and CUDA share these checks."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
import test_methods
import torch
from asking import asked

from recsys import ranking
from recsys.data.query import Queries
from recsys.nn.denoise import Denoise
from recsys.nn.losses import Loss
from recsys.sampling import Sampler
from recsys.scorer import Factors, Scorer
from recsys.training.loop import Fitted, Train, fit
from recsys.training.progress import Event, StepDone

TRAIN = test_methods.TRAIN
NETWORKS = test_methods.NETWORKS
# Methods that call a kernel of torch which exists for CUDA only, so no other device can pretend.
CUDA_ONLY = {"gru4rec"}
# Methods that draw random numbers on the device. They equal the CPU in distribution only.
DRAW_ON_DEVICE = {
    "bert4rec",
    "bm3",
    "cdae",
    "clcrec",
    "dropoutnet",
    "gru4rec",
    "heater",
    "hstu",
    "multvae",
    "sasrec",
    "siger",
    "simgcl",
    "simplex",
    "xsimgcl",
}
# The settings without which they draw other numbers, or more of them, than on the CPU.
MORE_LIKE_ON_CPU: dict[str, dict[str, Any]] = {
    "bert4rec": {"dropout": 0.0},
    "bm3": {"dropout": 0.0},
    "hstu": {"dropout": 0.0},
    "sasrec": {"dropout": 0.0},
    "siger": {"perturb": 0.0},
}
# A bias before a normalisation, or of keys, has a gradient of rounding errors only. Adam divides it
# by its own size, so these methods are compared with an optimiser that does not.
WITH_SGD = {"bert4rec", "heater", "sasrec"}
# The settings without which a method draws no random number on the device.
WITHOUT_DRAWS: dict[str, dict[str, Any]] = MORE_LIKE_ON_CPU | {
    "cdae": {"dropout": 0.0},
    "clcrec": {"mixed": 1.0},
    "dropoutnet": {"dropout": 0.0},
    "heater": {"mixed": 1.0},
    "simgcl": {"eps": 0.0},
    "xsimgcl": {"eps": 0.0},
    "simplex": {"dropout": 0.0},
}
ALWAYS_DRAW = {"multvae"}
OPTIMIZERS: list[dict[str, Any]] = [
    {"optimizer": "adamw", "weight_decay": 0.01},
    {"optimizer": "adagrad"},
    {"optimizer": "sgd"},
    {"rows": "touched"},
    {"rows": "touched", "optimizer": "adagrad"},
    {"rows": "touched", "optimizer": "sgd"},
    {"rows": "touched", "clip": 0.1, "schedule": "cosine", "warmup": 3},
    {"clip": 0.1},
]
# Settings that run other code than the defaults.
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("mf", {"sampler": Sampler(pool="shared", negatives=16, strict=True)}),
    ("mf", {"sampler": Sampler(pool="all")}),
    ("mf", {"sampler": Sampler(pool="in-batch")}),
    ("mf", {"sampler": Sampler(pool="mixed", negatives=16, proposal="popularity")}),
    ("mf", {"sampler": Sampler(negatives=4, unit="triplet", items="warm")}),
    ("mf", {"sampler": Sampler(negatives=8), "loss": Loss(reduce="hardest")}),
    ("mf", {"sampler": Sampler(negatives=8), "loss": Loss(kind="softmax")}),
    ("mf", {"similarity": "cosine", "item_bias": True}),
    ("lightgcn", {"sampler": Sampler(negatives=4), "mix": True}),
    ("directau", {"layers": 2}),
    ("deca", {"layers": 2}),
    ("dpcml", {"assign": "adaptive"}),
    ("sfcml", {"form": "dense", "decay": "table"}),
    ("simplex", {"aggregate": "user"}),
    ("simplex", {"aggregate": "self"}),
    ("bm3", {"dropout": 0.0, "new_items": "content", "train_features": False}),
]
DENOISERS = ("watch", "random", "rare", "tce", "rce", "dcf")


class Device(Protocol):
    """An accelerator to train on."""

    name: str

    def no_wait(self) -> contextlib.AbstractContextManager[None]:
        """Raise an error if the host waits for the device in the block."""
        ...


def config_of(name: str, device: str, **changes: Any) -> Train:
    """Return the settings of one epoch of four or five steps."""
    config = test_methods.config(name)
    config = dataclasses.replace(config, batch_size=2 * config.batch_size)
    if test_methods.network(name).stream.of == "histories":
        config = dataclasses.replace(config, batch_size=96)  # of positions
    return dataclasses.replace(config, **{"epochs": 1, "device": device} | changes)


def steps_of(name: str) -> int:
    """Return the number of steps of an epoch."""
    config = config_of(name, "cpu")
    stream = test_methods.network(name).stream
    return len(stream.open(TRAIN, batch_size=config.batch_size, seed=0))


def trained(
    device: Device, recipe: Any, config: Train, train: Any = TRAIN, **options: Any
) -> Fitted:
    """Train on a device, and refuse a wait between the end of an epoch's first step and its last.

    The first step allocates the state of the optimisers; the end of an epoch reads the loss.
    """
    block = contextlib.ExitStack()

    def watch(event: Event) -> None:
        if not isinstance(event, StepDone):
            return
        if event.step == event.steps:
            block.close()
        elif event.step == 1:
            block.enter_context(device.no_wait())

    with block:
        return fit(recipe, train, None, config, watch=watch, **options)


def on_host(scorer: Scorer) -> dict[str, np.ndarray]:
    """Return the tensors of a scorer as arrays."""
    return {name: tensor.cpu().numpy() for name, tensor in scorer.state()[0].items()}


def scores_of(scorer: Scorer) -> np.ndarray:
    users = torch.arange(scorer.n_users)
    return scorer.score(asked(users)).cpu().numpy()


def check_training(device: Device, name: str, rtol: float = 1e-4, **changes: Any) -> None:
    """Compare loss and tables of one epoch with those of the CPU."""
    recipe = dataclasses.replace(test_methods.recipe(name), **MORE_LIKE_ON_CPU.get(name, {}))
    if name in WITH_SGD:
        changes = {"optimizer": "sgd"} | changes
    check_recipe(device, name, recipe, rtol, **changes)


def check_quiet(device: Device, name: str, rtol: float = 1e-4) -> None:
    """Compare a training without random numbers of the device with that of the CPU."""
    recipe = dataclasses.replace(test_methods.recipe(name), **WITHOUT_DRAWS.get(name, {}))
    changes = {"optimizer": "sgd"} if name in WITH_SGD else {}
    check_recipe(device, name, recipe, rtol, **changes)


def check_bfloat16(device: Device, name: str) -> None:
    """Compare an epoch in mixed precision with one in single precision."""
    recipe = dataclasses.replace(test_methods.recipe(name), **WITHOUT_DRAWS.get(name, {}))
    expected = fit(recipe, TRAIN, None, config_of(name, "cpu")).history[0].loss
    config = config_of(name, device.name, precision="bfloat16")
    mixed = trained(device, recipe, config).history[0].loss
    assert math.isclose(expected or 0.0, mixed or 0.0, rel_tol=0.05)


def check_compiled(device: Device, name: str) -> None:
    """Compare an epoch of a compiled loss with that of the CPU."""
    recipe = dataclasses.replace(test_methods.recipe(name), **WITHOUT_DRAWS.get(name, {}))
    expected = fit(recipe, TRAIN, None, config_of(name, "cpu")).history[0].loss
    config = config_of(name, device.name, compile=True)
    compiled = fit(recipe, TRAIN, None, config).history[0].loss
    assert math.isclose(expected or 0.0, compiled or 0.0, rel_tol=1e-3)


def check_recipe(
    device: Device, name: str, recipe: Any, rtol: float = 1e-4, **changes: Any
) -> None:
    expected = fit(recipe, TRAIN, None, config_of(name, "cpu", **changes))
    result = trained(device, recipe, config_of(name, device.name, **changes))
    one, other = expected.history[0], result.history[0]
    assert one.loss is not None
    assert other.loss is not None
    assert math.isclose(one.loss, other.loss, rel_tol=rtol, abs_tol=1e-6)
    assert one.denoise == other.denoise or _close(one.denoise, other.denoise)
    tables = on_host(result.scorer)
    for key, before in on_host(expected.scorer).items():
        assert np.allclose(tables[key], before, rtol=10 * rtol, atol=10 * rtol), key


def _close(one: Any, other: Any) -> bool:
    return one.keys() == other.keys() and all(
        one[key] == other[key] or math.isclose(one[key], other[key], rel_tol=1e-4) for key in one
    )


def check_denoiser(device: Device, kind: str, **changes: Any) -> None:
    """Compare a training with a denoiser with that of the CPU."""
    recipe = dataclasses.replace(test_methods.recipe("gmf"), loss=Loss(kind="bce", reduce="each"))
    denoise = (
        Denoise(kind=kind, ramp=2)
        if kind in ("random", "rare", "tce", "dcf")
        else (Denoise(kind=kind))
    )
    check_recipe(device, "gmf", recipe, denoise=denoise, **changes)


def check_resume(device: Device, name: str, folder: Path) -> None:
    """Check that a training that is stopped within an epoch and resumed has the same bytes."""
    recipe = test_methods.recipe(name)
    config = config_of(name, device.name, epochs=2, checkpoint_seconds=0.0)
    whole = fit(recipe, TRAIN, None, config)

    def stop(event: Event) -> None:
        if isinstance(event, StepDone) and (event.epoch, event.step) == (1, 2):
            raise InterruptedError

    with contextlib.suppress(InterruptedError):
        fit(recipe, TRAIN, None, config, folder=folder, watch=stop)
    assert not (folder / "scorer.safetensors").exists()
    resumed = fit(recipe, TRAIN, None, config, folder=folder, resume=True)
    assert [entry.loss for entry in resumed.history] == [entry.loss for entry in whole.history]
    tables = on_host(resumed.scorer)
    for key, table in on_host(whole.scorer).items():
        assert table.tobytes() == tables[key].tobytes(), key


def factors(device: torch.device | str, users: int = 40, items: int = 300) -> Factors:
    """Return a scorer with scores that are seldom equal."""
    draw = torch.Generator().manual_seed(3)
    user, item = (torch.randn(n, 8, generator=draw) for n in (users, items))
    return Factors(user.to(device), item.to(device))


def queries(users: int = 40, items: int = 300) -> Queries:
    draw = np.random.default_rng(4)
    seen = sp.csr_matrix(draw.random((users, items)) < 0.05)
    return asked(np.arange(users), seen)


def targets(users: int = 40, items: int = 300) -> sp.csr_matrix:
    draw = np.random.default_rng(5)
    return sp.csr_matrix((draw.random((users, items)) < 0.03).astype(np.float32))


def check_ranking(device: torch.device | str, atol: float = 1e-5) -> None:
    """Compare lists and ranks with those of the CPU; only items with close scores may change."""
    here, there = factors("cpu"), factors(device)
    one = ranking.top_k(here, queries(), 10, block=16)
    other = ranking.top_k(there, queries(), 10, block=16)
    assert np.allclose(one.score, other.score, atol=atol)
    scores = scores_of(here)
    rows, places = np.nonzero(one.item != other.item)
    for row, place in zip(rows, places, strict=True):
        values = scores[row, [one.item[row, place], other.item[row, place]]]
        assert abs(values[0] - values[1]) <= atol
    first = ranking.ranks(here, queries(), targets(), block=16)
    second = ranking.ranks(there, queries(), targets(), block=16)
    assert np.array_equal(first.candidates, second.candidates)
    # A rank moves by the number of items whose score is that close.
    owner = np.repeat(np.arange(len(queries())), np.diff(first.indptr))
    for row in np.unique(owner):
        values = np.sort(scores[row])
        close = int((np.diff(values) <= atol).sum())
        assert np.abs(first.rank[owner == row] - second.rank[owner == row]).max() <= close


def gradient_step(name: str, device: torch.device | str) -> tuple[Any, Any, Any]:
    """Return a network, its optimiser and a batch on a device, for a step without `Learner`."""
    network = test_methods.network(name).to(device)
    network.train()
    stream = network.stream.open(TRAIN, batch_size=64, seed=0, device=device)
    capturable = torch.device(device).type == "cuda"
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01, fused=True, capturable=capturable)
    return network, optimizer, next(stream.epoch(0))


def run_step(network: Any, optimizer: Any, batch: Any) -> torch.Tensor:
    """Do one step; its kernels can be captured as a graph."""
    optimizer.zero_grad(set_to_none=False)
    loss = network.loss(batch).total()
    loss.backward()
    optimizer.step()
    return loss.detach()


@contextlib.contextmanager
def patched(target: Any, **values: Any) -> Iterator[None]:
    """Replace attributes of a module within the block."""
    before = {name: getattr(target, name) for name in values}
    for name, value in values.items():
        setattr(target, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(target, name, value)
