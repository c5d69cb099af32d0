"""SIGER against its formulas, node by node and matrix by matrix, as its paper is not available."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from asking import asked
from differences import check_gradients
from oracle import wave
from planted import two_camps

from recsys.config import build, to_dict
from recsys.data.splitting.splits import SplitRule, split
from recsys.data.types import FeatureTable, Interactions
from recsys.errors import InputError
from recsys.models.siger import SIGER, alike, balanced, perturbed, together
from recsys.nn.feature_layers import warm_items
from recsys.nn.graph import mean_layers
from recsys.nn.infonce import info_nce
from recsys.sampling import PairStream, Sampler
from recsys.training.loop import Train, fit

PLANTED, _ = two_camps()
# Without gaps: what becomes of items that lack a modality is told in test_item_graph.
TRAIN = replace(
    PLANTED,
    features={
        name: FeatureTable(table.values, np.ones(41, dtype=bool))
        for name, table in PLANTED.features.items()
    },
)
USERS, ITEMS = TRAIN.n_users, TRAIN.n_items


def start(train=TRAIN, **changes):
    torch.manual_seed(0)
    net = SIGER(**{"dim": 5, "k": 4, "co_k": 3, "share": 0.3} | changes).build(train)
    with torch.no_grad():
        net.nodes.weight.mul_(3)
    return net


def batch_of(net, size=20):
    return next(PairStream(TRAIN.pairs, net.sampler, batch_size=size, seed=0).epoch(0))


def scaled(graph: np.ndarray) -> np.ndarray:
    """w_ij / sqrt(d_i d_j), entry by entry."""
    degree = graph.sum(1)
    out = np.zeros_like(graph)
    for i, j in zip(*graph.nonzero(), strict=True):
        out[i, j] = (
            graph[i, j] / math.sqrt(degree[i] * degree[j]) if degree[i] > 0 and degree[j] > 0 else 0
        )
    return out


def co_occurrence(pairs: Interactions, k: int) -> np.ndarray:
    sets = [set(pairs.user[pairs.item == i].tolist()) for i in range(pairs.n_items)]
    out = np.zeros((pairs.n_items, pairs.n_items))
    for i in range(pairs.n_items):
        value = {}
        for j in range(pairs.n_items):
            both = len(sets[i] & sets[j])
            if i != j and both:
                value[j] = both
        for j in sorted(value, key=lambda j: (-np.float32(value[j]), j))[:k]:
            out[i, j] = value[j]
    return out


def similar(values: torch.Tensor, k: int) -> np.ndarray:
    unit = F.normalize(values).numpy()
    cosine, out = unit @ unit.T, np.zeros((len(unit), len(unit)))
    for i, row in enumerate(cosine):
        for j in sorted(range(len(row)), key=lambda j: -row[j])[:k]:
            out[i, j] = max(row[j], 0)
    return out


@torch.no_grad()
def nodes(net) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]:
    """b, the z of each modality, and z of every node, users first."""
    recipe = net.recipe
    behaviour = mean_layers(net.adjacency, net.nodes.weight, recipe.layers)
    item, content = net.nodes.weight[USERS:], []
    for place, table in enumerate(net.told.tables):
        q = net.told.maps[place](table.values)
        if recipe.semantics == "gated":
            q = item * torch.sigmoid(net.gates[place](q))
        common = scaled(co_occurrence(TRAIN.pairs, recipe.co_k))
        graph = recipe.share * common + (1 - recipe.share) * scaled(similar(table.values, recipe.k))
        z_item = torch.from_numpy(np.linalg.matrix_power(graph, recipe.item_layers)).float() @ q
        content.append(torch.cat([net.adjacency.to_dense()[:USERS, USERS:] @ z_item, z_item]))
    fused = []
    for node in range(USERS + ITEMS):
        z = [part[node] for part in content]
        logits = [float(net.attention(own)) for own in z]
        fused.append(
            sum(
                math.exp(x) / sum(map(math.exp, logits)) * own
                for x, own in zip(logits, z, strict=True)
            )
        )
    return behaviour, content, torch.stack(fused)


def contrast(one: torch.Tensor, other: torch.Tensor, temperature: float) -> float:
    logits = (
        torch.stack([torch.stack([F.cosine_similarity(a, b, dim=0) for b in other]) for a in one])
        / temperature
    )
    return float((logits.exp().sum(1).log() - logits.diagonal()).mean())


def expected_pairs(batch, user: torch.Tensor, item: torch.Tensor) -> list[float]:
    expected = []
    for b in range(len(batch)):
        others = batch.neg.tolist() if batch.shared else batch.neg[b].tolist()
        kept = [j for k, j in enumerate(others) if batch.mask is None or batch.mask[b, k]]
        u, i = int(batch.user[b]), int(batch.pos[b])
        expected.append(
            sum(
                math.log1p(math.exp(float(user[u] @ (item[j] - item[i])))) / len(kept) for j in kept
            )
        )
    return expected


VARIANTS = [
    {},
    {"semantics": "projected", "item_layers": 2, "layers": 1},
    {"item_layers": 0},
    {"sampler": Sampler(negatives=3, pool="shared")},
    {"sampler": Sampler(negatives=3), "share": 1.0},
]


@pytest.mark.parametrize("changes", VARIANTS)
def test_the_loss_is_its_definition(changes):
    """Without noise, whose views are then one."""
    net = start(
        noise=0.0, perturb=0.7, align=0.3, l2=0.2, temperature=0.4, noise_temperature=0.5, **changes
    )
    batch = batch_of(net)
    behaviour, content, fused = nodes(net)
    user, item = torch.split(behaviour + fused, [USERS, ITEMS])
    terms = net.loss(batch)
    assert terms.pair.tolist() == pytest.approx(expected_pairs(batch, user, item), rel=1e-4)
    zeroth = net.nodes.weight.detach()
    rows = torch.cat([batch.user, USERS + batch.pos, USERS + batch.neg.reshape(-1)])
    extra = 0.2 / 2 * float(zeroth[rows].square().sum()) / len(batch)
    for nodes_of in (batch.user, batch.pos + USERS):
        at = nodes_of.unique()
        assert len(at) < len(nodes_of)
        extra += 0.7 * contrast(fused[at], fused[at], 0.5)
        aligned = sum(contrast(behaviour[at], part[at], 0.4) for part in content)
        extra += 0.3 * (aligned + contrast(behaviour[at], fused[at], 0.4))
    assert terms.extra.item() == pytest.approx(extra, rel=1e-4)


@pytest.mark.parametrize(
    "changes",
    [{}, {"semantics": "projected"}],
)
def test_gradients(changes):
    net = start(noise=0.0, perturb=0.5, align=0.5, **changes).double()
    check_gradients(net, batch_of(net))


def test_noise_has_no_gradient():
    rows = torch.randn(6, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(perturbed(rows, 0.5).sum(), rows)
    assert torch.equal(gradient, torch.ones(6, 4))


@pytest.mark.parametrize("changes", VARIANTS[:3])
def test_what_is_ranked_is_what_was_trained(changes, monkeypatch):
    monkeypatch.setattr("recsys.models.siger._BLOCK", 7)
    net = start(new_items="id", **changes)
    behaviour, _, fused = nodes(net)
    scorer = net.scorer()
    assert torch.allclose(torch.cat([scorer.user, scorer.item]), behaviour + fused, atol=1e-5)
    alone = start(new_items="content", **changes).scorer()
    assert torch.allclose(alone.item[:40], scorer.item[:40], atol=1e-6)
    assert torch.allclose(alone.item[40], fused[USERS + 40], atol=1e-5)


def test_co_occurrence():
    rng = np.random.default_rng(0)
    pairs = Interactions(
        rng.integers(12, size=70),
        np.minimum(rng.integers(9, size=70), rng.integers(9, size=70)),
        12,
        10,
    )
    for k in (1, 3, 50):
        assert np.allclose(together(pairs, k).toarray(), co_occurrence(pairs, k), atol=1e-6)


def test_similar_items():
    values = torch.randn(11, 3, generator=torch.Generator().manual_seed(0))
    graph = alike(values, 4)
    assert np.allclose(graph.toarray(), similar(values, 4), atol=1e-6)
    assert np.allclose(balanced(graph).toarray(), scaled(similar(values, 4)), atol=1e-6)


def dense(net) -> list[np.ndarray]:
    return [graph(torch.eye(ITEMS)).numpy() for graph in net.graphs]


def test_the_share_of_who_met_what():
    """A share of 0 is the graph of the modality; a share of 1 is the same graph for all modalities.

    Co-occurrence uses the training pairs only.
    """
    for own, table in zip(dense(start(share=0.0)), start().told.tables, strict=True):
        assert np.allclose(own, scaled(similar(table.values, 4)), atol=1e-6)
    one, other = dense(start(share=1.0))
    assert np.array_equal(one, other)
    assert np.allclose(one, scaled(co_occurrence(TRAIN.pairs, 3)), atol=1e-6)
    assert not one[40].any(), "nobody has met it"
    fewer = TRAIN.with_pairs(TRAIN.pairs.take(np.arange(240)))
    assert not np.array_equal(dense(start(fewer, share=1.0))[0], one)
    assert np.array_equal(dense(start(fewer, share=0.0))[0], dense(start(share=0.0))[0])
    assert all(np.diff(graph.start.numpy()).max() <= 4 + 3 for graph in start().graphs)


def test_without_noise_the_views_are_one():
    net = start(noise=0.0, perturb=1.0, align=0.0, l2=0.0)
    batch = batch_of(net)
    _, _, fused = nodes(net)
    views = [fused[at.unique()] for at in (batch.user, batch.pos + USERS)]
    assert net.loss(batch).extra.item() == pytest.approx(
        sum(float(info_nce(view, view, 0.2)) for view in views), rel=1e-5
    )
    assert (
        start(noise=0.3, perturb=1.0, align=0.0, l2=0.0).loss(batch).extra.item()
        > 1.02 * net.loss(batch).extra.item()
    )


def test_with_one_modality_both_alignments_are_the_same():
    """The only modality is the fusion, so that the objective has its contrast twice."""
    net = start(replace(TRAIN, features={"text": TRAIN.features["text"]}), perturb=0.0, l2=0.0)
    batch = batch_of(net)
    behaviour, (content,), fused = nodes(net)
    assert torch.allclose(content, fused, atol=1e-6)
    contrasts = [
        info_nce(behaviour[at.unique()], content[at.unique()], 0.2)
        for at in (batch.user, batch.pos + USERS)
    ]
    assert net.loss(batch).extra.item() == pytest.approx(0.01 * 2 * float(sum(contrasts)), rel=1e-5)


def test_the_known_value_of_info_nce():
    assert float(info_nce(wave(12, 5, 4), wave(13, 5, 4), 0.2)) == pytest.approx(
        1.44376760, abs=1e-8
    )


def test_the_strength_of_noise():
    torch.manual_seed(0)
    rows = torch.randn(200, 6) * torch.linspace(0.1, 5, 200)[:, None]
    rows[0, :3] = 0
    moved = perturbed(rows, 0.25) - rows
    assert torch.allclose(moved.norm(dim=1), 0.25 * rows.norm(dim=1), rtol=1e-3, atol=1e-5)
    assert ((moved * rows) >= 0).all()
    assert not moved[0, :3].any()
    assert not torch.equal(moved, perturbed(rows, 0.25) - rows), "each call draws"


def test_terms_may_be_left_out():
    net = start(l2=0.0, perturb=0.0, align=0.0)
    assert net.loss(batch_of(net)).extra.item() == 0
    assert not any("tables" in name for name, _ in net.named_parameters())
    assert any("tables" in name for name, _ in start(train_features=True).named_parameters())


@pytest.mark.parametrize("semantics", ["gated", "projected"])
def test_users_like_the_new_items_of_their_camp(semantics):
    train = split(two_camps(users=120)[0], SplitRule(by="new-item")).train
    new = np.flatnonzero(~warm_items(train))
    scorer = fit(
        SIGER(dim=8, semantics=semantics),
        train,
        None,
        Train(epochs=6, batch_size=64, lr=0.03, device="cpu"),
    ).scorer
    scores, even, odd = (
        scorer.score(asked(torch.arange(120))).numpy(),
        new[new % 2 == 0],
        new[new % 2 == 1],
    )
    right = (
        scores[::2][:, even].mean(1) > scores[::2][:, odd].mean(1),
        scores[1::2][:, odd].mean(1) > scores[1::2][:, even].mean(1),
    )
    assert np.mean(right) > 0.95, "popularity knows nothing of them: a half"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"semantics": "projected", "item_layers": 0},
    ],
)
def test_mixed_precision(changes):
    done = fit(
        SIGER(dim=8, **changes),
        TRAIN,
        None,
        Train(epochs=1, batch_size=64, device="cpu", precision="bfloat16"),
    )
    assert torch.isfinite(done.scorer.item).all()


def test_it_needs_negatives():
    with pytest.raises(InputError, match="compares with negatives"):
        SIGER(sampler=Sampler(negatives=0))


RETIRED = {
    "weights": ("similarity", "one"),
    "together": ("count", "jaccard"),
    "symmetric": ("none", "max"),
    "fusion": ("attention", "mean"),
    "direction": ("orthant", "gaussian"),
    "strength": ("modulus", "constant"),
    "view": ("fused", "final"),
    "anchor": ("each", "joint"),
    "anchor_constant": (False, True),
    "distinct_nodes": (True, False),
}


@pytest.mark.parametrize("key", RETIRED)
def test_saved_runs_with_removed_settings_still_open(key):
    kept, removed = RETIRED[key]
    assert build(SIGER, {"dim": 8, key: kept}) == SIGER(dim=8)
    assert key not in to_dict(SIGER())
    with pytest.raises(InputError, match=f"{key} was removed from siger"):
        build(SIGER, {key: removed})


def test_other_unknown_settings_are_refused():
    with pytest.raises(InputError, match="unknown key 'weigths'"):
        build(SIGER, {"weigths": "similarity"})
