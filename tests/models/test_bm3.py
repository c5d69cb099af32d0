"""BM3 against known values, a loop over pairs, and finite differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from asking import asked
from differences import check_gradients
from oracle import set_to, three_by_four, wave
from planted import two_camps

from recsys.data.types import Dataset, FeatureTable, Interactions, Vocab
from recsys.errors import InputError
from recsys.models.bm3 import BM3, readout_rows
from recsys.nn.feature_layers import Table
from recsys.nn.graph import mean_layers
from recsys.sampling import Batch, PairStream
from recsys.training.loop import Train, fit

TRAIN, _ = two_camps()


def pairs_of(*pairs: tuple[int, int]) -> Batch:
    user, item = torch.tensor(pairs).T
    return Batch(
        torch.arange(len(user)),
        user,
        item,
        torch.empty(len(user), 0, dtype=torch.int64),
        None,
        None,
        0,
        0,
    )


def known(layers: int, **changes):
    """The network of the oracle, in double precision."""
    net = (
        BM3(**{"dim": 4, "layers": layers, "dropout": 0.0, "l2": 0.1} | changes)
        .build(three_by_four())
        .double()
    )
    set_to({net.nodes.weight: torch.cat([wave(1, 3, 4), wave(2, 4, 4)])})
    for table, linear, seeds, width in zip(
        net.told.tables, net.told.maps, ((3, 5, 6), (4, 7, 8)), (5, 3), strict=True
    ):
        set_to(
            {
                table.values: wave(seeds[0], 4, width),
                linear.weight: wave(seeds[1], 4, width),
                linear.bias: wave(seeds[2], 4),
            }
        )
    set_to({net.predict.weight: wave(9, 4, 4), net.predict.bias: wave(10, 4)})
    net.adjacency = net.adjacency.to_dense()
    net.adjacency = torch.where(
        net.adjacency > 0, (net.adjacency**-2).round() ** -0.5, 0.0
    ).to_sparse_csr()  # float32 is too coarse for the norms
    return net


def start(train: Dataset = TRAIN, **changes):
    torch.manual_seed(0)
    return BM3(**{"dim": 5, "dropout": 0.0} | changes).build(train)


def batch_of(size: int = 9) -> Batch:
    return next(PairStream(TRAIN.pairs, start().sampler, batch_size=size, seed=0).epoch(0))


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    return 1 - float(a @ b) / max(float(a.norm() * b.norm()), 1e-8)


# Layers 1 and 2 of: total, norms of the gradients of E_u, E_i, X_v, X_t, W_v, b_v, W_t, W_p, b_p,
# and the scores of user 0.
KNOWN = {
    1: (
        9.83909046,
        (
            0.23617448,
            0.43108009,
            0.34708960,
            0.25201786,
            0.65529783,
            0.76422928,
            0.33140281,
            1.36855901,
            0.45213884,
        ),
        (1.088927, 0.323138, 0.504306, 1.284100),
    ),
    2: (
        9.74837047,
        (
            0.21916965,
            0.31933161,
            0.33935545,
            0.26744775,
            0.64909367,
            0.74261353,
            0.37752275,
            1.37150555,
            0.46422106,
        ),
        (1.073764, 0.358194, 0.508253, 1.283548),
    ),
}
TERMS = {
    1: (0.91882968, 0.48800444, 0.71749133, 0.69442974, 0.60210339),
    2: (0.84781325, 0.46040256, 0.71394816, 0.70133670, 0.61381087),
}


@pytest.mark.parametrize("layers", [1, 2])
def test_the_known_values(layers):
    net = known(layers)
    total = net.loss(pairs_of((0, 1), (1, 2), (2, 3))).total()
    total.backward()
    expected, norms, scores = KNOWN[layers]
    assert total.item() == pytest.approx(expected, abs=1e-6)
    v, t = range(2)
    users, items = net.nodes.weight.grad.split([3, 4])
    maps, tables = net.told.maps, [table.values.grad for table in net.told.tables]
    found = (
        users,
        items,
        tables[v],
        tables[t],
        maps[v].weight.grad,
        maps[v].bias.grad,
        maps[t].weight.grad,
    )
    found += (net.predict.weight.grad, net.predict.bias.grad)
    assert [float(gradient.norm()) for gradient in found] == pytest.approx(norms, abs=1e-6)
    assert net.scorer().score(asked(torch.tensor([0])))[0].tolist() == pytest.approx(
        scores, abs=1e-6
    )


@pytest.mark.parametrize("layers", [1, 2])
def test_the_known_terms(layers):
    rec_item, rec_user, align_t, align_v, norms = TERMS[layers]
    batch = pairs_of((0, 1), (1, 2), (2, 3))
    plain = known(layers, content=0.0).loss(batch)
    assert plain.pair.mean().item() == pytest.approx(rec_item + rec_user, abs=1e-6)
    assert plain.extra.item() == pytest.approx(0.1 * norms, abs=1e-6)
    whole = known(layers, content=1.0).loss(batch)
    assert (whole.pair - plain.pair).mean().item() == pytest.approx(
        align_t + align_v + 1.50222270 + 1.27187923, abs=1e-6
    )
    assert known(layers, l2=0.0).loss(batch).extra is None


def test_the_known_vectors():
    for layers, user, item in (
        (1, (0.250809, 0.185140, 0.094413, -0.009092), (0.529475, 0.291388, 0.013863, -0.265538)),
        (2, (0.222186, 0.160643, 0.077357, -0.016398), (0.529820, 0.301304, 0.032008, -0.241620)),
    ):
        net = known(layers)
        vectors, _ = readout_rows(
            net.adjacency, net.nodes.weight, torch.tensor([0]), torch.tensor([0]), 3, layers
        )
        assert vectors[0].tolist() == pytest.approx(user, abs=1e-6)
        assert vectors[1].tolist() == pytest.approx(item, abs=1e-6)


@pytest.mark.parametrize("layers", [0, 1, 3])
@pytest.mark.parametrize("norms", ["released", "squared"])
def test_the_loss_is_its_definition(layers, norms):
    net, batch = start(layers=layers, norms=norms, content=1.5, l2=0.3), batch_of()
    nodes = mean_layers(net.adjacency, net.nodes.weight, layers).detach()
    hu, hi = (
        nodes[: TRAIN.n_users],
        nodes[TRAIN.n_users :] + net.nodes.weight[TRAIN.n_users :].detach(),
    )
    said = net.predict
    expected, squares = [], 0.0
    with torch.no_grad():
        for u, i in zip(batch.user.tolist(), batch.pos.tolist(), strict=True):
            value = apart(said(hu[u]), hi[i]) + apart(said(hi[i]), hu[u])
            for table, linear in zip(net.told.tables, net.told.maps, strict=True):
                told = linear(table.values[i])
                value += 1.5 * (apart(said(told), hi[i]) + apart(said(told), told))
            expected.append(value)
            squares += float(hu[u].square().sum() + hi[i].square().sum())
    terms = net.loss(batch)
    assert terms.pair.tolist() == pytest.approx(expected, rel=1e-4)
    extra = (
        0.3 * float(hu.norm() + hi.norm()) / TRAIN.n_items
        if norms == "released"
        else 0.3 * squares / len(batch)
    )
    assert terms.extra.item() == pytest.approx(extra, rel=1e-4)


@pytest.mark.parametrize("norms", ["released", "squared"])
@pytest.mark.parametrize("layers", [0, 2])
def test_gradients_but_those_of_constants(norms, layers, monkeypatch):
    """Targets are constants: what differs by a step is compared with targets that stand still."""
    net, batch = start(norms=norms, layers=layers, l2=0.3).double(), batch_of(7)
    kept: list[torch.Tensor] = []
    monkeypatch.setattr(
        net,
        "_target",
        lambda vectors: kept.append(F.normalize(vectors.detach(), dim=-1)) or kept[-1],
    )
    net.loss(batch)
    constants, turn = list(kept), iter(range(10**9))
    monkeypatch.setattr(net, "_target", lambda _: constants[next(turn) % len(constants)])
    check_gradients(net, batch)


def test_targets_have_no_gradient():
    vectors = torch.randn(4, 5, requires_grad=True)
    assert not start()._target(vectors).requires_grad


def test_dropout_is_of_the_target_and_once_a_row():
    net = start(dropout=0.5)
    torch.manual_seed(3)
    dropped = net._target(torch.ones(400, 5))
    assert 0.4 < float((dropped == 0).float().mean()) < 0.6
    twice = pairs_of((0, 0), (0, 0), (2, 0))
    pair = net.loss(twice).pair
    assert pair[0] == pair[1], "a pair that is there twice has one target"
    net.eval()
    assert not torch.equal(net.loss(twice).pair, net.loss(twice).pair), "dropout is drawn anew"
    assert torch.equal(net.scorer().user, net.scorer().user), "and not for ranking"


def test_a_target_of_which_nothing_is_left_has_cosine_zero():
    net = start(dropout=0.99, l2=0.0)
    torch.manual_seed(0)
    pair = net.loss(pairs_of((0, 0))).pair
    pair.sum().backward()
    assert pair.item() == pytest.approx(2 + 2 * 2 * len(net.told.tables))
    assert torch.isfinite(net.nodes.weight.grad).all()


def test_frozen_features_stay_and_trained_ones_move():
    before = TRAIN.features["text"].values.copy()
    for train_features in (False, True):
        net = start(train_features=train_features)
        start_values = net.told.tables[0].values.detach().clone()
        assert (net.told.tables[0].values.requires_grad, bool(net.rows)) == (
            train_features,
            train_features,
        )
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        net.loss(batch_of()).total().backward()
        optimizer.step()
        assert torch.equal(net.told.tables[0].values, start_values) == (not train_features)
        assert ("told.tables.0.learned.weight" in net.state_dict()) == train_features
    assert np.array_equal(TRAIN.features["text"].values, before)


def test_what_is_missing_is_the_mean_of_training_items():
    values = np.arange(8, dtype=np.float32).reshape(4, 2)
    pairs = Interactions(np.array([0, 0]), np.array([0, 1]), 1, 4)
    present = np.array([True, True, True, False])  # item 2 has the modality, and nobody has met it
    data = Dataset(pairs, Vocab.range(1), Vocab.range(4), {"text": FeatureTable(values, present)})
    assert start(data).told.tables[0].values[3].tolist() == [1.0, 2.0]
    assert start(data, impute="zero").told.tables[0].values[3].tolist() == [0.0, 0.0]
    assert start(data, scale="row").told.tables[0].values.norm(dim=1).tolist() == pytest.approx(
        [1.0] * 4
    )
    assert values[3].tolist() == [6.0, 7.0]


def test_the_gradient_of_a_trained_table_is_that_of_autograd():
    """The gradient memory is reused: old values are cleared, and accumulated gradients are kept."""
    torch.manual_seed(0)
    table, plain = Table(torch.randn(9, 3), train=True), torch.randn(9, 3, requires_grad=True)
    for step, (rows, clear) in enumerate(
        (([0, 4], True), ([4, 8, 1], True), ([2], False), ([2, 3], False), ([7], True))
    ):
        wanted, weight = torch.tensor(rows), torch.randn(len(rows), 3)
        if clear:
            table.values.grad = plain.grad = None
        (table(wanted) * weight).sum().backward()
        (plain[wanted] * weight).sum().backward()
        assert torch.equal(table.values.grad, plain.grad), step


def test_new_items_are_ranked_by_content_if_wanted():
    new = TRAIN.n_items - 1
    plain, content = start().scorer(), start(new_items="content").scorer()
    assert torch.equal(plain.item[:new], content.item[:new])
    net = start()
    expected = torch.stack(
        [
            net.predict(linear(table.values[new]))
            for table, linear in zip(net.told.tables, net.told.maps, strict=True)
        ]
    ).mean(0)
    assert torch.allclose(content.item[new], expected, atol=1e-6)
    assert not torch.allclose(plain.item[new], expected, atol=1e-3)


def test_the_number_of_parameters_at_the_size_of_baby():
    """33,570,688, as a public log of the released code prints it; nothing of that size is made."""
    pairs = Interactions(np.array([0]), np.array([0]), 19_445, 7_050)
    tables = {
        name: FeatureTable(
            np.lib.stride_tricks.as_strided(np.zeros(1, dtype=np.float32), (7_050, width), (0, 0)),
            np.ones(7_050, dtype=bool),
        )
        for name, width in (("image", 4_096), ("text", 384))
    }
    data = Dataset(pairs, Vocab.range(19_445), Vocab.range(7_050), tables)
    with torch.device("meta"):
        net = BM3().build(data)
    assert sum(parameter.numel() for parameter in net.parameters()) == 33_570_688
    frozen = BM3(train_features=False).build(data)
    assert sum(parameter.numel() for parameter in frozen.parameters()) == 33_570_688 - 7_050 * 4_480


def test_only_the_rows_of_features_that_a_batch_has_met_move_if_wanted():
    config = Train(epochs=2, batch_size=64, lr=0.03, rows="touched", device="cpu")
    history = fit(BM3(dim=8), TRAIN, None, config).history
    assert history[-1].loss < history[0].loss


def test_it_needs_features():
    with pytest.raises(InputError, match="needs item features, but the data have none"):
        start(replace(TRAIN, features={}))
    short = FeatureTable(np.zeros((3, 2), dtype=np.float32), np.ones(3, dtype=bool))
    with pytest.raises(InputError, match="'text' have 3 rows, expected one for each of 41 items"):
        start(replace(TRAIN, features={"text": short}))
