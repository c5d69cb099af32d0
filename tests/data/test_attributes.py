"""Attributes of users and items: from a CSV to a sparse table, its figures and its audit."""

import json
import tracemalloc

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp

import recsys
from recsys.data.audit import audit
from recsys.data.features import AttributeEncoding, AttributeTable
from recsys.data.features.attribute_columns import guess_kind
from recsys.data.features.attribute_files import AttributeFile, encoded_rows
from recsys.data.load import load
from recsys.data.splitting.splits import SplitRule, split
from recsys.data.summary import summary
from recsys.data.types import Dataset, Interactions, Vocab
from recsys.errors import InputError

USERS = """user,age,sex,likes,vip,name
1,20,F,jazz|rock,1,Ann
2,40,M,rock,0,Bob
3,,F,,1,Cem
9,60,M,folk,0,Dan
"""


@pytest.fixture
def folder(tmp_path):
    rows = [(u, i) for u in (1, 2, 3, 4) for i in (10, 11, 12) if (u + i) % 4]
    (tmp_path / "log.csv").write_text("user,item\n" + "".join(f"{u},{i}\n" for u, i in rows))
    (tmp_path / "users.csv").write_text(USERS)
    return tmp_path


def test_a_csv_becomes_one_table(folder):
    data = load(folder / "log.csv", user_features="users.csv").dataset
    table = data.user_features["attributes"]
    assert isinstance(table, AttributeTable)
    words = ("age", "sex = F", "sex = M", "likes = folk", "likes = jazz", "likes = rock", "vip")
    assert table.columns[:7] == words
    age = np.array([20, 40, 60])
    dense = table.matrix.toarray()[:, :7]
    z = (np.array([20, 40]) - age.mean()) / age.std()
    expected = [[z[0], 1, 0, 0, 1, 1, 1], [z[1], 0, 1, 0, 0, 1, 0], [0, 1, 0, 0, 0, 0, 1], [0] * 7]
    np.testing.assert_allclose(dense, expected, atol=1e-6)
    assert table.present.tolist() == [True, True, True, False]
    assert table.gaps["age"] == pytest.approx(0.5)
    assert table.gaps["sex"] == pytest.approx(0.25)
    np.testing.assert_array_equal(table.values, table.matrix.toarray())


def test_settings_name_the_columns(folder):
    form = {
        "path": "users.csv",
        "categorical": ["age"],
        "leave_out": ["name", "vip"],
        "several": ["likes"],
    }
    data = load(folder / "log.csv", user_features={"people": form}).dataset
    columns = data.user_features["people"].columns
    assert columns[:3] == ("age = 20", "age = 40", "age = 60")
    assert not any(word.startswith(("name", "vip")) for word in columns)


def test_recbole_headers_name_the_kinds(tmp_path):
    text = "user_id:token\titem_id:token\n" + "".join(f"u{u}\ti{u % 2}\n" for u in range(4))
    (tmp_path / "a.inter").write_text(text)
    head = "item_id:token\tclass:token_seq\tyear:float\n"
    (tmp_path / "a.item").write_text(head + "i0\tDrama War\t1990\ni1\tDrama\t2000\n")
    users = "user_id:token\tage:token\nu0\t24\nu1\t24\nu2\t53\n"
    (tmp_path / "a.user").write_text(users)
    data = load(tmp_path / "a.inter", features="a.item", user_features="a.user").dataset
    assert data.features["attributes"].columns == ("class = Drama", "class = War", "year")
    assert data.user_features["attributes"].columns == ("age = 24", "age = 53")
    assert data.features["attributes"].matrix.toarray().tolist() == [[1, 1, -1], [1, 0, 1]]


