"""The scorer of encoded histories: stored and given histories, blocks, saving, ranking."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from asking import asked
from torch import nn

from recsys.data.histories import Histories
from recsys.data.query import Queries
from recsys.errors import InputError
from recsys.nn.transformer import PackedTransformer
from recsys.ranking import top_k
from recsys.scorer import Dot, SequenceEncoder, StoredHistories, from_state
from recsys.scorer.sequence_encoder import _blocks, _widths
from recsys.scorer.transformer import Blocks
from recsys.tensors import load_scorer, save_scorer

USERS, ITEMS, LENGTH = 300, 90, 20


def histories(longest: int = 30) -> Histories:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, longest + 1, USERS)
    lengths[7] = 0
    return Histories.of_lists([rng.integers(0, ITEMS, length).tolist() for length in lengths])


def stored() -> StoredHistories:
    return StoredHistories(histories().last(LENGTH).packed(), LENGTH)


def scorer(variant: str = "pre-norm", blocks: int = 2, dim: int = 24) -> SequenceEncoder:
    torch.manual_seed(0)
    net = PackedTransformer(dim, LENGTH, Blocks(blocks, 2, variant), 0.1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return SequenceEncoder(net.frozen(nn.Embedding(ITEMS, dim)), stored())


def alone(encoder: SequenceEncoder, history: np.ndarray) -> torch.Tensor:
    """Return the vector of one history, without padding."""
    last = torch.from_numpy(history[-LENGTH:].astype(np.int64))
    return encoder.encoder(last[None], torch.tensor([len(last)]))[0]


@pytest.mark.parametrize("variant", ["pre-norm", "original"])
def test_a_vector_is_that_of_the_history_alone(variant):
    encoder = scorer(variant)
    vectors = encoder.encode(Queries.of_histories(histories()))
    for row, history in enumerate(histories()):
        if len(history):
            assert torch.allclose(vectors[row], alone(encoder, history), rtol=0, atol=2e-5)
        else:
            assert not vectors[row].any()


def test_a_stored_history_and_the_same_history_given_are_equal_to_the_bit():
    encoder, every = scorer(), np.arange(USERS)
    by_user = encoder.score(asked(every))
    given = encoder.score(Queries.of_histories(histories()))
    assert torch.equal(by_user, given)
    both = Queries(user=np.zeros(USERS, dtype=int), history=histories())
    assert torch.equal(encoder.score(both), given)  # the history is read, not the user
    cut_off = Queries.of_histories(histories().last(LENGTH))
    assert torch.equal(encoder.score(cut_off), given)
    shorter = Queries.of_histories(histories().last(LENGTH - 1))
    assert not torch.equal(encoder.score(shorter), given)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dim", [24, 34])
def test_a_vector_does_not_depend_on_the_block(threads, dim):
    encoder, rng, before = scorer(dim=dim), np.random.default_rng(1), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        whole = encoder.encode(Queries.of_histories(histories()))
        for size in (1, 2, 5, 17, 100, 299):
            rows = rng.permutation(USERS)[:size]
            part = encoder.encode(Queries.of_histories(histories().take(rows)))
            assert torch.equal(part, whole[rows])
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("block", [0, 1, 64, 299])
def test_lists_are_those_of_the_scores(block):
    encoder = scorer()
    queries = Queries.of_histories(histories())
    lists = top_k(encoder, queries, 5, block=block)
    scores = encoder.score(queries).numpy().copy()
    for row, history in enumerate(histories()):
        scores[row, history] = -np.inf
        if len(history):
            best = np.argsort(-scores[row], kind="stable")[:5]
            assert np.allclose(lists.score[row], scores[row, best], rtol=0, atol=1e-4)
            assert set(lists.item[row]) == set(best)


def test_arrays_of_a_block_depend_on_each_length_alone():
    widths = _widths(LENGTH)
    assert widths.tolist() == [4, 8, 12, 16, 24]
    shapes: dict[int, set[tuple[int, ...]]] = {}
    rng = np.random.default_rng(2)
    short = histories(LENGTH)
    for size in (1, 3, 40, USERS):
        rows = rng.permutation(USERS)[:size]
        some = short.take(rows)
        seen = []
        for places, item, length in _blocks(some, LENGTH):
            assert len(item) == len(length) >= len(places)
            assert item.shape[0] % 16 == 0
            for place, items, n in zip(places.tolist(), item, length.tolist(), strict=False):
                assert (
                    items[:n].tolist()
                    == short.item[slice(some.begin[place], some.end[place])].tolist()
                )
                shapes.setdefault(n, set()).add(tuple(item.shape))
            seen += places.tolist()
        assert sorted(seen) == np.flatnonzero(some.length).tolist()
    assert all(len(each) == 1 for each in shapes.values())


def test_it_is_saved_with_the_stored_histories(tmp_path):
    encoder = scorer("original")
    save_scorer(tmp_path / "scorer.safetensors", encoder, epoch=2)
    loaded, about = load_scorer(tmp_path / "scorer.safetensors")
    assert about["epoch"] == 2
    assert isinstance(loaded, SequenceEncoder)
    assert (loaded.n_users, loaded.n_items, loaded.kind) == (USERS, ITEMS, "sequence-encoder")
    every = np.arange(USERS)
    scores = loaded.score(asked(every))
    assert torch.allclose(scores, encoder.score(asked(every)), rtol=0, atol=1e-5)
    assert torch.equal(scores, loaded.score(Queries.of_histories(histories())))
    before, after = (each.state()[0] for each in (encoder, loaded))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert isinstance(loaded.plan(), Dot)
    assert loaded.answers == {"user", "history"}


def test_a_damaged_state_is_refused():
    tensors, meta = scorer().state()
    for name, damage in (
        ("stored.item", lambda items: items + ITEMS),
        ("stored.end", lambda ends: ends + 1),
    ):
        damaged = {**tensors, name: damage(tensors[name])}
        with pytest.raises(InputError, match="parts do not fit"):
            from_state(damaged, meta)
    for name in ("encoder.item", "encoder.position", "stored.end"):
        lacking = {key: tensor for key, tensor in tensors.items() if key != name}
        with pytest.raises(InputError, match=f"without its part '{name.split('.')[-1]}'|{name}"):
            from_state(lacking, meta)
    with pytest.raises(InputError, match="without its part 'other'"):
        from_state(tensors, {**meta, "network": {**meta["network"], "kind": "other"}})
