"""HSTU: hand-computed states, causality, packing as an exact rewrite, times and their buckets."""

from __future__ import annotations

import math

import pytest
import torch
from encoders import DIM, GROUPS, HISTORY, histories, items, matrix, vector
from torch import Tensor, nn

from recsys.nn.hstu import PackedHSTU
from recsys.scorer.hstu import BUCKETS, HSTU, Times, bucket

TIMES = torch.tensor([100.0, 160.0, 1000.0], dtype=torch.float64)
LAST = (-0.793416514, -0.170593072, 0.582078032, 0.983021737)
WITHOUT_TIME = (-0.793712431, -0.170846297, 0.582100312, 0.983299039)
WEIGHTS = (
    (0.003161799,),
    (-0.014512106, 0.201464872),
    (0.016626254, -0.039228982, 0.027888969),
)


def network(times: Times = "past") -> PackedHSTU:
    """Return the network of the oracle, in double precision."""
    net = PackedHSTU(DIM, 5, 1, 1, 0.0, times).double()
    with torch.no_grad():
        block = net.blocks["0"]
        block["read"].weight.copy_(torch.cat([matrix(k) for k in (1, 2, 3, 4)]))
        block["write"].weight.copy_(matrix(5))
        block["write"].bias.copy_(vector(5))
        net.biases["0:position"].copy_(torch.cos(torch.arange(5).double()) / 10)
        if times != "none":
            net.biases["0:time"].copy_(torch.sin(torch.arange(BUCKETS).double()) / 10)
    return net


def test_states_by_hand():
    vectors = items()[HISTORY]
    states = network()(vectors, ((3, 1),), TIMES, TIMES)
    assert states[-1].tolist() == pytest.approx(LAST, abs=2e-9)
    states = network("none")(vectors, ((3, 1),))
    assert states[-1].tolist() == pytest.approx(WITHOUT_TIME, abs=2e-9)


def test_weights_by_hand():
    """The attended values are the weights times V, of which V is given by the formula."""
    net, x = network(), items()[HISTORY]
    caught = []
    normed = nn.functional.layer_norm(x, (DIM,), eps=1e-6)
    _, value, query, key = (nn.functional.silu(normed @ matrix(k).T) for k in (1, 2, 3, 4))
    time = [100, 160, 1000]
    for i in range(3):
        row = []
        for j in range(i + 1):
            place = math.cos(i - j) / 10
            when = math.sin(math.floor(math.log(max(1, time[i] - time[j])) / 0.301)) / 10
            score = float(query[i] @ key[j]) + place + when
            row.append(score / (1 + math.exp(-score)) / 5)
        assert row == pytest.approx(WEIGHTS[i], abs=2e-9)
        caught.append(sum(weight * value[j] for j, weight in enumerate(row)))
    attended = nn.functional.layer_norm(torch.stack(caught), (DIM,), eps=1e-6)
    gate = nn.functional.silu(normed @ matrix(1).T)
    expected = x + (attended * gate) @ matrix(5).T + vector(5)
    assert torch.allclose(net(x, ((3, 1),), TIMES, TIMES), expected, rtol=0, atol=1e-12)


def test_buckets_by_hand():
    differences = bucket(TIMES[None], TIMES[None])[0]
    assert differences.tolist() == [[0, 13, 22], [13, 0, 22], [22, 22, 0]]
    far = torch.tensor([[0.0, 1e300]], dtype=torch.float64)
    assert bucket(far, far)[0].tolist() == [[0, 128], [128, 0]]
    below = torch.tensor([[0.0, 0.5, 1.5]], dtype=torch.float64)  # less than a second is a second
    assert bucket(below, below)[0].tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]


def random_network(times: Times = "past", heads: int = 2) -> PackedHSTU:
    torch.manual_seed(0)
    net = PackedHSTU(8, 9, 2, heads, 0.0, times).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return net


def clock(n: int) -> Tensor:
    """Return ascending times of n positions, some seconds and some days apart."""
    torch.manual_seed(2)
    return torch.cumsum(torch.exp(12 * torch.rand(n, dtype=torch.float64)), 0)


def states(net: PackedHSTU, vectors: Tensor, groups, time: Tensor, after: Tensor) -> Tensor:
    moment = after if net.times == "next" else time
    return net(vectors, groups, time, moment)


@pytest.mark.parametrize("times", ["none", "past"])
def test_a_later_event_changes_no_earlier_state(times):
    net, vectors, time = random_network(times), histories(((9, 2),)), clock(18)
    before = net(vectors, ((9, 2),), time, time)
    for changed in range(9, 18):
        other, later = vectors.clone(), time.clone()
        other[changed, 0] += 1.0
        later[changed:] += 1e6
        after = net(other, ((9, 2),), later, later)
        assert torch.equal(after[:changed], before[:changed])
        assert not torch.isclose(after[changed:], before[changed:]).all(1).any()


def test_the_next_time_is_the_declared_exception():
    """With times = "next" position k reads when its target happens, and no later time."""
    net, vectors, time = random_network("next"), histories(((9, 1),)), clock(10)
    before = net(vectors, ((9, 1),), time[:-1], time[1:])
    later = time.clone()
    later[5:] += 1e6
    after = net(vectors, ((9, 1),), later[:-1], later[1:])
    assert torch.equal(after[:4], before[:4])
    assert not torch.isclose(after[4:], before[4:]).all(1).any()


