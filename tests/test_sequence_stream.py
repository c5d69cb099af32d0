"""Packed histories: every target once, equal to a naive loop, resuming to the byte, nothing lost
silently."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_batches import lists, log_of, same
from scipy.stats import chisquare

from recsys.data.histories import Histories
from recsys.data.types import Dataset, Interactions, Vocab
from recsys.errors import InputError
from recsys.sampling import Sampler, SequenceBatch, Sequences, SequenceStream, stream_seed
from recsys.sampling.windows import cut


def opened(
    histories: list[list[int]], sequences: Sequences, batch_size: int = 6, seed: int = 3
) -> SequenceStream:
    return SequenceStream(log_of(histories), sequences, batch_size=batch_size, seed=seed)


def naive(batch: SequenceBatch) -> list[tuple[int, list[int], list[int]]]:
    """Return owner, inputs and targets of each history of a batch."""
    found = []
    at, row = 0, 0
    for length, count in batch.groups:
        for _ in range(count):
            span = slice(at, at + length)
            found.append(
                (int(batch.owner[row]), batch.item[span].tolist(), batch.target[span].tolist())
            )
            at, row = at + length, row + 1
    assert at == len(batch) == len(batch.target)
    assert row == len(batch.owner)
    return found


def windows_of(history: list[int], length: int, every: bool) -> list[list[int]]:
    """Return the windows by a loop from the end: each ends where the next one's targets begin."""
    windows: list[list[int]] = []
    end = len(history)
    while end >= 2 and (every or not windows):
        windows.insert(0, history[max(0, end - length - 1) : end])
        end -= length
    return windows


@settings(max_examples=150)
@given(lists, st.integers(1, 7), st.booleans())
def test_windows_are_those_of_a_loop(histories, length, every):
    windows, owner = cut(Histories.of_lists(histories), length, every=every)
    expected = [
        (row, window)
        for row, history in enumerate(histories)
        for window in windows_of(history, length, every)
    ]
    assert [(row, items.tolist()) for row, items in zip(owner, windows, strict=True)] == expected


@settings(max_examples=100)
@given(lists, st.integers(1, 7))
def test_all_windows_cover_each_target_once(histories, length):
    packed = Histories.of_lists(histories)
    windows, _ = cut(packed, length, every=True)
    covered = np.concatenate(
        [np.empty(0, int)]
        + [np.arange(b + 1, e) for b, e in zip(windows.begin, windows.end, strict=True)]
    )
    events = np.arange(len(packed.item))
    expected = np.setdiff1d(events, packed.begin[packed.length > 0])
    assert np.array_equal(covered, expected)  # in order, each once
    assert (windows.length <= length + 1).all()
    assert (windows.length >= 2).all()


