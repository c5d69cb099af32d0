"""The plans of the project's own tables: valid, and refused with one error without their data."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.benchmark.plan import read_plan
from recsys.benchmark.running import check
from recsys.errors import InputError

PLANS = Path(__file__).parents[2] / "benchmarks" / "plans"
NAMES = sorted(path.stem for path in PLANS.glob("*.toml"))
# Where the data of the plans are that the catalogue cannot fetch.
FOLDERS = {
    "multimodal-tiktok": {"tiktok": "tiktok"},
    "denoising-ml-100k-noisy": {"ml-100k-noisy": "ml-100k-noisy"},
    "denoising-injected": {"ml-100k-noisy": "ml-100k-noisy"},
    "denoising-modcloth": {"modcloth": "modcloth"},
    "electronics": {"electronics": "amazon-electronics-14core"},
}


@pytest.mark.parametrize("name", NAMES)
def test_every_plan_is_valid(name):
    plan = read_plan(PLANS / f"{name}.toml")
    assert plan.settings.name == name
    assert len(plan.methods) >= 3
    text = (PLANS / f"{name}.toml").read_text(encoding="utf-8")
    assert f"make table NAME={name}" in text
    assert max(map(len, text.splitlines())) <= 100


def test_all_tables_have_a_plan():
    assert len(NAMES) == 18
    assert {"ablation-dpcml", "electronics", "metric-learning"} < set(NAMES)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_plan_without_its_data_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (data,) = FOLDERS[name]
    plan = read_plan(PLANS / f"{name}.toml")
    with pytest.raises(InputError, match="no such file") as caught:
        check(plan)
    assert str(caught.value).startswith(data)


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_a_plan_with_its_data_passes_a_dry_run(name, shared_data):
    changes = [f"data.{d}.data.path={shared_data / f}" for d, f in FOLDERS[name].items()]
    events = []
    plan = read_plan(PLANS / f"{name}.toml", changes)
    check(plan, events.append)
    assert [event.name for event in events] == list(plan.data)


def test_published_numbers_are_fractions():
    plan = read_plan(PLANS / "metric-learning.toml")
    (first, *_) = plan.published["steam-200k"]
    assert first.values["dpcml1", "precision@3"] == pytest.approx(0.2539)
    assert first.protocol == "same"
    for sources in plan.published.values():
        assert all(0 < value < 1 for source in sources for value in source.values.values())


def test_the_ablation_changes_one_setting_at_a_time():
    plan = read_plan(PLANS / "ablation-dpcml.toml")
    base = plan.cells["steam-200k", "dpcml2-weight-10"].model
    assert plan.cells["steam-200k", "dpcml2-C-3"].model.vectors == 3
    without = plan.cells["steam-200k", "dpcml2-without"].model
    assert (without.diversity.weight, without.vectors) == (0.0, base.vectors)
    assert all(cell.tune is None for cell in plan.cells.values())
