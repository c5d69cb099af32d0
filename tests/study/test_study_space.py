"""[tune] and [tune.space]: read, checked against the fields, written, and given to Optuna."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_study import SPACE, small, tree

from recsys.config import from_toml, to_toml
from recsys.errors import InputError
from recsys.experiment.experiment import Experiment, from_tree, read
from recsys.experiment.search_space import Dimension, Range, Tune, check, corners, flatten, get, put
from recsys.study import sampler as proposal
from recsys.study.sampler import distribution, from_params, grid, sides, to_params
from recsys.study.storage import quiet
from recsys.study.tuning import read_with_space, ready, spaces


def made(folder: Path, space: Any, **more: Any) -> Experiment:
    return from_tree({**tree(folder), "tune": {"space": space, **more}}, "mf.toml")


def message(folder: Path, space: Any, **more: Any) -> str:
    with pytest.raises(InputError) as caught:
        ready(made(folder, space, **more))
    return str(caught.value)


def test_it_is_written_as_it_was_read(tmp_path: Path) -> None:
    experiment = small(
        tmp_path,
        tune={"limits": {"seconds": 3.0}, "objectives": ["ndcg@5", "latency"], "warm": ["runs/a"]},
    )
    text = experiment.to_toml()
    assert "[tune.space]" in text
    assert from_tree(from_toml(text)) == experiment
    assert from_toml(to_toml(experiment.to_tree())) == from_toml(text)
    assert experiment.tune is not None
    assert experiment.tune.space["train.lr"] == Range(low=1e-4, high=1e-1, log=True)


def test_paths_need_no_quotes(tmp_path: Path) -> None:
    quoted, bare = tmp_path / "quoted.toml", tmp_path / "bare.toml"
    head = to_toml({key: value for key, value in tree(tmp_path).items() if key != "tune"})
    quoted.write_text(
        head + '[tune.space]\n"train.lr" = { low = 0.1, high = 0.2 }\n'
        '"model.loss" = { choices = [{ kind = "bpr" }] }\n'
    )
    bare.write_text(
        head + "[tune.space]\ntrain.lr = { low = 0.1, high = 0.2 }\n"
        'model.loss = { choices = [{ kind = "bpr" }] }\n'
    )
    assert read(quoted, ["name=x"]) == read(bare, ["name=x"])
    assert [
        dimension.path
        for dimension in read(bare, ["tune.space.model.dim={low=1,high=2}"]).dimensions
    ] == ["train.lr", "model.loss", "model.dim"]
    assert flatten({"a": {"b": {"c": {"low": 1}}}, "d.e": {"low": 1}, "f": 3}) == {
        "a.b.c": {"low": 1},
        "d.e": {"low": 1},
        "f": 3,
    }


LOW = {"low": 1, "high": 2}


@pytest.mark.parametrize(
    ("space", "pieces"),
    [
        ({"train.lrr": LOW}, ('[tune.space] "train.lrr"', "no field 'lrr'", "did you mean 'lr'?")),
        ({"train.learning_rate": LOW}, ("did you mean 'lr'?",)),
        (
            {"model.sampler.negative": LOW},
            ("'model.sampler' has no field 'negative'", "did you mean 'negatives'?"),
        ),
        ({"model.dim.x": LOW}, ("'model.dim' is a value", "drop what follows")),
        ({"tran.lr": LOW}, ("'tran' is not a section", "did you mean 'train'?")),
        ({"lr": LOW}, ("'lr' is not a section", "model, train")),
        ({"train": LOW}, ("'train' is a section", "lr")),
        ({"data.user_core": LOW}, ("[data] decides what is measured", "[model] and [train]")),
        ({"split.seed": LOW}, ("[split] decides",)),
        ({"evaluate.seed": LOW}, ("[evaluate] decides",)),
        (
            {"model.name": {"choices": ["mf"]}},
            ("'model.name' cannot be searched", "a study of each method"),
        ),
        ({"train.seed": LOW}, ("luckiest seed",)),
        ({"train.lr": {"low": 0.0, "high": 1.0}}, ('"train.lr" low', "above 0, got 0.0")),
        ({"train.lr": {"low": 1.0, "high": float("inf")}}, ("high must be a finite number",)),
        (
            {"model.dim": {"low": 1.5, "high": 3}},
            ('"model.dim" low', "must be an integer, got 1.5"),
        ),
        ({"model.dim": {"low": 1, "high": 3, "step": 0.5}}, ("step must be an integer, got 0.5",)),
        ({"model.dim": {"choices": [8, "16"]}}, ('"model.dim" choices', "'16'")),
        ({"model.dim": {"choices": [8, True]}}, ('"model.dim" choices', "True")),
        ({"train.optimizer": {"choices": ["adam", "adma"]}}, ("'adma'", "'adam'")),
        ({"train.optimizer": LOW}, ("low and high are for numbers", "'adam', 'adamw'")),
        (
            {"train.compile": {"low": 0, "high": 1}},
            ("low and high are for numbers", "true and false"),
        ),
        ({"model.loss": LOW}, ("low and high are for numbers",)),
        ({"model.loss": {"choices": ["bpr"]}}, ("'bpr' is not a table", "kind")),
        ({"model.loss": {"choices": [{"kin": "bpr"}]}}, ("'kin'", "did you mean 'kind'?")),
        ({"model.l2": {"choices": ["none"]}}, ("must be a number, got 'none'",)),
        (
            {"model.loss": {"choices": [{}]}, "model.loss.margin": LOW},
            ("'model.loss' holds 'model.loss.margin'",),
        ),
        ({"train.lr": {"low": 2, "high": 1}}, ("low = 2 is above high = 1", "exchange")),
        ({"train.lr": {"low": 1}}, ("low and high are needed",)),
        ({"train.lr": {}}, ("low and high are needed",)),
        ({"train.lr": {"low": 1, "hihg": 2}}, ("'hihg'", "did you mean 'high'?")),
        ({"train.lr": 0.1}, ("'train.lr' must be a table",)),
        ({"model.l2": {"low": 0, "high": 1, "log": True}}, ("logarithmic range is above 0",)),
        ({"train.lr": {"low": 1, "high": 2, "log": True, "step": 1}}, ("step and log",)),
        ({"train.lr": {"low": 1, "high": 2, "step": 0.3}}, ("number of steps", "high = 1.9")),
        ({"train.lr": {"low": 1, "high": 2, "step": 0}}, ("step must be above 0, got 0",)),
        ({"train.lr": {"choices": []}}, ("choices is empty",)),
        ({"train.lr": {"choices": [0.1, 0.1]}}, ("0.1 twice",)),
        ({"train.lr": {"choices": [1, 0.1, 1.0]}}, ('"train.lr"', "choices names 1.0 twice")),
        (
            {
                "model.loss": {
                    "choices": [{"kind": "softmax"}, {"kind": "softmax", "temperature": 1}]
                }
            },
            (
                '"model.loss"',
                '{"kind": "softmax"} and {"kind": "softmax", "temperature": 1}, which are the same',
            ),
        ),
        (
            {"train.lr": {"low": float("nan"), "high": 1.0}},
            ('"train.lr"', "low must be a finite number, got nan"),
        ),
        (
            {"model.dim": [8, 16]},
            ("'model.dim' must be a table, got a list", '"model.dim" = { choices = [8, 16] }'),
        ),
        ({"train.lr": {"choices": [0.1], "low": 1}}, ("choices go without",)),
        (
            {
                "model.loss.kind": {"choices": ["bpr", "square"]},
                "model.loss.reduce": {"choices": ["each", "top"]},
            },
            (
                "[tune.space]",
                "model.loss.kind = 'square', model.loss.reduce = 'top'",
                "choices of one path",
            ),
        ),
        ({}, ("nothing to search", "low = 1e-4")),
    ],
)
def test_what_the_experiment_does_not_have_is_refused(
    tmp_path: Path, space: Any, pieces: tuple[str, ...]
) -> None:
    line = message(tmp_path, space)
    for piece in pieces:
        assert piece in line, line


@pytest.mark.parametrize(
    ("settings", "pieces"),
    [
        ({"sampler": "cma"}, ("cma", "numbers, not choices", "model.loss")),
        ({"sampler": "grid"}, ("no end without a step", "train.lr")),
        ({"sampler": "tpee"}, ("got 'tpee'; did you mean 'tpe'?",)),
        ({"objectives": ["ndgc@5"]}, ("[tune] objectives", "latency")),
        ({"objectives": ["loss"]}, ("[tune] objectives",)),
        ({"objectives": ["popularity@5"]}, ("has no direction",)),
        ({"objectives": ["ndcg@5", "ndcg@5"]}, ("names one twice",)),
        ({"objectives": ["ndcg@5", "latency"], "pruner": "median"}, ("one objective",)),
        ({"objectives": ["ndcg@5", "latency"], "sampler": "cma"}, ("one objective",)),
        ({"objectives": ["recall@5"], "pruner": "median"}, ("looks at the monitor", "'ndcg@5'")),
        ({"trials": 0}, ("trials must be at least 1",)),
        ({"seconds": 0.0}, ("seconds must be above 0",)),
        ({"limits": {"ram": 3}}, ("'ram'", "memory_mb")),
        ({"trails": 3}, ("'trails'", "did you mean 'trials'?")),
    ],
)
def test_settings_that_cannot_work_are_refused(
    tmp_path: Path, settings: dict[str, Any], pieces: tuple[str, ...]
) -> None:
    line = message(tmp_path, SPACE, **settings)
    for piece in pieces:
        assert piece in line, line


def test_a_grid_too_large_is_refused(tmp_path: Path) -> None:
    space = {"model.dim": {"low": 1, "high": 10_000}, "train.warmup": {"low": 0, "high": 10_000}}
    assert "100,010,000 points" in message(tmp_path, space, sampler="grid")


def dimension(**values: Any) -> Dimension:
    path = values.pop("path", "train.lr")
    return check({path: Range(**values)}, _classes())[0]


def _classes() -> dict[str, type]:
    from recsys import models
    from recsys.experiment.experiment import SECTIONS

    return {**SECTIONS, "model": models.recipe("mf")}


def test_what_a_dimension_holds() -> None:
    lr = dimension(low=0.1, high=0.5, step=0.1)
    assert [lr.holds(value) for value in (0.1, 0.30000000000000004, 0.35, 0.6, "x", True)] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]
    assert lr.values() == [0.1, 0.2, 0.3, 0.4, 0.5]
    dim = dimension(path="model.dim", low=4, high=12, step=4)
    assert dim.values() == [4, 8, 12]
    assert [dim.holds(value) for value in (4, 6, 12, 16)] == [True, False, True, False]
    loss = dimension(path="model.loss", choices=({"kind": "bpr"}, {"kind": "softmax"}))
    whole = {**loss.resolved[1]}
    assert whole["temperature"] == 1.0
    assert loss.chosen(whole) == {"kind": "softmax"}
    assert loss.chosen({**whole, "temperature": 2.0}) is None
    clip = dimension(path="train.clip", choices=("none", 1.0))
    assert clip.none == "absent"
    assert dimension(path="train.patience", choices=("none", 3)).none == "none"
    with pytest.raises(InputError):
        dimension(low=0.1, high=0.5).values()


def test_none_is_put_where_a_field_may_be_empty(tmp_path: Path) -> None:
    clip, patience = (
        dimension(path="train.clip", choices=("none", 1.0)),
        dimension(path="train.patience", choices=("none", 3)),
    )
    plain: dict[str, Any] = {"train": {"clip": 1.0}}
    put(plain, clip, "none")
    put(plain, patience, "none")
    assert plain == {"train": {"patience": "none"}}
    assert (get(plain, "train.clip"), get(plain, "train.patience"), get(plain, "a.b")) == (
        "none",
        "none",
        "none",
    )
    experiment = from_tree({**tree(tmp_path), "train": {"patience": "none"}})
    assert experiment.train.patience is None


def test_corners_are_all_combinations_of_ends() -> None:
    classes = _classes()
    space = {"train.lr": Range(low=0.1, high=0.2), "model.dim": Range(choices=(4, 8, 16))}
    found = [tuple(corner.values()) for corner in corners(check(space, classes))]
    assert found == list(itertools.product((0.1, 0.2), (4, 8, 16)))
    many = {f"model.{name}": Range(low=1, high=2) for name in ("dim", "l2", "init_std")} | {
        f"model.loss.{name}": Range(low=1.0, high=2.0)
        for name in ("margin", "temperature", "weight")
    }
    many |= {
        "model.sampler.negatives": Range(low=1, high=2),
        "model.sampler.alpha": Range(low=1.0, high=2.0),
        "train.lr": Range(low=1.0, high=2.0),
    }
    many |= {"train.epochs": Range(low=1, high=2), "train.warmup": Range(low=1, high=2)}
    assert len(list(corners(check(many, classes)))) == 512


numbers = st.integers(1, 50)


@given(low=numbers, more=numbers, step=numbers, seed=st.integers(0, 100))
def test_optuna_draws_from_the_same_values(low: int, more: int, step: int, seed: int) -> None:
    import random

    searched = (
        dimension(path="model.dim", low=low, high=low + more * step, step=step),
        dimension(path="train.lr", low=float(low), high=float(low + more), log=True),
        dimension(
            path="model.loss", choices=({"kind": "bpr"}, {"kind": "softmax", "temperature": 0.5})
        ),
        dimension(path="train.clip", choices=("none", 0.5, 1.0)),
    )
    draw = random.Random(seed)
    settings = {
        "model.dim": draw.choice(searched[0].values()),
        "train.lr": draw.uniform(low, low + more),
        "model.loss": draw.choice(searched[2].values()),
        "train.clip": draw.choice(searched[3].values()),
    }
    params = to_params(searched, settings)
    assert all(
        distribution(each)._contains(distribution(each).to_internal_repr(params[each.path]))
        for each in searched
    )
    assert from_params(searched, params) == settings
    kind = distribution(searched[0])
    assert (kind.low, kind.high, kind.step) == (low, low + more * step, step)  # type: ignore[attr-defined]


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
@pytest.mark.parametrize("maximize", [(True,), (True, False)])
def test_a_sampler_sees_the_history_as_though_it_were_a_study_of_its_own(
    sampler: Any, maximize: tuple[bool, ...]
) -> None:
    """Proposals equal those of Optuna's own storage, with unfinished trials and gaps in numbers."""
    import random

    import optuna
    from optuna.trial import TrialState, create_trial

    searched = (
        dimension(path="model.dim", low=4, high=64, step=4),
        dimension(path="train.lr", low=1e-4, high=1e-1, log=True),
        dimension(path="model.loss", choices=({"kind": "bpr"}, {"kind": "softmax"})),
    )
    space = {each.path: distribution(each) for each in searched}
    draw = random.Random(len(maximize))
    states = [TrialState.COMPLETE] * 8 + [TrialState.RUNNING, TrialState.PRUNED, TrialState.FAIL]
    history = []
    for number in range(24):
        params = {
            "model.dim": 4 * draw.randint(1, 16),
            "train.lr": 10 ** draw.uniform(-4, -1),
            "model.loss": draw.choice(space["model.loss"].choices),
        }  # type: ignore[attr-defined]
        state = draw.choice(states[:9] if len(maximize) > 1 else states)
        values = [draw.random() for _ in maximize] if state == TrialState.COMPLETE else None
        trial = create_trial(
            state=state,
            values=values,
            params=params,
            distributions=space,
            intermediate_values={1: draw.random()} if len(maximize) == 1 else None,
            constraints={"latency": draw.uniform(-1, 0.3)}
            if state == TrialState.COMPLETE
            else None,
        )
        trial.number = 2 * number + 1
        history.append(trial)
    with quiet():
        for seed in range(3):
            kind = optuna.samplers.TPESampler if sampler == "tpe" else optuna.samplers.GPSampler
            study = optuna.create_study(
                storage=optuna.storages.InMemoryStorage(),
                sampler=kind(seed=seed),
                directions=sides(maximize),
            )
            study.add_trials(history)
            wanted = from_params(searched, study.ask(fixed_distributions=space).params)
            assert _ask_settings(Tune(sampler=sampler), searched, history, seed, maximize) == wanted
    assert [trial.number for trial in history] == list(range(1, 49, 2))


