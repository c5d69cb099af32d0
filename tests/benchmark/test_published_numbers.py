"""Published numbers: shown next to ours, never mixed with them and never tested."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from small_plan import tree, written

from recsys.benchmark.plan import read_plan
from recsys.benchmark.running import benchmark
from recsys.errors import InputError

BLOCK = {
    "data": "one",
    "source": "A. Author, 2020, table 1",
    "protocol": "same",
    "scale": 100,
    "values": {"mf": {"ndcg@5": 12.5}},
}
OTHER = {
    "data": "one",
    "source": "B. Author, 2021",
    "protocol": "other",
    "note": "sampled candidates",
    "values": {"mf": {"ndcg@5": 0.5}, "ease": {"recall@5": 0.25}},
}


def plan_with(log, tmp_path, *blocks: dict[str, Any]):
    path = written(tmp_path, tree(log, trials=1, seeds=1))
    lines = [path.read_text()]
    for block in blocks:
        lines.append("[[published]]")
        lines += [f"{k} = {json.dumps(v)}" for k, v in block.items() if k != "values"]
        if "values" in block:
            lines.append("[published.values]")
            for method, row in block["values"].items():
                cells = ", ".join(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in row.items())
                lines.append(f"{method} = {{ {cells} }}")
    path.write_text("\n".join(lines))
    return path


def test_published_numbers_are_a_column_and_leave_ours_alone(log, tmp_path):
    plain = benchmark(written(tmp_path / "a", tree(log, trials=1, seeds=1)), tmp_path / "plain")
    config = plan_with(log, tmp_path / "b", BLOCK, OTHER)
    result = benchmark(config, tmp_path / "out")
    for name in ("table.csv", "tests.csv"):
        ours = [pl.read_csv(tmp_path / folder / name) for folder in ("plain", "out")]
        drop = [c for c in ("train_seconds", "tune_seconds", "users_per_second") if c in ours[0]]
        assert ours[0].drop(drop).equals(ours[1].drop(drop))
    lines = result.markdown().splitlines()
    head = next(line for line in lines if line.startswith("| method"))
    assert head.endswith("| published ndcg@5 | published recall@5 |")
    mf = next(line for line in lines if line.startswith("| mf"))
    assert mf.endswith("| 0.1250 (a), 0.5000 (b) |  |")
    ease = next(line for line in lines if line.startswith("| ease"))
    assert ease.endswith("|  | 0.2500 (b) |")
    assert (
        "not tested: (a) A. Author, 2020, table 1 (same protocol); "
        "(b) B. Author, 2021 (other protocol: sampled candidates)."
    ) in result.markdown()
    assert "published" not in plain.markdown()
    assert result.markdown().count("published ndcg@5") == 1, "only on the data set it names"
    assert "0.1250 (a)" in result.latex()
    published = json.loads(result.json())["published"]["one"]
    assert published[0]["values"] == [{"method": "mf", "metric": "ndcg@5", "value": 0.125}]
    assert published[1]["note"] == "sampled candidates"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "ohne"}, "'ohne' is not a data set of the plan"),
        ({"protocol": "other"}, "needs a note"),
        ({"protocol": "ours"}, "protocol"),
        ({"scale": 0}, "scale"),
        ({"sources": "x"}, "unknown key 'sources'"),
        ({"values": {"mff": {"ndcg@5": 1.0}}}, "did you mean 'mf'"),
        ({"values": {"mf": {"ndcg@10": 1.0}}}, "'ndcg@10' is not measured on one"),
        ({"values": {"mf": {"ndcg@5": "1"}}}, "must be a number, got '1'"),
        ({"values": {"mf": {"ndcg@5": True}}}, "must be a number, got True"),
        ({"values": {}}, "are missing"),
    ],
)
def test_a_mistake_in_published_numbers_is_an_error(log, tmp_path, change, message):
    with pytest.raises(InputError) as caught:
        read_plan(plan_with(log, tmp_path, BLOCK | change))
    assert message in str(caught.value)
    assert "[published]" in str(caught.value)


def test_a_single_table_is_one_block(log, tmp_path):
    path = plan_with(log, tmp_path, BLOCK)
    path.write_text(path.read_text().replace("[[published]]", "[published]"))
    (source,) = read_plan(path).published["one"]
    assert source.values == {("mf", "ndcg@5"): 0.125}
    path.write_text("published = 3\n" + written(tmp_path, tree(log)).read_text())
    with pytest.raises(InputError, match="published must be tables"):
        read_plan(path)
