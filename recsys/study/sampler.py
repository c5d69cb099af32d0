"""Samplers and pruners: which settings to try next, and when to stop a trial.

A proposal depends on the other trials and on (seed, number) alone, not on the memory of a process.
So a study that was killed and resumed proposes the same settings as one that was not. With several
workers, the order in which trials end depends on the speed of each worker, and so do the proposals.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from recsys.errors import InputError
from recsys.experiment.search_space import Dimension, Tune
from recsys.sampling import stream_seed
from recsys.study.storage import quiet

__all__ = [
    "check_sampler",
    "distribution",
    "from_params",
    "grid",
    "propose",
    "pruner",
    "sides",
    "to_params",
]

# Points of a grid, at most: all of them are shuffled in memory.
_GRID = 1_000_000


def distribution(dimension: Dimension) -> BaseDistribution:
    """Return the range of a dimension as a distribution of Optuna."""
    range_ = dimension.range
    if range_.choices is not None:
        return CategoricalDistribution([_label(choice) for choice in range_.choices])
    low, high = range_.low, range_.high
    assert low is not None
    assert high is not None
    if dimension.kind == "int":
        return IntDistribution(int(low), int(high), log=range_.log, step=int(range_.step or 1))
    return FloatDistribution(
        float(low),
        float(high),
        log=range_.log,
        step=None if range_.step is None else float(range_.step),
    )


def to_params(dimensions: Sequence[Dimension], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as parameters of Optuna, without those outside of the space."""
    return {
        dimension.path: _param(dimension, settings[dimension.path])
        for dimension in dimensions
        if dimension.holds(settings[dimension.path])
    }


def _param(dimension: Dimension, value: Any) -> Any:
    if dimension.kind == "choice":
        return _label(dimension.chosen(value))
    return float(value) if dimension.kind == "float" else value


