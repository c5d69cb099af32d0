"""The audit of questions with histories: what is masked is what the history holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from questions import START, loaded, opened, random_log

from recsys.data.audit import answers, audit
from recsys.data.finding import Finding
from recsys.data.load import load
from recsys.data.splitting import SplitRule, split
from recsys.data.types import HeldOut, Split


def checks(result: Split) -> dict[str, Finding]:
    return {finding.check: finding for finding in audit(result)}


def n_masked(held: HeldOut) -> int:
    history = held.queries.history
    assert history is not None
    return sum(
        len(set(own.tolist()) & set(answers.indices.tolist()))
        for own, answers in zip(history, held.answers, strict=True)
    )


@pytest.mark.parametrize("block", [1, 50, 1 << 22])
def test_answers_in_the_history_are_counted(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_CELLS", block)
    result = split(loaded(random_log(1)), SplitRule(by="next-item", k=3))
    assert result.valid is not None
    masked = n_masked(result.valid) + n_masked(opened(result))
    finding = checks(result)["masked answers"]
    assert masked > 5
    assert (finding.severity, finding.count) == ("warning", masked)
    assert checks(result)["overlap"].severity == "ok", "an answer may repeat a pair of train"


def test_without_repeats_nothing_is_masked() -> None:
    frame = pl.DataFrame(
        {"user": np.repeat(range(9), 6), "item": [*range(6)] * 9, "time": range(54)}
    )
    finding = checks(split(load(frame), SplitRule(by="next-item")))["masked answers"]
    assert (finding.severity, finding.count) == ("ok", 0)


def test_items_of_a_session_stay_candidates() -> None:
    result = split(loaded(random_log(1)), SplitRule(by="session", ratios=(0.5, 0.2, 0.3)))
    assert n_masked(opened(result)) > 0
    finding = checks(result)["masked answers"]
    assert (finding.severity, finding.count) == ("ok", 0)


def test_new_users_are_not_cold_users() -> None:
    result = split(loaded(random_log(1)), SplitRule(by="new-user", new_users=0.5))
    assert checks(result)["cold users"].severity == "ok"


@pytest.mark.parametrize(
    "rule",
    [
        {"by": "next-item", "k": 2},
        {"by": "global-time", "test_from": START + 60},
        {"by": "global-time", "test_from": START + 60, "windows": 2, "window": 2},
        {"by": "session", "ratios": (0.5, 0.2, 0.3)},
        {"by": "new-user", "new_users": 0.5},
        {"by": "fold", "folds": 3},
    ],
    ids=lambda rule: rule["by"],
)
def test_a_rule_makes_no_error_of_its_own(rule: dict[str, Any]) -> None:
    result = split(loaded(random_log(1)), SplitRule(**rule))
    assert [each for each in audit(result) if each.severity == "error"] == []
