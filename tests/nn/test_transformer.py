"""The self-attention encoder: hand-computed states, causality, and packing as an exact rewrite."""

from __future__ import annotations

import math

import pytest
import torch
from encoders import DIM, GROUPS, HISTORY, grid, histories, items, matrix, vector
from torch import Tensor, nn

from recsys.nn.dropout import dropout
from recsys.nn.packed import Groups, distance_to_end
from recsys.nn.transformer import PackedTransformer
from recsys.scorer.transformer import Blocks, Positions, Transformer


def network(variant: str, heads: int = 1, scaled: bool = False) -> PackedTransformer:
    """Return the network of the oracle, in double precision."""
    width = 2 if variant == "ligr" else 1
    net = PackedTransformer(DIM, 3, Blocks(1, heads, variant, scaled), 0.0, width).double()
    a, b = grid(3, DIM)
    values = {
        "read": (
            torch.cat([matrix(k) for k in (1, 2, 3)]),
            torch.cat([vector(k) for k in (1, 2, 3)]),
        ),
        "write": (matrix(4), vector(4)),
        "inner": (matrix(5), vector(5)),
        "outer": (matrix(6), vector(6)),
    }
    if variant == "ligr":
        inner = torch.cat([matrix(k, 8) for k in (5, 7)])
        values |= {"inner": (inner, None), "outer": (matrix(6, DIM, 8), None)}
        values |= {"gate1": (matrix(8), vector(8)), "gate2": (matrix(9), vector(9))}
    with torch.no_grad():
        net.position.copy_(torch.cos(a + b) / 10)
        for name, (weight, bias) in values.items():
            layer = net.blocks["0"][name]
            layer.weight.copy_(weight)
            if bias is not None:
                layer.bias.copy_(bias)
    return net


ORACLE = {
    "pre-norm, one head": (
        ("pre-norm",),
        (-1.280067556, -0.566417612, 0.513459542, 1.333025626),
    ),
    "pre-norm, two heads": (
        ("pre-norm", 2),
        (-1.233319872, -0.610643242, 0.471461400, 1.372501715),
    ),
    "pre-norm, times sqrt(d)": (
        ("pre-norm", 1, True),
        (-1.196354896, -0.601872732, 0.356125425, 1.442102203),
    ),
    "original": (
        ("original",),
        (1.258829282, 0.103359600, -1.540421589, 0.178232707),
    ),
    "ligr": (
        ("ligr",),
        (-0.859044046, -0.805926987, 0.049395365, 1.615575668),
    ),
}
SCORES = {
    "pre-norm, one head": (
        *(-0.077366141, 0.044007547, 0.124920899),
        *(0.090982553, -0.026604733, -0.119731750),
    ),
    "original": (
        *(0.266809858, 0.167318109, -0.086005138),
        *(-0.260255657, -0.195228326, 0.049291028),
    ),
}
POSITIONS = {
    0: (-1.167226677, -0.723550504, 0.541323425, 1.349453756),
    1: (1.277814826, -0.665154373, -1.238284408, 0.625623955),
}


@pytest.mark.parametrize("case", ORACLE)
def test_the_state_after_the_last_item(case):
    arguments, expected = ORACLE[case]
    net = network(*arguments)
    state = net(items()[HISTORY], ((3, 1),))[-1]
    assert state.tolist() == pytest.approx(expected, abs=2e-9)
    if case in SCORES:
        assert (items() @ state).tolist() == pytest.approx(SCORES[case], abs=2e-9)
    # The frozen encoder reads a padded array, and computes the last position only.
    frozen = net.frozen(nn.Embedding.from_pretrained(items()))
    padded = torch.tensor([[1, 4, 0, 3, 3], [5, 0, 0, 0, 0]])
    states = frozen(padded, torch.tensor([3, 1]))
    assert states[0].tolist() == pytest.approx(expected, abs=2e-9)


@pytest.mark.parametrize("position", POSITIONS)
def test_the_states_of_earlier_positions(position):
    state = network("pre-norm")(items()[HISTORY], ((3, 1),))[position]
    assert state.tolist() == pytest.approx(POSITIONS[position], abs=2e-9)


def test_without_the_causal_mask_an_earlier_state_sees_later_items():
    net = network("pre-norm")
    net.causal = False
    states = net(items()[HISTORY], ((3, 1),))
    expected = (-1.159653999, -0.731106112, 0.537213742, 1.353546369)
    assert states[0].tolist() == pytest.approx(expected, abs=2e-9)
    # The last position sees all items in either way.
    assert states[2].tolist() == pytest.approx(ORACLE["pre-norm, one head"][1], abs=2e-9)


