"""SFCML against the full double loop over met and unmet items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from asking import asked
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import two_camps
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from recsys.models.sfcml import SFCML, all_pairs, all_pairs_dense
from recsys.sampling import UserBatch, UserStream
from recsys.tensors import load_scorer, save_scorer
from recsys.training.loop import Train, fit

FORMS: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "gram": all_pairs,
    "dense": all_pairs_dense,
}
TRAIN, _ = two_camps()


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def problem(
    users: int, items: int, dim: int, share: float, seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw users in the unit ball, items on the sphere, and interactions.

    The last user has all items; the first may have none.
    """
    user = F.normalize(normal(users, dim, seed=seed)) * torch.rand(
        users, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    item = F.normalize(normal(items, dim, seed=seed + 1))
    taste = np.random.default_rng(seed).random((users, items)) < share
    taste[-1] = True
    owner, met = np.nonzero(taste)
    return (
        user.requires_grad_(),
        item.requires_grad_(),
        torch.from_numpy(met),
        torch.from_numpy(owner),
    )


def naive(
    user: Tensor,
    item: Tensor,
    met: Tensor,
    owner: Tensor,
    margin: float,
    loss: Callable[[Tensor], Tensor] = torch.square,
) -> Tensor:
    """NaiveCML: every pair of a positive and another item, by distances; 0 without a pair."""
    values = []
    for place, point in enumerate(user):
        mine = set(met[owner == place].tolist())
        each = [
            loss(margin + (point - item[j]).square().sum() - (point - item[k]).square().sum())
            for j in sorted(mine)
            for k in range(len(item))
            if k not in mine
        ]
        values.append(torch.stack(each).mean() if each else point.new_zeros(()))
    return torch.stack(values)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(1, 7),
    st.integers(1, 5),
    st.floats(0, 1),
    st.floats(-1, 4),
    st.integers(0, 99),
)
def test_it_is_the_double_loop(form, users, items, dim, share, margin, seed):
    user, item, met, owner = problem(users, items, dim, share, seed)
    expected = naive(user, item, met, owner, margin)
    pair, square = FORMS[form](user, item, met, owner, margin)
    assert pair.tolist() == pytest.approx(expected.tolist(), abs=1e-10)
    assert pair[-1] == 0  # who has met everything has no pair
    assert square.item() == pytest.approx(items)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_the_double_loop(form):
    """Differentiate along the sphere of the items: off it, only the loop depends on norms."""
    user, item, met, owner = problem(4, 6, 3, 0.4, 3)
    weight = normal(4, seed=9)
    ours = torch.autograd.grad(
        (FORMS[form](user, item, met, owner, 1.5)[0] * weight).sum(), (user, item)
    )
    theirs = torch.autograd.grad((naive(user, item, met, owner, 1.5) * weight).sum(), (user, item))

    def along(gradient: Tensor) -> Tensor:
        return gradient - (gradient * item).sum(1, keepdim=True) * item

    assert torch.allclose(ours[0], theirs[0])
    assert torch.allclose(along(ours[1]), along(theirs[1]))


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_the_value(form):
    user, item, met, owner = problem(4, 6, 3, 0.4, 5)
    free = normal(6, 3, seed=6).requires_grad_()  # of any norm
    assert torch.autograd.gradcheck(lambda u, v: FORMS[form](u, v, met, owner, 1.5), (user, item))
    assert torch.autograd.gradcheck(lambda u, v: FORMS[form](u, v, met, owner, 1.5), (user, free))


def test_both_forms_give_the_same_off_the_sphere_too():
    user, _, met, owner = problem(5, 9, 4, 0.5, 0)
    item = normal(9, 4, seed=8)
    (gram, one), (dense, two) = (form(user, item, met, owner, 1.0) for form in FORMS.values())
    assert torch.allclose(gram, dense)
    assert torch.allclose(one, two)


def test_while_no_difference_exceeds_the_margin_it_is_the_squared_hinge():
    """On unit spheres none exceeds 4."""
    user, item, met, owner = problem(4, 6, 3, 0.4, 1)
    hinge = naive(user, item, met, owner, 4.0, lambda t: F.relu(t).square())
    assert torch.allclose(all_pairs(user, item, met, owner, 4.0)[0], hinge)
    assert not torch.allclose(
        all_pairs(user, item, met, owner, 0.1)[0],
        naive(user, item, met, owner, 0.1, lambda t: F.relu(t).square()),
    )


@pytest.mark.parametrize("form", FORMS)
def test_a_user_without_a_pair_moves_nothing(form):
    user, item = normal(2, 3).requires_grad_(), F.normalize(normal(4, 3, seed=1)).requires_grad_()
    pair, _ = FORMS[form](
        user, item, torch.arange(4), torch.zeros(4, dtype=torch.int64), 2.0
    )  # one has met everything, the other nothing
    assert pair.tolist() == [0.0, 0.0]
    pair.sum().backward()
    assert not user.grad.any()
    assert not item.grad.any()


def test_float32_is_near_float64():
    generator = np.random.default_rng(0)
    owner = np.repeat(np.arange(32), 20)
    met = np.concatenate([generator.permutation(5000)[:20] for _ in range(32)])
    rows = torch.from_numpy(met), torch.from_numpy(owner)
    user, item = F.normalize(normal(32, 16)), F.normalize(normal(5000, 16, seed=1))
    exact = all_pairs(user, item, *rows, 2.0)[0]
    assert torch.allclose(
        all_pairs(user.float(), item.float(), *rows, 2.0)[0].double(), exact, rtol=1e-5
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):  # half precision is kept out
        assert torch.allclose(
            all_pairs(user.float(), item.float(), *rows, 2.0)[0].double(), exact, rtol=1e-5
        )


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple) else (result,):
            self.numel = max(self.numel, tensor.numel() if isinstance(tensor, Tensor) else 0)
        return result