def _ask_settings(
    tune: Tune, searched: Any, history: Any, seed: int, maximize: Any
) -> dict[str, Any]:
    return from_params(searched, proposal._ask(tune, searched, history, seed, maximize))


def test_a_grid_holds_every_point_once() -> None:
    searched = (
        dimension(path="model.dim", low=2, high=4),
        dimension(path="train.clip", choices=("none", 0.5)),
    )
    points = grid(Tune(sampler="grid", seed=3), searched)
    assert sorted(map(str, points)) == sorted(
        str({"model.dim": dim, "train.clip": clip})
        for dim, clip in itertools.product((2, 3, 4), ("none", 0.5))
    )
    assert points == grid(Tune(sampler="grid", seed=3), searched)
    assert points != grid(Tune(sampler="grid", seed=4), searched)


# Spaces in files of their own.

BASE = Path(__file__).parents[2] / "benchmarks" / "base-online-retail.toml"


@pytest.mark.parametrize("path", sorted(spaces().glob("*.toml")), ids=lambda path: path.stem)
def test_every_space_that_ships_fits_its_method(path: Path) -> None:
    experiment = read_with_space(
        BASE,
        [f"model.name={path.stem}", *(["train.rows=dense"] if path.stem == "lightgcn" else [])],
    )
    assert experiment.tune is not None
    assert experiment.dimensions
    ready(experiment)


