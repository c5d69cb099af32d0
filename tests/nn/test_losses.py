"""Losses against a double loop in plain Python, their gradients, and what they estimate."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recsys.errors import InputError
from recsys.nn.hardness import fitting, one_of_top, resampled, soft_weights
from recsys.nn.losses import Loss, Terms, choose, pair_loss, warp_weight
from recsys.nn.partial_auc import square

KINDS = ["bpr", "bce", "hinge", "ccl", "opauc"]
REDUCES = ["each", "hardest", "top", "warp"]
RULES = [*[(kind, reduce) for kind in KINDS for reduce in REDUCES], ("softmax", "each")]
CHOOSING = ["one-of-top", "fitting", "resampled"]
ITEMS = 37


def softplus(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0.0)


def naive(
    loss: Loss,
    pos: list[float],
    neg: list[list[float]],
    mask: list[list[bool]],
    log_q: tuple[list[float], list[list[float]]] | None,
) -> list[float]:
    """The definition, one pair and one negative at a time."""
    result = []
    for b, s in enumerate(pos):
        valid = [
            (neg[b][k], 0.0 if log_q is None else log_q[1][b][k])
            for k in range(len(neg[b]))
            if mask[b][k]
        ]
        if loss.kind == "softmax":
            own = s / loss.temperature - (log_q[0][b] if log_q and loss.correct else 0.0)
            others = [n / loss.temperature - (q if loss.correct else 0.0) for n, q in valid]
            result.append(math.log(sum(math.exp(x) for x in [own, *others])) - own)
            continue
        term = {
            "bpr": lambda n, s=s: softplus((n - s) / loss.temperature),
            "hinge": lambda n, s=s: max(0.0, loss.margin - s + n),
            "bce": lambda n: loss.weight * softplus(n),
            "ccl": lambda n: loss.weight * max(0.0, n - loss.margin),
            "square": lambda n: loss.weight * n * n,
            "opauc": lambda n, s=s: (
                (
                    1
                    - 1 / (1 + math.exp(-s / loss.temperature))
                    + 1 / (1 + math.exp(-n / loss.temperature))
                )
                ** 2
            ),
        }[loss.kind]
        terms = sorted((term(n) for n, _ in valid), reverse=True)
        if not terms:
            part = 0.0
        elif loss.reduce == "each":
            part = sum(terms) / len(terms)
        elif loss.reduce == "top":
            part = sum(terms[: loss.top]) / len(terms[: loss.top])
        else:
            part = terms[0]
        if loss.reduce == "warp" and valid:
            impostors = sum(loss.margin - s + n > 0 for n, _ in valid)
            part *= math.log(math.floor(ITEMS * impostors / len(valid)) + 1)
        result.append(
            part
            + {"bce": softplus(-s), "ccl": max(0.0, 1 - s), "square": (1 - s) ** 2}.get(
                loss.kind, 0.0
            )
        )
    return result


@pytest.mark.parametrize(("kind", "reduce"), RULES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_loss_is_its_definition(kind, reduce, data):
    size, k = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    loss = Loss(
        kind=kind,
        reduce=reduce,
        top=data.draw(st.integers(1, 6)),
        margin=data.draw(st.sampled_from([0.0, 0.5, 1.0])),
        temperature=0.7,
        weight=1.5,
        correct=data.draw(st.booleans()),
    )
    pos, neg = rng.normal(size=size), rng.normal(size=(size, k))
    mask = rng.random((size, k)) < data.draw(st.sampled_from([0.0, 0.6, 1.0]))
    q = (
        (np.log(rng.random(size)), np.log(rng.random((size, k))))
        if data.draw(st.booleans())
        else None
    )
    expected = naive(
        loss,
        pos.tolist(),
        neg.tolist(),
        mask.tolist(),
        None if q is None else (q[0].tolist(), q[1].tolist()),
    )
    tensors = [torch.tensor(x) for x in (pos, neg)]
    log_q = None if q is None else (torch.tensor(q[0]), torch.tensor(q[1]))
    got = pair_loss(loss, *tensors, n_items=ITEMS, mask=torch.tensor(mask), log_q=log_q)
    assert got.shape == (size,)
    assert np.allclose(got, expected, rtol=1e-6, atol=1e-9)
    if mask.all():
        assert torch.equal(
            got, pair_loss(loss, *tensors, n_items=ITEMS, log_q=log_q)
        ) or np.allclose(got, pair_loss(loss, *tensors, n_items=ITEMS, log_q=log_q), rtol=1e-12)


def scores(size: int = 5, k: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, generator=generator, dtype=torch.float64), torch.randn(
        size, k, generator=generator, dtype=torch.float64
    )


@pytest.mark.parametrize(("kind", "reduce"), RULES)
@pytest.mark.parametrize("masked", [False, True])
def test_gradients(kind, reduce, masked):
    pos, neg = (x.requires_grad_() for x in scores())
    mask = (
        torch.rand(neg.shape, generator=torch.Generator().manual_seed(1)) < 0.7 if masked else None
    )
    log_q = (pos.detach() - 2, neg.detach() - 3)
    loss = Loss(kind=kind, reduce=reduce, margin=0.3)
    assert torch.autograd.gradcheck(
        lambda p, n: pair_loss(loss, p, n, n_items=ITEMS, mask=mask, log_q=log_q), (pos, neg)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_hardest_is_the_top_one(kind):
    pos, neg = scores()
    mask = torch.rand(neg.shape) < 0.7
    for m in (None, mask):
        hardest = pair_loss(Loss(kind=kind, reduce="hardest"), pos, neg, n_items=ITEMS, mask=m)
        assert torch.equal(
            hardest,
            pair_loss(Loss(kind=kind, reduce="top", top=1), pos, neg, n_items=ITEMS, mask=m),
        )
        every = pair_loss(Loss(kind=kind, reduce="each"), pos, neg, n_items=ITEMS, mask=m)
        assert torch.allclose(
            every, pair_loss(Loss(kind=kind, reduce="top", top=99), pos, neg, n_items=ITEMS, mask=m)
        )


@pytest.mark.parametrize(("kind", "reduce"), RULES)
def test_what_is_masked_has_no_gradient(kind, reduce):
    pos, neg = (x.float().requires_grad_() for x in scores())
    mask = torch.ones(neg.shape, dtype=torch.bool)
    mask[0] = False
    mask[1, ::2] = False
    neg.data[1, 0] = 50.0  # would be the hardest
    pair_loss(Loss(kind=kind, reduce=reduce), pos, neg, n_items=ITEMS, mask=mask).sum().backward()
    assert torch.isfinite(pos.grad).all()
    assert torch.isfinite(neg.grad).all()
    assert not neg.grad[~mask].any()
    if kind in ("bpr", "hinge", "softmax"):
        assert pos.grad[0] == 0


def test_extreme_scores_stay_finite():
    pos, neg = torch.tensor([1e4, -1e4]), torch.tensor([[-1e4, 1e4], [1e4, -1e4]])
    for kind in ("bpr", "bce", "softmax"):
        assert torch.isfinite(pair_loss(Loss(kind=kind), pos, neg, n_items=ITEMS)).all()


def test_a_shared_pool_takes_one_log_q_for_all():
    pos, neg = scores()
    q = (torch.randn(5, dtype=torch.float64), torch.randn(6, dtype=torch.float64))
    loss = Loss(kind="softmax")
    one = pair_loss(loss, pos, neg, n_items=ITEMS, log_q=q)
    assert torch.allclose(
        one, pair_loss(loss, pos, neg, n_items=ITEMS, log_q=(q[0], q[1].expand(5, 6)))
    )


def test_the_corrected_sampled_softmax_tends_to_the_softmax():
    """With K draws from q, only the corrected gradient tends to that of the full cross-entropy."""
    generator = torch.Generator().manual_seed(0)
    score = torch.randn(8, generator=generator, dtype=torch.float64)
    q = torch.softmax(2 * torch.randn(8, generator=generator, dtype=torch.float64), 0)
    drawn = torch.multinomial(q, 200_000, replacement=True, generator=generator)

    def gradient(correct: bool) -> Tensor:
        leaf = score.clone().requires_grad_()
        log_q = (q[[3]].log(), q[drawn][None].log())
        pair_loss(
            Loss(kind="softmax", correct=correct),
            leaf[[3]],
            leaf[drawn][None],
            n_items=8,
            log_q=log_q,
        ).sum().backward()
        return leaf.grad

    leaf = score.clone().requires_grad_()
    torch.nn.functional.cross_entropy(leaf[None], torch.tensor([3])).backward()
    assert torch.allclose(gradient(True), leaf.grad, atol=0.01)
    assert not torch.allclose(gradient(False), leaf.grad, atol=0.05)


def test_the_warp_weight_is_that_of_the_paper():
    # 2 of 3 negatives within the margin, 10 items: rank floor(10 * 2 / 3) = 6, weight ln 7.
    pos, neg = torch.tensor([0.0]), torch.tensor([[-0.5, 2.0, -1.5]])
    assert float(warp_weight(pos, neg, margin=1.0, n_items=10)) == pytest.approx(math.log(7))
    assert float(warp_weight(pos, neg - 10, margin=1.0, n_items=10)) == 0
    # exactly at the margin is not within it
    assert float(warp_weight(pos, torch.tensor([[-1.0]]), margin=1.0, n_items=10)) == 0
    assert float(
        warp_weight(pos, neg, margin=1.0, n_items=10, mask=torch.tensor([[False, True, False]]))
    ) == pytest.approx(math.log(11))


def test_no_gradient_passes_through_the_rank():
    pos, neg = (
        torch.tensor([0.2], requires_grad=True),
        torch.tensor([[0.1, 0.4, -2.0]], requires_grad=True),
    )
    assert not warp_weight(pos, neg, margin=1.0, n_items=50).requires_grad
    pair_loss(Loss(kind="hinge", reduce="warp"), pos, neg, n_items=50).sum().backward()
    weight = math.log(math.floor(50 * 2 / 3) + 1)
    assert float(pos.grad) == pytest.approx(-weight)
    assert neg.grad.tolist() == [[0.0, pytest.approx(weight), 0.0]]


def test_one_negative_needs_no_reduction_but_warp_has_its_weight():
    pos, neg = torch.tensor([0.0]), torch.tensor([[0.5]])
    plain = [
        float(pair_loss(Loss(kind="hinge", reduce=reduce), pos, neg, n_items=9))
        for reduce in ("each", "hardest", "top")
    ]
    assert plain == [1.5, 1.5, 1.5]
    assert float(
        pair_loss(Loss(kind="hinge", reduce="warp"), pos, neg, n_items=9)
    ) == pytest.approx(1.5 * math.log(10))


def test_terms_are_the_mean_and_the_extra():
    pair = torch.tensor([1.0, 3.0])
    assert float(Terms(pair).total()) == 2
    assert float(Terms(pair, torch.tensor(0.5)).total()) == 2.5


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "bprr"},
        {"reduce": "max"},
        {"top": 0},
        {"temperature": 0.0},
        {"weight": -1.0},
        {"rho": -1.0},
        {"fit_beta": 0.0},
    ],
)
def test_a_loss_checks_its_settings(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Loss(**wrong)


SETTINGS = [
    *(
        Loss(kind=kind, reduce=reduce, top=3, margin=0.7, weight=0.6)
        for kind in KINDS
        for reduce in REDUCES
    ),
    Loss(kind="hinge", reduce="top", share=0.4),
    Loss(kind="hinge", reduce="top", share=0.01),
    Loss(kind="softmax", temperature=0.5),
    Loss(kind="square", weight=0.3),
]


@pytest.mark.parametrize("loss", SETTINGS, ids=repr)
@pytest.mark.parametrize("masked", [False, True])
def test_what_is_not_chosen_has_no_part(loss, masked):
    """Value and gradient from the chosen negatives alone are those from all of them."""
    generator = torch.Generator().manual_seed(3)
    pos, neg = (
        torch.randn(6, *shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in ((), (7,))
    )
    mask = torch.rand(6, 7, generator=generator) < 0.7 if masked else None
    if mask is not None:
        mask[0] = False
    whole = pair_loss(loss, pos, neg, n_items=ITEMS, mask=mask)
    wanted = torch.autograd.grad(whole.sum(), (pos, neg))
    chosen = choose(loss, pos, neg, n_items=ITEMS, mask=mask)
    kept = loss.n_kept(7)
    assert (chosen is None) == (kept == 7)
    few = neg if chosen is None else neg.gather(1, chosen.place)
    assert few.shape == (6, kept)
    part = pair_loss(loss, pos, few, n_items=ITEMS, mask=mask, chosen=chosen)
    assert torch.allclose(part, whole, atol=1e-12)
    for got, want in zip(torch.autograd.grad(part.sum(), (pos, neg)), wanted, strict=True):
        assert torch.allclose(got, want, atol=1e-12)


def test_how_many_negatives_are_kept():
    assert [
        Loss(kind="hinge", reduce="top", share=share).n_kept(50) for share in (0.02, 0.1, 0.3, 1.0)
    ] == [1, 5, 15, 50]
    assert Loss(kind="hinge", reduce="top", share=0.001).n_kept(50) == 1
    assert Loss(kind="hinge", reduce="top", top=9).n_kept(4) == 4
    assert [
        Loss(kind="hinge", reduce=reduce).n_kept(8) for reduce in ("each", "hardest", "warp")
    ] == [8, 1, 1]
    assert Loss(kind="softmax").n_kept(8) == 8
    assert [
        Loss(reduce=reduce, top=3).n_kept(8)
        for reduce in ("one-of-top", "fitting", "soft", "resampled")
    ] == [1, 1, 8, 3]
    assert Loss(reduce="resampled", share=0.5).n_kept(8) == 4


def test_the_square_loss_is_not_largest_at_the_highest_score():
    with pytest.raises(InputError, match="the square loss need not be largest"):
        Loss(kind="square", reduce="hardest")
    value = pair_loss(
        Loss(kind="square", weight=0.5),
        torch.tensor([0.5]),
        torch.tensor([[1.0, -3.0]]),
        n_items=ITEMS,
    )
    assert float(value) == pytest.approx(0.25 + 0.5 * 5)


@pytest.mark.parametrize(("pairs", "end"), [("hardest", "two-way"), ("easiest", "lower-left")])
@pytest.mark.parametrize("share", [0.1, 0.4, 1.0])
def test_partial_auc_of_a_batch_is_its_closed_form(pairs, end, share):
    """With one pool of scores, the mean over pairs is the linear-time formula over the two sets."""
    generator = torch.Generator().manual_seed(2)
    pos = torch.randn(11, generator=generator, dtype=torch.float64).requires_grad_()
    neg = torch.randn(9, generator=generator, dtype=torch.float64).requires_grad_()
    loss = Loss(kind="opauc", reduce="top", share=0.5, pairs=pairs, pair_share=share)
    value = pair_loss(loss, pos, neg.expand(11, -1), n_items=ITEMS).mean()
    wanted = square(torch.sigmoid(pos), torch.sigmoid(neg), pos_share=share, neg_share=0.5, end=end)
    assert float(value.detach()) == pytest.approx(float(wanted.detach()))
    for got, want in zip(
        torch.autograd.grad(value, (pos, neg)), torch.autograd.grad(wanted, (pos, neg)), strict=True
    ):
        assert torch.allclose(got, want, atol=1e-12)


def test_pairs_that_do_not_count_have_no_loss():
    pos = torch.tensor([3.0, -1.0, 0.5, 2.0])
    whole = pair_loss(Loss(kind="bpr"), pos, torch.zeros(4, 3), n_items=ITEMS)
    hardest = pair_loss(
        Loss(kind="bpr", pairs="hardest", pair_share=0.5), pos, torch.zeros(4, 3), n_items=ITEMS
    )
    easiest = pair_loss(
        Loss(kind="bpr", pairs="easiest", pair_share=0.25), pos, torch.zeros(4, 3), n_items=ITEMS
    )
    assert torch.allclose(hardest, whole * torch.tensor([0.0, 2.0, 2.0, 0.0]))
    assert torch.allclose(easiest, whole * torch.tensor([4.0, 0.0, 0.0, 0.0]))


def case(
    masked: bool, proposal: bool
) -> tuple[Tensor, Tensor, Tensor | None, tuple[Tensor, Tensor] | None]:
    """Scores, a mask with a pair that has no negative, and a proposal of a shared pool."""
    generator = torch.Generator().manual_seed(3)
    pos, neg = (
        torch.randn(6, *shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in ((), (7,))
    )
    mask = torch.rand(6, 7, generator=generator) < 0.7 if masked else None
    if mask is not None:
        mask[0] = False
    q = torch.randn(13, generator=generator, dtype=torch.float64)
    return pos, neg, mask, (q[:6], q[6:]) if proposal else None


def placed(
    loss: Loss, pos: Tensor, neg: Tensor, mask: Tensor | None, log_q: tuple[Tensor, Tensor] | None
) -> Tensor:
    """What the rule itself takes, with the random numbers at hand."""
    if loss.reduce == "one-of-top":
        return one_of_top(neg, loss.top, mask)
    if loss.reduce == "fitting":
        return fitting(
            pos, neg, alpha=loss.fit_alpha, beta=loss.fit_beta, power=loss.fit_power, mask=mask
        )
    return resampled(
        neg,
        loss.top,
        log_q=log_q[1] if log_q and loss.correct else None,
        temperature=loss.temperature,
        mask=mask,
    )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("proposal", [False, True])
@pytest.mark.parametrize("correct", [False, True])
@pytest.mark.parametrize("reduce", CHOOSING)
@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_that_chooses_is_the_mean_over_what_it_chose(
    kind, reduce, correct, proposal, masked
):
    """The definition, all scores and the chosen scores alone give one value and one gradient."""
    pos, neg, mask, log_q = case(masked, proposal)
    loss = Loss(
        kind=kind,
        reduce=reduce,
        top=3,
        margin=0.3,
        temperature=0.7,
        weight=1.5,
        correct=correct,
        fit_alpha=0.1,
        fit_beta=0.4,
    )
    torch.manual_seed(5)
    place = placed(loss, pos, neg, mask, log_q)
    torch.manual_seed(5)
    whole = pair_loss(loss, pos, neg, n_items=ITEMS, mask=mask, log_q=log_q)
    plain = Loss(kind=kind, margin=0.3, temperature=0.7, weight=1.5)
    kept = [[k for k in place[b].tolist() if mask is None or mask[b, k]] for b in range(6)]
    expected = naive(
        plain,
        pos.tolist(),
        [neg[b, kept[b]].tolist() for b in range(6)],
        [[True] * len(few) for few in kept],
        None,
    )
    assert whole.tolist() == pytest.approx(expected)
    torch.manual_seed(5)
    chosen = choose(loss, pos, neg, n_items=ITEMS, mask=mask, log_q=log_q)
    assert torch.equal(chosen.place, place)
    part = pair_loss(
        loss, pos, neg.gather(1, chosen.place), n_items=ITEMS, mask=mask, log_q=log_q, chosen=chosen
    )
    assert torch.equal(part, whole)
    for got, want in zip(
        torch.autograd.grad(part.sum(), (pos, neg)),
        torch.autograd.grad(whole.sum(), (pos, neg)),
        strict=True,
    ):
        assert torch.equal(got, want)
    if mask is not None:
        (slope,) = torch.autograd.grad(
            pair_loss(loss, pos, neg, n_items=ITEMS, mask=mask, log_q=log_q).sum(), neg
        )
        assert not slope[~mask].any()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("proposal", [False, True])
@pytest.mark.parametrize("correct", [False, True])
@pytest.mark.parametrize("kind", [*KINDS, "square"])
def test_soft_is_a_weighted_sum_whose_weights_have_no_gradient(kind, correct, proposal, masked):
    pos, neg, mask, log_q = case(masked, proposal)
    loss = Loss(
        kind=kind, reduce="soft", rho=0.8, margin=0.3, temperature=0.7, weight=1.5, correct=correct
    )
    plain = Loss(kind=kind, margin=0.3, temperature=0.7, weight=1.5)
    # The loss of each negative alone, and that of a pair without any.
    alone = torch.stack(
        [pair_loss(plain, pos, neg[:, [k]], n_items=ITEMS) for k in range(7)], dim=1
    )
    none = pair_loss(plain, pos, neg, n_items=ITEMS, mask=torch.zeros(6, 7, dtype=torch.bool))
    each = alone - none[:, None]
    weight = soft_weights(each, 0.8, log_q=log_q[1] if log_q and correct else None, mask=mask)
    expected = none + (weight * each).sum(1)
    got = pair_loss(loss, pos, neg, n_items=ITEMS, mask=mask, log_q=log_q)
    assert torch.allclose(got, expected)
    for one, other in zip(
        torch.autograd.grad(got.sum(), (pos, neg)),
        torch.autograd.grad(expected.sum(), (pos, neg)),
        strict=True,
    ):
        assert torch.allclose(one, other)
    assert choose(loss, pos, neg, n_items=ITEMS, mask=mask, log_q=log_q) is None
    even = pair_loss(
        Loss(kind=kind, reduce="soft", rho=0.0, margin=0.3, temperature=0.7, weight=1.5),
        pos,
        neg,
        n_items=ITEMS,
        mask=mask,
    )
    assert torch.allclose(even, pair_loss(plain, pos, neg, n_items=ITEMS, mask=mask))


@pytest.mark.parametrize("reduce", [*CHOOSING, "soft"])
def test_of_one_candidate_every_rule_takes_it(reduce):
    pos, neg = torch.tensor([0.3, -1.0]), torch.tensor([[0.5], [2.0]])
    for mask in (None, torch.tensor([[True], [False]])):
        got = pair_loss(Loss(reduce=reduce), pos, neg, n_items=ITEMS, mask=mask)
        assert torch.equal(got, pair_loss(Loss(), pos, neg, n_items=ITEMS, mask=mask))


@pytest.mark.parametrize("reduce", [*REDUCES[1:], *CHOOSING, "soft"])
def test_softmax_needs_no_rule(reduce):
    with pytest.raises(InputError, match="selects negatives, but kind"):
        Loss(kind="softmax", reduce=reduce)
    if reduce != "soft":
        with pytest.raises(InputError, match="the square loss need not be largest"):
            Loss(kind="square", reduce=reduce)


def test_with_every_item_as_a_candidate_the_corrected_softmax_is_the_softmax():
    """With each item as often as expected and the positive masked, this is the cross-entropy.

    It is that over the catalogue, if the positive is expected once.

    In general the negatives weigh as much as the draws that are expected to be the positive, K q of
    it: the correction of Yi et al. counts the positive as one draw among others, and a mask takes
    these others out.
    """
    generator = torch.Generator().manual_seed(0)
    score = torch.randn(6, generator=generator, dtype=torch.float64)
    times = torch.tensor([1, 3, 1, 5, 2, 1])
    pool = torch.repeat_interleave(torch.arange(6), times)
    log_q = (times / times.sum()).log().double()
    for row in range(6):
        leaf = score.clone().requires_grad_()
        given = {
            "n_items": 6,
            "mask": pool[None] != row,
            "log_q": (log_q[[row]], log_q[pool][None]),
        }
        value = pair_loss(Loss(kind="softmax"), leaf[[row]], leaf[pool][None], **given)
        others = torch.cat([score[:row], score[row + 1 :]]) + math.log(times[row])
        expected = torch.cat([score[[row]], others]).logsumexp(0) - score[row]
        assert value.item() == pytest.approx(expected.item())
        if times[row] == 1:
            whole = torch.nn.functional.cross_entropy(leaf[None], torch.tensor([row]))
            assert value.item() == pytest.approx(whole.item())
            assert torch.allclose(*(torch.autograd.grad(x, leaf)[0] for x in (value, whole)))
            assert pair_loss(
                Loss(kind="softmax", correct=False), leaf[[row]], leaf[pool][None], **given
            ).item() != pytest.approx(whole.item())


OTHER = {
    "top": 5,
    "share": 0.7,
    "rho": 3.0,
    "fit_alpha": 2.0,
    "fit_beta": 1.5,
    "fit_power": -1.1,
    "pair_share": 0.2,
    "margin": 0.3,
}
OTHER |= {"temperature": 0.4, "weight": 0.6, "correct": False}


@pytest.mark.parametrize("pairs", ["all", "hardest"])
@pytest.mark.parametrize(
    ("kind", "reduce"),
    [
        *RULES,
        *[
            (kind, reduce)
            for kind in ("bpr", "bce", "ccl")
            for reduce in ("one-of-top", "fitting", "resampled", "soft")
        ],
        ("square", "each"),
    ],
)
def test_what_is_said_to_be_idle_is(kind, reduce, pairs):
    """And what is not said to be does something."""
    generator = torch.Generator().manual_seed(3)
    pos, neg = torch.randn(40, generator=generator), torch.randn(40, 12, generator=generator)
    log_q = -3 * torch.rand(40, generator=generator), -3 * torch.rand(40, 12, generator=generator)
    usual = Loss(kind=kind, reduce=reduce, pairs=pairs)

    def value(loss: Loss) -> torch.Tensor:
        torch.manual_seed(0)
        return pair_loss(loss, pos, neg, n_items=ITEMS, log_q=log_q)

    for name, other in OTHER.items():
        same = torch.equal(value(usual), value(dataclasses.replace(usual, **{name: other})))
        assert same == (name in usual.idle()), name
    shared = dataclasses.replace(usual, share=0.5)
    assert torch.equal(value(shared), value(dataclasses.replace(shared, top=7))) == (
        "top" in shared.idle()
    )
