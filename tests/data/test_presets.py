"""Presets of the metric-learning papers: as their generator writes them, with the papers' grid, and a head that says what was run."""

from __future__ import annotations

import importlib
import itertools
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from recsys.experiment.experiment import read

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
DATA = {"citeulike": "citeulike-t", "ml1m": "ml-1m-likes", "ml10m": "ml-10m-likes"}
PRESETS = sorted(path for short in DATA for path in CONFIGS.glob(f"*-{short}.toml"))
SEVERAL = [path for path in PRESETS if path.name.startswith(("dpcml1-", "dpcml2-", "apa-"))]
SINGLE = [path for path in PRESETS if path.name.startswith(("cml-", "unis-", "hars-"))]


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("optuna")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("metric_learning")


def of(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def name(path: Path) -> str:
    return path.stem


def test_the_files_are_those_of_the_generator(generator, tmp_path):
    generator.presets(tmp_path)
    written = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_text(encoding="utf-8") for path in PRESETS}
    assert len(PRESETS) == 27


@pytest.mark.parametrize("path", PRESETS, ids=name)
def test_the_first_line_says_whether_it_was_run_and_what_it_reached(path):
    first, *rest = path.read_text(encoding="utf-8").splitlines()
    method, short = path.stem.rsplit("-", 1)
    assert first.startswith(f"# {method} on {DATA[short]}: ")
    assert re.search(r": never run\.$|: run once, .*P@3.* \d+\.\d\d.*published.*\d", first)
    assert "settings of the papers" not in "\n".join([first, *rest])


@pytest.mark.parametrize(
    ("stem", "figures"),
    [
        ("dpcml2-citeulike", ("8.72", "6.57", "8.70", "6.44", "7.85", "6.04")),
        ("hars-citeulike", ("8.41", "6.26", "8.44", "6.67")),
        ("unis-citeulike", ("7.99", "7.34")),
    ],
)
def test_what_was_reached(stem, figures):
    first = (CONFIGS / f"{stem}.toml").read_text(encoding="utf-8").splitlines()[0]
    assert all(figure in first for figure in figures)


@pytest.mark.parametrize("path", SEVERAL, ids=name)
def test_dpcml_carries_the_whole_grid_of_the_papers(path):
    space = of(path)["tune"]["space"]
    assert space["train.lr"] == {"choices": [0.001, 0.003, 0.01]}
    assert space["model.loss.margin"] == {"choices": [1.0, 1.5, 2.0]}
    assert space["model.vectors"] == {"low": 1, "high": 5}
    bands = {
        (choice["weight"], choice["low"], choice["high"])
        for choice in space["model.diversity"]["choices"]
    }
    every = itertools.product(
        (10.0, 20.0, 30.0), (0.0, 0.05, 0.1, 0.2, 0.5), (0.1, 0.25, 0.35, 0.5, 0.8)
    )
    assert bands == {band for band in every if band[1] < band[2]}
    assert len(space["model.diversity"]["choices"]) == len(bands) == 57
    assert len(SEVERAL) == 9


@pytest.mark.parametrize("path", SINGLE, ids=name)
def test_one_vector_searches_step_and_margin(path):
    assert of(path)["tune"]["space"] == {
        "train.lr": {"choices": [0.001, 0.003, 0.01]},
        "model.loss.margin": {"choices": [1.0, 1.5, 2.0]},
    }
    assert len(SINGLE) == 9


@pytest.mark.parametrize("method", ["dpcml1", "dpcml2", "apa-dihars"])
def test_users_of_few_articles_have_two_vectors(method):
    tree = of(CONFIGS / f"{method}-citeulike.toml")
    assert tree["model"]["vectors"] == 2
    assert tree["model"]["diversity"] == {"weight": 30.0, "low": 0.0, "high": 0.1}
    assert tree["model"]["loss"]["margin"] == 1.0
    assert (tree["train"]["lr"], tree["train"]["batch_size"], tree["model"]["dim"]) == (
        0.001,
        256,
        100,
    )
    assert tree["train"]["patience"] == "none"


@pytest.mark.parametrize("path", PRESETS, ids=name)
def test_every_preset_is_read_with_its_space(path):
    """Reading checks each path, bound and choice, and builds the corners."""
    experiment = read(path)
    fields = {dimension.path for dimension in experiment.dimensions}
    assert fields == set(of(path).get("tune", {}).get("space", {}))


@pytest.mark.parametrize("method", ["unis", "dpcml1", "pops", "apa-unis"])
def test_methods_of_triplets_say_what_a_step_is(method):
    paths = sorted(CONFIGS.glob(f"{method}-*.toml"))
    assert len(paths) >= 2
    for path in paths:
        head = path.read_text(encoding="utf-8").split("\n\n")[0]
        assert 'model.sampler.unit = "triplet"' in head, path.name
        assert "pairs of ten triplets" in head, path.name
        asked = read(path, ["model.sampler.unit=triplet"]).model.sampler
        assert (asked.unit, asked.negatives) == ("triplet", 10)


def test_ials_takes_no_more_sweeps_than_it_needs():
    assert of(CONFIGS / "ials-gowalla.toml")["model"]["sweeps"] == 8
