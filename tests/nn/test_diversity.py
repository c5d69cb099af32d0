"""Diversity control against loops over pairs of vectors."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from recsys.errors import InputError
from recsys.nn.diversity import Diversity, diversity


def normal(*shape: int, seed: int = 0) -> Tensor:
    return (
        torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        * 0.4
    )


def naive(settings: Diversity, vectors: Tensor, valid: Tensor | None = None) -> list[float]:
    def outside(x: float) -> float:
        return (max(0.0, settings.low - x) if settings.below else 0.0) + (
            max(0.0, x - settings.high) if settings.above else 0.0
        )

    result = []
    for user, own in enumerate(vectors):
        rows = [row for c, row in enumerate(own) if valid is None or valid[user, c]]
        apart = [float((a - b).square().sum()) for a, b in itertools.permutations(rows, 2)]
        if len(rows) < 2:
            result.append(0.0)
        elif settings.form == "paper":
            result.append(outside(sum(apart) / (2 * len(rows) * (len(rows) - 1))))
        else:
            result.append(sum(map(outside, apart)) / len(rows) ** 2)
    return result


VALID = torch.tensor(
    [[True] * 4, [True, False, False, False], [True, True, False, False], [True, True, True, False]]
    * 2
)
FORMS = [
    Diversity(form=form, low=low, high=high)
    for form in ("released", "paper")
    for low, high in ((0.2, 0.4), (0.0, 0.0), (5.0, 9.0))
]


@pytest.mark.parametrize(
    "settings",
    [
        *FORMS,
        Diversity(low=0.5, high=0.6, below=False),
        Diversity(low=0.5, high=0.6, form="paper", above=False),
    ],
    ids=repr,
)
@pytest.mark.parametrize("valid", [None, VALID], ids=["all", "some"])
def test_it_is_its_definition(settings, valid):
    vectors = normal(8, 4, 3).requires_grad_()
    assert diversity(settings, vectors, valid).tolist() == pytest.approx(
        naive(settings, vectors.detach(), valid)
    )
    assert torch.autograd.gradcheck(lambda v: diversity(settings, v, valid), (vectors,))


def test_inside_the_band_nothing_moves():
    # Four corners of a square of side 0.4: squared distances 0.16 and 0.32.
    square = torch.tensor([[[0.0, 0.0], [0.4, 0.0], [0.0, 0.4], [0.4, 0.4]]], requires_grad=True)
    inside = diversity(Diversity(low=0.15, high=0.33), square)
    inside.sum().backward()
    assert inside.tolist() == [0.0]
    assert not square.grad.any()
    assert diversity(Diversity(low=0.15, high=0.30), square).tolist() == pytest.approx(
        [4 * 0.02 / 16]
    )
    assert diversity(Diversity(low=0.17, high=0.33), square).tolist() == pytest.approx(
        [8 * 0.01 / 16]
    )


def test_one_vector_has_no_diversity():
    for settings in FORMS:
        assert not diversity(settings, normal(5, 1, 3)).any()


def test_the_mean_of_the_paper_is_one_minus_the_mean_cosine_of_unit_vectors():
    vectors = torch.nn.functional.normalize(normal(6, 3, 4), dim=2)
    cosine = torch.stack(
        [(vectors[:, a] * vectors[:, b]).sum(1) for a, b in itertools.combinations(range(3), 2)]
    ).mean(0)
    found = diversity(Diversity(low=0.0, high=0.0, form="paper"), vectors)
    assert torch.allclose(found, 1 - cosine)


def test_a_band_upside_down():
    with pytest.raises(InputError, match="low = 0\\.5 is above"):
        Diversity(low=0.5, high=0.1)
