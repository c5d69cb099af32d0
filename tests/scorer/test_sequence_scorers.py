"""Scorers that read the order of a history: what must not matter to them, to the bit."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from clicks import clicks, random_lists, timed

from recsys.data.histories import Histories
from recsys.data.query import Queries
from recsys.data.types import Dataset
from recsys.errors import InputError
from recsys.models.markov import Markov
from recsys.models.sknn import SKNN
from recsys.ranking import top_k
from recsys.scorer import Scorer, SessionSimilarity, from_state
from recsys.tensors import load_scorer, save_scorer

RECIPES: dict[str, Any] = {
    "markov": Markov(smoothing=0.0),
    "markov, skips": Markov(gap=4, last=3, smoothing=0.5),
    "sknn": SKNN(similarity=SessionSimilarity(kind="cosine"), k=4, m=12),
    "vsknn": SKNN(similarity=SessionSimilarity(kind="position", idf=0.5), k=4, m=12, last=5),
    "stan": SKNN(similarity=SessionSimilarity(kind="stan"), k=4, m=12),
}
by_recipe = pytest.mark.parametrize("name", RECIPES)


def log() -> Dataset:
    lists, times = random_lists(0, n=80)
    return clicks(lists, 12, times)


def histories(seed: int = 7, n: int = 90) -> Histories:
    lists, times = random_lists(seed, n=n)
    return timed(lists, times)


def built(name: str) -> Scorer:
    scorer: Scorer = RECIPES[name].build(log())
    return scorer


@by_recipe
def test_a_stored_user_is_their_history(name):
    train, scorer = log(), built(name)
    assert scorer.answers == {"user", "history"}
    assert (scorer.n_users, scorer.n_items) == train.pairs.shape
    users = np.random.default_rng(0).permutation(scorer.n_users)
    given = train.log.histories.take(users)
    by_user = scorer.score(Queries.of_users(users))
    assert by_user.dtype == torch.float32
    assert by_user.any()
    assert torch.equal(by_user, scorer.score(Queries.of_histories(given)))
    both = Queries(user=users[::-1].copy(), history=given)  # the history is read, not the user
    assert torch.equal(by_user, scorer.score(both))


@by_recipe
def test_the_order_of_queries_and_the_size_of_a_block_do_not_matter(name):
    scorer, asked = built(name), Queries.of_histories(histories())
    whole = scorer.score(asked)
    order = np.random.default_rng(1).permutation(len(asked))
    assert torch.equal(scorer.score(asked.take(order)), whole[order])
    for size in (1, 7, 64):
        parts = [scorer.score(asked.take(slice(a, a + size))) for a in range(0, len(asked), size)]
        assert torch.equal(torch.cat(parts), whole)
    lists = [top_k(scorer, asked, 5, block=block) for block in (0, 1, 13)]
    for other in lists[1:]:
        assert np.array_equal(other.item, lists[0].item)
        assert np.array_equal(other.score, lists[0].score)


@by_recipe
def test_several_threads_get_the_same_bits(name):
    asked = Queries.of_histories(histories())
    whole = built(name).score(asked)
    scorer = built(name)  # without an index, which the threads then build at once
    spans = [slice(a, a + 10) for a in range(0, len(asked), 10)] * 4
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda span: scorer.score(asked.take(span)), spans))
    for span, part in zip(spans, parts, strict=True):
        assert torch.equal(part, whole[span])


@by_recipe
def test_what_happens_later_does_not_matter(name):
    """Prefixes of one array of events: the events after a prefix change none of its scores."""
    scorer, given = built(name), histories()
    ends = np.maximum(given.begin + 1, given.end - 2)
    earlier = dataclasses.replace(given, end=ends)
    before = scorer.score(Queries.of_histories(earlier))
    item, time = given.item.copy(), given.time.copy()
    later = np.ones(len(item), dtype=bool)
    later[earlier.cells()] = False
    item[later], time[later] = 3, time.max() + 10**6
    planted = dataclasses.replace(earlier, item=item, time=time)
    assert later.any()
    assert torch.equal(scorer.score(Queries.of_histories(planted)), before)
    assert not torch.equal(
        scorer.score(Queries.of_histories(dataclasses.replace(planted, end=given.end))),
        scorer.score(Queries.of_histories(given)),
    )


@by_recipe
def test_a_scorer_comes_back_from_its_state(name, tmp_path):
    scorer, asked = built(name), Queries.of_histories(histories())
    users = Queries.of_users(np.arange(scorer.n_users))
    tensors, meta = scorer.state()
    restored = from_state({key: tensor.clone() for key, tensor in tensors.items()}, meta)
    save_scorer(tmp_path / "scorer.safetensors", scorer)
    loaded, _ = load_scorer(tmp_path / "scorer.safetensors")
    for other in (restored, loaded, scorer.to("cpu")):
        assert type(other) is type(scorer)
        for queries in (asked, users):
            assert torch.equal(other.score(queries), scorer.score(queries))
    names, about = restored.state()
    assert about == meta
    assert all(torch.equal(names[key], tensors[key]) for key in tensors)


@pytest.mark.parametrize(
    ("name", "part", "value"),
    [
        ("markov", "indices", 12),
        ("sknn", "sessions.item", 12),
        ("sknn", "sessions.place", 0),
        ("stan", "sessions.indptr", 10**6),
    ],
)
def test_a_damaged_file_is_refused(name, part, value):
    tensors, meta = built(name).state()
    damaged = {key: tensor.clone() for key, tensor in tensors.items()}
    damaged[part][-1] = value
    with pytest.raises(InputError, match="scorer whose parts do not fit"):
        from_state(damaged, meta)
    del damaged[part]
    with pytest.raises(InputError, match="scorer without its part"):
        from_state(damaged, meta)


@by_recipe
def test_a_query_without_events_has_zeros(name):
    scorer = built(name)
    asked = Histories.of_lists([[], [11], []])  # item 11 does not occur in training
    if name == "stan":
        asked = dataclasses.replace(asked, time=np.array([5]))
    got = scorer.score(Queries.of_histories(asked))
    assert not got[[0, 2]].any()
    assert got[1].any() == (name == "markov, skips")  # which falls back to popular items
    lists = top_k(scorer, Queries.of_histories(asked), 3, flat=True)
    assert lists.flat is not None
    assert lists.flat[[0, 2]].all()
