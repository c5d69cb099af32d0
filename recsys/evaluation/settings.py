"""The settings of `[evaluate]`, and what they say about the numbers of a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Literal, TypeAlias

from recsys.config import Bound, settings
from recsys.errors import InputError
from recsys.evaluation.estimators import Estimator
from recsys.evaluation.metrics import Metric, parse
from recsys.evaluation.slices import SLICES, Slice

__all__ = ["Candidates", "Evaluation"]

Candidates: TypeAlias = Literal[
    "all", "new", "new in all", "warm", "warm in all", "cold users", "warm users"
]

_RANK_ALL = "use candidates = 'all'"


@settings
class Evaluation:
    """How to evaluate: `[evaluate]`.

    Args:
        metrics: names such as "ndcg@20", "auc", "opauc@5%", "coverage@20". A slice of the test set
            may follow in brackets: "ndcg@20[new]", "recall@20[tail]".
        monitor: the metric on validation that decides early stopping, the best epoch and tuning.
        skip_short_users: whether a metric at k counts only users with at least k test items (the
            LibCML protocol). By default every test user counts.
        min_test_full: fewest test items that a user must have to count for a metric of the full
            ranking (LibCML: 3).
        keep_valid: whether validation items stay candidates when testing (LibCML). By default they
            are excluded, as the training items are.
        exclude: "history" leaves items of the history (of users: their training items) out of the
            candidates, "none" keeps them. "auto" keeps them where the split asks questions whose
            answers may repeat the history, as those of sessions.
        candidates: the ranked items, and the slices of the test set. "all" ranks the whole
            catalogue. "sampled" estimates the same numbers from a few candidates per user; where
            ranking everything is cheaper, it ranks everything and a note says so. "new" takes test
            items without a training interaction, ranked among such items only; "new in all" takes
            the same test items, ranked in the whole catalogue. "warm" and "warm in all" take test
            items with a training interaction. "cold users" takes users without a training
            interaction, ranked in the whole catalogue; "warm users" takes the other users. A list
            of slices (without "sampled"), such as ["new", "new in all", "warm"], reports each
            metric for each slice, under names such as ndcg@20[new]. Without "all" in the list, a
            monitor without brackets is that of the first slice.
        sampled: candidates drawn per user without replacement; a user with fewer has all of them.
        sampled_by: draw candidates "uniform" or by "popularity".
        estimator: how the ranks among drawn candidates become metrics, see
            `recsys.evaluation.estimators`; "none" reports the uncorrected numbers.
        seed: of the drawn candidates.
        block: users ranked at a time; 0 chooses it by memory. No number depends on it.
        groups: whether to keep recall by item popularity (head, mid, tail) as well.
    """

    metrics: tuple[str, ...] = (
        "recall@20",
        "ndcg@20",
        "precision@20",
        "hit@20",
        "mrr@20",
        "map@20",
        "coverage@20",
    )
    monitor: str = "ndcg@20"
    skip_short_users: bool = False
    min_test_full: Annotated[int, Bound(ge=1)] = 1
    keep_valid: bool = False
    exclude: Literal["auto", "history", "none"] = "auto"
    candidates: (
        Literal[
            "all", "sampled", "new", "new in all", "warm", "warm in all", "cold users", "warm users"
        ]
        | tuple[Candidates, ...]
    ) = "all"
    sampled: Annotated[int, Bound(ge=1, le=100_000)] = 100
    sampled_by: Literal["uniform", "popularity"] = "uniform"
    estimator: Estimator = "mle"
    seed: Annotated[int, Bound(ge=0)] = 0
    block: Annotated[int, Bound(ge=0)] = 0
    groups: bool = False

    def __post_init__(self) -> None:
        self._check_names()
        if "[" not in self.monitor and self.ranks_slices_only:
            object.__setattr__(self, "monitor", f"{self.monitor}[{self.slices[0].name}]")
        monitored = _parsed(self.monitor, "monitor")
        self._check_lists()
        if monitored.higher is None:
            raise InputError(
                f"monitor = '{self.monitor}' has no direction (neither higher nor lower is better)",
                remedy="monitor a metric such as ndcg@20",
            )
        if self.candidates == "sampled":
            self._check_sampled([*self._named, monitored])
        if self.groups and self.ranks_slices_only:
            raise InputError(
                f"groups needs the lists of all items, and candidates = {self._slice_names} "
                "leaves them out",
                remedy='add "all" to candidates',
            )

    @cached_property
    def _named(self) -> tuple[Metric, ...]:
        """The metrics as named in the settings."""
        return tuple(_parsed(name, "metrics") for name in self.metrics)

    @cached_property
    def slices(self) -> tuple[Slice, ...]:
        """The slices that a metric without brackets is computed on."""
        names = (self.candidates,) if isinstance(self.candidates, str) else self.candidates
        return tuple(SLICES["" if name in ("all", "sampled") else name] for name in names)

    @cached_property
    def resolved(self) -> tuple[Metric, ...]:
        """Every metric on every slice, each once.

        A metric of whole lists is left out on slices that have the lists of another slice.
        """
        metrics: dict[str, Metric] = {}
        for metric in self._named:
            if metric.slice.name:
                metrics.setdefault(metric.name, metric)
                continue
            for part in self.slices:
                if not part.name:
                    metrics.setdefault(metric.name, metric)
                elif metric.about == "test items" or part.has_own_lists:
                    on_part = metric.on(part)
                    metrics.setdefault(on_part.name, on_part)
        return tuple(metrics.values())

    @property
    def ranks_slices_only(self) -> bool:
        """Whether a metric without brackets is computed on slices only, not on all test items."""
        return all(part.name for part in self.slices)

    def least_test_items(self, metric: Metric) -> int:
        """Return the fewest test items that a user must have to count for a metric."""
        if metric.about != "test items":
            return 0
        if metric.k is None:
            return self.min_test_full
        return metric.k if self.skip_short_users else 1

    def excludes_history(self, repeats: bool) -> bool:
        """Return whether items of the history are left out of the candidates.

        Args:
            repeats: whether answers may repeat the history.
        """
        return self.exclude == "history" or (self.exclude == "auto" and not repeats)

    def protocol(self, drawn: bool, *, question: str = "", repeats: bool = False) -> str:
        """Return in words what decides the numbers. Reports of different protocols do not compare.

        Args:
            drawn: whether candidates were drawn.
            question: which queries are asked; empty for one per user.
            repeats: whether answers may repeat the history.
        """
        parts = ["all candidates"]
        if drawn:
            parts = [
                f"{self.sampled} {self.sampled_by} candidates, estimator {self.estimator}, "
                f"seed {self.seed}"
            ]
        if question:
            parts.insert(0, question)
        if not self.excludes_history(repeats):
            parts.append("items of the history are candidates")
        elif question:
            parts.append("items of the history are left out")
        if self.skip_short_users:
            parts.append("users with fewer than k test items skipped")
        if self.min_test_full > 1:
            parts.append(
                f"full-list metrics over users with {self.min_test_full} or more test items"
            )
        if self.keep_valid:
            parts.append("validation items are candidates")
        return "; ".join(parts)

    @property
    def _slice_names(self) -> list[str]:
        return [part.name for part in self.slices]

    def _check_names(self) -> None:
        """Refuse an empty or repeated list of metrics or slices."""
        if not self.metrics:
            raise InputError(
                "metrics is empty", remedy='name at least one, as in metrics = ["ndcg@20"]'
            )
        _refuse_repeated([metric.name for metric in self._named], "metrics")
        if not self.candidates:
            raise InputError("candidates is empty", remedy='as in candidates = ["all", "new"]')
        _refuse_repeated([part.name or "all" for part in self.slices], "candidates")

    def _check_lists(self) -> None:
        """Refuse a metric of whole lists if no slice has lists of its own."""
        kept = {metric.name.partition("[")[0] for metric in self.resolved}
        for metric in self._named:
            if metric.name.partition("[")[0] not in kept:
                raise InputError(
                    f"{metric.name} depends on whole lists, and candidates = {self._slice_names} "
                    "only selects test items",
                    remedy='add "all" to candidates, or leave the metric out',
                )

    def _check_sampled(self, metrics: Sequence[Metric]) -> None:
        """Refuse what cannot be estimated from sampled candidates."""
        for metric in metrics:
            if metric.about != "test items":
                raise InputError(
                    f"{metric.name} depends on whole lists, and candidates = 'sampled' makes none",
                    remedy=_RANK_ALL,
                )
            if not metric.can_be_sampled:
                raise InputError(
                    f"{metric.name} has no estimator from sampled candidates", remedy=_RANK_ALL
                )
            if metric.slice.name:
                raise InputError(
                    f"{metric.name} is not estimated from sampled candidates", remedy=_RANK_ALL
                )
        if self.sampled_by == "popularity" and self.estimator not in ("none", "rank"):
            raise InputError(
                f"estimator = '{self.estimator}' assumes uniform candidates, and "
                "sampled_by = 'popularity'",
                remedy="use estimator = 'rank' or 'none'",
            )
        if self.groups:
            raise InputError(
                "groups needs whole lists, and candidates = 'sampled' makes none",
                remedy=_RANK_ALL,
            )


def _refuse_repeated(names: Sequence[str], setting: str) -> None:
    """Refuse a setting that holds a name more than once."""
    repeated = sorted(name for name, times in Counter(names).items() if times > 1)
    if repeated:
        raise InputError(
            f"{setting} names {repeated[0]} twice", remedy=f"write each name in {setting} once"
        )


def _parsed(name: str, setting: str) -> Metric:
    """Parse the name of a metric; an error names the setting."""
    try:
        return parse(name)
    except InputError as error:
        raise error.at(setting) from None