def padded(net: PackedHSTU, vectors: Tensor, groups, time: Tensor, width: int) -> Tensor:
    """Return the states by loops over arrays that are padded in front."""
    lengths = [length for length, count in groups for _ in range(count)]
    weights = dict(net.blocks.named_parameters())
    rows = []
    for part, when in zip(torch.split(vectors, lengths), torch.split(time, lengths), strict=True):
        space = width - len(part)
        x = torch.cat([part.new_full((space, 8), 0.7), part])
        when = torch.cat([when.new_zeros(space), when])
        for index in range(2):
            normed = nn.functional.layer_norm(
                x, (8,), weights[f"{index}.norm.weight"], weights[f"{index}.norm.bias"], 1e-6
            )
            gate, value, query, key = nn.functional.silu(
                normed @ weights[f"{index}.read.weight"].T
            ).chunk(4, -1)
            position, by_time = (net.biases[f"{index}:{name}"] for name in ("position", "time"))
            heads = []
            for head in range(net.heads):
                span = slice(head * 8 // net.heads, (head + 1) * 8 // net.heads)
                columns = []
                for i in range(width):
                    row = [x.new_zeros(())] * width
                    for j in range(space, i + 1):
                        apart = max(1.0, float((when[i] - when[j]).abs()))
                        place = min(128, math.floor(math.log(apart) / 0.301))
                        score = query[i, span] @ key[j, span] + position[i - j] + by_time[place]
                        row[j] = score * score.sigmoid() / net.length
                    columns.append(torch.stack(row))
                heads.append(torch.stack(columns) @ value[:, span])
            attended = nn.functional.layer_norm(
                torch.cat(heads, -1),
                (8,),
                weights[f"{index}.norm_attended.weight"],
                weights[f"{index}.norm_attended.bias"],
                1e-6,
            )
            added = (attended * gate) @ weights[f"{index}.write.weight"].T
            x = x + added + weights[f"{index}.write.bias"]
        rows.append(x[space:])
    return torch.cat(rows)


@pytest.mark.parametrize("width", [9, 12])
def test_packed_is_padded_with_gradients(width):
    net = random_network()
    vectors, time = histories(GROUPS).requires_grad_(), clock(26)
    packed = net(vectors, GROUPS, time, time)
    expected = padded(net, vectors, GROUPS, time, width)
    assert torch.allclose(packed, expected, rtol=0, atol=1e-11)
    weight = torch.linspace(-1, 1, vectors.numel()).double().view_as(vectors)
    inputs = [vectors, *net.parameters()]
    gradients = torch.autograd.grad((packed * weight).sum(), inputs)
    for result, reference in zip(
        gradients, torch.autograd.grad((expected * weight).sum(), inputs), strict=True
    ):
        assert torch.allclose(result, reference, rtol=0, atol=1e-10)


@pytest.mark.parametrize("times", ["none", "past", "next"])
@pytest.mark.parametrize("is_cosine", [True, False])
def test_the_frozen_encoder_computes_the_last_states(times, is_cosine):
    torch.manual_seed(0)
    net = PackedHSTU(8, 9, 2, 2, 0.5, times).eval()
    table = nn.Embedding(20, 8)
    frozen = net.frozen(table, is_cosine=is_cosine)
    lengths = torch.tensor([length for length, count in GROUPS for _ in range(count)])
    n = int(lengths.sum())
    rows, time = torch.randint(20, (n,)), clock(n)
    end = lengths.cumsum(0) - 1
    now = time[end] + torch.arange(len(lengths)).double() ** 6
    after = torch.cat([time[1:], now[-1:]])
    after[end] = now
    with torch.no_grad():
        expected = states(net, table(rows), GROUPS, time, after)[end]
    if is_cosine:
        expected = nn.functional.normalize(expected, dim=1)
    array = torch.zeros(len(lengths), 12, dtype=torch.int64)
    clocks = torch.zeros(len(lengths), 12, dtype=torch.float64)
    inside = torch.arange(12) < lengths[:, None]
    array[inside], clocks[inside] = rows, time
    result = frozen(array, lengths, clocks, now)
    assert torch.allclose(result, expected, rtol=0, atol=1e-5)
    clocks[~inside], array[~inside] = 1e9, 3  # what follows the end is read by none
    assert torch.allclose(frozen(array, lengths, clocks, now), result, rtol=0, atol=1e-6)
    again = HSTU.restore(*frozen.state())
    assert again.reads_time == (times != "none")
    assert torch.equal(again(array, lengths, clocks, now), frozen(array, lengths, clocks, now))
    norms = frozen.item.norm(dim=1)
    assert torch.allclose(norms, torch.ones(20)) == is_cosine


def test_the_number_of_parameters_of_a_block():
    """As published, but for distances into the future, which a causal encoder does not have."""
    net = PackedHSTU(64, 50, 1, 1, 0.0, "past")
    assert sum(each.numel() for each in net.parameters()) == 21_028 - 49
