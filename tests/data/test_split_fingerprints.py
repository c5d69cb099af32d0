"""Fingerprints of splits do not change between versions: runs are compared by them.

Those of rules of pairs are as they were before a part was held as queries with answers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.data.load import LoadedData, load
from recsys.data.splitting import SplitRule, split
from recsys.experiment.experiment import from_tree

# First digits with the log that is the pairs, after a refit; and with another log, after a refit.
PAIRS: list[tuple[dict[str, Any], tuple[str, str, str, str]]] = [
    ({}, ("da6778a8", "15603b13", "32e531ef", "779e553d")),
    ({"per": "all", "order": "time"}, ("5cd278f7", "196376d3", "990ab8c8", "5989983c")),
    ({"by": "last", "k": 2}, ("4e3ea800", "bbf0ae96", "d6b209a5", "55f073d2")),
    (
        {"by": "time", "valid_from": 0.6, "test_from": 0.8},
        ("d8a30231", "b0fc88ac", "8053cc23", "62dfeb3d"),
    ),
    ({"by": "new-item", "warm_share": 0.3}, ("8041034b", "24bea05e", "53c89712", "edee3094")),
    ({"by": "libcml"}, ("e7bf5d68", "0e1551e9", "c3264613", "82e2a127")),
]
QUESTIONS: list[tuple[dict[str, Any], tuple[str, str, str, str]]] = [
    ({"by": "next-item"}, ("7075e18b", "949c50fc", "83a53b7e", "afc8722b")),
    (
        {"by": "global-time", "valid_from": 0.6, "test_from": 0.8},
        ("f03d42b9", "58eefe5b", "42ffcadf", "2766ad26"),
    ),
    ({"by": "session"}, ("9f905310", "b2c2f300", "337b308f", "35d8870b")),
    ({"by": "new-user"}, ("a0233ee8", "c3413f53", "46bf2116", "f7090a6b")),
    ({"by": "fold", "folds": 4}, ("70601457", "70601457", "634350cc", "634350cc")),
]


def shop(**source: Any) -> LoadedData:
    rng = np.random.default_rng(0)
    n = 900
    frame = pl.DataFrame(
        {
            "user": rng.integers(0, 25, n),
            "item": rng.integers(0, 30, n),
            "time": 1_600_000_000 + rng.integers(0, 150, n),
            "event": rng.choice(["view", "buy"], n),
        }
    )
    return load(frame, **source)


@pytest.mark.parametrize(("rule", "expected"), [*PAIRS, *QUESTIONS])
def test_fingerprints_of_splits(rule: dict[str, Any], expected: tuple[str, ...]) -> None:
    digits = []
    for data in (shop(), shop(behaviours=("buy",), keep_log=True)):
        result = split(data, SplitRule(**rule))
        digits += [result.fingerprint[:8], result.refit().fingerprint[:8]]
    assert tuple(digits) == expected


@pytest.mark.parametrize(
    ("rule", "expected"), [({"by": "last"}, "6a7e8c60"), ({}, "a0f4f664"), ({"k": 1}, "a0f4f664")]
)
def test_settings_of_later_rules_are_no_part_of_earlier_experiments(
    rule: dict[str, Any], expected: str
) -> None:
    tree = {"data": {"source": "ml-100k"}, "model": {"name": "ease"}, "split": rule}
    assert from_tree(tree).fingerprint[:8] == expected
    assert from_tree({**tree, "split": {"by": "next-item", "k": 2}}).fingerprint[:8] != expected
