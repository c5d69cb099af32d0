"""What to try next: a function of the trials so far and of (seed, number), and of nothing that a process remembers.

So a study that was killed and resumed proposes what it would have proposed. With several workers the trials so far depend on which of them is
faster, and so do the proposals.
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

# Points of a grid at most: it is shuffled whole.
_GRID = 1_000_000


def distribution(dimension: Dimension) -> BaseDistribution:
    """The same values in Optuna's words."""
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
    """Settings by path in Optuna's words, without those that lie outside of the space."""
    params: dict[str, Any] = {}
    for dimension in dimensions:
        value = settings[dimension.path]
        if dimension.holds(value):
            params[dimension.path] = (
                _label(dimension.chosen(value))
                if dimension.kind == "choice"
                else float(value)
                if dimension.kind == "float"
                else value
            )
    return params


def from_params(dimensions: Sequence[Dimension], params: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by path as the experiment has them."""
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
    """Settings for trial `number`.

    Args:
        tune: which sampler, and its seed.
        dimensions: the space.
        history: the other trials, running ones too.
        number: of the trial.
        maximize: of each objective.
        skip: trials before the first that the sampler chose.
        queued: settings that were tried before it, which a grid need not repeat.
    """
    if not dimensions:
        return {}
    seed = stream_seed(tune.seed, "trial", number) % 2**32
    if tune.sampler == "grid":
        points = grid(tune, dimensions, queued) or grid(
            tune, dimensions
        )  # nothing is left only where a trial was lost
        return points[(number - skip) % len(points)]
    if tune.sampler == "cma":
        return _cma(tune, dimensions, history, seed, maximize[0])
    return from_params(dimensions, _ask(tune, dimensions, history, seed, maximize))


def grid(
    tune: Tune, dimensions: Sequence[Dimension], queued: Sequence[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """All points of the space but those that are `queued`, in an order that the seed decides.

    Raises:
        InputError: a field whose values cannot be counted, or too many points.
    """
    values = [dimension.values() for dimension in dimensions]
    total = math.prod(map(len, values))
    if total > _GRID:
        raise InputError(
            f"the grid has {total:,} points",
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
    """Where a point stands among all, the last field fastest; -1 where it is none of them."""
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
        InputError: with what it cannot do.
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
    """Directions of objectives in Optuna's words."""
    return [StudyDirection.MAXIMIZE if up else StudyDirection.MINIMIZE for up in maximize]


def pruner(tune: Tune, epochs: int, every: int) -> optuna.pruners.BasePruner:
    """The pruner over curves of at most `epochs`, with a value each `every`."""
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
    """Ask a sampler of Optuna that is new, and knows what it knows from the history."""
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
        # What lies outside of the space, or has no settings yet, would narrow the space that a sampler sees.
        known = _Known([trial for trial in history if trial.params.keys() == space.keys()])
        study = optuna.create_study(storage=known, sampler=sampler, directions=sides(maximize))
        return dict(study.ask(fixed_distributions=space).params)


class _Known(optuna.storages.InMemoryStorage):
    """The trials of another storage, and the one that is asked for. They are shown and not copied in: a copy costs more than a proposal does."""

    def __init__(self, history: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self.shown = [copy.copy(trial) for trial in history]
        for number, trial in enumerate(self.shown, start=1):  # 0 is the one that is asked for
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
    """A draw from the normal distribution that CMA-ES has come to.

    The strategy is told all finished trials in their order, a population at a time, and drawn from with the seed of this trial: nothing of it is
    stored. Optuna's own sampler keeps it pickled in the storage.
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
    told = [
        (_unit(dimensions, trial.params), -trial.values[0] if maximize else trial.values[0])
        for trial in sorted(history, key=lambda trial: trial.number)
        if trial.state == TrialState.COMPLETE
        and len(trial.params) == n
        and all(value <= 0 for value in trial.constraints.values())
    ]
    size = strategy.population_size
    for start in range(0, len(told) - size + 1, size):
        strategy.tell(told[start : start + size])
    return from_params(dimensions, _from_unit(dimensions, strategy.ask()))


def _unit(dimensions: Sequence[Dimension], params: Mapping[str, Any]) -> np.ndarray:
    """Numbers as places between 0 and 1, in the logarithm where the range is logarithmic; float64 [n]."""
    places = []
    for dimension in dimensions:
        low, high = (
            _scaled(dimension, dimension.range.low),
            _scaled(dimension, dimension.range.high),
        )
        places.append(
            (_scaled(dimension, params[dimension.path]) - low) / (high - low) if high > low else 0.5
        )
    return np.array(places)


def _from_unit(dimensions: Sequence[Dimension], places: np.ndarray) -> dict[str, Any]:
    """The other way round, rounded to whole numbers and steps."""
    params: dict[str, Any] = {}
    for dimension, place in zip(dimensions, places, strict=True):
        low, high = (
            _scaled(dimension, dimension.range.low),
            _scaled(dimension, dimension.range.high),
        )
        value = low + float(place) * (high - low)
        value = math.exp(value) if dimension.range.log else value
        floor, top, step = (
            dimension.range.low,
            dimension.range.high,
            dimension.range.step or (1 if dimension.kind == "int" else None),
        )
        assert floor is not None
        assert top is not None
        if step is not None:
            value = floor + round((value - floor) / step) * step
        value = min(max(value, floor), top)
        params[dimension.path] = round(value) if dimension.kind == "int" else float(value)
    return params


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
    """A choice as Optuna stores it: a plain value, or a table or list as JSON."""
    return (
        choice
        if choice is None or isinstance(choice, bool | int | float | str)
        else json.dumps(choice, sort_keys=True)
    )
