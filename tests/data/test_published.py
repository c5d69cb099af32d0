"""Defaults of every method, copied from the sources that its file names, and fixed buffers."""

from __future__ import annotations

import dataclasses
from operator import attrgetter
from typing import Any

import pytest
import scipy.stats
import torch
from planted import two_camps

from recsys import models
from recsys.models import Network
from recsys.models.bm3 import BM3
from recsys.models.deca import DeCA
from recsys.models.freedom import FREEDOM
from recsys.models.lattice import LATTICE
from recsys.models.mgcn import MGCN
from recsys.models.milk import MILK, environments
from recsys.models.siger import SIGER

TRAIN, _ = two_camps()

BPR = {"loss.kind": "bpr", "loss.reduce": "each", "sampler.negatives": 1, "sampler.pool": "own"}
BCE = {"loss.kind": "bce", "loss.reduce": "each", "sampler.negatives": 1, "sampler.pool": "own"}
HINGE = {"loss.kind": "hinge", "loss.margin": 1.0, "sampler.negatives": 10}
IALS = {"unobserved": 0.1, "l2": 0.003, "nu": 1.0, "sweeps": 16, "init_std": 0.1}
TOWERS = {"hidden": (200, 100)} | {f"preference.{key}": value for key, value in IALS.items()}