def test_frames_in_memory(folder):
    frame = pl.read_csv(folder / "users.csv")
    from_file = load(folder / "log.csv", user_features="users.csv").dataset
    for given in (frame, frame.to_pandas()):
        data = load(folder / "log.csv", user_features={"attributes": given}).dataset
        got = data.user_features["attributes"]
        assert got.columns == from_file.user_features["attributes"].columns
    items = pd.DataFrame({"item": [10, 11, 12], "colour": ["red", "red", "blue"]})
    vectors = load(folder / "log.csv", features={"look": items}).dataset.features["look"]
    assert vectors.columns == ("colour = blue", "colour = red")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "0", "1"], "flag"),
        (["3", "", "2"], "number"),
        (["a", "b", "a"], "category"),
        (["a|b", "c"], "several"),
        (["x", "x"], "the same in every row"),
        ([None, None], "empty in every row"),
        ([str(n) + "x" for n in range(60)], "different in 60 of 60 rows"),
        ([[1.0, 2.0], [0.0, 1.0]], "vector"),
        ([["a"], ["b", "c"]], "several"),
        ([True, False], "flag"),
    ],
)
def test_kinds_are_recognised(values, kind):
    assert guess_kind(pl.Series("x", values), "|") == kind


def test_new_rows_are_encoded_as_training_was(folder):
    table = load(folder / "log.csv", user_features="users.csv").dataset.user_features["attributes"]
    plain = json.loads(json.dumps(table.encoding.plain()))
    encoding = AttributeEncoding.of(plain)
    assert encoding == table.encoding
    (folder / "new.csv").write_text("user,sex,likes,age\nx,F,rock|polka,40\ny,X,,\n")
    ids, rows = encoded_rows(folder / "new.csv", encoding, "user")
    assert ids.to_list() == ["x", "y"]
    assert rows.columns == table.columns
    named = dict(zip(rows.columns, rows.matrix.toarray()[0], strict=True))
    assert {name: value for name, value in named.items() if value} == {
        "sex = F": 1.0,
        "likes = rock": 1.0,
    }
    assert rows.present.tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user,age\n1,20\n1,30\n", "duplicate user id"),
        ("who,age\n1,20\n2,3\n", "no column looks like the users"),
        ("user,age\n77,20\n78,30\n", "no user of the data is in the table"),
        ("user\n1\n2\n", "holds no attribute"),
        ("user,age\n1,20,9\n", "3 fields, and the first line has 2"),
    ],
)
def test_mistakes_in_the_file(folder, text, message):
    (folder / "bad.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        load(folder / "log.csv", user_features="bad.csv")


def test_mistakes_in_the_settings(folder):
    for form, message in (
        ({"path": "users.csv", "numeric": ["sex"]}, "'F' is not a finite number"),
        ({"path": "users.csv", "numeric": ["agee"]}, "did you mean 'age'"),
        ({"path": "users.csv", "split": ""}, "split is empty"),
        ({"path": "users.csv", "colour": 1}, "unknown key 'colour'"),
        ({"path": "users.csv", "columns": ["user"]}, "1 names for 6 columns"),
        ({"path": "users.csv", "numeric": ["age"], "categorical": ["age"]}, "named twice"),
    ):
        with pytest.raises(InputError, match=message):
            load(folder / "log.csv", user_features={"people": form})
    with pytest.raises(InputError, match="no such file"):
        load(folder / "log.csv", user_features="missing.csv")


def test_splits_carry_them_and_the_fingerprint_knows(folder):
    plain = load(folder / "log.csv").dataset
    data = load(folder / "log.csv", user_features="users.csv")
    assert data.dataset.pairs_fingerprint == plain.pairs_fingerprint
    assert data.dataset.fingerprint != plain.fingerprint == data.dataset.items_fingerprint
    parts = split(data, SplitRule(by="ratio", ratios=(0.6, 0.2, 0.2)))
    assert parts.train.user_features["attributes"] is data.dataset.user_features["attributes"]
    other = split(load(folder / "log.csv"), SplitRule(by="ratio", ratios=(0.6, 0.2, 0.2)))
    assert parts.matches(other.fingerprint)  # a run of an earlier version
    assert not other.matches(parts.fingerprint)


def test_statistics_tell_columns_and_gaps(folder):
    figures = summary(load(folder / "log.csv", user_features="users.csv"))
    size = figures.user_features["attributes"]
    assert size.present == 0.75
    assert size.missing["age"] == pytest.approx(0.5)
    assert figures.to_json()["user_features"]["attributes"]["dim"] == size.dim


def test_the_built_in_customers_have_countries():
    data = recsys.load("online-retail").dataset
    table = data.user_features["attributes"]
    assert table.matrix.shape == (4335, 36)
    assert "country = France" in table.columns
    share = table.matrix[:, table.columns.index("country = United Kingdom")].mean()
    assert share == pytest.approx(3917 / 4335)
    assert (~table.present).sum() == 4


def test_a_million_columns_fit_in_memory():
    """Twenty thousand users with a million different values need space for these, not for all."""
    n = 20_000
    lists = ["|".join(f"v{u * 50 + j}" for j in range(50)) for u in range(n)]
    frame = pl.DataFrame({"user": np.arange(n), "seen": lists})
    tracemalloc.start()
    data = load(
        pd.DataFrame({"user": np.arange(n), "item": np.zeros(n, dtype=int)}),
        user_features={"attributes": frame},
    ).dataset
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    table = data.user_features["attributes"]
    assert table.matrix.shape == (n, 1_000_000)
    assert table.matrix.nnz == 1_000_000
    assert peak < 1e9  # a dense table would take 80 GB
    with pytest.raises(InputError, match="too many for a method that reads dense features"):
        table.values  # noqa: B018


def leaking(n=400, items=60, *, leak):
    """Users with eight items each, and an attribute: whether a held-out answer is item 7."""
    rng = np.random.default_rng(0)
    item = np.concatenate([rng.permutation(items)[:8] for _ in range(n)])
    pairs = Interactions(np.repeat(np.arange(n), 8), item, n, items)
    data = Dataset(pairs, Vocab.range(n, "user"), Vocab.range(items, "item"))
    parts = split(data, SplitRule(by="ratio", ratios=(0.5, 0.0, 0.5)))
    answers = parts.test.open("test").pairs if leak else pairs
    has = np.zeros(n)
    has[answers.user[answers.item == 7]] = 1
    coin = rng.random(n) < 0.3
    matrix = sp.csr_matrix(np.stack([has, coin], axis=1).astype(np.float32))
    table = AttributeTable(matrix, np.ones(n, dtype=bool), columns=["bought 7", "coin"])
    train = parts.train
    return type(parts)(
        Dataset(train.pairs, train.users, train.items, user_features={"attributes": table}),
        None,
        parts.test,
        parts.rule,
    )


def test_the_audit_finds_an_attribute_that_holds_the_answer():
    check = "user feature attributes: answers"
    bad = next(each for each in audit(leaking(leak=True)) if each.check == check)
    assert (bad.severity, bad.count) == ("error", 1)
    assert "'bought 7'" in bad.message
    good = next(each for each in audit(leaking(leak=False)) if each.check == check)
    assert good.severity == "ok"


def test_cold_users_leave_train(folder):
    data = recsys.load("online-retail")
    parts = split(data, SplitRule(by="cold-user", new_users=0.2, seed=1))
    test = parts.test.open("test").pairs
    counts = parts.train.pairs.user_counts()
    assert (counts[test.user] == 0).all()
    assert (counts[parts.valid.pairs.user] == 0).all()
    assert len(np.unique(test.user)) == 434 or len(np.unique(test.user)) == 433
    assert not set(test.user) & set(parts.valid.pairs.user)
    again = split(data, SplitRule(by="cold-user", new_users=0.2, seed=1))
    assert again.fingerprint == parts.fingerprint
    with pytest.raises(InputError, match="too few for valid and test"):
        split(load(folder / "log.csv"), SplitRule(by="cold-user", new_users=0.2))
    with pytest.raises(InputError, match="drop_cold has no effect"):
        SplitRule(by="cold-user", drop_cold=False)
    findings = {each.check: each.severity for each in audit(parts)}
    assert findings["cold users"] == "warning"


def test_the_form_is_checked():
    with pytest.raises(InputError, match="'a' is named twice"):
        AttributeFile(path="x.csv", numeric=("a",), leave_out=("a",))
