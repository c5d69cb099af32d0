"""The recurrent encoder: a hand-computed state, a naive loop, causality, packing, saving."""

from __future__ import annotations

import pytest
import torch
from encoders import DIM, GROUPS, HISTORY, histories, items, matrix, vector
from torch import Tensor, nn

from recsys.nn.recurrent import PackedRecurrent
from recsys.scorer.recurrent import Recurrent


def test_the_state_after_the_last_item():
    net = PackedRecurrent(DIM, 1, 0.0).double()
    values = {
        "weight_ih_l0": torch.cat([matrix(k) for k in (1, 2, 3)]),
        "weight_hh_l0": torch.cat([matrix(k) for k in (4, 5, 6)]),
        "bias_ih_l0": torch.cat([vector(k) for k in (1, 2, 3)]),
        "bias_hh_l0": torch.cat([vector(k) for k in (4, 5, 6)]),
    }
    net.layers[0].load_state_dict(values)
    expected = (-0.015018976, -0.072837216, -0.072573557, -0.001071292)
    state = net(items()[HISTORY], ((3, 1),))[-1]
    assert state.tolist() == pytest.approx(expected, abs=2e-9)
    frozen = net.frozen(nn.Embedding.from_pretrained(items()), None, 5)
    padded = torch.tensor([[1, 4, 0, 3, 3], [5, 0, 0, 0, 0]])
    states = frozen(padded, torch.tensor([3, 1]))
    assert states[0].tolist() == pytest.approx(expected, abs=2e-9)


def random_network(layers: int = 2, drop: float = 0.0) -> PackedRecurrent:
    torch.manual_seed(0)
    net = PackedRecurrent(8, layers, drop).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return net


def naive(net: PackedRecurrent, vectors: Tensor) -> Tensor:
    """Return the states of one history, one gate at a time."""
    for layer in net.layers:
        w = dict(layer.named_parameters())
        inputs = [each.chunk(3) for each in (w["weight_ih_l0"], w["bias_ih_l0"])]
        inner = [each.chunk(3) for each in (w["weight_hh_l0"], w["bias_hh_l0"])]
        state, states = vectors.new_zeros(8), []
        for x in vectors:
            a = [matrix @ x + bias for matrix, bias in zip(*inputs, strict=True)]
            c = [matrix @ state + bias for matrix, bias in zip(*inner, strict=True)]
            r, z = torch.sigmoid(a[0] + c[0]), torch.sigmoid(a[1] + c[1])
            state = (1 - z) * torch.tanh(a[2] + r * c[2]) + z * state
            states.append(state)
        vectors = torch.stack(states)
    return vectors


@pytest.mark.parametrize("layers", [1, 2])
def test_packed_is_a_loop_over_each_history_with_gradients(layers):
    net, vectors = random_network(layers), histories(GROUPS).requires_grad_()
    lengths = [length for length, count in GROUPS for _ in range(count)]
    expected = torch.cat([naive(net, part) for part in torch.split(vectors, lengths)])
    packed = net(vectors, GROUPS)
    assert torch.allclose(packed, expected, rtol=0, atol=1e-12)
    weight = torch.linspace(-1, 1, vectors.numel()).double().view_as(vectors)
    inputs = [vectors, *net.parameters()]
    gradients = torch.autograd.grad((packed * weight).sum(), inputs)
    for result, reference in zip(
        gradients, torch.autograd.grad((expected * weight).sum(), inputs), strict=True
    ):
        assert torch.allclose(result, reference, rtol=0, atol=1e-10)


def test_a_later_item_changes_no_earlier_state():
    net, vectors = random_network(), histories(((9, 2),))
    before = net(vectors, ((9, 2),))
    for changed in range(18):
        other = vectors.clone()
        other[changed, 0] += 1.0
        after = net(other, ((9, 2),))
        end = 9 if changed < 9 else 18
        assert torch.equal(after[:changed], before[:changed])
        assert not torch.isclose(after[changed:end], before[changed:end]).all(1).any()
        assert torch.equal(after[end:], before[end:])


@pytest.mark.parametrize("has_output", [False, True])
def test_the_frozen_encoder_computes_the_last_states(has_output):
    net = random_network(drop=0.5).float().eval()
    table, output = nn.Embedding(20, 8), nn.Embedding(20, 9) if has_output else None
    frozen = net.frozen(table, output, 9)
    lengths = torch.tensor([length for length, count in GROUPS for _ in range(count)])
    rows = torch.randint(20, (int(lengths.sum()),))
    with torch.no_grad():
        states = net(table(rows), GROUPS)[lengths.cumsum(0) - 1]
    array = torch.zeros(len(lengths), 12, dtype=torch.int64)
    array[torch.arange(12) < lengths[:, None]] = rows
    encoded = frozen(array, lengths)
    assert torch.allclose(encoded[:, :8], states, rtol=0, atol=1e-6)
    assert frozen.item.shape == (20, 9 if has_output else 8)
    assert encoded.shape[1] == frozen.item.shape[1]
    assert not has_output or (encoded[:, 8] == 1).all()
    tensors, meta = frozen.state()
    again = Recurrent.restore(tensors, meta)
    assert torch.equal(again(array, lengths), encoded)
    assert torch.equal(again.item, frozen.item)
    tensors.pop("layers.1.bias_hh_l0")
    with pytest.raises(KeyError, match=r"1\.bias_hh_l0"):
        Recurrent.restore(tensors, meta)


def test_dropout_hides_states_while_training():
    net, vectors = random_network(drop=0.5), histories(GROUPS)
    states = net.train()(vectors, GROUPS)
    assert 0.3 < float((states == 0).float().mean()) < 0.7
    assert (net.eval()(vectors, GROUPS) != 0).all()