# Settings by dotted path. What a line leaves out is ours (a seed, a block) or has no published
# value.
PUBLISHED: dict[str, dict[str, Any]] = {
    "blend": {"share": 0.5, "scale": "zscore"},
    "bert4rec": {"blocks": 2, "heads": 2, "width": 4, "masked": 0.2, "loss": "softmax"},
    "bm3": {"layers": 1, "dropout": 0.5, "content": 2.0, "l2": 0.1, "norms": "released"}
    | {"train_features": True, "new_items": "id"},
    "cdae": BCE | {"dim": 32, "dropout": 0.5, "normalise": True},
    "clcrec": {"hidden": 256, "share": 0.5, "mixed": 0.5, "temperature": 2.0, "l2": 0.1}
    | {"user_temperature": 2.0, "sampler.negatives": 128, "negatives_from": "warm"},
    "cml": HINGE
    | {"loss.reduce": "warp", "second_stage": 0, "covariance.weight": 0.0, "content.weight": 0.0}
    | {"content.hidden": 256, "content.dropout": 0.5, "radius": 1.0}
    | {"user_space": "ball", "item_space": "ball"},
    "contentknn": {"k": 50, "centre": True},
    "copurchase": {"weighting": "share", "least": 1},
    "cpe": {"margin": 1.2, "reduce": "each", "sampler.negatives": 30, "covariance": 0.0}
    | {"radius": 1.0},
    "deca": {"dim": 32, "alpha": 0.5, "c1": 1000.0, "c2": 10.0, "init_std": 0.01, "l2": 0.0}
    | {"sampler.negatives": 1, "pretrain": 0, "target": "mf", "layers": 0},
    "directau": {"gamma": 1.0, "layers": 0, "l2": 1e-6},
    "dpcml": HINGE
    | {"vectors": 5, "assign": "basic", "loss.reduce": "hardest", "user_std": 0.01}
    | {"diversity.weight": 10.0, "diversity.low": 0.05, "diversity.high": 0.25}
    | {"diversity.form": "released", "user_space": "sphere", "item_space": "ball"}
    | {"growth": "log2", "rounding": "floor", "gamma": "closed"},
    "dropoutnet": TOWERS | {"dropout": 0.5, "sampler.negatives": 1},
    "dual": {"rank": "in-out", "subsample": 1e-3, "augment": "none"},
    "duif": BPR | {"l2": 1e-4, "scale": "row", "init_std": 0.1},
    "ease": {"l2": 200.0},
    "fallback": {"calibrate": "moments", "advantage": 0.0},
    "freedom": BPR | {"layers": 2, "k": 10, "prune": 0.8, "content": 1e-3, "train_features": True},
    "fpmc": BPR | {"last": 1, "init_std": 0.01},
    "gfcf": {"rank": 256, "low_pass": 0.3},
    "gmf": BCE | {"dim": 32, "init_std": 0.01, "l2": 0.0},
    "gnn": BPR | {"convolution": "sage", "dim": 64, "layers": 2, "combine": "mean", "dropout": 0.0},
    "gru4rec": {"length": 50, "layers": 1, "constrained": True, "sampler.pool": "shared"},
    "heater": TOWERS | {"experts": 5, "gate": "tanh", "mixed": 0.5, "likeness": 1.0},
    "hstu": {"similarity": "cosine", "temperature": 0.05, "times": "auto", "dim": 64},
    "ials": IALS | {"dim": 128},
    "itemknn": {"k": 200, "weighting": "cosine", "shrink": 0.0, "k1": 1.2, "b": 0.75}
    | {"user_power": 0.0, "history_power": 0.5, "target_power": 0.5},
    "lattice": BPR | {"layers": 2, "k": 10, "keep": 0.9, "l2": 1e-4, "train_features": True},
    "lightgcn": BPR | {"dim": 64, "layers": 3, "l2": 1e-4, "init_std": 0.1, "mix": False},
    "lrml": HINGE | {"memories": 20, "loss.reduce": "each", "radius": 1.0},
    "m2f": {"loss.kind": "square", "loss.reduce": "each", "sampler.negatives": 4, "vectors": 3}
    | {"weights": False, "diversity.weight": 0.0},
    "mf": BPR | {"l2": 1e-4, "init_std": 0.1, "similarity": "dot", "item_bias": False},
    "mgcn": BPR
    | {"layers": 2, "k": 10, "contrast": 0.01, "temperature": 0.2, "l2": 1e-4}
    | {"train_features": True},
    "milk": BPR
    | {"alpha": 0.1, "invariance": 50.0, "alignment": 0.05, "mixing": "cyclic", "over": "sum"}
    | {"l2": 1e-4, "scale": "row", "negatives_from": "warm", "init_std": 0.1},
    "markov": {"gap": 1, "last": 1, "weighting": "div"},
    "multvae": {"dim": 200, "hidden": 600, "dropout": 0.5, "kl": 0.2, "anneal": 200_000},
    "nbpo": {"variant": "nbpo", "dim": 50, "flip_dim": 50, "l2": 1.0, "flip_l2": 5.0}
    | {"sampler.negatives": 4},
    "neumf": BCE | {"dim": 32, "depth": 3, "dropout": 0.0, "init_std": 0.01, "l2": 0.0},
    "popular": {},
    "sfcml": {"margin": 2.0, "radius": 1.0, "user_space": "sphere", "l2": 0.0, "decay": "batch"},
    "siger": BPR
    | {"layers": 2, "item_layers": 1, "k": 10, "co_k": 10, "share": 0.5, "perturb": 0.01}
    | {"noise": 0.1, "align": 0.01, "temperature": 0.2, "noise_temperature": 0.2, "l2": 1e-4}
    | {"train_features": False},
    "simgcl": BPR | {"layers": 3, "contrast": 0.5, "temperature": 0.2, "eps": 0.1, "l2": 1e-4},
    "simplex": {"own": 0.5, "aggregate": "mean", "history": 500, "dropout": 0.1, "l2": 1e-6}
    | {"loss.kind": "ccl", "loss.margin": 0.4, "loss.weight": 300.0, "init_std": 1e-4}
    | {"sampler.negatives": 1000, "sampler.pool": "shared"},
    "ultragcn": {"weights": (1e-8, 1.0, 1e-8, 1.0), "negative_weight": 300.0, "l2": 1e-4}
    | {"item_weight": 5e-4, "neighbours": 10, "itself": True, "init_std": 1e-4}
    | {"sampler.negatives": 800, "sampler.pool": "shared", "sampler.reject": False},
    "sasrec": {"length": 50, "variant": "original", "dim": 64, "sampler.pool": "shared"},
    "sknn": {"similarity.kind": "position", "similarity.weighting": "div"},
    "userknn": {"k": 200, "weighting": "cosine", "shrink": 0.0, "k1": 1.2, "b": 0.75}
    | {"item_power": 0.0, "own_power": 0.5, "neighbour_power": 0.5, "target_power": 0.0},
    "vbpr": BPR | {"l2": 0.1, "norms": "released", "new_items": "id", "item_bias": False},
    "xsimgcl": BPR
    | {"layers": 3, "contrast_layer": 1, "contrast": 0.2, "temperature": 0.15, "eps": 0.2}
    | {"l2": 1e-4},
}

