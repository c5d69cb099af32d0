"""A data set in numbers, against a plain count."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.load import load
from recsys.data.summary import QUANTILES, Statistics, summary


def test_every_number(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(
        "user,item,rating,time,event,clean\n1,a,2,0,view,1\n1,b,4,86400,buy,0\n2,a,6,10,view,1\n"
    )
    found = summary(load(str(path), clean="clean"))
    assert (
        found.users,
        found.items,
        found.interactions,
        found.valid,
        found.test,
    ) == (2, 2, 3, None, None)
    assert found.density == pytest.approx(3 / 4)
    assert found.time == ("1970-01-01 00:00:00", "1970-01-02 00:00:00")
    assert found.weight == (2, 4, 6)
    assert found.labels == pytest.approx(2 / 3)
    assert found.behaviours == {"view": 2, "buy": 1}
    assert found.features == {}
    assert found.titles is None
    assert any("3 rows" in line for line in found.history)
    plain = json.loads(json.dumps(found.to_json()))
    assert list(plain) == [field.name for field in dataclasses.fields(Statistics)]
    assert (plain["time"], plain["weight"]) == (list(found.time), [2, 4, 6])
    assert plain["findings"] == [
        {"check": each.check, "severity": each.severity, "message": each.message}
        for each in found.findings
    ]


def test_ids_that_never_occur_and_parts(tmp_path):
    (tmp_path / "train.txt").write_text("0 0 1\n1\n2 3\n")
    (tmp_path / "test.txt").write_text("1 4\n")
    found = summary(load(str(tmp_path)))
    assert (
        found.users,
        found.users_that_occur,
        found.items,
        found.items_that_occur,
    ) == (3, 2, 5, 3)
    assert (found.interactions, found.valid, found.test) == (3, None, 1)
    assert found.per_user["0%"] == 1  # of users that occur
    assert found.time is found.weight is found.labels is found.behaviours is None


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=60, unique=True)
)
def test_quantiles_equal_a_count(pairs):
    found = summary(
        load(pl.DataFrame({"user": [u for u, _ in pairs], "item": [i for _, i in pairs]}))
    )
    for key, column in (("per_user", 0), ("per_item", 1)):
        counts = list(np.unique([pair[column] for pair in pairs], return_counts=True)[1])
        assert list(getattr(found, key).values()) == pytest.approx(
            [np.quantile(counts, q) for q in QUANTILES]
        )
    assert list(found.per_user) == ["0%", "10%", "25%", "50%", "75%", "90%", "100%"]
