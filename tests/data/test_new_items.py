"""Methods for new items: such items are ranked, and training sees nothing of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from asking import asked, asked_by
from mistakes import invoke
from planted import two_camps

from recsys.data import catalog
from recsys.data.features import Encoder, read_new_items, write_features
from recsys.data.splitting.splits import SplitRule, split
from recsys.data.types import Dataset, FeatureTable, Interactions, Vocab
from recsys.errors import InputError
from recsys.experiment.execution import execute, open_run
from recsys.experiment.experiment import from_tree
from recsys.models.bm3 import BM3
from recsys.models.clcrec import CLCRec
from recsys.models.contentknn import ContentKNN
from recsys.models.dropoutnet import DropoutNet
from recsys.models.duif import DUIF
from recsys.models.freedom import FREEDOM
from recsys.models.heater import Heater
from recsys.models.ials import IALS
from recsys.models.itemknn import ItemKNN
from recsys.models.lattice import LATTICE
from recsys.models.mf import MF
from recsys.models.mgcn import MGCN
from recsys.models.milk import MILK
from recsys.models.vbpr import VBPR
from recsys.nn.feature_layers import warm_items
from recsys.sampling import Sampler
from recsys.scorer import Blend, Factors, Fallback, Sum
from recsys.serving.cold_start import add_items, read_items
from recsys.tensors import load_scorer, save_scorer
from recsys.training.loop import Train, fit

SPLIT = split(two_camps(users=120)[0], SplitRule(by="new-item"))
TRAIN = SPLIT.train
NEW = np.flatnonzero(~warm_items(TRAIN))
CONFIG = Train(epochs=6, batch_size=64, lr=0.03, device="cpu")
BY_CONTENT: dict[str, Any] = {
    "milk": MILK(dim=8),
    "duif": DUIF(dim=8),
    "dropoutnet": DropoutNet(dim=8, preference=IALS(dim=8)),
    "heater": Heater(dim=8, preference=IALS(dim=8)),
    "clcrec": CLCRec(dim=8, sampler=Sampler(negatives=8)),
    "vbpr": VBPR(dim=8, new_items="content"),
}
WARM: dict[str, Any] = BY_CONTENT | {"bm3": BM3(dim=8, train_features=False)}


def changed() -> Dataset:
    """The training data, but for the features of items without a training pair."""
    rng, features = np.random.default_rng(9), {}
    for name, table in TRAIN.features.items():
        values = table.values.copy()
        values[NEW] = rng.normal(5, 3, (len(NEW), values.shape[1]))
        features[name] = FeatureTable(values, table.present)
    return replace(TRAIN, features=features)


def learned(recipe: Any, train: Dataset) -> Any:
    return fit(recipe, train, None, CONFIG).scorer


def test_there_are_new_items():
    assert len(NEW) == 9  # a fifth of 40, and the one that nobody has met
    assert SPLIT.valid is not None
    assert set(SPLIT.valid.pairs.item.tolist()) <= set(NEW.tolist())


@pytest.mark.parametrize("name", list(BY_CONTENT))
def test_users_like_the_new_items_of_their_camp(name):
    scores = learned(BY_CONTENT[name], TRAIN).score(asked(torch.arange(120))).numpy()
    even, odd = NEW[NEW % 2 == 0], NEW[NEW % 2 == 1]
    assert len(even) > 1
    assert len(odd) > 1
    right = (
        scores[::2][:, even].mean(1) > scores[::2][:, odd].mean(1),
        scores[1::2][:, odd].mean(1) > scores[1::2][:, even].mean(1),
    )
    assert np.mean(right) > 0.95


@pytest.mark.parametrize("name", list(WARM))
def test_features_of_new_items_are_not_seen_in_training(name):
    """With warm negatives, the features of new items change no bit of users and warm items."""
    first, second = learned(WARM[name], TRAIN), learned(WARM[name], changed())
    warm = warm_items(TRAIN)
    assert torch.equal(first.user, second.user)
    assert torch.equal(first.item[warm], second.item[warm])


@pytest.mark.parametrize(
    "recipe",
    [
        replace(BY_CONTENT["milk"], negatives_from="all"),
        replace(BY_CONTENT["duif"], negatives_from="all"),
    ],
)
def test_with_negatives_from_all_items_they_are(recipe):
    assert not torch.equal(learned(recipe, TRAIN).user, learned(recipe, changed()).user)


@pytest.mark.parametrize("recipe", [FREEDOM(dim=8), LATTICE(dim=8), MGCN(dim=8)])
def test_graphs_of_items_are_of_the_whole_catalogue(recipe):
    """These see the features of all items from the start, new ones too, as their papers have it."""
    assert not torch.equal(learned(recipe, TRAIN).item, learned(recipe, changed()).item)


def without(train: Dataset, gone: np.ndarray) -> Dataset:
    """The data as they were before some items existed."""
    kept = np.setdiff1d(np.arange(train.n_items), gone)
    row = np.full(train.n_items, -1)
    row[kept] = np.arange(len(kept))
    old = row[train.pairs.item] >= 0
    pairs = Interactions(
        train.pairs.user[old], row[train.pairs.item[old]], train.n_users, len(kept)
    )
    features = {
        name: FeatureTable(table.values[kept], table.present[kept])
        for name, table in train.features.items()
    }
    return replace(
        train, pairs=pairs, items=Vocab(train.items.ids.gather(kept), "item"), features=features
    )


def of(train: Dataset, rows: np.ndarray) -> tuple[pl.Series, dict[str, FeatureTable]]:
    tables = {
        name: FeatureTable(table.values[rows], table.present[rows])
        for name, table in train.features.items()
    }
    return train.items.ids.gather(rows), tables


BY_ENCODER: dict[str, Any] = BY_CONTENT | {
    "milk, raw": MILK(dim=8, scale="none", impute="zero"),
    "vbpr, biases": VBPR(
        dim=8, new_items="content", item_bias=True, content_bias=True, scale="row"
    ),
    "bm3": BM3(dim=8, new_items="content"),
    "heater, softmax": Heater(
        dim=8, hidden=(6,), experts=3, gate="softmax", preference=IALS(dim=8), scale="row"
    ),
    "heater, one layer": Heater(dim=8, hidden=(), experts=1, preference=IALS(dim=8), impute="zero"),
    "dropoutnet, row": DropoutNet(dim=8, hidden=(6,), preference=IALS(dim=8), scale="row"),
}
BY_ENCODER |= {
    f"{name}, nearest": replace(BY_ENCODER[name], impute="nearest") for name in (*BY_CONTENT, "bm3")
}


@pytest.mark.parametrize("name", list(BY_ENCODER))
def test_features_given_after_training_are_as_good_as_features_given_before(
    name: str, tmp_path: Path
) -> None:
    """The saved encoder makes the vector the table had, also for an item without a text."""
    made = learned(BY_ENCODER[name], TRAIN)
    kept = np.setdiff1d(np.arange(TRAIN.n_items), NEW)
    bias = None if made.item_bias is None else made.item_bias[kept]
    save_scorer(
        tmp_path / "scorer.safetensors", replace(made, item=made.item[kept], item_bias=bias)
    )
    shipped = load_scorer(tmp_path / "scorer.safetensors")[0]
    assert isinstance(shipped, Factors)
    assert shipped.content is not None
    grown = add_items(shipped, without(TRAIN, NEW), *of(TRAIN, NEW))
    users = torch.arange(TRAIN.n_users)
    order = grown.train.items.rows(TRAIN.items.ids)
    torch.testing.assert_close(
        grown.scorer.score(asked(users))[:, order], made.score(asked(users)), rtol=1e-5, atol=1e-5
    )
    assert not TRAIN.features["text"].present[NEW].all()
    assert not torch.allclose(made.score(asked(users))[:, NEW], torch.zeros(()))
    assert (grown.train.n_items, len(grown.train.items), grown.train.pairs.csr.shape[1]) == (
        41,
        41,
        41,
    )
    gap = ~np.all([table.present[NEW] for table in TRAIN.features.values()], axis=0)
    by_mean = replace(shipped.content, read=replace(shipped.content.read, donors=None))
    apart = (by_mean(of(TRAIN, NEW)[1])[0] - shipped.content(of(TRAIN, NEW)[1])[0]).abs().sum(
        1
    ).numpy() > 0
    assert np.array_equal(apart, gap & name.endswith("nearest")), (
        "a donor stands in where one is asked for, and nowhere else"
    )


def test_items_that_were_never_there() -> None:
    """MILK trained without the items scores like the same weights over a table with them."""
    rows = NEW
    before = without(TRAIN, rows)
    torch.manual_seed(0)
    network, larger = MILK(dim=8).build(before), MILK(dim=8).build(TRAIN)
    fitted = fit(MILK(dim=8), before, None, CONFIG)
    assert fitted.scorer.content is not None
    with torch.no_grad():  # users and maps are all that MILK has
        for built in (network, larger):
            built.user.weight.copy_(fitted.scorer.user)
            for linear, chain in zip(built.maps, fitted.scorer.content.chains, strict=True):
                linear.weight.copy_(chain.layers[0].weight)
                linear.bias.copy_(chain.layers[0].bias)
    grown = add_items(network.scorer(), before, *of(TRAIN, rows))
    users = torch.arange(TRAIN.n_users)
    order = grown.train.items.rows(TRAIN.items.ids)
    torch.testing.assert_close(
        grown.scorer.score(asked(users))[:, order],
        larger.scorer().score(asked(users)),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize(
    "recipe", [MF(dim=4), VBPR(dim=4), BM3(dim=4), FREEDOM(dim=4), LATTICE(dim=4), MGCN(dim=4)]
)
def test_methods_that_make_no_vector_of_features_say_so(recipe: Any) -> None:
    made = fit(recipe, TRAIN, None, replace(CONFIG, epochs=1)).scorer
    ids, tables = of(TRAIN, NEW)
    with pytest.raises(InputError, match="cannot rank new items: this 'factors' scorer") as caught:
        add_items(made, TRAIN, ids + 100, tables)
    assert (
        "use milk, duif, dropoutnet, heater, clcrec or contentknn, "
        "or vbpr or bm3 with new_items = 'content'" in str(caught.value)
    )


def test_what_is_no_new_item_is_refused() -> None:
    made = learned(MILK(dim=4), TRAIN)
    ids, tables = of(TRAIN, NEW)
    for given, what, says in (
        (ids, tables, "item 3 is not new|is not new: it was in training \\(9 of 9 were\\)"),
        (pl.Series([100] * 9), tables, "duplicate item id 100"),
        (pl.Series([f"n{i}" for i in range(9)]), tables, "id 'n0' is not a valid Int64"),
        (ids + 100, {"text": tables["text"]}, "no features 'image'"),
        (
            ids + 100,
            tables | {"text": tables["image"]},
            "features 'text' are 9 x 3, and training had 2 numbers for each of 9",
        ),
    ):
        with pytest.raises(InputError, match=says):
            add_items(made, TRAIN, given, what)


# Several scorers in one.


def shortened(made: Factors) -> Factors:
    """As trained, without the vectors of the new items."""
    return replace(made, item=made.item[np.setdiff1d(np.arange(TRAIN.n_items), NEW)])


@pytest.fixture(scope="module")
def parts() -> tuple[dict[str, Any], dict[str, Any]]:
    """Scorers over all items, the new ones without a pair, and the same before there were any."""
    milk, before = learned(BY_CONTENT["milk"], TRAIN), without(TRAIN, NEW)
    recipes = {"contentknn": ContentKNN(k=4), "itemknn": ItemKNN()}
    whole = {name: recipe.build(TRAIN) for name, recipe in recipes.items()} | {"milk": milk}
    return whole, {name: recipe.build(before) for name, recipe in recipes.items()} | {
        "milk": shortened(milk)
    }


JOINED: dict[str, Any] = {
    "blend": lambda of, _: Blend((of["milk"], of["contentknn"]), (0.3, 0.7)),
    "blend by rank": lambda of, _: Blend(
        (of["contentknn"], of["milk"], of["contentknn"]), (0.3, 0.7, -0.1), "rank"
    ),
    "sum": lambda of, _: Sum((of["milk"], of["contentknn"]), (2.0, 0.5)),
    "fallback": lambda of, train: Fallback.of(
        of["itemknn"], of["contentknn"], train.pairs, advantage=0.5
    ),
    "fallback on a network": lambda of, train: Fallback.of(
        of["itemknn"], of["milk"], train.pairs, users=False
    ),
    "fallback as it is": lambda of, train: Fallback.of(
        of["milk"], of["contentknn"], train.pairs, calibrate="none"
    ),
    "blend of fallbacks": lambda of, train: Blend(
        (Fallback.of(of["itemknn"], of["milk"], train.pairs), of["contentknn"]), (0.5, 0.5)
    ),
    "fallback of fallbacks": lambda of, train: Fallback.of(
        Fallback.of(of["itemknn"], of["milk"], train.pairs),
        Sum((of["milk"], of["contentknn"]), (1.0, 1.0)),
        train.pairs,
    ),
}


@pytest.mark.parametrize("name", list(JOINED))
def test_joined_scorers_rank_items_that_came_later_as_cold_ones(
    name: str, parts: Any, tmp_path: Path
) -> None:
    whole, before = parts
    save_scorer(tmp_path / "scorer.safetensors", JOINED[name](before, without(TRAIN, NEW)))
    grown = add_items(
        load_scorer(tmp_path / "scorer.safetensors")[0], without(TRAIN, NEW), *of(TRAIN, NEW)
    )
    expected = JOINED[name](whole, TRAIN).score(asked(torch.arange(TRAIN.n_users)))
    order = grown.train.items.rows(TRAIN.items.ids)
    torch.testing.assert_close(
        grown.scorer.score(asked(torch.arange(TRAIN.n_users)))[:, order],
        expected,
        rtol=1e-4,
        atol=1e-4,
    )
    # And once more through a file, as a value like any other.
    save_scorer(tmp_path / "grown.safetensors", grown.scorer)
    again = load_scorer(tmp_path / "grown.safetensors")[0]
    assert (again.n_users, again.n_items) == (TRAIN.n_users, TRAIN.n_items)
    assert torch.equal(
        again.score(asked(torch.arange(9))), grown.scorer.score(asked(torch.arange(9)))
    )
    assert torch.equal(
        again.to("cpu").score(asked(torch.arange(9))), grown.scorer.score(asked(torch.arange(9)))
    )


def test_new_items_and_new_users_at_once(parts: Any) -> None:
    """A fallback whose first part has never heard of the new items."""
    _, before = parts
    data = without(TRAIN, NEW)
    scorer = Fallback.of(before["itemknn"], before["contentknn"], data.pairs)
    met = data.pairs.csr[[3, 4]]
    grown = add_items(scorer, data, *of(TRAIN, NEW)).scorer
    assert torch.equal(grown.score(asked_by(met)), grown.score(asked(torch.tensor([3, 4]))))
    with_new = sp.lil_matrix((2, grown.n_items), dtype=np.float32)
    with_new[:, : data.n_items] = met
    with_new[:, data.n_items] = 1.0  # the first part has never heard of this item
    assert torch.isfinite(grown.score(asked_by(with_new))).all()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda of: Blend((of["itemknn"], of["contentknn"]), (0.5, 0.5)),
            "the first part of this blend: cannot rank new items: this 'product'",
        ),
        (
            lambda of: Blend((of["milk"], of["itemknn"]), (0.5, 0.5)),
            "the second part of this blend: cannot rank new items: this 'product' scorer",
        ),
        (
            lambda of: Sum((of["milk"], of["milk"], of["milk"], of["itemknn"]), (1.0,) * 4),
            "the 4th part of this sum: cannot rank new items: this 'product' scorer",
        ),
        (
            lambda of: Fallback(of["milk"], of["itemknn"], KNOWN),
            "the second part of this fallback: cannot rank new items: this 'product' scorer",
        ),
        (
            lambda of: Blend((of["milk"], Fallback(of["milk"], of["itemknn"], KNOWN)), (0.5, 0.5)),
            "the second part of this blend: the second part of this fallback: cannot rank new",
        ),
    ],
)
def test_a_part_that_cannot_is_named(make: Any, says: str, parts: Any, tmp_path: Path) -> None:
    _, before = parts
    for ask in (
        lambda made: add_items(made, without(TRAIN, NEW), *of(TRAIN, NEW)),
        lambda made: read_items(tmp_path, made),
    ):
        with pytest.raises(InputError) as caught:
            ask(make(before))
        assert says in str(caught.value)
        assert "use milk, duif" in str(caught.value)


KNOWN = torch.ones(TRAIN.n_items - len(NEW), dtype=torch.bool)


def test_parts_of_other_features_are_refused(parts: Any) -> None:
    _, before = parts
    narrow = replace(without(TRAIN, NEW), features={"text": without(TRAIN, NEW).features["image"]})
    other = ContentKNN().build(narrow)
    with pytest.raises(InputError, match="read vectors of 2 and of 3 numbers for 'text'"):
        add_items(Blend((before["milk"], other), (0.5, 0.5)), without(TRAIN, NEW), *of(TRAIN, NEW))
    alone = ContentKNN().build(replace(narrow, features={"image": narrow.features["text"]}))
    ids, tables = of(TRAIN, NEW)
    grown = add_items(Blend((before["milk"], alone), (0.5, 0.5)), without(TRAIN, NEW), ids, tables)
    assert grown.scorer.n_items == TRAIN.n_items, "a part reads what it knows of, and no more"
    with pytest.raises(InputError, match="no features 'text'"):
        add_items(
            Blend((before["milk"], alone), (0.5, 0.5)),
            without(TRAIN, NEW),
            ids,
            {"image": tables["image"]},
        )


def vectors(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(columns, strict=False).write_parquet(path)
    return path


def test_a_file_and_a_folder_of_features_say_the_same(tmp_path: Path) -> None:
    dims = {"text": 2, "image": 3}
    one = vectors(
        tmp_path / "new.parquet",
        item=["a", "b", "c"],
        text=[[1.0, 2.0], None, [3.0, 4.0]],
        image=[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], None],
        more=[1, 2, 3],
    )
    vectors(tmp_path / "new" / "text.parquet", item=["a", "c"], values=[[1.0, 2.0], [3.0, 4.0]])
    vectors(tmp_path / "new" / "image.parquet", id=["a", "b"], values=[[1, 2, 3], [4, 5, 6]])
    (ids, tables), (others, theirs) = (
        read_new_items(one, dims),
        read_new_items(tmp_path / "new", dims),
    )
    assert ids.to_list() == ["a", "b", "c"]
    assert others.to_list() == ["a", "c", "b"]
    order = [0, 2, 1]
    for name, table in tables.items():
        np.testing.assert_array_equal(table.values, theirs[name].values[order])
        np.testing.assert_array_equal(table.present, theirs[name].present[order])
    assert tables["text"].present.tolist() == [True, False, True]
    single, found = read_new_items(
        vectors(tmp_path / "single.parquet", id=[7, 8], values=[[1.0, 2.0], [0.0, 1.0]]),
        {"text": 2},
    )
    assert single.to_list() == [7, 8]
    assert found["text"].values.tolist() == [[1.0, 2.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"text": [[1.0, 2.0]]}, "no column 'item'"),
        ({"item": [1.5], "text": [[1.0, 2.0]]}, "'item' holds Float64"),
        ({"item": ["a", None], "text": [[1.0, 2.0]] * 2}, "1 of 2 ids is missing"),
        ({"item": ["a", "a"], "text": [[1.0, 2.0]] * 2}, "duplicate item id 'a'"),
        ({"item": ["a"], "texts": [[1.0, 2.0]]}, "no column 'text'; did you mean 'texts'"),
        ({"item": ["a"], "text": ["words"]}, "'text' is String, not a list of numbers"),
        (
            {"item": ["a"], "text": [["words", "more"]]},
            "'text' must hold lists of numbers, got lists of String",
        ),
        (
            {"item": ["a"], "text": [["1.0", "2.0"]]},
            "'text' must hold lists of numbers, got lists of String",
        ),
        (
            {"item": ["a"], "text": [[True, False]]},
            "'text' must hold lists of numbers, got lists of Boolean",
        ),
        (
            {"item": ["a", "b"], "text": [[1.0, 2.0], [1.0]]},
            "item 'b' has a vector of 1 numbers for 'text'; training had 2",
        ),
        (
            {"item": ["a"], "text": [[1.0, float("nan")]]},
            "item 'a' has a value in 'text' that is not a finite number",
        ),
        (
            {"item": ["a", "b", "c"], "text": [None, [1.0, 2.0], [1.0, None]]},
            "item 'c' has a value in 'text' that is not a finite number",
        ),
        ({"item": [["a"]], "text": [[1.0, 2.0]]}, "'item' holds List(String), not ids"),
        ({"item": ["a"], "text": [None]}, "item 'a' has no modality at all"),
        (
            {"item": ["a", "b"], "text": [[1.0, 2.0], None]},
            "item 'b' has no modality at all (1 of 2 have none)",
        ),
        (
            {
                "item": pl.Series([], dtype=pl.String),
                "text": pl.Series([], dtype=pl.List(pl.Float32)),
            },
            "holds no item",
        ),
    ],
)
def test_a_file_that_is_none_of_new_items(
    tmp_path: Path, columns: dict[str, Any], says: str
) -> None:
    path = vectors(tmp_path / "new.parquet", **columns)
    with pytest.raises(InputError) as caught:
        read_new_items(path, {"text": 2})
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_column_of_nulls_is_a_modality_that_nobody_has(tmp_path: Path) -> None:
    path = vectors(
        tmp_path / "new.parquet",
        item=pl.Series(["a", "b"], dtype=pl.Categorical),
        text=[None, None],
        image=[[1.0], [2.0]],
    )
    ids, tables = read_new_items(path, {"text": 2, "image": 1})
    assert ids.to_list() == ["a", "b"]
    assert not tables["text"].present.any()
    assert tables["text"].values.shape == (2, 2)
    assert tables["image"].present.all()


def test_vectors_of_another_encoder_are_refused(tmp_path: Path) -> None:
    """A run knows what made its features; a file that says something else is none of its."""
    one, other = (Encoder({"text": ["title"]}, {"terms": [term]}) for term in ("cup", "lamp"))
    (tmp_path / "log.csv").write_text(
        "user,item\n"
        + "".join(f"u{user},i{(user + step) % 6}\n" for user in range(12) for step in range(3))
    )
    ids, values = pl.Series([f"i{row}" for row in range(6)]), np.eye(6, 2) + 1
    write_features(tmp_path / "text.parquet", ids, values, np.ones(6, dtype=bool), one)
    vectors(tmp_path / "plain.parquet", item=ids, values=values.tolist())
    tree = {
        "data": {
            "path": str(tmp_path / "log.csv"),
            "features": {"text": "text.parquet", "plain": "plain.parquet"},
        },
        "split": {"missing": {"train": 0.5}},
        "model": {"name": "contentknn"},
        "evaluate": {"metrics": ["ndcg@5"], "monitor": "ndcg@5"},
    }
    run = execute(from_tree(tree), tmp_path / "run")
    assert run.encoders == open_run(tmp_path / "run").encoders == {"text": one.id}
    folder, new = tmp_path / "new", pl.Series(["new"])
    vectors(folder / "plain.parquet", item=new, values=[[1.0, 2.0]])
    for made in (one, None):
        write_features(folder / "text.parquet", new, values[:1], np.array([True]), made)
        assert read_items(folder, run.scorer, run.encoders)[0].to_list() == ["new"]
    write_features(folder / "text.parquet", new, values[:1], np.array([True]), other)
    assert read_items(folder, run.scorer)[0].to_list() == ["new"]
    code, _, err = invoke(f"recommend {tmp_path / 'run'} --new-items {folder} -k 3")
    assert code == 2
    assert (
        f"{folder / 'text.parquet'}: vectors of another encoder than those of 'text' in training; "
        "make them by `recsys data features NEW --like`" in err
    )


def test_a_folder_that_lacks_a_modality(tmp_path: Path) -> None:
    vectors(tmp_path / "text.parquet", item=["a"], values=[[1.0, 2.0]])
    with pytest.raises(InputError, match=r"has no image.parquet; it holds text.parquet"):
        read_new_items(tmp_path, {"text": 2, "image": 3})
    with pytest.raises(InputError, match="no such file or folder"):
        read_new_items(tmp_path / "gone", {"text": 2})
    (tmp_path / "text.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_new_items(tmp_path / "text.parquet", {"text": 2})
    vectors(tmp_path / "text.parquet", item=["a"], values=[[1.0, 2.0]])
    vectors(tmp_path / "image.parquet", item=[1], values=[[1.0, 2.0, 3.0]])
    with pytest.raises(InputError, match="ids are Int64 in one file and String in another"):
        read_new_items(tmp_path, {"text": 2, "image": 3})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Add the camps as c00, c01, ... without nine later items, and run MILK on them."""
    folder = tmp_path_factory.mktemp("shop")
    data = without(two_camps(users=80)[0], LATER)
    names = pl.Series([f"c{i:02d}" for i in data.items.ids.to_list()])
    pl.DataFrame({"user": data.pairs.user, "item": names.gather(data.pairs.item)}).write_csv(
        folder / "log.csv"
    )
    for name, table in data.features.items():
        vectors(
            folder / f"{name}.parquet",
            item=names.filter(table.present),
            values=pl.Series(table.values[table.present]),
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_HOME", str(folder / "home"))
        patch.chdir(folder)
        catalog.add(
            "camps",
            path=folder,
            read={"path": "log.csv"},
            about={"features": {"text": "text.parquet", "image": "image.parquet"}},
        )
        (folder / "milk.toml").write_text(EXPERIMENT)
        code, _, err = invoke("run milk.toml -q --out runs/milk")
        assert code == 0, err
        yield folder


LATER = np.array([2, 5, 8, 11, 20, 21, 30, 31, 38])
EXPERIMENT = """[data]
source = "camps"

[split]
by = "new-item"

[model]
name = "milk"
dim = 8

[train]
epochs = 6
batch_size = 64
lr = 0.03
device = "cpu"

[evaluate]
metrics = ["recall@5", "ndcg@5", "coverage@5"]
candidates = ["new", "all", "warm"]
monitor = "ndcg@5[new]"
"""


def features_of_later(folder: Path) -> Path:
    ids, tables = of(two_camps(users=80)[0], LATER)
    columns = {
        name: pl.Series(
            [
                row.tolist() if there else None
                for row, there in zip(table.values, table.present, strict=True)
            ]
        )
        for name, table in tables.items()
    }
    return vectors(folder / "later.parquet", item=[f"c{i:02d}" for i in ids.to_list()], **columns)


def test_from_evaluation_to_shipping_on_the_command_line(home: Path, tmp_path: Path) -> None:
    """A run by new items: its report in three views, and unseen items by features alone."""
    report = open_run("runs/milk").report()
    assert report.names == (
        "recall@5[new]",
        "recall@5",
        "recall@5[warm]",
        "ndcg@5[new]",
        "ndcg@5",
        "ndcg@5[warm]",
        *(f"coverage@5{v}" for v in ("[new]", "", "[warm]")),
    )
    assert report["ndcg@5[new]"] >= report["ndcg@5"]
    assert "no user has a held-back warm item: [warm] is not defined" in report.notes
    history = Path("runs/milk/fit/history.jsonl").read_text(encoding="utf-8")
    assert "ndcg@5[new]" in history
    assert "NaN" not in history  # which is no JSON
    code, said, err = invoke("verify runs/milk")
    assert (code, err) == (0, ""), said
    assert "NO" not in said
    shutil.copytree("runs/milk", tmp_path / "again")
    code, said, err = invoke(f"compare runs/milk {tmp_path / 'again'} --metric 'ndcg@5[new]'")
    assert (code, err) == (0, ""), said
    assert "ndcg@5[new]" in said
    file, out = features_of_later(tmp_path), tmp_path / "out.parquet"
    code, _, err = invoke(f"recommend runs/milk --new-items {file} -k 9 --only-new --out {out}")
    assert (code, err) == (0, ""), err
    frame = pl.read_parquet(out)
    assert set(frame["item"]) == {f"c{i:02d}" for i in LATER}
    assert set(frame["source"]) == {"model"}
    first = frame.filter(pl.col("rank") == 1)
    right = (
        first["item"].str.slice(1).cast(pl.Int64) % 2 == first["user"].cast(pl.Int64) % 2
    ).mean()
    assert right > 0.8  # by chance 0.5: users like the new items of their camp
    code, said, err = invoke(
        f"recommend runs/milk --new-items {file} -k 3 --only-new --user nobody"
    )
    assert code == 0
    assert err.splitlines() == [
        "recsys: 1 of 1 users unknown to the run, such as 'nobody': ranked by popularity",
        "recsys: 1 of 1 users get nothing: no item is left for them",
    ]
    assert not any(f"c{i:02d}" in said for i in LATER), "what nobody has met is not popular"
    code, _, err = invoke(
        f"recommend runs/milk --new-items {file} -k 41 --out {tmp_path / 'all.parquet'}"
    )
    assert code == 0, err
    every = pl.read_parquet(tmp_path / "all.parquet")
    assert every.filter(pl.col("item").is_in(frame["item"])).sort("user", "item")[
        "score"
    ].to_list() == pytest.approx(frame.sort("user", "item")["score"].to_list(), abs=1e-5)
    assert set(every["item"]) > set(frame["item"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--only-new", "--only-new without --new-items"),
        (
            "--new-items {file} --only-new --candidates x.txt",
            "--only-new does not go with --candidates",
        ),
        ("--new-items gone.parquet", "gone.parquet: no such file or folder"),
        ("--new-items text.parquet", "no column 'text'"),
        ("--histories {visits}", "cannot answer a history"),
        ("--histories log.csv --user 3", "--user and --users do not go with --histories"),
        ("--new-users log.csv", "--new-users has another name now; recsys recommend runs/milk --h"),
    ],
)
def test_what_does_not_go(home: Path, tmp_path: Path, arguments: str, says: str) -> None:
    visits = tmp_path / "visits.jsonl"
    visits.write_text('{"id": "zoe", "items": ["c00"]}\n')
    given = arguments.format(file=features_of_later(tmp_path), visits=visits)
    code, _, err = invoke(f"recommend runs/milk {given}")
    assert code == 2
    assert says in err
    assert err.count("\n") == 1


def test_parts_of_other_features_are_another_job(home: Path, tmp_path: Path) -> None:
    file = features_of_later(tmp_path)
    code, _, err = invoke(f"recommend runs/milk --new-items {file} -k 3 --out {tmp_path / 'parts'}")
    assert code == 0, err
    frame = pl.read_parquet(file)
    frame.with_columns(image=pl.col("image").list.eval(-pl.element())).write_parquet(file)
    code, _, err = invoke(f"recommend runs/milk --new-items {file} -k 3 --out {tmp_path / 'parts'}")
    assert code == 2
    assert "another job (model differ)" in err


def test_old_items_are_refused(home: Path, tmp_path: Path) -> None:
    file = features_of_later(tmp_path)
    frame = pl.read_parquet(file)
    frame.with_columns(item=pl.Series(["c00", *frame["item"].to_list()[1:]])).write_parquet(file)
    code, _, err = invoke(f"recommend runs/milk --new-items {file}")
    assert code == 2
    assert "item 'c00' is not new: it was in training (1 of 9 were)" in err


@pytest.mark.parametrize(
    "model",
    [
        "contentknn",
        "fallback model.first=itemknn",
        "fallback model.first=runs/milk",
        "blend model.first=runs/milk model.second=contentknn",
    ],
)
def test_other_methods_ship_new_items_too(home: Path, tmp_path: Path, model: str) -> None:
    place = f"runs/{''.join(c for c in model if c.isalnum())}"
    (home / "other.toml").write_text(
        EXPERIMENT.replace("dim = 8\n", "").replace('name = "milk"', f'name = "{model.split()[0]}"')
    )
    code, _, err = invoke(f"run other.toml -q --out {place} {' '.join(model.split()[1:])}")
    assert code == 0, err
    out = tmp_path / "out.parquet"
    code, _, err = invoke(
        f"recommend {place} --new-items {features_of_later(tmp_path)} -k 1 --only-new --out {out}"
    )
    assert (code, err) == (0, ""), err
    frame = pl.read_parquet(out)
    assert (
        frame["item"].str.slice(1).cast(pl.Int64) % 2 == frame["user"].cast(pl.Int64) % 2
    ).mean() > 0.9


def test_new_items_for_new_users_on_the_command_line(home: Path, tmp_path: Path) -> None:
    (home / "other.toml").write_text(
        EXPERIMENT.replace("dim = 8\n", "").replace('name = "milk"', 'name = "contentknn"')
    )
    code, _, err = invoke("run other.toml -q --out runs/both")
    assert code == 0, err
    met = [item for item in open_run("runs/both").train.items.ids.to_list() if int(item[1:]) % 2][
        :3
    ]
    pl.DataFrame({"user": ["visitor"] * 3, "item": met}).write_csv(tmp_path / "visits.csv")
    out = tmp_path / "out.parquet"
    code, _, err = invoke(
        f"recommend runs/both --histories {tmp_path / 'visits.csv'} "
        f"--new-items {features_of_later(tmp_path)} -k 3 --only-new --out {out}"
    )
    assert code == 0, err
    assert err.count("\n") == 1
    frame = pl.read_parquet(out)
    assert frame["user"].to_list() == ["visitor"] * 3
    assert (frame["item"].str.slice(1).cast(pl.Int64) % 2 == 1).all(), (
        "the visitor likes what is odd"
    )


def test_a_run_whose_part_cannot_is_one_line(home: Path, tmp_path: Path) -> None:
    (home / "other.toml").write_text(
        EXPERIMENT.replace("dim = 8\n", "").replace(
            'name = "milk"', 'name = "blend"\nfirst = "contentknn"'
        )
    )
    code, _, err = invoke("run other.toml -q --out runs/refused")
    assert code == 0, err
    code, _, err = invoke(f"recommend runs/refused --new-items {features_of_later(tmp_path)}")
    assert code == 2
    assert err.startswith(
        "recsys: runs/refused (blend): the second part of this blend: "
        "cannot rank new items: this 'product' scorer does"
    )
