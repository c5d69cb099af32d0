"""Session neighbours: the worked example, a naive loop, and what must not matter."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from clicks import clicks, random_lists, timed

from recsys.data.histories import Histories
from recsys.data.query import Queries
from recsys.errors import InputError
from recsys.models.sknn import SKNN
from recsys.scorer import SessionNeighbours, SessionSimilarity, session_search

DAY = 86_400
# Items 1..6 of the worked example are rows 0..5.
LISTS = [[0, 1, 2], [1, 2, 3], [0, 2], [4, 1], [2, 0, 5, 1], [3, 4]]
TIMES = [
    [end - len(each) + 1 + place for place in range(len(each))]
    for each, end in zip(LISTS, range(100, 700, 100), strict=True)
]
QUERY = Histories(np.array([0, 2, 1]), np.array([0]), np.array([3]), np.array([998, 999, 1000]))


def worked(k: int, **similarity: Any) -> SessionNeighbours:
    recipe = SKNN(similarity=SessionSimilarity(**similarity), k=k)
    return recipe.build(clicks(LISTS, 6, TIMES))


@pytest.mark.parametrize(
    ("k", "similarity", "neighbours", "scores"),
    [
        (
            3,
            {"kind": "cosine"},
            {1: 1.0, 5: 0.866025404, 3: 0.816496581},
            [2.682521985, 1.866025404, 2.682521985, 0, 0, 0.866025404],
        ),
        (
            5,
            {"kind": "cosine"},
            {1: 1.0, 5: 0.866025404, 3: 0.816496581, 2: 0.666666667, 4: 0.408248290},
            [2.682521985, 2.940940361, 3.349188651, 0.666666667, 0.408248290, 0.866025404],
        ),
        (
            3,
            {"kind": "position"},
            {5: 0.666666667, 1: 0.666666667, 2: 0.555555556},
            [1.333333333, 1.888888889, 1.888888889, 0.555555556, 0, 0.666666667],
        ),
        (
            3,
            {"kind": "position", "idf": 1.0},
            {5: 0.666666667, 1: 0.666666667, 2: 0.555555556},
            [2.257529574, 2.654767426, 2.654767426, 1.165895716, 0, 1.861172979],
        ),
        (
            3,
            {"kind": "stan"},
            {1: 0.810728, 2: 0.735624, 5: 0.702761},
            [0.570528618, 1.652179519, 1.709002784, 0.451653326, 0, 0.431476286],
        ),
        (
            3,
            {"kind": "stan", "l2": 1 / 24},
            {1: 0.632712, 5: 0.612339, 2: 0.590134},
            [0.469337552, 1.363133080, 1.364568767, 0.362326065, 0, 0.375959367],
        ),
    ],
)
def test_the_worked_example(k, similarity, neighbours, scores):
    """Six sessions by hand, in float64, to the printed digits."""
    scorer = worked(k, **similarity)
    search, moment = scorer.search, np.array([1000.0])
    nearest = search.nearest(QUERY, moment)
    # Rows are newest first: session 6 is row 0, session 1 is row 5.
    got = {6 - int(row): value for row, value in zip(nearest.session, nearest.value, strict=True)}
    assert got.keys() == neighbours.keys()
    for session, value in neighbours.items():
        digits = 9 if similarity["kind"] != "stan" else 6
        assert got[session] == pytest.approx(value, abs=0.51 * 10**-digits)
    [(_, sparse)] = search.parts(QUERY, moment)
    np.testing.assert_allclose(sparse.toarray()[0], scores, rtol=0, atol=0.51e-9)
    single = scorer.score(Queries.of_histories(QUERY)).numpy()[0]
    np.testing.assert_allclose(single, scores, rtol=1e-6)


def weight(decay: str, d: float) -> float:
    """The weight of a distance, but for the words whose weight depends on a length."""
    return {"same": 1.0, "linear": max(0.0, 1 - 0.1 * d), "log": 1 / math.log10(d + 1.7)}[decay]


def of_place(rule: SessionSimilarity, p: int, length: int) -> float:
    if rule.kind == "position":
        if rule.weighting in ("div", "quadratic"):
            return (p / length) ** (1 if rule.weighting == "div" else 2)
        return weight(rule.weighting, length - p)
    if rule.kind == "stan" and rule.l1 is not None:
        return math.exp((p - length) / rule.l1)
    return 1.0


def of_steps(rule: SessionSimilarity, steps: int) -> float:
    if rule.fading in ("div", "quadratic"):
        return steps ** -(1 if rule.fading == "div" else 2)
    return weight(rule.fading, steps)


def last_place(items: list[int]) -> dict[int, int]:
    return {item: place for place, item in enumerate(items, start=1)}


def similarity_of(
    rule: SessionSimilarity, query: list[int], session: list[int], age: float
) -> float:
    place, other = last_place(query), last_place(session)
    shared = [item for item in query if item in other and place[item]]
    shared = sorted(set(shared), key=lambda item: place[item])
    weights = {item: of_place(rule, p, len(query)) for item, p in place.items()}
    total = sum(weights[item] for item in shared)
    if rule.kind == "position":
        return total / len(place)
    norm = math.sqrt(sum(value**2 for value in weights.values()))
    value = total / (norm * math.sqrt(len(other)))
    if rule.kind == "stan" and rule.l2 is not None:
        value *= math.exp(-max(0.0, age) / rule.l2)
    return value


def naive(
    recipe: SKNN, lists: list[list[int]], times: list[list[int]], query: list[int], now: int
) -> np.ndarray:
    """Scores of a query by loops over sessions and items, float64 [n_items]."""
    rule, n_items = recipe.similarity, 12
    query = query[-recipe.last :]
    newest = sorted(range(len(lists)), key=lambda s: (-times[s][-1], -s))
    candidates = [s for s in newest if set(lists[s]) & set(query)][: recipe.m]
    similar = {
        s: similarity_of(rule, query, lists[s], (now - times[s][-1]) / DAY) for s in candidates
    }
    near = sorted(candidates, key=lambda s: -np.float32(similar[s]))[: recipe.k]
    scores = np.zeros(n_items)
    for s in near:
        place, own = last_place(query), last_place(lists[s])
        shared = set(place) & set(own)
        steps = len(query) - max(place[item] for item in shared) + 1
        anchor = max(own[item] for item in shared)
        for item, p in own.items():
            value = similar[s]
            if rule.kind == "position":
                holders = sum(item in each for each in lists)
                value *= of_steps(rule, steps) * (1 + rule.idf * math.log(len(lists) / holders))
            elif rule.kind == "stan" and rule.l3 is not None:
                value *= math.exp(-abs(p - anchor) / rule.l3)
            scores[item] += value
    return scores


RULES: list[dict[str, Any]] = [
    {"kind": "cosine"},
    {"kind": "position"},
    {"kind": "position", "weighting": "quadratic", "fading": "linear", "idf": 0.7},
    {"kind": "position", "weighting": "linear", "fading": "log"},
    {"kind": "position", "weighting": "log", "fading": "quadratic"},
    {"kind": "position", "weighting": "same", "fading": "same"},
    {"kind": "stan"},
    {"kind": "stan", "l1": 0.4, "l2": 2.0, "l3": 0.9},
    {"kind": "stan", "l1": None},
    {"kind": "stan", "l2": None},
    {"kind": "stan", "l3": None},
]
NAMES = ["-".join(f"{value}" for value in rule.values()) for rule in RULES]


def random_case(seed: int, **settings: Any) -> tuple[SKNN, SessionNeighbours, Histories]:
    """A recipe, its scorer on a random log, and 60 queries."""
    lists, times = random_lists(seed)
    recipe = SKNN(**settings)
    asked, moments = random_lists(seed + 1000, n=60)
    return recipe, recipe.build(clicks(lists, 12, times)), timed(asked, moments)


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("k", "m", "last"), [(3, 8, 100), (6, 1000, 3), (100, 100, 100)])
def test_scores_are_those_of_a_loop(rule, seed, k, m, last):
    recipe, scorer, asked = random_case(
        seed, similarity=SessionSimilarity(**rule), k=k, m=m, last=last
    )
    lists, times = random_lists(seed)
    got = scorer.score(Queries.of_histories(asked)).numpy()
    for row, items in enumerate(asked):
        now = int(asked.time[asked.end[row] - 1])
        want = naive(recipe, lists, times, items.tolist(), now)
        np.testing.assert_allclose(got[row], want, rtol=2e-6, atol=1e-12)


def test_stan_without_its_three_terms_is_sknn():
    plain = SessionSimilarity(kind="stan", l1=None, l2=None, l3=None)
    for k, m in ((3, 8), (100, 1000)):
        _, stan, asked = random_case(5, similarity=plain, k=k, m=m)
        _, sknn, _ = random_case(5, similarity=SessionSimilarity(kind="cosine"), k=k, m=m)
        queries = Queries.of_histories(asked)
        assert np.array_equal(stan.score(queries), sknn.score(queries))
        wide = SessionSimilarity(kind="stan", l1=1e9, l2=1e9, l3=1e9)
        near = dataclasses.replace(stan, similarity=wide).score(queries)
        np.testing.assert_allclose(near, sknn.score(queries), rtol=1e-5)


def test_stan_has_defaults_of_its_own():
    train = clicks(LISTS, 6, TIMES)
    scorers = [
        SKNN(similarity=SessionSimilarity(kind=kind)).build(train)
        for kind in ("cosine", "position", "stan")
    ]
    assert [(scorer.k, scorer.m) for scorer in scorers] == [(100, 1000), (100, 1000), (500, 5000)]
    assert SKNN(k=7, m=9).build(train).k == 7


@pytest.mark.parametrize("rule", RULES[::3], ids=NAMES[::3])
def test_work_in_small_spans_gives_the_same_bits(rule, monkeypatch):
    _, scorer, asked = random_case(6, similarity=SessionSimilarity(**rule), k=4, m=9)
    queries = Queries.of_histories(asked)
    whole = scorer.score(queries)
    for size in (1, 20, 100):
        monkeypatch.setattr(session_search, "_SPAN", size)
        assert np.array_equal(scorer.score(queries), whole)


def test_age_counts_from_now():
    """The moment of the query comes before the time of its last event; both are in seconds."""
    scorer = worked(3, kind="stan", l2=1 / 24)
    usual = scorer.score(Queries.of_histories(QUERY))
    assert np.array_equal(scorer.score(Queries(history=QUERY, now=np.array([1000]))), usual)
    later = scorer.score(Queries(history=QUERY, now=np.array([1000 + 3600])))
    np.testing.assert_allclose(later, usual * math.exp(-1), rtol=1e-6)
    fine = dataclasses.replace(QUERY, time=QUERY.time * 1000, time_unit="ms")
    assert np.array_equal(scorer.score(Queries.of_histories(fine)), usual)


def test_sessions_that_end_after_now_have_age_zero():
    scorer = worked(6, kind="stan", l2=1e-4)
    early = Queries(history=QUERY, now=np.array([50]))
    ageless = worked(6, kind="stan", l2=None)
    assert np.array_equal(scorer.score(early), ageless.score(early))


def test_old_sessions_still_have_an_order():
    """Years after training every similarity would be zero in a float32."""
    scorer = worked(3, kind="stan")
    late = scorer.score(Queries(history=QUERY, now=np.array([1000 + 4000 * DAY])))
    usual = scorer.score(Queries.of_histories(QUERY))
    assert late.min() >= 0
    np.testing.assert_allclose(late / late.max(), usual / usual.max(), rtol=1e-5)


def test_without_times_age_does_not_count_and_a_warning_says_so():
    timeless = Queries.of_histories(Histories(QUERY.item, QUERY.begin, QUERY.end))
    with pytest.warns(UserWarning, match=r"no time, so the age of sessions \(l2\) does not count"):
        got = worked(3, kind="stan").score(timeless)
    assert np.array_equal(got, worked(3, kind="stan", l2=None).score(timeless))
    assert np.array_equal(  # no other kind reads the time
        worked(3, kind="cosine").score(timeless),
        worked(3, kind="cosine").score(Queries.of_histories(QUERY)),
    )


def test_age_needs_times_in_training():
    train = clicks(LISTS, 6)
    with pytest.raises(InputError, match="l2 needs times") as error:
        SKNN(similarity=SessionSimilarity(kind="stan")).build(train)
    assert error.value.remedy
    SKNN(similarity=SessionSimilarity(kind="stan", l2=None)).build(train)


def test_nothing_known_gives_zeros():
    scorer = SKNN().build(clicks(LISTS, 8, TIMES))
    asked = Histories.of_lists([[], [6, 7], [6, 1]])
    got = scorer.score(Queries.of_histories(asked))
    assert not got[:2].any()
    assert got[2].any()
    assert scorer.score(Queries.of_histories(Histories.of_lists([]))).shape == (0, 8)
    empty = SKNN().build(clicks([], 3)).score(Queries.of_histories(Histories.of_lists([[0, 1]])))
    assert empty.tolist() == [[0, 0, 0]]


def test_an_item_that_does_not_exist_is_an_error():
    scorer = SKNN().build(clicks(LISTS, 6, TIMES))
    for item in (-1, 6):
        with pytest.raises(ValueError, match=r"must lie in 0\.\.5"):
            scorer.score(Queries.of_histories(Histories.of_lists([[0, item]])))


def test_neighbours_are_sessions_or_users():
    """One user with two sessions: together they are one neighbour, apart they are two."""
    lists, users = [[0, 1], [0, 2], [3, 4]], [0, 0, 1]
    train = clicks(lists, 5, [[10, 11], [20, 21], [30, 31]], users)
    asked = Queries.of_histories(Histories.of_lists([[0]]))
    rule = SessionSimilarity(kind="cosine")

    def scores(**settings: Any) -> list[float]:
        scorer = SKNN(similarity=rule, **settings).build(train)
        return scorer.score(asked)[0].tolist()

    apart, together = 2**-0.5, 3**-0.5
    assert scores() == scores(sessions=True) == pytest.approx([2 * apart, apart, apart, 0, 0])
    assert scores(sessions=False) == pytest.approx([together, together, together, 0, 0])
    with pytest.raises(InputError, match="sessions = true needs sessions") as error:
        SKNN(sessions=True).build(clicks(lists, 5))
    assert "session_gap" in str(error.value.remedy)


def test_settings_without_effect_are_known():
    assert SessionSimilarity().idle() == {"l1", "l2", "l3"}
    assert SessionSimilarity(kind="stan").idle() == {"weighting", "fading", "idf"}
    assert len(SessionSimilarity(kind="cosine").idle()) == 6
