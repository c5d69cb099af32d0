"""Presets of the metric-learning papers: the papers' grid, and a head that says what was run."""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from recsys.experiment.experiment import read

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
DATA = {"citeulike": "citeulike-t", "ml-1m": "ml-1m-likes", "ml-10m": "ml-10m-likes"}
METHODS = ["apa-dihars", "cml", "dpcml1", "dpcml2", "ease", "hars", "itemknn", "sfcml", "unis"]
PRESETS = sorted(path for data in DATA for path in (CONFIGS / data).glob("*.toml"))
SEVERAL = [path for path in PRESETS if path.stem in ("dpcml1", "dpcml2", "apa-dihars")]
SINGLE = [path for path in PRESETS if path.stem in ("cml", "unis", "hars")]


def of(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def of_data(path: Path) -> str:
    return path.parent.name


def name(path: Path) -> str:
    return f"{of_data(path)}/{path.stem}"


def test_every_data_set_has_a_preset_of_each_method():
    methods = {
        data: sorted(path.stem for path in PRESETS if of_data(path) == data) for data in DATA
    }
    assert methods == dict.fromkeys(DATA, METHODS)


@pytest.mark.parametrize("data", DATA)
def test_the_presets_of_a_data_set_share_split_and_metrics(data):
    trees = [of(path) for path in PRESETS if of_data(path) == data]
    assert {tree["data"]["source"] for tree in trees} == {DATA[data]}
    for section in ("data", "split", "evaluate"):
        assert all(tree[section] == trees[0][section] for tree in trees), section
    assert trees[0]["split"] == {"by": "libcml", "drop_cold": False}
    assert trees[0]["evaluate"]["monitor"] == "precision@3"


@pytest.mark.parametrize("path", PRESETS, ids=name)
def test_the_first_line_says_whether_it_was_run_and_what_it_reached(path):
    first, *rest = path.read_text(encoding="utf-8").splitlines()
    assert first.startswith(f"# {path.stem} on {DATA[of_data(path)]}: ")
    assert re.search(r": never run\.$|: run once, .*P@3.* \d+\.\d\d.*published.*\d", first)
    assert "settings of the papers" not in "\n".join([first, *rest])


@pytest.mark.parametrize(
    ("stem", "figures"),
    [
        ("citeulike/dpcml2", ("8.72", "6.57", "8.70", "6.44", "7.85", "6.04")),
        ("citeulike/hars", ("8.41", "6.26", "8.44", "6.67")),
        ("citeulike/unis", ("7.99", "7.34")),
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
    tree = of(CONFIGS / "citeulike" / f"{method}.toml")
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
    paths = sorted(CONFIGS.glob(f"*/{method}.toml"))
    assert len(paths) >= 2
    for path in paths:
        head = path.read_text(encoding="utf-8").split("\n\n")[0]
        assert 'model.sampler.unit = "triplet"' in head, path.name
        assert "pairs of ten triplets" in head, path.name
        asked = read(path, ["model.sampler.unit=triplet"]).model.sampler
        assert (asked.unit, asked.negatives) == ("triplet", 10)


def test_ials_takes_no_more_sweeps_than_it_needs():
    assert of(CONFIGS / "gowalla" / "ials.toml")["model"]["sweeps"] == 8