@pytest.mark.parametrize("heads", [1, 2])
def test_post_norm_is_the_encoder_layer_of_torch(heads):
    """Also of packed histories of other lengths, and with the layer behind the blocks."""
    torch.manual_seed(0)
    shape = Blocks(2, heads, "post-norm")
    net = PackedTransformer(8, 9, shape, 0.0, 4, causal=False).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    layers = []
    for index in range(2):
        layer = nn.TransformerEncoderLayer(
            *(8, heads, 32, 0.0), activation="gelu", layer_norm_eps=1e-8, batch_first=True
        ).double()
        names = {
            "self_attn.in_proj_": "read.",
            "self_attn.out_proj.": "write.",
            "linear1.": "inner.",
            "linear2.": "outer.",
            "norm1.": "norm1.",
            "norm2.": "norm2.",
        }
        own = dict(net.blocks[str(index)].named_parameters())
        layer.load_state_dict(
            {a + end: own[b + end] for a, b in names.items() for end in ("weight", "bias")}
        )
        layers.append(layer)
    vectors = histories(GROUPS)
    lengths = [length for length, count in GROUPS for _ in range(count)]
    states = torch.split(net(vectors, GROUPS), lengths)
    for part, state in zip(torch.split(vectors, lengths), states, strict=True):
        x = part + net.position[: len(part)].flip(0)
        for layer in layers:
            x = layer(x[None])[0]
        x = nn.functional.gelu(net.blocks["head"](x))
        norm = net.blocks["norm"]
        x = nn.functional.layer_norm(x, (8,), norm.weight, norm.bias, 1e-8)
        assert torch.allclose(state, x, rtol=0, atol=1e-12)


def random_network(
    variant: str, heads: int = 2, blocks: int = 2, positions: Positions = "learned"
) -> PackedTransformer:
    """Return a network with an inner layer of twice the dimension."""
    torch.manual_seed(0)
    shape = Blocks(blocks, heads, variant, positions=positions)
    net = PackedTransformer(8, 9, shape, 0.0, 2).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return net


VARIANTS = ("pre-norm", "original", "ligr")
WITH_POSITIONS = [(variant, "learned") for variant in VARIANTS] + [("ligr", "relative")]


@pytest.mark.parametrize(("variant", "positions"), WITH_POSITIONS)
def test_a_later_item_changes_no_earlier_state(variant, positions):
    net = random_network(variant, positions=positions)
    vectors = histories(((9, 2),))
    before = net(vectors, ((9, 2),))
    for changed in range(9, 18):
        other = vectors.clone()
        other[changed, 0] += 1.0
        after = net(other, ((9, 2),))
        assert torch.equal(after[:changed], before[:changed])
        end = 9 if changed < 9 else 18
        assert not torch.isclose(after[changed:end], before[changed:end]).all(1).any()
        assert torch.equal(after[end:], before[end:])


def padded(net: PackedTransformer, vectors: Tensor, groups: Groups, width: int) -> Tensor:
    """Return the states by arrays padded in front, with a mask, as other libraries do."""
    weights = dict(net.blocks.named_parameters())
    lengths = [length for length, count in groups for _ in range(count)]
    array = vectors.new_zeros(len(lengths), width, vectors.shape[1])
    inside = torch.zeros(len(lengths), width, dtype=torch.bool)
    for row, length in enumerate(lengths):
        inside[row, width - length :] = True
    place = distance_to_end(groups, vectors.device)
    relative = net.shape.positions == "relative"
    array[inside] = vectors if relative else vectors + net.position[place]
    seen = torch.ones(width, width, dtype=torch.bool).tril() & inside[:, None, :]
    seen = seen | torch.eye(width, dtype=torch.bool)  # padding sees itself: no row of nothing
    x, heads = array, net.shape.heads

    def norm(x: Tensor, name: str) -> Tensor:
        mean, spread = x.mean(-1, keepdim=True), x.var(-1, correction=0, keepdim=True)
        scaled = (x - mean) / (spread + 1e-8).sqrt()
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    for index in range(net.shape.blocks):
        normed = norm(x, f"{index}.norm1")
        source = x if net.shape.variant == "original" else normed
        query = linear(normed, f"{index}.read")[..., :8]
        key, value = linear(source, f"{index}.read")[..., 8:].chunk(2, -1)
        parts = []
        for q, k, v in zip(*(each.chunk(heads, -1) for each in (query, key, value)), strict=True):
            weight = q @ k.mT / math.sqrt(8 / heads)
            if relative:
                weight = weight + by_distance(net.position[:, len(parts)], width)
            weight = weight.masked_fill(~seen, -torch.inf)
            parts.append(weight.softmax(-1) @ v)
        attended = linear(torch.cat(parts, -1), f"{index}.write")
        if net.shape.variant == "ligr":
            x = x + linear(x, f"{index}.gate1").sigmoid() * attended
            both = norm(x, f"{index}.norm2") @ weights[f"{index}.inner.weight"].T
            z, value = both.chunk(2, -1)
            outer = (z * z.sigmoid() * value) @ weights[f"{index}.outer.weight"].T
            x = x + linear(x, f"{index}.gate2").sigmoid() * outer
            continue
        x = (normed if net.shape.variant == "original" else x) + attended
        normed = norm(x, f"{index}.norm2")
        inner = linear(normed, f"{index}.inner").relu()
        x = (normed if net.shape.variant == "original" else x) + linear(inner, f"{index}.outer")
    return norm(x, "norm")[inside]


