"""New users: served by their histories as if they had been in training, or refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from planted import two_camps

from recsys.api import recommend
from recsys.data.types import Dataset, Interactions, Vocab
from recsys.errors import InputError
from recsys.models.contentknn import ContentKNN
from recsys.models.ease import EASE
from recsys.models.gfcf import GFCF
from recsys.models.ials import IALS
from recsys.models.itemknn import ItemKNN
from recsys.models.popular import Popular
from recsys.models.userknn import UserKNN
from recsys.scorer import (
    Blend,
    Deep,
    Factors,
    Fallback,
    FoldsIn,
    MultiFactors,
    Product,
    Relational,
    Sum,
)
from recsys.serving import fold_in, serve_users
from recsys.tensors import load_scorer, save_scorer

TRAIN = two_camps(users=60)[0]
EXACT: dict[str, Any] = {
    "itemknn": ItemKNN(k=10),
    "ease": EASE(l2=5.0),
    "ease, sparse": EASE(l2=5.0, keep=6),
    "gfcf": GFCF(rank=4),
    "gfcf, linear": GFCF(low_pass=0.0),
    "contentknn": ContentKNN(k=5),
    "popular": Popular(),
}


def scores(scorer: Any) -> torch.Tensor:
    return scorer.score(torch.arange(scorer.n_users))


def saved(scorer: Any, folder: Path) -> Any:
    save_scorer(folder / "scorer.safetensors", scorer)
    return load_scorer(folder / "scorer.safetensors")[0]


@pytest.mark.parametrize("name", list(EXACT))
def test_a_training_user_is_served_as_in_training(name: str, tmp_path: Path) -> None:
    """Their history, in another order and among others, gives their scores; also after saving."""
    scorer = saved(EXACT[name].build(TRAIN), tmp_path)
    rows = np.array([7, 0, 60, 33])  # 60 has met nothing
    folded = fold_in(scorer, TRAIN.pairs.csr[rows])
    assert folded.n_users == 4
    torch.testing.assert_close(scores(folded), scores(scorer)[rows], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(scores(saved(folded, tmp_path)), scores(folded), rtol=0, atol=0)


def test_a_blend_of_methods_that_can() -> None:
    blend = Blend((ItemKNN(k=10).build(TRAIN), EASE(l2=5.0).build(TRAIN)), (1.0, 0.5))
    torch.testing.assert_close(
        scores(fold_in(blend, TRAIN.pairs.csr[[4, 9]])), scores(blend)[[4, 9]]
    )


def test_a_joined_scorer_says_which_part_cannot() -> None:
    able, unable = (
        ItemKNN(k=10).build(TRAIN),
        Factors(torch.ones(TRAIN.n_users, 2), torch.ones(TRAIN.n_items, 2)),
    )
    met = TRAIN.pairs.csr[:3]
    for scorer, part in (
        (Blend((able, unable), (1.0, 0.5)), "second part of this blend"),
        (Sum((unable, able), (1.0, 0.5)), "first part of this sum"),
        (Fallback.of(able, unable, TRAIN.pairs), "second part of this fallback"),
        (
            Blend((able, Blend((able, able, unable), (1.0, 1.0, 1.0))), (1.0, 1.0)),
            "second part of this blend: the third part of this blend",
        ),
    ):
        for ask in (
            lambda scorer=scorer: fold_in(scorer, met),
            lambda scorer=scorer: scorer.fold_in(met),
        ):
            with pytest.raises(
                InputError, match=rf"the {part}: cannot serve new users: this 'factors' scorer has"
            ):
                ask()


def test_how_often_a_pair_is_there_does_not_count() -> None:
    scorer = ItemKNN(k=10).build(TRAIN)
    twice = TRAIN.pairs.csr[:3] * 3
    torch.testing.assert_close(scores(fold_in(scorer, twice)), scores(scorer)[:3])


def test_a_history_that_nobody_has_is_a_sum_of_its_items() -> None:
    """Item neighbours are linear: the items one at a time, added up."""
    scorer = ItemKNN(k=10).build(TRAIN)
    one_each = scores(fold_in(scorer, sp.csr_matrix(np.eye(TRAIN.n_items)[[1, 4, 6]])))
    together = scores(
        fold_in(scorer, sp.csr_matrix(np.eye(TRAIN.n_items)[[1, 4, 6]].sum(0, keepdims=True)))
    )
    torch.testing.assert_close(together, one_each.sum(0, keepdim=True))


def test_ials_solves_the_row_that_training_solves(tmp_path: Path) -> None:
    """At convergence both are the same; before, the solved row is the best for the given items."""
    recipe = IALS(dim=4, sweeps=300, l2=0.01, unobserved=0.2)
    scorer = saved(recipe.build(TRAIN), tmp_path)
    folded = fold_in(scorer, TRAIN.pairs.csr[:10])
    torch.testing.assert_close(scores(folded), scores(scorer)[:10], rtol=1e-3, atol=1e-3)
    # One row by the normal equations: (H_u'H_u + a0 H'H + r I) w = H_u'1.
    item, mine = scorer.item.double(), TRAIN.pairs.csr[3].indices
    own = item[mine]
    ridge = 0.01 * (len(mine) + 0.2 * TRAIN.n_items)
    system = own.T @ own + 0.2 * item.T @ item + ridge * torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(
        folded.user[3].double(), torch.linalg.solve(system, own.sum(0)), rtol=1e-4, atol=1e-5
    )
    assert not folded.user[3].eq(0).all()


def refused() -> dict[str, Any]:
    user, item = torch.ones(2, 3), torch.ones(4, 3)
    return {
        "factors": Factors(user, item),
        "multi-factors": MultiFactors(torch.ones(2, 2, 3), item),
        "relational": Relational(user, item, torch.ones(3, 5), torch.ones(5, 3)),
        "deep": Deep(user, item, user, item, (), torch.ones(3), torch.zeros(())),
        "product": UserKNN(k=2).build(
            Dataset(Interactions([0, 1], [0, 1], 2, 4), Vocab.range(2), Vocab.range(4))
        ),
    }


@pytest.mark.parametrize("kind", list(refused()))
def test_what_learned_its_users_says_so(kind: str) -> None:
    scorer = refused()[kind]
    histories = sp.csr_matrix((1, 4))
    calls = [lambda: fold_in(scorer, histories)]
    if isinstance(scorer, FoldsIn):  # some scorers of the class can, this one cannot
        calls.append(lambda: scorer.fold_in(histories))
    for call in calls:
        with pytest.raises(
            InputError, match=rf"cannot serve new users: this '{kind}' scorer has a learned"
        ) as caught:
            call()
        assert "use itemknn, ease, gfcf, ials, contentknn or popular" in str(caught.value)
    assert isinstance(scorer, FoldsIn) == (kind in ("factors", "product"))
    with pytest.raises(InputError, match="second part of this sum: cannot serve new users"):
        fold_in(
            Sum(
                (ItemKNN(k=2).build(TRAIN), Factors(torch.ones(61, 2), torch.ones(41, 2))),
                (1.0, 1.0),
            ),
            sp.csr_matrix((1, 41)),
        )


def test_a_product_says_what_its_first_matrix_is() -> None:
    """The same matrices, but without first = "history": it is not guessed from their shapes."""
    square = sp.csr_matrix(np.eye(4, dtype=np.float32))
    with pytest.raises(InputError, match="cannot serve new users"):
        Product((square, square)).fold_in(square)
    assert Product((square, square), "history").fold_in(square[:2]).n_users == 2


def test_histories_over_other_items_are_refused() -> None:
    for scorer in (
        ItemKNN(k=2).build(TRAIN),
        IALS(dim=2, sweeps=1).build(TRAIN),
        GFCF(rank=2).build(TRAIN),
    ):
        with pytest.raises(InputError, match="histories over 40 items, and the scorer has 41"):
            fold_in(scorer, sp.csr_matrix((2, 40)))


def test_new_users_with_outside_ids(tmp_path: Path) -> None:
    train = Dataset(
        TRAIN.pairs,
        Vocab.range(61, "user"),
        Vocab(pl.Series([f"i{i:02d}" for i in range(41)]), "item"),
    )
    scorer = ItemKNN(k=10).build(train)
    mine = TRAIN.pairs.csr[5].indices
    log = pl.DataFrame(
        {"user": ["zoe"] * len(mine) + ["5"], "item": [f"i{i:02d}" for i in mine] + ["i00"]}
    )
    log.write_csv(tmp_path / "log.csv")
    for source in (tmp_path / "log.csv", log):
        grown = serve_users(scorer, train, source)
        frame = recommend(grown.scorer, grown.train, k=5)
        zoe = frame.filter(pl.col("user") == "zoe")
        assert zoe["item"].to_list() == recommend(scorer, train, [5], k=5)["item"].to_list()
        assert not set(zoe["item"]) & {f"i{i:02d}" for i in mine}
        assert set(frame["user"]) == {"zoe", "5"}  # known before, but served by this log alone
        assert "i00" not in frame.filter(pl.col("user") == "5")["item"].to_list()
        assert set(frame["source"]) == {"model"}
    with pytest.raises(InputError, match=r"new users: unknown item 'i98' \(2 of 2 are unknown\)"):
        serve_users(scorer, train, pl.DataFrame({"user": ["zoe", "zoe"], "item": ["i98", "i99"]}))
    with pytest.raises(InputError):
        serve_users(scorer, train, tmp_path / "nothing.csv")
