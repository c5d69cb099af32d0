"""Samplers: every pair once, no positive as a negative, the distribution, resuming to the byte."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from recsys.data.types import Dataset, Interactions, Vocab
from recsys.errors import InputError
from recsys.models import Network
from recsys.sampling import (
    Batch,
    Pairs,
    PairStream,
    Sampler,
    UserBatch,
    Users,
    UserStream,
    mixture_log_q,
    place_of,
    stream_seed,
)
from recsys.sampling.positives import PositivePairs


def interactions(n_users: int, n_items: int, share: float, seed: int) -> Interactions:
    user, item = np.nonzero(np.random.default_rng(seed).random((n_users, n_items)) < share)
    return Interactions(user, item, n_users, n_items)


def same(a: Batch, b: Batch) -> bool:
    def equal(x: torch.Tensor | None, y: torch.Tensor | None) -> bool:
        return (x is None) == (y is None) and (x is None or torch.equal(x, y))

    q = (a.log_q is None) == (b.log_q is None) and (
        a.log_q is None or all(map(equal, a.log_q, b.log_q))
    )
    return (
        q
        and all(
            equal(getattr(a, name), getattr(b, name))
            for name in ("row", "user", "pos", "neg", "mask")
        )
        and (a.epoch, a.step) == (b.epoch, b.step)
    )


def even(size: int, most: int) -> list[int]:
    """Return the ascending lengths of the fewest batches up to `most` that divide `size` evenly."""
    lengths = [0] * math.ceil(size / most)
    for place in range(size):
        lengths[place % len(lengths)] += 1
    return sorted(lengths)


pools = st.sampled_from(["own", "shared", "in-batch", "mixed"])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.floats(0.05, 1),
    st.integers(1, 40),
    pools,
    st.integers(0, 3),
    st.integers(0, 5),
)
def test_an_epoch_holds_every_pair_once(n_users, n_items, share, batch_size, pool, epoch, seed):
    pairs = interactions(n_users, n_items, share, seed)
    stream = PairStream(pairs, Sampler(pool=pool, negatives=2), batch_size=batch_size, seed=seed)
    batches = list(stream.epoch(epoch))
    assert len(batches) == len(stream) == -(-len(pairs) // batch_size)
    assert sorted(map(len, batches)) == even(len(pairs), batch_size)
    row = (
        torch.cat([batch.row for batch in batches]).numpy() if batches else np.array([], dtype=int)
    )
    assert sorted(row) == list(range(len(pairs)))
    for batch in batches:
        assert np.array_equal(batch.user, pairs.user[batch.row.numpy()])
        assert np.array_equal(batch.pos, pairs.item[batch.row.numpy()])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 10),
    st.integers(1, 15),
    st.floats(0.05, 1),
    st.integers(1, 6),
    st.sampled_from(["uniform", "popularity"]),
    st.integers(0, 1000),
)
def test_a_positive_is_never_a_negative(n_users, n_items, share, negatives, proposal, seed):
    pairs = interactions(n_users, n_items, share, seed)
    known = set(zip(pairs.user.tolist(), pairs.item.tolist(), strict=True))
    for batch in PairStream(
        pairs, Sampler(negatives=negatives, proposal=proposal), batch_size=7, seed=seed
    ).epoch(0):
        assert batch.neg.shape == (len(batch), negatives)
        assert int(batch.neg.min()) >= 0
        assert int(batch.neg.max()) < n_items
        for b, user in enumerate(batch.user.tolist()):
            for k, item in enumerate(batch.neg[b].tolist()):
                valid = batch.mask is None or bool(batch.mask[b, k])
                assert valid == ((user, item) not in known)


def test_a_user_who_has_everything_is_masked_and_the_others_are_not():
    user = np.array([0] * 6 + [1])
    pairs = Interactions(user, np.array([*range(6), 0]), 2, 6)
    (batch,) = PairStream(pairs, Sampler(negatives=4, rounds=100), batch_size=10, seed=0).epoch(0)
    assert batch.mask is not None
    assert not batch.mask[batch.user == 0].any()
    assert batch.mask[batch.user == 1].all()


def test_without_rejection_positives_do_occur():
    pairs = Interactions(np.zeros(5, int), np.arange(5), 1, 10)
    (batch,) = PairStream(pairs, Sampler(negatives=200, reject=False), batch_size=5, seed=0).epoch(
        0
    )
    assert batch.mask is None
    assert 0.4 < float((batch.neg < 5).float().mean()) < 0.6


def test_negatives_are_uniform_over_what_the_user_has_not():
    pairs = Interactions(np.zeros(3, int), np.array([2, 5, 11]), 1, 20)
    (batch,) = PairStream(pairs, Sampler(negatives=5000), batch_size=3, seed=1).epoch(0)
    drawn = np.bincount(batch.neg.view(-1).numpy(), minlength=20)
    assert drawn[[2, 5, 11]].sum() == 0
    assert chisquare(np.delete(drawn, [2, 5, 11])).pvalue > 1e-3


@pytest.mark.parametrize("pool", ["own", "shared"])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.75, 1.0])
def test_the_popularity_proposal_is_count_to_the_alpha(pool, alpha):
    count = np.array([1, 2, 3, 5, 8, 0, 13, 0])
    pairs = Interactions(
        np.arange(count.sum()), np.repeat(np.arange(8), count), int(count.sum()), 8
    )
    negatives = 1000 if pool == "own" else 30_000
    stream = PairStream(
        pairs,
        Sampler(pool=pool, negatives=negatives, proposal="popularity", alpha=alpha, reject=False),
        batch_size=len(pairs),
        seed=2,
    )
    (batch,) = stream.epoch(0)
    drawn = np.bincount(batch.neg.view(-1).numpy(), minlength=8)
    weight = np.where(count > 0, count.astype(float) ** alpha, 0) if alpha else np.ones(8)
    if alpha:
        assert drawn[count == 0].sum() == 0
    kept = weight > 0
    assert chisquare(drawn[kept], (weight / weight.sum() * drawn.sum())[kept]).pvalue > 1e-3
    if alpha:
        assert batch.log_q is not None
        log_q = np.log(weight[kept] / weight.sum())
        place = np.cumsum(kept) - 1
        assert np.allclose(batch.log_q[0], log_q[place[batch.pos]], atol=1e-6)
        assert np.allclose(batch.log_q[1], log_q[place[batch.neg]], atol=1e-6)
        assert batch.log_q[1].shape == batch.neg.shape
    else:
        assert batch.log_q is None


@settings(max_examples=40, deadline=None)
@given(
    pools,
    st.sampled_from(["uniform", "popularity"]),
    st.integers(1, 30),
    st.integers(0, 5),
    st.data(),
)
def test_any_step_can_be_the_first(pool, proposal, batch_size, epoch, data):
    pairs = interactions(8, 9, 0.5, 3)
    sampler = Sampler(
        pool=pool, proposal="uniform" if pool in ("in-batch", "all") else proposal, negatives=3
    )
    whole = list(PairStream(pairs, sampler, batch_size=batch_size, seed=7).epoch(epoch))
    start = data.draw(st.integers(0, len(whole)))
    other = PairStream(pairs, sampler, batch_size=batch_size, seed=7)
    next(iter(other.epoch(epoch + 1)))  # what was drawn before must not matter
    rest = list(other.epoch(epoch, start))
    assert len(rest) == len(whole) - start
    assert all(map(same, whole[start:], rest))


@pytest.mark.parametrize("settings", [{"pool": "all"}, {"pool": "all", "items": "warm"}])
def test_what_is_not_drawn_is_not_corrected(settings):
    assert all(
        batch.log_q is None
        for batch in PairStream(
            interactions(8, 9, 0.5, 3), Sampler(**settings), batch_size=5, seed=0
        ).epoch(0)
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pool": "all", "proposal": "popularity"}, "proposal = .* no effect with pool = 'all'"),
        (
            {"pool": "in-batch", "proposal": "popularity"},
            "proposal = .* no effect with pool = 'in-batch'",
        ),
        ({"pool": "all", "strict": True}, "strict has no effect with pool = 'all'"),
        ({"strict": True}, "strict has no effect with pool = 'own'"),
    ],
)
def test_what_would_have_no_effect_is_refused(settings, said):
    with pytest.raises(InputError, match=said):
        Sampler(**settings)


def test_steps_epochs_and_seeds_differ():
    pairs = Interactions(np.arange(64), np.zeros(64, int), 64, 10_000)

    def draws(seed: int, epoch: int) -> list[Batch]:
        return list(PairStream(pairs, Sampler(negatives=8), batch_size=32, seed=seed).epoch(epoch))

    (a, b), (c, _), (d, _) = draws(0, 0), draws(0, 1), draws(1, 0)
    for one, two in ((a, b), (a, c), (a, d), (c, d)):
        assert not torch.equal(one.neg, two.neg)
        assert not torch.equal(one.row, two.row)


def test_a_shared_pool_masks_the_own_positive_only():
    pairs = interactions(6, 5, 0.7, 0)
    for batch in PairStream(pairs, Sampler(pool="shared", negatives=9), batch_size=8, seed=0).epoch(
        0
    ):
        assert batch.shared
        assert batch.neg.shape == (9,)
        assert batch.mask is not None
        assert torch.equal(batch.mask, batch.neg[None] != batch.pos[:, None])


def test_in_batch_negatives_are_the_other_positives():
    pairs = interactions(6, 5, 0.7, 0)
    share = np.bincount(pairs.item, minlength=5) / len(pairs)
    for batch in PairStream(pairs, Sampler(pool="in-batch"), batch_size=8, seed=0).epoch(0):
        assert batch.shared
        assert torch.equal(batch.neg, batch.pos)
        assert batch.mask is not None
        assert batch.log_q is not None
        assert not batch.mask.diagonal().any()
        assert torch.equal(batch.mask, batch.pos[None] != batch.pos[:, None])
        assert np.allclose(batch.log_q[0].exp(), share[batch.pos], atol=1e-6)
        assert np.allclose(batch.log_q[1].exp(), share[batch.neg], atol=1e-6)


def test_a_pair_given_twice_is_visited_twice():
    pairs = Interactions(np.array([0, 0, 1]), np.array([1, 1, 0]), 2, 3)
    (batch,) = PairStream(pairs, Sampler(), batch_size=3, seed=0).epoch(0)
    assert sorted(zip(batch.user.tolist(), batch.pos.tolist(), strict=True)) == [
        (0, 1),
        (0, 1),
        (1, 0),
    ]


def test_the_callers_random_numbers_are_not_used():
    pairs = interactions(6, 5, 0.7, 0)
    before = torch.get_rng_state()
    first = list(PairStream(pairs, Sampler(), batch_size=4, seed=0).epoch(0))
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(3)
    assert all(map(same, first, PairStream(pairs, Sampler(), batch_size=4, seed=0).epoch(0)))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 2**62), max_size=60), st.lists(st.integers(0, 2**62), max_size=60))
def test_membership_is_that_of_a_set(members, others):
    found = PositivePairs(torch.tensor(members, dtype=torch.int64))
    asked = members[::2] + others
    keys = torch.tensor(asked, dtype=torch.int64)
    expected = [key in set(members) for key in asked]
    assert found.contains(keys).tolist() == expected
    assert found.find(keys).tolist() == [place for place, inside in enumerate(expected) if inside]


def test_membership_of_neighbouring_keys():
    keys = torch.arange(0, 200_000, 2)
    found = PositivePairs(keys)
    asked = torch.arange(200_000)
    assert torch.equal(found.contains(asked), asked % 2 == 0)
    assert torch.equal(found.find(asked), keys)


def test_membership_of_keys_that_share_a_slot():
    """Of many strangers some fall into the slot of a member, and are told from it."""
    generator = torch.Generator().manual_seed(0)
    members, strangers = (
        torch.randint(2**61, (1000,), generator=generator),
        torch.randint(2**61, 2**62, (50_000,), generator=generator),
    )
    found = PositivePairs(members)
    assert found.bitmap[found._slot(strangers)].any()
    assert not len(found.find(strangers))
    assert torch.equal(found.find(torch.cat([strangers, members])), torch.arange(50_000, 51_000))


def test_seeds_of_streams():
    assert stream_seed(3, 4, "order") == stream_seed(3, 4, "order")
    several = [
        stream_seed(1, 23),
        stream_seed(12, 3),
        stream_seed(123),
        stream_seed(1, 2, 3),
        stream_seed(0, "order"),
        stream_seed(0, "start"),
    ]
    assert len(set(several)) == len(several)
    assert all(0 <= seed < 2**63 for seed in several)


@pytest.mark.parametrize(
    "wrong",
    [
        {"negatives": -1},
        {"alpha": -0.1},
        {"pool": "mine"},
        {"rounds": 0},
        {"proposal": "hard"},
        {"items": "new"},
    ],
)
def test_a_sampler_checks_its_settings(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Sampler(**wrong)


MIXED = Sampler(pool="mixed", negatives=5, strict=True)


def test_a_strict_pool_masks_all_positives_of_a_user():
    pairs = interactions(9, 12, 0.4, 1)
    met = pairs.csr.toarray() > 0
    for sampler in (
        Sampler(pool="shared", negatives=30, strict=True),
        Sampler(pool="in-batch", strict=True),
        Sampler(pool="all"),
        MIXED,
    ):
        for batch in PairStream(pairs, sampler, batch_size=7, seed=2).epoch(0):
            assert batch.shared
            assert batch.mask.shape == (len(batch), len(batch.neg))
            assert np.array_equal(
                batch.mask.numpy(), ~met[batch.user.numpy()][:, batch.neg.numpy()]
            )
            if sampler.pool == "all":
                assert np.array_equal(batch.neg, np.arange(12))


@pytest.mark.parametrize("batch_size", [3, 50, 40_000])
def test_small_batches_are_drawn_together_and_begin_anywhere(batch_size):
    pairs = interactions(40, 30, 0.3, 5)
    stream = PairStream(pairs, Sampler(negatives=2), batch_size=batch_size, seed=1)
    whole = list(stream.epoch(4))
    for start in {0, 1, len(whole) // 2, len(whole) - 1}:
        assert all(same(a, b) for a, b in zip(stream.epoch(4, start), whole[start:], strict=True))
    assert len({tuple(batch.neg.view(-1)[:6].tolist()) for batch in whole}) == len(whole), (
        "no two steps draw the same"
    )


@pytest.mark.parametrize(
    ("size", "most", "lengths"),
    [
        (11_887, 5000, [3962, 3962, 3963]),
        (2049, 2048, [1024, 1025]),
        (12, 4, [4, 4, 4]),
        (13, 4, [3, 3, 3, 4]),
        (3, 7, [3]),
        (5, 1, [1, 1, 1, 1, 1]),
    ],
)
def test_batches_of_an_epoch_are_even(size, most, lengths):
    """One pair too many does not make a step of its own, which would average over one pair."""
    steps = math.ceil(size / most)
    places = [place_of(step, size, steps) for step in range(steps + 1)]
    assert sorted(np.diff(places).tolist()) == lengths
    assert (places[0], places[-1]) == (0, size)
    assert even(size, most) == lengths


@pytest.mark.parametrize("batch_size", [1, 7, 60, 10_000])
def test_an_epoch_of_triplets_holds_every_pair_once_for_each_negative(batch_size):
    pairs = interactions(9, 14, 0.4, 2)
    stream = PairStream(
        pairs, Sampler(negatives=3, unit="triplet", rounds=100), batch_size=batch_size, seed=4
    )
    batches = list(stream.epoch(2))
    assert stream.size == 3 * len(pairs)
    assert sorted(map(len, batches)) == even(3 * len(pairs), batch_size)
    assert len(stream) == len(batches)
    rows = torch.cat([batch.row for batch in batches]).numpy()
    assert np.bincount(rows, minlength=len(pairs)).tolist() == [3] * len(pairs)
    met = set(zip(pairs.user.tolist(), pairs.item.tolist(), strict=True))
    for batch in batches:
        assert batch.neg.shape == (len(batch), 1)
        assert np.array_equal(batch.user, pairs.user[batch.row.numpy()])
        assert np.array_equal(batch.pos, pairs.item[batch.row.numpy()])
        drawn = zip(batch.user.tolist(), batch.neg[:, 0].tolist(), strict=True)
        assert met.isdisjoint(drawn)
    for start in {0, 1, len(batches) // 2, len(batches) - 1}:
        rest = stream.epoch(2, min(start, len(batches) - 1))
        assert all(
            same(a, b) for a, b in zip(rest, batches[min(start, len(batches) - 1) :], strict=True)
        )


def test_triplets_of_a_pair_lie_anywhere_in_the_epoch():
    """They are shuffled together, not one pass over the pairs after another."""
    pairs = interactions(30, 30, 0.3, 0)
    stream = PairStream(pairs, Sampler(negatives=4, unit="triplet"), batch_size=50, seed=0)
    rows = torch.cat([batch.row for batch in stream.epoch(0)]).numpy()
    first = rows[: len(pairs)]
    # One of four draws without replacement: a share of (3/4)^4 of the pairs, about 0.32, is not
    # among the first quarter.
    assert 0.55 < len(np.unique(first)) / len(pairs) < 0.8


def test_triplets_are_of_a_pair_s_own_negatives():
    for bad in ({"pool": "shared"}, {"pool": "in-batch"}, {"pool": "all"}, {"negatives": 0}):
        with pytest.raises(InputError, match="unit = 'triplet'"):
            Sampler(unit="triplet", **bad)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.floats(0, 1),
    st.integers(1, 15),
    st.integers(0, 3),
    st.integers(0, 5),
)
def test_an_epoch_of_users_holds_each_once_with_all_items(
    n_users, n_items, share, batch_size, epoch, seed
):
    pairs = interactions(n_users, n_items, share, seed)
    users = UserStream(pairs, batch_size=batch_size, seed=seed)
    batches = list(users.epoch(epoch))
    known = np.unique(pairs.user).tolist()
    assert len(batches) == len(users) == -(-len(known) // batch_size)
    assert users.size == sum(len(batch) for batch in batches) == len(known)
    assert sorted(map(len, batches)) == even(len(known), batch_size)
    assert [(batch.epoch, batch.step) for batch in batches] == [
        (epoch, step) for step in range(len(batches))
    ]
    assert (
        sorted(user for batch in batches for user in batch.user.tolist()) == known
    )  # users without a pair are in no batch
    for batch in batches:
        assert batch.owner.tolist() == sorted(batch.owner.tolist())
        for place, user in enumerate(batch.user.tolist()):
            assert sorted(batch.item[batch.owner == place].tolist()) == sorted(
                pairs.item[pairs.user == user].tolist()
            )


def same_users(a: UserBatch, b: UserBatch) -> bool:
    return all(
        torch.equal(getattr(a, name), getattr(b, name)) for name in ("user", "item", "owner")
    ) and (a.epoch, a.step) == (b.epoch, b.step)


@pytest.mark.parametrize("start", [0, 1, 3, 5])
def test_users_go_on_from_any_step(start):
    pairs = interactions(17, 9, 0.4, 1)
    whole = list(UserStream(pairs, batch_size=4, seed=3).epoch(2))
    rest = list(UserStream(pairs, batch_size=4, seed=3).epoch(2, start))
    assert len(rest) == len(whole) - start
    assert all(map(same_users, rest, whole[start:]))


def test_the_order_of_users_is_of_the_epoch_and_the_seed():
    pairs = interactions(40, 9, 0.4, 1)
    orders = [
        torch.cat(
            [batch.user for batch in UserStream(pairs, batch_size=7, seed=seed).epoch(epoch)]
        ).tolist()
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    assert len({tuple(order) for order in orders}) == 3


def test_a_pair_given_twice_is_one_item_of_the_user():
    pairs = Interactions(np.array([1, 1, 1, 0]), np.array([2, 2, 0, 1]), 3, 3)
    (batch,) = UserStream(pairs, batch_size=9, seed=0).epoch(0)
    mine = batch.item[batch.owner == batch.user.tolist().index(1)]
    assert sorted(mine.tolist()) == [0, 2]


def test_a_batch_of_given_users():
    pairs = Interactions(np.array([0, 2, 2]), np.array([1, 0, 2]), 3, 3)
    batch = UserStream(pairs, batch_size=9, seed=0).batch(torch.tensor([2, 1, 2]))
    assert batch.item.tolist() == [0, 2, 0, 2]
    assert batch.owner.tolist() == [0, 0, 2, 2]


def test_which_stream_a_sampler_means():
    pairs = interactions(5, 6, 0.5, 0)
    train = Dataset(pairs, Vocab.range(5), Vocab.range(6))
    network = Network()
    assert network.stream == Users()
    users = network.stream.open(train, batch_size=2, seed=0)
    assert isinstance(users, UserStream)
    network.sampler = Sampler(negatives=3)
    assert network.stream == Pairs(Sampler(negatives=3))
    paired = network.stream.open(train, batch_size=2, seed=0)
    assert isinstance(paired, PairStream)
    assert paired.size == len(pairs)
    assert users.interactions == paired.interactions == len(pairs)
    assert users.notes == paired.notes == ()


@pytest.mark.parametrize("proposal", ["uniform", "popularity"])
@pytest.mark.parametrize("items", ["all", "warm"])
def test_a_mixed_pool_is_the_positives_and_a_draw(proposal, items):
    """Its log q is the probability of the item in a position of the pool, for a batch length."""
    pairs = _with_cold_items()
    count = np.bincount(pairs.item, minlength=12)
    weight = {"uniform": np.where(count > 0, 1.0, items == "all"), "popularity": count**0.75}[
        proposal
    ]
    lengths = set()
    for batch in PairStream(
        pairs,
        Sampler(pool="mixed", negatives=5, proposal=proposal, items=items),
        batch_size=8,
        seed=2,
    ).epoch(1):
        size = len(batch)
        lengths.add(size)
        assert batch.shared
        assert batch.neg.shape == (size + 5,)
        assert torch.equal(batch.neg[:size], batch.pos)
        assert torch.equal(batch.mask, batch.neg[None] != batch.pos[:, None])
        q = (size * count / count.sum() + 5 * weight / weight.sum()) / (size + 5)
        for got, rows in zip(batch.log_q, (batch.pos, batch.neg), strict=True):
            assert np.allclose(got.exp(), q[rows], atol=1e-6)
    assert len(lengths) == 2, "batches differ by one pair"


def _with_cold_items() -> Interactions:
    """Items 10 and 11 have no pair."""
    pairs = interactions(9, 10, 0.4, 1)
    return Interactions(pairs.user, pairs.item, 9, 12)


@pytest.mark.parametrize("pool", ["own", "shared", "mixed"])
@pytest.mark.parametrize(
    "sampler", [Sampler(items="warm"), Sampler(items="warm", proposal="popularity", alpha=0.0)]
)
def test_warm_items_are_drawn_alike_and_others_never(pool, sampler):
    count = np.array([1, 2, 3, 5, 8, 0, 13, 0])
    pairs = Interactions(
        np.arange(count.sum()), np.repeat(np.arange(8), count), int(count.sum()), 8
    )
    config = replace(sampler, pool=pool, negatives=1000 if pool == "own" else 30_000, reject=False)
    (batch,) = PairStream(pairs, config, batch_size=len(pairs), seed=2).epoch(0)
    drawn = np.bincount(
        batch.neg[len(pairs) if pool == "mixed" else 0 :].reshape(-1).numpy(), minlength=8
    )
    assert not drawn[count == 0].any()
    assert chisquare(drawn[count > 0]).pvalue > 1e-3
    assert (batch.log_q is None) == (pool != "mixed")


def test_all_warm_items_are_all_but_the_cold_ones():
    pairs = _with_cold_items()
    met = pairs.csr.toarray() > 0
    for batch in PairStream(pairs, Sampler(pool="all", items="warm"), batch_size=7, seed=2).epoch(
        0
    ):
        assert batch.neg.tolist() == list(range(10))
        assert np.array_equal(batch.mask.numpy(), ~met[batch.user.numpy()][:, :10])


def test_what_is_warm_is_told_by_train_where_other_pairs_are_held():
    train, held = (
        Interactions(np.array([0, 1]), np.array([0, 1]), 2, 4),
        Interactions(np.array([0]), np.array([2]), 2, 4),
    )
    (batch,) = PairStream(
        held,
        Sampler(items="warm", negatives=400, reject=False),
        batch_size=4,
        seed=0,
        also_observed=train,
    ).epoch(0)
    assert set(batch.neg.view(-1).tolist()) == {0, 1}


@pytest.mark.parametrize(
    "sampler",
    [
        Sampler(pool="shared", negatives=6),
        Sampler(pool="shared", negatives=6, items="warm"),
        Sampler(pool="shared", negatives=6, proposal="popularity"),
        Sampler(pool="in-batch"),
        Sampler(pool="mixed", negatives=6),
        Sampler(pool="mixed", negatives=6, proposal="popularity", alpha=0.5),
    ],
    ids=repr,
)
def test_a_sum_over_the_pool_divided_by_q_is_a_sum_over_the_catalogue(sampler):
    """The basis of the logQ correction: over draws, each item counts as if it were there once."""
    pairs = interactions(60, 10, 0.3, 4)
    score = np.random.default_rng(0).normal(size=10)
    paired = PairStream(pairs, sampler, batch_size=6, seed=0)
    found = []
    for epoch in range(300):
        for batch in paired.epoch(epoch):
            if len(batch) == 6:
                q = (
                    np.full(len(batch.neg), 0.1)
                    if batch.log_q is None
                    else batch.log_q[1].exp().numpy()
                )
                found.append(np.mean(np.exp(score[batch.neg.numpy()]) / q))
    expected, error = np.exp(score).sum(), np.std(found) / np.sqrt(len(found))
    assert error < 0.02 * expected
    assert abs(np.mean(found) - expected) < 5 * error


def test_the_proposal_of_a_joined_pool():
    count = torch.tensor([6, 0, 3, 1])
    expected = [(20 * c / 10 + 30 / 4) / 50 for c in (6, 0, 3, 1)]
    assert mixture_log_q(count, 20, 30).exp().tolist() == pytest.approx(expected, rel=1e-6)
    assert mixture_log_q(count, 20, 30).exp().sum().item() == pytest.approx(1.0)
    assert mixture_log_q(count, 0, 5).exp().tolist() == pytest.approx([0.25] * 4)
    assert torch.isfinite(mixture_log_q(count, 5, 0)).all()
    drawn = torch.tensor([0.5, 0.0, 0.2, 0.3], dtype=torch.float64)
    assert mixture_log_q(count, 0, 5, drawn).exp().tolist() == pytest.approx(
        [0.5, 1e-12, 0.2, 0.3], rel=1e-5
    )