def test_where_a_space_comes_from(tmp_path: Path) -> None:
    plain, own = tmp_path / "plain.toml", tmp_path / "own.toml"
    head = {key: value for key, value in tree(tmp_path).items() if key != "tune"}
    plain.write_text(to_toml(head))
    own.write_text(
        to_toml({**head, "tune": {"trials": 7, "space": {"model.dim": {"low": 4, "high": 8}}}})
    )
    other = tmp_path / "space.toml"
    other.write_text(
        '[tune]\ntrials = 3\nsampler = "gp"\n[tune.space]\n"train.lr" = { low = 0.1, high = 0.2 }\n'
    )
    shipped = read_with_space(plain)
    assert shipped.dimensions == read_with_space(plain, (), spaces() / "mf.toml").dimensions
    assert len(shipped.dimensions) > 2
    assert [each.path for each in read_with_space(own).dimensions] == ["model.dim"]
    given_space = read_with_space(own, ["tune.seed=5"], other)
    assert [each.path for each in given_space.dimensions] == ["train.lr"]
    assert given_space.tune is not None
    assert (given_space.tune.trials, given_space.tune.sampler, given_space.tune.seed) == (
        7,
        "gp",
        5,
    )
    for text, piece in (
        ("[train]\nlr = 3\n", "is not a search space"),
        ("[tune]\ntrials = 3\n", "is not a search space"),
        ('[tune.space]\n"train.lrr" = { low = 1, high = 2 }\n', "did you mean 'lr'?"),
    ):
        other.write_text(text)
        with pytest.raises(InputError, match=f"space.toml.*{piece.replace('?', '.')}"):
            read_with_space(plain, (), other)
    broken = tmp_path / "broken.toml"
    broken.write_text(to_toml({**head, "train": {"epoch": 3}}))
    with pytest.raises(InputError, match=r"broken.toml: \[train\]: unknown key 'epoch'"):
        read_with_space(broken)