@settings(max_examples=100)
@given(
    lists,
    st.integers(1, 7),
    st.sampled_from(["last", "all"]),
    st.sampled_from(["positions", "histories"]),
    st.integers(1, 20),
    st.integers(0, 3),
)
def test_an_epoch_is_that_of_a_loop(histories, length, windows, batch_of, batch_size, epoch):
    """Shuffle the windows, cut where the shares of the epoch begin, sort by length."""
    every = [
        (owner, window)
        for owner, history in enumerate(histories)
        for window in windows_of(history, length, windows == "all")
    ]
    sequences = Sequences(length, windows=windows, batch_of=batch_of)
    if not every:
        with pytest.raises(InputError, match="no history has two events"):
            opened(histories, sequences, batch_size)
        return
    stream = opened(histories, sequences, batch_size)
    generator = torch.Generator().manual_seed(stream_seed(3, epoch, "order"))
    shuffled = [every[at] for at in torch.randperm(len(every), generator=generator).tolist()]
    weight = [len(window) - 1 if batch_of == "positions" else 1 for _, window in shuffled]
    total, longest = sum(weight), max(weight)
    steps = min(-(-total // batch_size), total // longest)
    expected: list[list[tuple[int, list[int]]]] = [[] for _ in range(steps)]
    for at, window in enumerate(shuffled):
        begun = [step for step in range(steps) if step * total // steps <= sum(weight[:at])]
        expected[begun[-1]].append(window)
    batches = list(stream.epoch(epoch))
    assert len(batches) == len(stream) == steps
    assert [batch.step for batch in batches] == list(range(steps))
    for batch, members in zip(batches, expected, strict=True):
        ordered = sorted(members, key=lambda member: len(member[1]))
        assert naive(batch) == [(owner, each[:-1], each[1:]) for owner, each in ordered]
        assert batch.neg is None
        assert batch.log_q is None
        lengths = [length for length, _ in batch.groups]
        assert lengths == sorted(set(lengths))
        if batch_of == "histories":
            assert len(members) <= batch_size
        else:
            assert len(batch) < max(batch_size, 2 * longest) + longest
    assert sum(map(len, batches)) == stream.size == stream.interactions


@settings(max_examples=60)
@given(
    st.sampled_from(["own", "shared", "in-batch", "mixed", "all", None]),
    st.sampled_from(["uniform", "popularity"]),
    st.integers(1, 12),
    st.integers(0, 3),
    st.data(),
)
def test_any_step_can_be_the_first(pool, proposal, batch_size, epoch, data):
    histories = [[1, 2, 3, 4], [5, 1], [2, 2, 7, 8, 0, 1, 3], [4], [6, 5, 4], [0, 8, 7, 6]]
    sampler = None
    if pool is not None:
        proposal = "uniform" if pool in ("in-batch", "all") else proposal
        sampler = Sampler(pool=pool, negatives=3, proposal=proposal)
    sequences = Sequences(3, sampler, windows="all")
    whole = list(opened(histories, sequences, batch_size).epoch(epoch))
    start = data.draw(st.integers(0, len(whole)))
    other = opened(histories, sequences, batch_size)
    next(iter(other.epoch(epoch + 1)))  # what was drawn before must not matter
    before = torch.get_rng_state()
    rest = list(other.epoch(epoch, start))
    assert torch.equal(before, torch.get_rng_state())
    assert len(rest) == len(whole) - start
    assert all(map(same, whole[start:], rest))


def test_epochs_steps_and_seeds_differ():
    histories = [list(np.random.default_rng(row).integers(0, 9, 5)) for row in range(40)]
    sequences = Sequences(4, Sampler(pool="shared", negatives=30))
    (a, b), (c, _) = (list(opened(histories, sequences, 80).epoch(epoch)) for epoch in (0, 1))
    d, _ = opened(histories, sequences, 80, seed=4).epoch(0)
    for one, two in ((a, b), (a, c), (a, d), (c, d)):
        assert not torch.equal(one.neg, two.neg)
        assert not torch.equal(one.owner, two.owner)


@settings(max_examples=60)
@given(lists, st.sampled_from(["own", "shared", "in-batch", "mixed", "all"]), st.booleans())
def test_negatives_are_those_of_the_sampler(histories, pool, strict):
    """An own negative, and with strict one of a pool, lies outside the whole history."""
    if not any(len(each) > 1 for each in histories):
        return
    strict = strict and pool not in ("own", "all")
    sampler = Sampler(pool=pool, negatives=4, strict=strict, rounds=100)
    for batch in opened(histories, Sequences(3, sampler)).epoch(0):
        lengths = np.repeat(*np.array(batch.groups).T)
        owner = np.repeat(batch.owner.numpy(), lengths)
        neg = batch.neg.expand(len(batch), -1) if batch.neg.dim() == 1 else batch.neg
        assert (batch.neg.dim() == 1) == (pool != "own")
        if pool in ("in-batch", "mixed"):
            assert torch.equal(batch.neg[: len(batch)], batch.target)
        for at in range(len(batch)):
            avoided = {int(batch.target[at])}
            if pool in ("own", "all") or strict:
                avoided = set(histories[owner[at]])
            usable = [int(item) not in avoided for item in neg[at]]
            assert batch.mask is not None or all(usable)
            assert batch.mask is None or batch.mask[at].tolist() == usable


def test_the_popularity_of_a_proposal_is_that_of_the_targets():
    """The first event of a history is an input only."""
    histories = [[0, 1, 2], [0, 1], [0, 3, 3, 3], [8, 1, 2]]
    count = np.array([0, 3, 2, 3, 0, 0, 0, 0, 0])
    popular = Sampler(pool="shared", negatives=40_000, proposal="popularity", alpha=0.5)
    (batch,) = opened(histories, Sequences(9, popular), 99).epoch(0)
    drawn, weight = np.bincount(batch.neg, minlength=9), np.sqrt(count)
    assert drawn[count == 0].sum() == 0
    kept = count > 0
    expected = (weight / weight.sum() * drawn.sum())[kept]
    assert chisquare(drawn[kept], expected).pvalue > 1e-3
    log_q = np.log(weight / weight.sum(), where=kept, out=np.full(9, np.nan))
    assert np.allclose(batch.log_q[0], log_q[batch.target], atol=1e-6)
    assert np.allclose(batch.log_q[1], log_q[batch.neg], atol=1e-6)
    (batch,) = opened(histories, Sequences(9, Sampler(pool="in-batch")), 99).epoch(0)
    share = count / count.sum()
    assert np.allclose(batch.log_q[0].exp(), share[batch.target], atol=1e-6)


def test_uniform_draws_are_uniform_and_need_no_correction():
    shared = Sampler(pool="shared", negatives=30_000)
    (batch,) = opened([[1, 2, 3]], Sequences(9, shared)).epoch(0)
    assert chisquare(np.bincount(batch.neg, minlength=9)).pvalue > 1e-3
    assert batch.log_q is None


def test_what_is_not_trained_on_is_reported():
    histories = [[1, 2, 3, 4, 5, 6], [1], [2, 3], [], [4]]
    cut_off, alone = opened(histories, Sequences(3)).notes
    assert "2 of 6 training targets (33.3%) are not trained" in cut_off
    assert 'windows = "all"' in cut_off
    assert alone == "2 users with one training event left out: nothing follows it"
    assert opened(histories, Sequences(3, windows="all")).notes == (alone,)
    assert opened([[1, 2, 3]], Sequences(3)).notes == ()
    unordered = replace(log_of([[1, 2, 3]]), time=None)
    (note,) = SequenceStream(unordered, Sequences(3), batch_size=4, seed=0).notes
    assert "order of events is unknown" in note
    ordered = replace(unordered, order=np.array([2, 0, 1]))
    assert SequenceStream(ordered, Sequences(3), batch_size=4, seed=0).notes == ()


def test_sessions_are_histories_of_their_own():
    log = Interactions(
        np.array([0, 0, 0, 0, 1]),
        np.array([1, 2, 3, 4, 5]),
        2,
        9,
        time=np.arange(5),
        session=np.array([0, 1, 0, 1, 2]),
    )
    train = Dataset(log, Vocab.range(2), Vocab.range(9))
    for by in ("auto", "session"):
        stream = Sequences(3, by=by).open(train, batch_size=9, seed=0)
        (batch,) = stream.epoch(0)
        assert stream.by_session
        assert sorted(naive(batch)) == [(0, [1], [3]), (1, [2], [4])]
        assert stream.notes == ("1 session with one training event left out: nothing follows it",)
    (batch,) = Sequences(3, by="user").open(train, batch_size=9, seed=0).epoch(0)
    assert naive(batch) == [(0, [1, 2, 3], [2, 3, 4])]
    without = replace(train, pairs=replace(log, session=None))
    (batch,) = Sequences(3, by="auto").open(without, batch_size=9, seed=0).epoch(0)
    assert naive(batch) == [(0, [1, 2, 3], [2, 3, 4])]
    with pytest.raises(InputError, match="need sessions, and the interactions have none"):
        Sequences(3, by="session").open(without, batch_size=9, seed=0)


def test_repeats_of_the_log_are_read():
    pairs = log_of([[1, 2], [3, 4]])
    events = log_of([[1, 2, 1, 1], [3, 4]])
    train = Dataset(pairs, Vocab.range(2), Vocab.range(9), events=events)
    (batch,) = Sequences(9, by="user").open(train, batch_size=9, seed=0).epoch(0)
    assert naive(batch) == [(1, [3], [4]), (0, [1, 2, 1], [2, 1, 1])]


def test_triplets_are_refused():
    with pytest.raises(InputError, match="'triplet' has no effect on histories"):
        Sequences(3, Sampler(unit="triplet"))


def test_a_batch_of_positions_is_about_as_large_as_asked():
    rng = np.random.default_rng(0)
    histories = [rng.integers(0, 9, rng.integers(2, 12)).tolist() for _ in range(400)]
    stream = opened(histories, Sequences(10), batch_size=100)
    sizes = [len(batch) for batch in stream.epoch(1)]
    assert len(sizes) == -(-stream.size // 100)
    assert max(sizes) < 100 + 10
    assert min(sizes) > 100 - 2 * 10
