"""Training and ranking on a CUDA device: `make gpu`, see docs/devices.md.

The checks are those of `on_device`, which the pretended device runs too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator

import on_device
import pytest
import test_methods
import torch
from on_device import NETWORKS, TRAIN

from recsys.training.loop import fit

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


class Cuda:
    """The first CUDA device."""

    name = "cuda"

    @contextlib.contextmanager
    def no_wait(self) -> Iterator[None]:
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)


@pytest.fixture
def device() -> Cuda:
    return Cuda()


@pytest.fixture
def in_a_fixed_order() -> Iterator[None]:
    """Sums of gradients in the same order each time; torch warns where it has no such kernel."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@pytest.mark.parametrize("name", NETWORKS)
def test_an_epoch_never_waits(name, device):
    on_device.trained(device, test_methods.recipe(name), on_device.config_of(name, "cuda"))


@pytest.mark.parametrize("name", NETWORKS)
def test_an_epoch_equals_that_of_the_cpu(name, device):
    """Without random numbers of the device; those of MultVAE cannot be switched off."""
    if name in on_device.ALWAYS_DRAW:
        config = on_device.config_of(name, "cpu", epochs=3)
        recipe = test_methods.recipe(name)
        one = fit(recipe, TRAIN, None, config).history[-1].loss
        other = fit(recipe, TRAIN, None, dataclasses.replace(config, device="cuda"))
        assert math.isclose(one or 0.0, other.history[-1].loss or 0.0, rel_tol=0.2)
        return
    on_device.check_quiet(device, name, rtol=1e-3)


@pytest.mark.parametrize(("name", "values"), on_device.VARIANTS, ids=str)
def test_other_settings(name, values, device):
    if "mix" in values:
        pytest.skip("mixes negatives by random numbers of the device")
    quiet = on_device.WITHOUT_DRAWS.get(name, {}) | values
    recipe = dataclasses.replace(test_methods.recipe(name), **quiet)
    on_device.check_recipe(device, name, recipe, rtol=1e-3)


@pytest.mark.parametrize("changes", on_device.OPTIMIZERS, ids=str)
def test_optimizers(changes, device):
    on_device.check_training(device, "mf", rtol=1e-3, **changes)


@pytest.mark.parametrize("kind", [kind for kind in on_device.DENOISERS if kind != "random"])
def test_denoisers(kind, device):
    on_device.check_denoiser(device, kind)


@pytest.mark.filterwarnings("ignore:.*deterministic.*")
@pytest.mark.parametrize("name", NETWORKS)
def test_resume_is_exact(name, device, in_a_fixed_order, tmp_path):
    on_device.check_resume(device, name, tmp_path)


def test_ranking_equals_that_of_the_cpu():
    on_device.check_ranking("cuda")


@pytest.mark.parametrize("name", ["mf", "lightgcn", "dpcml", "bm3"])
def test_bfloat16(name, device):
    on_device.check_bfloat16(device, name)


@pytest.mark.filterwarnings("ignore")  # of torch's own compiler
@pytest.mark.parametrize("name", ["mf", "dpcml", "lightgcn"])
def test_a_compiled_loss(name, device):
    on_device.check_compiled(device, name)


@pytest.mark.parametrize("name", ["mf", "lightgcn", "dpcml"])
def test_a_step_is_captured_as_a_graph(name):
    """Three replays change the weights as three steps do."""
    eager = on_device.gradient_step(name, "cuda")
    captured = on_device.gradient_step(name, "cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # allocates gradients and the state of the optimiser
        on_device.run_step(*captured)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = on_device.run_step(*captured)
    losses = []
    for _ in range(3):
        graph.replay()
        losses.append(float(loss))
    expected = [float(on_device.run_step(*eager)) for _ in range(4)][1:]
    assert losses == pytest.approx(expected, rel=1e-3)
    for one, other in zip(eager[0].parameters(), captured[0].parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-2, atol=1e-3)