def by_distance(bias: Tensor, width: int) -> Tensor:
    """Return the bias of each query and key, [width, width]; 0 where the key is later."""
    rows = []
    for query in range(width):
        cells = [bias[min(query - key, len(bias) - 1)] for key in range(query + 1)]
        rows.append(torch.stack([*cells, *[bias.new_zeros(())] * (width - len(cells))]))
    return torch.stack(rows)


@pytest.mark.parametrize(("variant", "positions"), WITH_POSITIONS)
@pytest.mark.parametrize("width", [9, 14])
def test_packed_is_padded_with_gradients(variant, positions, width):
    net = random_network(variant, positions=positions)
    vectors = histories(GROUPS).requires_grad_()
    weight = torch.linspace(-1, 1, vectors.numel()).double().view_as(vectors)
    packed = net(vectors, GROUPS)
    expected = padded(net, vectors, GROUPS, width)
    assert torch.allclose(packed, expected, rtol=0, atol=1e-11)
    inputs = [vectors, *net.parameters()]
    gradients = torch.autograd.grad((packed * weight).sum(), inputs)
    for result, reference in zip(
        gradients, torch.autograd.grad((expected * weight).sum(), inputs), strict=True
    ):
        assert torch.allclose(result, reference, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("variant", "positions"), WITH_POSITIONS)
def test_packed_is_one_history_at_a_time_with_gradients(variant, positions):
    net = random_network(variant, positions=positions)
    vectors = histories(GROUPS).requires_grad_()
    lengths = [length for length, count in GROUPS for _ in range(count)]
    alone = torch.cat([net(part, ((len(part), 1),)) for part in torch.split(vectors, lengths)])
    packed = net(vectors, GROUPS)
    assert torch.allclose(packed, alone, rtol=0, atol=1e-12)
    weight = torch.linspace(-1, 1, vectors.numel()).double().view_as(vectors)
    inputs = [vectors, *net.parameters()]
    gradients = torch.autograd.grad((packed * weight).sum(), inputs)
    for result, reference in zip(
        gradients, torch.autograd.grad((alone * weight).sum(), inputs), strict=True
    ):
        assert torch.allclose(result, reference, rtol=0, atol=1e-10)


def test_the_order_of_histories_is_no_input():
    net, vectors = random_network("pre-norm"), histories(((4, 3),)).view(3, 4, 8)
    states = net(vectors.flatten(0, 1), ((4, 3),)).view(3, 4, 8)
    order = torch.tensor([2, 0, 1])
    turned = net(vectors[order].flatten(0, 1), ((4, 3),)).view(3, 4, 8)
    assert torch.allclose(turned, states[order], rtol=0, atol=1e-13)


def test_distances_to_the_end():
    distances = distance_to_end(((1, 2), (3, 2)), torch.device("cpu"))
    assert distances.tolist() == [0, 0, 2, 1, 0, 2, 1, 0]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("positions", ["learned", "relative"])
def test_the_frozen_encoder_computes_the_last_states(variant, scaled, positions):
    torch.manual_seed(0)
    net = PackedTransformer(8, 9, Blocks(2, 2, variant, scaled, positions), 0.5, 3).eval()
    with torch.no_grad():
        net.position.add_(torch.randn_like(net.position))
    table = nn.Embedding(20, 8)
    frozen = net.frozen(table)
    lengths = torch.tensor([length for length, count in GROUPS for _ in range(count)])
    rows = torch.randint(20, (int(lengths.sum()),))
    with torch.no_grad():
        states = net(table(rows), GROUPS)[lengths.cumsum(0) - 1]
    array = torch.zeros(len(lengths), 12, dtype=torch.int64)
    array[torch.arange(12) < lengths[:, None]] = rows
    # float32 through two blocks: matrix products of other shapes round differently.
    assert torch.allclose(frozen(array, lengths), states, rtol=0, atol=1e-5)
    tensors, meta = frozen.state()
    again = Transformer.restore(tensors, meta)
    assert again.shape == frozen.shape
    assert ("positions" in meta) == (positions == "relative")  # as in files of earlier versions
    assert torch.equal(again(array, lengths), frozen(array, lengths))


def test_dropout_hides_a_share_and_keeps_the_mean():
    x = torch.ones(400, 251, requires_grad=True)
    torch.manual_seed(3)
    hidden = dropout(x, 0.3, True)
    shares, scale = (hidden == 0).float(), 1 / (1 - round(0.3 * 65536) / 65536)
    assert float(shares.mean()) == pytest.approx(0.3, abs=0.01)
    assert hidden.unique().tolist() == [0.0, pytest.approx(scale, rel=1e-6)]
    # Neighbours, which share a draw of 64 bits, are independent.
    both = (shares[:, :-1] * shares[:, 1:]).mean()
    assert float(both) == pytest.approx(0.09, abs=0.01)
    hidden.sum().backward()
    assert torch.equal(x.grad, hidden.detach())
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.3, True), hidden)
    assert dropout(x, 0.3, False) is x
    assert dropout(x, 0.0, True) is x