@pytest.mark.parametrize(("form", "linear"), [("gram", True), ("dense", False)])
def test_the_gram_form_builds_no_row_of_scores(form, linear):
    torch.manual_seed(0)
    net = SFCML(dim=4, form=form).build(TRAIN)
    batch = next(UserStream(TRAIN.pairs, batch_size=60, seed=0).epoch(0))
    with Largest() as largest:
        net.loss(batch).total().backward()
    bound = max(len(batch.item) * 4, TRAIN.n_items * 4)
    assert (largest.numel <= bound) == linear
    assert bound < len(batch) * TRAIN.n_items


def start(**changes: Any) -> Any:
    torch.manual_seed(0)
    return SFCML(**{"dim": 5} | changes).build(TRAIN)


def batch() -> UserBatch:
    return next(UserStream(TRAIN.pairs, batch_size=7, seed=0).epoch(0))


@pytest.mark.parametrize("form", FORMS)
def test_the_loss_of_the_network(form):
    net, users = start(form=form, l2=0.3, radius=1.5), batch()
    terms = net.loss(users)
    point, item = net.user.weight[users.user], net.item.weight
    assert torch.allclose(terms.pair, naive(point, item, users.item, users.owner, 2.0), atol=1e-4)
    decay = 0.15 * (item.square().sum() + point.square().sum())
    assert torch.allclose(terms.extra, decay)
    ours = torch.autograd.grad(terms.extra, (net.user.weight, net.item.weight), retain_graph=True)
    for gradient, expected in zip(
        ours, torch.autograd.grad(decay, (net.user.weight, net.item.weight)), strict=True
    ):
        assert torch.allclose(gradient, expected)


def test_without_decay_there_is_no_extra():
    assert start().loss(batch()).extra is None


def in_place(net: Any, space: str, radius: float) -> bool:
    """Return whether items are on the sphere and users on or in it, except for rows of zeros."""
    users, items = (
        norm[norm > 0]
        for norm in (table.weight.detach().norm(dim=1) for table in (net.user, net.item))
    )
    within = (
        torch.allclose(users, torch.tensor(radius))
        if space == "sphere"
        else float(users.max()) <= radius + 1e-6
    )
    return within and torch.allclose(items, torch.tensor(radius))


@pytest.mark.parametrize("space", ["sphere", "ball"])
def test_users_and_items_are_where_they_belong(space):
    net = start(user_space=space, radius=0.7)
    assert in_place(net, space, 0.7)
    with torch.no_grad():
        for table in (net.user, net.item):
            table.weight.normal_(0, 0.3)
            table.weight[0] = 0
    before = net.user.weight.detach().clone()
    short = before.norm(dim=1) < 0.7
    assert 1 < short.sum() < len(short)
    net.constrain(batch())
    assert in_place(net, space, 0.7)
    assert not net.user.weight[0].any()  # and no division by 0
    assert not net.item.weight[0].any()
    assert torch.equal(net.user.weight[short], before[short]) == (space == "ball")


def course(recipe: SFCML, **changes: Any) -> Any:
    return fit(
        recipe,
        TRAIN,
        None,
        Train(
            **{"epochs": 4, "batch_size": 16, "lr": 0.05, "optimizer": "adagrad", "device": "cpu"}
            | changes
        ),
    )


def test_both_forms_train_to_the_same():
    gram, dense = (course(SFCML(dim=6, form=form, l2=1e-3)) for form in FORMS)
    assert torch.allclose(gram.scorer.user, dense.scorer.user, atol=1e-4)
    assert torch.allclose(gram.scorer.item, dense.scorer.item, atol=1e-4)
    assert [entry.loss for entry in gram.history] == pytest.approx(
        [entry.loss for entry in dense.history], rel=1e-4
    )
    assert gram.history[-1].loss < gram.history[0].loss


def test_touched_rows_are_the_same_under_adagrad():
    dense, touched = (
        course(SFCML(dim=6, user_space="ball"), rows=rows) for rows in ("dense", "touched")
    )
    assert torch.allclose(dense.scorer.user, touched.scorer.user, atol=1e-5)
    assert torch.allclose(dense.scorer.item, touched.scorer.item, atol=1e-5)


def test_the_score_orders_items_as_their_distance_does():
    scorer = course(SFCML(dim=6, user_space="ball")).scorer
    scores = scorer.score(asked(torch.arange(5)))
    distance = (scorer.user[:5, None].double() - scorer.item.double()).square().sum(-1)
    assert torch.allclose(
        2 * scores.double(),
        1 + scorer.user[:5].double().square().sum(1, keepdim=True) - distance,
        atol=1e-5,
    )


def test_the_scorer_comes_back(tmp_path):
    scorer = course(SFCML(dim=6)).scorer
    save_scorer(tmp_path / "scorer.safetensors", scorer, epoch=4)
    loaded, _ = load_scorer(tmp_path / "scorer.safetensors")
    assert torch.equal(loaded.score(asked(torch.arange(3))), scorer.score(asked(torch.arange(3))))
