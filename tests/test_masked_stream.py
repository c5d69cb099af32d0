"""Masked histories: the draws are those of a loop, a function of seed, epoch and position."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_batches import lists, log_of, same
from scipy.stats import chisquare, kstest

from recsys.errors import InputError
from recsys.sampling import Masking, Sampler, SequenceBatch, Sequences, SequenceStream, stream_seed
from recsys.sampling.masking import uniform


def opened(histories, sequences: Sequences, batch_size: int = 6, seed: int = 3) -> SequenceStream:
    return SequenceStream(log_of(histories), sequences, batch_size=batch_size, seed=seed)


def splitmix(seed: int, index: int) -> float:
    """Return the number by Python's integers."""
    bits = (1 << 64) - 1
    x = (seed + (index + 1) * 0x9E3779B97F4A7C15) & bits
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & bits
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & bits
    return ((x ^ (x >> 31)) >> 11) / 2**53


def naive(batch: SequenceBatch) -> list[tuple[int, list[int], list[int]]]:
    """Return owner, items and masked places of each window of a batch."""
    windows, begin, row = [], 0, 0
    masked = set(batch.at.tolist())
    for length, count in batch.groups:
        for _ in range(count):
            places = [place for place in range(length) if begin + place in masked]
            items = batch.item[begin : begin + length].tolist()
            windows.append((int(batch.owner[row]), items, places))
            begin, row = begin + length, row + 1
    assert begin == len(batch.item)
    return windows


def test_draws_are_those_of_the_generator():
    index = np.array([0, 1, 2, 10**9, 2**40])
    seed = stream_seed(4, 2, "mask")
    assert uniform(seed, index).tolist() == [splitmix(seed, int(each)) for each in index]
    # The first outputs of SplitMix64 with seed 0, as published with other implementations.
    assert [int(value * 2**53) for value in uniform(0, np.arange(2))] == [
        0xE220A8397B1DCDAF >> 11,
        0x6E789E6AA1B965F4 >> 11,
    ]
    assert kstest(uniform(7, np.arange(20_000)), "uniform").pvalue > 1e-3


@settings(max_examples=60)
@given(
    lists,
    st.integers(2, 7),
    st.sampled_from([0.05, 0.3, 0.6, 0.95]),
    st.sampled_from([0.0, 0.4, 1.0]),
    st.integers(0, 2),
)
def test_masks_are_those_of_a_loop(histories, length, share, last, epoch):
    usable = [each for each in histories if len(each) > 1]
    sequences = Sequences(length, masking=Masking(share, last))
    if not usable:
        with pytest.raises(InputError, match="no history has two events"):
            opened(histories, sequences)
        return
    stream = opened(histories, sequences)
    seed = stream_seed(3, epoch, "mask")
    expected = []
    for owner, history in enumerate(histories):
        if len(history) < 2:
            continue
        end = sum(map(len, histories[: owner + 1]))
        cells = range(max(end - length, end - len(history)), end)
        draw = [splitmix(seed, cell) for cell in cells]
        count = max(1, round(share * len(draw)))
        masked = sorted(sorted(range(len(draw)), key=lambda place: draw[place])[:count])
        expected.append((owner, history[-length:], masked))
    batches = list(stream.epoch(epoch))
    windows = [window for batch in batches for window in naive(batch)]
    alone = list(windows)
    for window in expected:
        alone.remove(window)  # each once, with its own masks
    assert len(alone) == round(last * len(usable))
    assert len({owner for owner, _, _ in alone}) == len(alone)
    for owner, items, places in alone:
        assert items == histories[owner][-length:]
        assert places == [len(items) - 1]
    for batch in batches:
        assert batch.target.tolist() == batch.item[batch.at].tolist()
        assert batch.at.tolist() == sorted(set(batch.at.tolist()))
    assert sum(map(len, batches)) == stream.size == sum(len(places) for _, _, places in windows)


@settings(max_examples=15)
@given(st.sampled_from(["own", "shared", "in-batch", None]), st.integers(1, 12), st.integers(0, 3))
def test_any_step_can_be_the_first(pool, batch_size, epoch):
    histories = [[1, 2, 3, 4], [5, 1], [2, 2, 7, 8, 0, 1, 3], [4], [6, 5, 4], [0, 8, 7, 6]]
    sampler = None if pool is None else Sampler(pool=pool, negatives=3)
    sequences = Sequences(4, sampler, windows="all", masking=Masking(0.4, 0.5))
    whole = list(opened(histories, sequences, batch_size).epoch(epoch))
    for start in range(len(whole) + 1):
        rest = list(opened(histories, sequences, batch_size).epoch(epoch, start))
        assert len(rest) == len(whole) - start
        for one, other in zip(whole[start:], rest, strict=True):
            assert same(one, other)


def test_masks_do_not_depend_on_the_batch():
    histories = [list(np.random.default_rng(row).integers(0, 9, 5)) for row in range(40)]
    sequences = Sequences(5, masking=Masking(0.4))

    def masks(epoch: int, **options: int) -> list[tuple[int, list[int], list[int]]]:
        stream = opened(histories, sequences, **options)
        return sorted(window for batch in stream.epoch(epoch) for window in naive(batch))

    assert masks(0, batch_size=10) == masks(0, batch_size=100)
    assert masks(0) != masks(1)
    assert masks(0) != masks(0, seed=4)


def test_every_place_is_masked_equally_often():
    histories = [[1, 2, 3, 4, 5]] * 400
    stream = opened(histories, Sequences(5, masking=Masking(0.4)), batch_size=10_000)
    counts = np.zeros(5)
    for epoch in range(5):
        (batch,) = stream.epoch(epoch)
        counts += np.bincount(batch.at.numpy() % 5, minlength=5)
    assert counts.sum() == 400 * 2 * 5
    assert chisquare(counts).pvalue > 1e-3


def test_all_windows_hold_every_event():
    history = list(range(9))
    stream = opened([history], Sequences(4, windows="all", masking=Masking(0.3)), batch_size=99)
    windows = [items for batch in stream.epoch(0) for _, items, _ in naive(batch)]
    assert sorted(windows) == [[0, 1, 2], [2, 3, 4, 5], [5, 6, 7, 8]]


def test_what_is_not_trained_on_is_reported():
    (note,) = opened([[1, 2, 3, 4, 5, 6], [2, 3]], Sequences(4, masking=Masking(0.3))).notes
    assert "2 of 8 training targets (25.0%) are not trained" in note
    sequences = Sequences(4, windows="all", masking=Masking(0.3))
    assert opened([[1, 2, 3, 4, 5, 6], [2, 3]], sequences).notes == ()


def test_times_are_those_of_the_events_in_seconds():
    log = replace(log_of([[1, 2, 3], [4, 5]]), time_unit="ms")
    for masking in (None, Masking(0.5)):
        sequences = Sequences(5, masking=masking, times=True)
        (batch,) = SequenceStream(log, sequences, batch_size=99, seed=0).epoch(0)
        places = {1: 0, 2: 1, 3: 2, 4: 0, 5: 1}
        expected = [places[item] / 1000 for item in batch.item.tolist()]
        assert batch.time.tolist() == expected
        if masking is None:
            assert batch.next_time.tolist() == [places[i] / 1000 for i in batch.target.tolist()]
        else:
            assert batch.next_time is None
