"""Laws of answers to queries, for every method, and a wrong scorer that breaks each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from asking import asked
from test_methods import METHODS, TRAIN, fitted
from torch import Tensor

from recsys import models
from recsys.data.histories import Histories
from recsys.data.query import Queries
from recsys.errors import InputError
from recsys.models.ials import IALS
from recsys.models.userknn import UserKNN
from recsys.ranking import top_k
from recsys.scorer import Dense, Listed, Plan, Product, Scorer, als_fold_in, from_state
from recsys.scorer.row_neighbours import weigh
from recsys.tensors import load_scorer, save_scorer

JOINED = ("blend", "fallback")  # as their parts, by default ials and itemknn or contentknn
OF_A_HISTORY = (
    *JOINED,
    "bert4rec",
    "contentknn",
    "ease",
    "fpmc",
    "gfcf",
    "gru4rec",
    "hstu",
    "ials",
    "itemknn",
    "copurchase",
    "dual",
    "markov",
    "multvae",
    "popular",
    "sasrec",
    "sknn",
    "userknn",
)
# Methods that read the order and the repeats of a history.
OF_A_SEQUENCE = ("bert4rec", "fpmc", "gru4rec", "hstu", "markov", "sasrec", "sknn")
# Products of a sparse row with a matrix are computed row by row; one order serves all queries. All
# other methods multiply dense matrices, whose rounding depends on the number of rows, and on the
# alignment of the tensors in memory, which is another after they were read from a file.
ROW_BY_ROW = ("contentknn", "copurchase", "ease", "itemknn", "markov", "popular", "sknn", "userknn")
ROUNDING = 1e-5  # of the largest score
# Largest distance between the answers to a user and to the user's history, as a share of the
# largest score; otherwise both are equal to the bit. The stored users of iALS were solved for the
# items before the last half step (`test_ials_stores_what_the_items_before_solve`). MultVAE
# multiplies other numbers of rows at a time. UserKNN has a law of its own
# (`test_a_stored_user_is_a_neighbour_of_their_own_history`).
DISTANCE = {"ials": 0.1, "blend": 0.1, "fallback": 0.1, "multvae": ROUNDING}

USERS = np.arange(TRAIN.n_users)
BY_USER = asked(USERS, TRAIN.pairs.csr)
BY_HISTORY = Queries.of_histories(TRAIN.log.histories)


def questions(scorer: Scorer) -> list[Queries]:
    """Return queries of all users, and of their histories where the scorer answers them."""
    return [BY_USER, BY_HISTORY] if "history" in scorer.answers else [BY_USER]


def close(one: Tensor, other: Tensor, share: float) -> bool:
    """Return whether scores are equal, up to a share of the largest."""
    if not share:
        return torch.equal(one, other)
    return bool((one - other).abs().max() <= share * other.abs().max())


def permuted(scorer: Scorer, rounding: float) -> None:
    order = np.random.default_rng(0).permutation(len(USERS))
    for queries in questions(scorer):
        whole = scorer.score(queries)
        assert close(scorer.score(queries.take(order)), whole[order], rounding)


def split(scorer: Scorer, rounding: float) -> None:
    for queries in questions(scorer):
        whole = scorer.score(queries)
        for size in (1, 7):
            spans = [slice(start, start + size) for start in range(0, len(USERS), size)]
            parts = torch.cat([scorer.score(queries.take(span)) for span in spans])
            assert close(parts, whole, rounding)


def same_for_user_and_history(scorer: Scorer, distance: float) -> None:
    assert close(scorer.score(BY_HISTORY), scorer.score(BY_USER), distance)


def reads_a_set(scorer: Scorer) -> None:
    lists = [items.tolist() for items in Histories.of_rows(TRAIN.pairs.csr)]
    other = Queries.of_histories(Histories.of_lists([[*each[::-1], *each[:3]] for each in lists]))
    assert torch.equal(scorer.score(other), scorer.score(BY_HISTORY))


def error_of(ask: Callable[[], object]) -> InputError | None:
    try:
        ask()
    except InputError as error:
        return error
    return None


def refuses(scorer: Scorer, queries: Queries, *names: str) -> None:
    """Expect one error from scores and from lists, whose remedy holds some names."""
    for ask in (lambda: scorer.score(queries), lambda: top_k(scorer, queries, 3)):
        error = error_of(ask)
        assert error is not None
        assert f"cannot answer a history: this '{scorer.kind}' scorer" in error.cause
        assert set(names) <= words_of(error)


def words_of(error: InputError) -> set[str]:
    return set((error.remedy or "").replace(",", " ").split())


def reads_the_history_first(scorer: Scorer) -> None:
    """Ask by users 0, 1, 2 and the histories of users 9, 8, 7 at once."""
    history = Histories.of_rows(TRAIN.pairs.csr[[9, 8, 7]])
    both = Queries(user=np.arange(3), history=history)
    of_history = "history" in scorer.answers
    alone = Queries(history=history) if of_history else asked([0, 1, 2])
    assert torch.equal(scorer.score(both), scorer.score(alone))


def excludes(scorer: Scorer) -> None:
    rng = np.random.default_rng(1)
    shape = (len(USERS), TRAIN.n_items)
    candidates = np.flatnonzero(rng.random(TRAIN.n_items) < 0.7)
    drawn = sp.csr_matrix((rng.random(shape) < 0.3).astype(np.float32))
    for queries in questions(scorer):
        for asking in (queries, replace(queries, exclude=drawn)):
            hidden = asking.exclusion(TRAIN.n_items).toarray() > 0
            for pool in (None, candidates):
                allowed = np.isin(np.arange(TRAIN.n_items), pool) if pool is not None else True
                lists = top_k(scorer, asking, TRAIN.n_items, candidates=pool)
                row, column = np.nonzero(lists.item >= 0)
                listed = np.zeros(shape, dtype=int)
                np.add.at(listed, (row, lists.item[row, column]), 1)
                np.testing.assert_array_equal(listed, ~hidden & allowed)


def answers_after_loading(scorer: Scorer, folder: Path, rounding: float = 0.0) -> None:
    """Expect the same answers; their lists to the bit, if the plan of the scorer makes them."""
    save_scorer(folder / "scorer.safetensors", scorer)
    loaded, _ = load_scorer(folder / "scorer.safetensors")
    assert loaded.answers == scorer.answers
    for queries in questions(scorer):
        assert close(loaded.score(queries), scorer.score(queries), rounding)
        if rounding and isinstance(scorer.plan(), Dense):
            continue
        lists = [top_k(each, queries, TRAIN.n_items) for each in (loaded, scorer)]
        np.testing.assert_array_equal(lists[0].item, lists[1].item)
        np.testing.assert_array_equal(lists[0].score, lists[1].score)


def rounding_of(name: str) -> float:
    return 0.0 if name in ROW_BY_ROW else ROUNDING


def test_which_methods_answer_histories() -> None:
    assert [name for name in METHODS if "history" in fitted(name).scorer.answers] == sorted(
        OF_A_HISTORY
    )
    assert all("user" in fitted(name).scorer.answers for name in METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_permuting_queries_permutes_answers(name: str) -> None:
    permuted(fitted(name).scorer, rounding_of(name))


@pytest.mark.parametrize("name", METHODS)
def test_splitting_a_block_changes_nothing(name: str) -> None:
    split(fitted(name).scorer, rounding_of(name))


# FPMC reads the user of a query too; tests/models/test_fpmc.py has its laws.
@pytest.mark.parametrize("name", sorted(set(OF_A_HISTORY) - {"userknn", "fpmc"}))
def test_a_stored_user_is_answered_as_their_history(name: str) -> None:
    same_for_user_and_history(fitted(name).scorer, DISTANCE.get(name, 0.0))


@pytest.mark.parametrize("weighting", ["cosine", "bm25"])
def test_a_stored_user_is_a_neighbour_of_their_own_history(weighting: Any) -> None:
    """With all neighbours, the answers differ by the user's items times their own similarity."""
    recipe = UserKNN(k=1000, weighting=weighting, own_power=0.3, shrink=1.0, target_power=0.5)
    scorer = recipe.build(TRAIN)
    both = [scorer.score(queries).numpy() for queries in (BY_HISTORY, BY_USER)]
    observed = TRAIN.pairs.csr
    weighted = weigh(observed, weighting).toarray()
    length = np.maximum(np.diff(observed.indptr), 1)
    own = (weighted**2).sum(1) / (length**0.8 + 1.0)
    items = observed.toarray() * np.maximum(TRAIN.item_counts, 1) ** -0.5
    np.testing.assert_allclose(both[0] - both[1], own[:, None] * items, rtol=1e-4, atol=1e-5)
    assert own.max() > 0.1