# The parameters that a network has, by what they belong to. What is not here is data, a teacher or
# a graph, and stays as it is.
TOWER = {"user.maps", "user.norms", "user.out", "item.maps", "item.norms", "item.out"}
READ = {"nodes", "told.maps", "told.tables"}
LEARNS: dict[str, set[str]] = {
    "bert4rec": {"item", "mask", "encoder.position"}
    | {"encoder.blocks", "encoder.blocks.norm", "encoder.blocks.head"},
    "bm3": READ | {"predict"},
    "cdae": {"bias", "hidden_bias", "input", "output", "user"},
    "clcrec": {"user", "item", "told"},
    "cml": {"user", "item"},
    "cpe": {"user", "item"},
    "deca": {f"{part}.nodes" for part in ("target", "auxiliary")}
    | {"false_positive.nodes", "true_positive.nodes"},
    "directau": {"user", "item"},
    "dpcml": {"user", "item"},
    "dropoutnet": TOWER,
    "dual": {"first", "second"},
    "duif": {"user", "map"},
    "freedom": READ,
    "fpmc": {"user", "previous", "item"},
    "gmf": {"user", "item", "output", "bias"},
    "gnn": {"nodes", "convolutions"},
    "gru4rec": {"item", "encoder.layers"},
    "heater": TOWER | {"experts.gate", "experts.maps"},
    "hstu": {"item", "encoder.blocks"} | {f"encoder.biases.{block}:position" for block in range(2)},
    "lattice": READ | {"mix"},
    "lightgcn": {"nodes"},
    "lrml": {"user", "item", "key", "memory"},
    "m2f": {"user", "item"},
    "mf": {"user", "item"},
    "mgcn": READ | {"answer", "ask", "gates", "own_gates"},
    "milk": {"user", "maps"},
    "sasrec": {"item", "encoder.position", "encoder.blocks", "encoder.blocks.norm"},
    "multvae": {"input", "input_bias", "to_z", "from_z", "output"},
    "nbpo": {"user", "item", "flip_user", "flip_item"},
    "neumf": {"user", "item", "tower", "output", "bias"},
    "sfcml": {"user", "item"},
    "siger": {"nodes", "told.maps", "gates", "attention"},
    "simgcl": {"nodes"},
    "simplex": {"user", "item", "value"},
    "ultragcn": {"user", "item"},
    "vbpr": {"user", "item", "map"},
    "xsimgcl": {"nodes"},
}
# Buffers that follow the course of training on purpose.
COUNTED = ("running_mean", "running_var", "num_batches_tracked", "updates")


def owner(name: str) -> str:
    """What a parameter belongs to: the dotted name up to its number or its kind."""
    parts = []
    for part in name.split("."):
        if part.isdigit() or part in ("weight", "bias", "learned"):
            break
        parts.append(part)
    return ".".join(parts) or name


def small(name: str) -> Any:
    kind = models.recipe(name)
    sizes = {"dim": 8, "hidden": 16 if name in ("clcrec", "multvae") else None}
    known = {field.name for field in dataclasses.fields(kind)}
    return kind(**{key: value for key, value in sizes.items() if value and key in known})


def test_every_method_is_listed():
    assert set(PUBLISHED) == set(models.names())