def from_params(dimensions: Sequence[Dimension], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters of Optuna as settings of the experiment, by path."""
    settings: dict[str, Any] = {}
    for dimension in dimensions:
        value = params[dimension.path]
        if dimension.range.choices is not None:
            value = next(choice for choice in dimension.range.choices if _label(choice) == value)
        settings[dimension.path] = value
    return settings


def propose(
    tune: Tune,
    dimensions: Sequence[Dimension],
    history: Sequence[FrozenTrial],
    number: int,
    maximize: Sequence[bool],
    *,
    skip: int = 0,
    queued: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Propose the settings of a trial.

    Args:
        tune: the sampler and its seed.
        dimensions: the searched fields.
        history: the other trials, running ones too.
        number: the number of the trial.
        maximize: for each objective, whether higher is better.
        skip: the number of trials whose settings the sampler did not choose.
        queued: settings that were tried first, which a grid need not repeat.

    Returns:
        Value of each searched field, by path.
    """
    if not dimensions:
        return {}
    seed = stream_seed(tune.seed, "trial", number) % 2**32
    if tune.sampler == "grid":
        # No point is left only if a trial was lost; then the grid starts from its beginning.
        points = grid(tune, dimensions, queued) or grid(tune, dimensions)
        return points[(number - skip) % len(points)]
    if tune.sampler == "cma":
        return _cma(tune, dimensions, history, seed, maximize[0])
    return from_params(dimensions, _ask(tune, dimensions, history, seed, maximize))


def grid(
    tune: Tune, dimensions: Sequence[Dimension], queued: Sequence[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """Return all points of the space except the `queued` ones, shuffled by the seed.

    Raises:
        InputError: a field is continuous, or the grid has too many points.
    """
    values = [dimension.values() for dimension in dimensions]
    total = math.prod(map(len, values))
    if total > _GRID:
        raise InputError(
            f"the grid has {total:,} points, more than {_GRID:,}",
            place="[tune.space]",
            remedy="make the steps larger, or use another sampler",
        )
    order = np.random.default_rng(stream_seed(tune.seed, "grid")).permutation(total)
    order = order[~np.isin(order, [_index(dimensions, values, settings) for settings in queued])]
    points = list(itertools.product(*values))
    return [
        {dimension.path: value for dimension, value in zip(dimensions, points[i], strict=True)}
        for i in order
    ]


def _index(
    dimensions: Sequence[Dimension], values: Sequence[list[Any]], settings: Mapping[str, Any]
) -> int:
    """Return the index of a point in the grid, the last field fastest; -1 if it is outside."""
    index = 0
    for dimension, known in zip(dimensions, values, strict=True):
        value = settings[dimension.path]
        value = dimension.chosen(value) if dimension.kind == "choice" else value
        if value not in known:
            return -1
        index = index * len(known) + known.index(value)
    return index


def check_sampler(tune: Tune, dimensions: Sequence[Dimension]) -> None:
    """Refuse a sampler that cannot search this space.

    Raises:
        InputError: the grid is too large or has a continuous field, CMA-ES was asked to search
            choices, or its package is not installed.
    """
    if tune.sampler == "grid":
        grid(tune, dimensions)
    if tune.sampler != "cma":
        return
    for dimension in dimensions:
        if dimension.kind == "choice":
            remedy = "give it low and high, or use sampler = 'tpe'"
            raise InputError(
                "sampler = 'cma' takes numbers, not choices",
                place=f'[tune.space] "{dimension.path}"',
                remedy=remedy,
            )
    _cmaes()


def sides(maximize: Sequence[bool]) -> list[StudyDirection]:
    """Return the directions of the objectives as Optuna's."""
    return [StudyDirection.MAXIMIZE if up else StudyDirection.MINIMIZE for up in maximize]


def pruner(tune: Tune, epochs: int, every: int) -> optuna.pruners.BasePruner:
    """Return the pruner of a study.

    Args:
        tune: the name of the pruner.
        epochs: the maximal length of a curve.
        every: epochs between two evaluations.
    """
    with quiet():
        if tune.pruner == "median":
            return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=0)
        if tune.pruner == "hyperband":
            return optuna.pruners.HyperbandPruner(
                min_resource=min(every, epochs), max_resource=epochs
            )
        if tune.pruner == "wilcoxon":
            return optuna.pruners.WilcoxonPruner(p_threshold=0.1, n_startup_steps=4)
        return optuna.pruners.NopPruner()


def _ask(
    tune: Tune,
    dimensions: Sequence[Dimension],
    history: Sequence[FrozenTrial],
    seed: int,
    maximize: Sequence[bool],
) -> dict[str, Any]:
    """Ask a new sampler of Optuna, which knows nothing but the history."""
    space = {dimension.path: distribution(dimension) for dimension in dimensions}
    sampler: optuna.samplers.BaseSampler
    with quiet():
        if tune.sampler == "tpe":
            sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=tune.startup)
        elif tune.sampler == "gp":
            sampler = optuna.samplers.GPSampler(
                seed=seed, n_startup_trials=tune.startup, warn_independent_sampling=False
            )
        else:
            sampler, history = optuna.samplers.RandomSampler(seed=seed), ()
        # A trial outside of the space, or without settings yet, would narrow the sampler's space.
        inside = [trial for trial in history if trial.params.keys() == space.keys()]
        storage = _HistoryStorage(inside)
        study = optuna.create_study(storage=storage, sampler=sampler, directions=sides(maximize))
        return dict(study.ask(fixed_distributions=space).params)


class _HistoryStorage(optuna.storages.InMemoryStorage):
    """A storage in memory that shows the trials of another storage before its own.

    A sampler of Optuna reads the history from the storage of its study. `Study.add_trials` would
    copy each trial into it, which takes longer than the proposal itself, before every proposal. So
    the history is only shown on reading. The one trial that is really stored here is the one to
    propose; it has number 0.
    """

    def __init__(self, history: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self.shown = [copy.copy(trial) for trial in history]
        for number, trial in enumerate(self.shown, start=1):
            trial.number = number

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        own = super().get_all_trials(study_id, deepcopy, states)
        return [trial for trial in self.shown if states is None or trial.state in states] + own


def _cma(
    tune: Tune,
    dimensions: Sequence[Dimension],
    history: Sequence[FrozenTrial],
    seed: int,
    maximize: bool,
) -> dict[str, Any]:
    """Draw from the current normal distribution of CMA-ES.

    The strategy is rebuilt from all finished trials in their order, one population at a time, and
    sampled with the seed of this trial. Nothing of it is stored; Optuna's own sampler keeps a
    pickle of it in the storage.
    """
    n = len(dimensions)
    first = next(
        (
            trial
            for trial in history
            if trial.params.keys() == {dimension.path for dimension in dimensions}
        ),
        None,
    )
    mean = (
        np.full(n, 0.5) if first is None else np.clip(_unit(dimensions, first.params), 0.05, 0.95)
    )
    bounds = np.tile([0.0, 1.0], (n, 1))
    strategy = _cmaes().CMA(mean=mean, sigma=0.25, bounds=bounds, seed=seed)
    evaluated = [
        (_unit(dimensions, trial.params), -trial.values[0] if maximize else trial.values[0])
        for trial in sorted(history, key=lambda trial: trial.number)
        if trial.state == TrialState.COMPLETE
        and len(trial.params) == n
        and all(value <= 0 for value in trial.constraints.values())
    ]
    size = strategy.population_size
    for start in range(0, len(evaluated) - size + 1, size):
        strategy.tell(evaluated[start : start + size])
    return from_params(dimensions, _from_unit(dimensions, strategy.ask()))


def _unit(dimensions: Sequence[Dimension], params: Mapping[str, Any]) -> np.ndarray:
    """Return parameters scaled to 0..1, by their logarithm in a logarithmic range; float64 [n]."""
    scaled = []
    for dimension in dimensions:
        low, high = _scaled_range(dimension)
        value = _scaled(dimension, params[dimension.path])
        scaled.append((value - low) / (high - low) if high > low else 0.5)
    return np.array(scaled)


def _from_unit(dimensions: Sequence[Dimension], scaled: np.ndarray) -> dict[str, Any]:
    """Return the parameters of values in 0..1, rounded to integers and steps."""
    params: dict[str, Any] = {}
    for dimension, position in zip(dimensions, scaled, strict=True):
        low, high = _scaled_range(dimension)
        value = low + float(position) * (high - low)
        value = math.exp(value) if dimension.range.log else value
        floor, top = dimension.range.low, dimension.range.high
        step = dimension.range.step or (1 if dimension.kind == "int" else None)
        assert floor is not None
        assert top is not None
        if step is not None:
            value = floor + round((value - floor) / step) * step
        value = min(max(value, floor), top)
        params[dimension.path] = round(value) if dimension.kind == "int" else float(value)
    return params


def _scaled_range(dimension: Dimension) -> tuple[float, float]:
    return _scaled(dimension, dimension.range.low), _scaled(dimension, dimension.range.high)


def _scaled(dimension: Dimension, value: Any) -> float:
    return math.log(value) if dimension.range.log else float(value)


def _cmaes() -> Any:
    try:
        import cmaes
    except ImportError:
        raise InputError(
            "sampler = 'cma' needs the package cmaes",
            place="[tune] sampler",
            remedy="pip install 'recsys[cma]'",
        ) from None
    return cmaes


def _label(choice: Any) -> Any:
    """Return a choice as Optuna stores it: a plain value, or a table or list as JSON."""
    if choice is None or isinstance(choice, bool | int | float | str):
        return choice
    return json.dumps(choice, sort_keys=True)