@pytest.mark.parametrize("with_numba", [True, False])
def test_ials_stores_what_the_items_before_solve(
    with_numba: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Histories are solved by compiled steps where numba is installed, equal up to rounding."""
    if not with_numba:
        monkeypatch.setattr(als_fold_in, "compiled", lambda: None)
    before, after = (IALS(dim=8, sweeps=sweeps).build(TRAIN) for sweeps in (4, 5))
    solved, _ = before.plan().encode(BY_HISTORY)
    assert close(solved, after.user, ROUNDING if with_numba else 0.0)
    assert not close(solved, before.user, ROUNDING)


@pytest.mark.parametrize("name", OF_A_HISTORY)
def test_order_and_repeats_count_for_methods_of_sequences_alone(name: str) -> None:
    if name not in OF_A_SEQUENCE:
        reads_a_set(fitted(name).scorer)
        return
    with pytest.raises(AssertionError):
        reads_a_set(fitted(name).scorer)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in OF_A_HISTORY])
def test_a_history_is_refused_and_the_error_names_methods_that_answer_it(name: str) -> None:
    refuses(fitted(name).scorer, BY_HISTORY, *set(OF_A_HISTORY) - set(JOINED))


def test_the_remedy_names_no_other_method() -> None:
    error = error_of(lambda: fitted("mf").scorer.score(BY_HISTORY))
    assert error is not None
    assert words_of(error) & set(models.names()) == set(OF_A_HISTORY) - set(JOINED)


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"fpmc"}))
def test_a_query_of_both_kinds_is_read_by_its_history_where_it_can_be(name: str) -> None:
    reads_the_history_first(fitted(name).scorer)


@pytest.mark.parametrize("name", METHODS)
def test_lists_hold_all_candidates_that_are_not_excluded_once(name: str) -> None:
    excludes(fitted(name).scorer)


@pytest.mark.parametrize("name", OF_A_HISTORY)
def test_a_loaded_scorer_gives_the_same_answers(name: str, tmp_path: Path) -> None:
    answers_after_loading(fitted(name).scorer, tmp_path, rounding_of(name))


@pytest.mark.parametrize(("name", "part"), [("userknn", "similar"), ("multvae", "encoder")])
def test_a_scorer_of_an_earlier_version_answers_users_alone(name: str, part: str) -> None:
    """It was saved without what a history needs."""
    scorer = fitted(name).scorer
    tensors, meta = scorer.state()
    old = from_state(
        {key: tensor for key, tensor in tensors.items() if not key.startswith(f"{part}.")},
        {key: value for key, value in meta.items() if key != part},
    )
    assert old.answers == {"user"}
    assert torch.equal(old.score(BY_USER), scorer.score(BY_USER))
    lists = [top_k(each, BY_USER, 10) for each in (old, scorer)]
    np.testing.assert_array_equal(lists[0].item, lists[1].item)
    np.testing.assert_array_equal(lists[0].score, lists[1].score)
    refuses(old, BY_HISTORY, "userknn", "multvae")


@dataclass(frozen=True, eq=False)
class Positional(Product):
    """Adds to the scores of a query its position in the block."""

    def score(self, queries: Queries) -> Tensor:
        return super().score(queries) + torch.arange(len(queries))[:, None]


@dataclass(frozen=True, eq=False)
class Centred(Product):
    """Subtracts the mean score of the block."""

    def score(self, queries: Queries) -> Tensor:
        scores = super().score(queries)
        return scores - scores.mean()


@dataclass(frozen=True, eq=False)
class Shortened(Product):
    """Does not read the last item of a history."""

    def score(self, queries: Queries) -> Tensor:
        history = queries.history
        if history is not None:
            queries = Queries(
                history=replace(history, end=np.maximum(history.end - 1, history.begin))
            )
        return super().score(queries)


@dataclass(frozen=True, eq=False)
class Recent(Product):
    """Counts the last item of a history more."""

    def score(self, queries: Queries) -> Tensor:
        scores = super().score(queries)
        if queries.history is not None:
            scores += super().score(Queries(history=queries.history.last(1)))
        return scores


@dataclass(frozen=True, eq=False)
class Careless(Product):
    """Says that it answers users, and scores a history by the first users."""

    def score(self, queries: Queries) -> Tensor:
        return super().score(asked(np.arange(len(queries))))


@dataclass(frozen=True, eq=False)
class Curt(Product):
    """Names no other method."""

    def score(self, queries: Queries) -> Tensor:
        cause = f"cannot answer a history: this '{self.kind}' scorer has users alone"
        raise InputError(cause, remedy="train again")


@dataclass(frozen=True, eq=False)
class Stale(Product):
    """Reads the user where there is one."""

    def score(self, queries: Queries) -> Tensor:
        return super().score(queries if queries.user is None else asked(queries.user))


@dataclass(frozen=True, eq=False)
class Unmasked(Product):
    """Lists what it must not."""

    def plan(self) -> Plan:
        def lists(
            queries: Queries, k: int, candidates: np.ndarray | None
        ) -> tuple[np.ndarray, np.ndarray]:
            score, item = self.score(queries).sort(dim=1, descending=True)
            return item[:, :k].numpy(), score[:, :k].numpy()

        return Listed(lists)


@dataclass(frozen=True, eq=False)
class Lossy(Product):
    """Saves half of the item neighbours."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, meta = super().state()
        return tensors | {"1.data": tensors["1.data"] / 2}, meta


def toy(kind: type[Product] = Product, first: Any = "history") -> Product:
    """Return item neighbours with integers as weights, whose sums are exact."""
    weights = np.random.default_rng(2).integers(-3, 4, (TRAIN.n_items, TRAIN.n_items))
    return kind((TRAIN.pairs.csr, sp.csr_matrix(weights.astype(np.float32))), first)


LAWS: dict[str, tuple[Product, Product, Callable[[Any, Path], None]]] = {
    "permuting": (toy(Positional), toy(), lambda scorer, _: permuted(scorer, ROUNDING)),
    "splitting": (toy(Centred), toy(), lambda scorer, _: split(scorer, ROUNDING)),
    "user as history": (
        toy(Shortened),
        toy(),
        lambda scorer, _: same_for_user_and_history(scorer, 0.1),
    ),
    "a set": (toy(Recent), toy(), lambda scorer, _: reads_a_set(scorer)),
    "unknown kind": (
        toy(Careless, "users"),
        toy(Product, "users"),
        lambda scorer, _: refuses(scorer, BY_HISTORY, "ease"),
    ),
    "remedy": (
        toy(Curt, "users"),
        toy(Product, "users"),
        lambda scorer, _: refuses(scorer, BY_HISTORY, "ease"),
    ),
    "both kinds": (toy(Stale), toy(), lambda scorer, _: reads_the_history_first(scorer)),
    "exclusion": (toy(Unmasked), toy(), lambda scorer, _: excludes(scorer)),
    "loading": (toy(Lossy), toy(), answers_after_loading),
}


@pytest.mark.parametrize("law", LAWS)
def test_a_law_holds_for_a_right_scorer_and_fails_for_a_wrong_one(law: str, tmp_path: Path) -> None:
    wrong, right, holds = LAWS[law]
    holds(right, tmp_path)
    with pytest.raises(AssertionError):
        holds(wrong, tmp_path)