@pytest.mark.parametrize("name", models.names())
def test_the_defaults_are_those_of_the_sources(name):
    recipe = models.recipe(name)()
    for path, value in PUBLISHED[name].items():
        assert attrgetter(path)(recipe) == value, path


def test_every_network_is_listed():
    networks = {name for name in models.names() if isinstance(small(name).build(TRAIN), Network)}
    assert set(LEARNS) == networks


@pytest.mark.parametrize("name", sorted(LEARNS))
def test_nothing_learns_but_what_should(name):
    """No hidden learning: of all buffers only counts and batch moments change."""
    torch.manual_seed(0)
    net = small(name).build(TRAIN)
    assert {owner(parameter) for parameter, _ in net.named_parameters()} == LEARNS[name]
    # LATTICE keeps the item graph of its features, which do learn, in buffers.
    graph = ("learned_neighbours", "weight") if name == "lattice" else ()
    before = {
        key: value.clone()
        for key, value in net.named_buffers()
        if not key.endswith(COUNTED) and key not in graph
    }
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    batches = net.stream.open(TRAIN, batch_size=30, seed=0)
    net.train()
    for _, batch in zip(range(3), batches.epoch(0), strict=False):
        optimizer.zero_grad()
        net.loss(batch).total().backward()
        optimizer.step()
        net.constrain(batch)
    after = dict(net.named_buffers())
    for key, value in before.items():
        kept = after[key]
        assert torch.equal(kept.to_dense(), value.to_dense()), key


@pytest.mark.parametrize("kind", [BM3, FREEDOM, LATTICE, MGCN, SIGER])
@pytest.mark.parametrize("train", [True, False])
def test_feature_tables_learn_where_it_is_asked(kind, train):
    names = {owner(name) for name, _ in kind(train_features=train).build(TRAIN).named_parameters()}
    assert ("told.tables" in names) == train


def test_features_of_milk_are_what_was_given():
    """Rows of length 1 before training and after, for the scorer too."""
    torch.manual_seed(0)
    net = MILK(dim=4, impute="zero").build(TRAIN)
    rows = {name: torch.from_numpy(t.values).float() for name, t in TRAIN.features.items()}
    present = {name: torch.from_numpy(t.present) for name, t in TRAIN.features.items()}
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    for batch in net.stream.open(TRAIN, batch_size=30, seed=0).epoch(0):
        optimizer.zero_grad()
        net.loss(batch).total().backward()
        optimizer.step()
    for name, table in zip(rows, net.tables, strict=True):
        given = torch.nn.functional.normalize(rows[name]) * present[name][:, None]
        assert torch.allclose(table.values, given, atol=1e-6)
        assert not table.values.requires_grad


def test_by_default_one_modality_of_milk_has_nearly_all_the_weight():
    """The larger of two Dirichlet(0.1, 0.1) weights is above 0.9 in 0.81 of the draws.

    With alpha 0.2 it is 0.67, with alpha 1 it is 0.2.
    """
    torch.manual_seed(0)
    most = torch.stack([environments(MILK().alpha, 2)[1].max() for _ in range(2000)])
    share = {alpha: 2 * scipy.stats.beta(alpha, alpha).sf(0.9) for alpha in (0.1, 0.2, 1.0)}
    assert float((most > 0.9).double().mean()) == pytest.approx(share[0.1], abs=0.03)
    assert share[0.2] < share[0.1] - 0.1
    assert share[1.0] == pytest.approx(0.2)


@pytest.mark.parametrize("pretrain", [0, 2])
def test_a_ready_teacher_of_deca_does_not_learn(pretrain):
    """The auxiliary model has a gradient while the target learns only without `pretrain`."""
    torch.manual_seed(0)
    net = DeCA(dim=4, pretrain=pretrain, init_std=0.5, l2=0.3).build(TRAIN)
    for batch in net.stream.open(TRAIN, batch_size=30, seed=0).epoch(2):
        net.loss(batch).total().backward()
    gradient = net.auxiliary.nodes.weight.grad
    assert (gradient is None or not gradient.any()) == (pretrain == 2)