def test_choices_are_as_the_field_holds_them() -> None:
    lr = dimension(path="train.lr", choices=(1, 0.5))
    assert [type(choice) for choice in lr.values()] == [float, float]
    assert [lr.holds(value) for value in (1.0, 0.5, 2.0)] == [True, True, False]
    clip = dimension(path="train.clip", choices=("none", 1))
    assert clip.values() == ["none", 1.0]
    assert isinstance(clip.values()[1], float)
    assert all(isinstance(value, float) for value in dimension(low=1, high=3, step=1).values())


def test_a_grid_leaves_out_what_is_queued() -> None:
    searched = (
        dimension(path="model.dim", low=2, high=4),
        dimension(path="train.lr", low=0.1, high=0.3, step=0.1),
        dimension(
            path="model.loss", choices=({"kind": "bpr"}, {"kind": "softmax", "temperature": 0.5})
        ),
    )
    tune, own = (
        Tune(sampler="grid", seed=3),
        {"model.dim": 3, "train.lr": 0.3, "model.loss": {"kind": "bpr"}},
    )
    whole = grid(tune, searched)
    assert grid(tune, searched, [own]) == [point for point in whole if point != own]
    assert len(whole) == len(grid(tune, searched, [own])) + 1
    assert (
        grid(tune, searched, [own | {"model.dim": 7}, own | {"model.loss": {"kind": "hinge"}}])
        == whole
    )
