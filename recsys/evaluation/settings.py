"""How to evaluate: the settings of `[evaluate]`, and what they mean in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, TypeAlias

from recsys.config import Bound, settings
from recsys.errors import InputError
from recsys.evaluation.metrics import Metric, parse

__all__ = ["Candidates", "Evaluation"]

Candidates: TypeAlias = Literal[
    "all", "new", "new in all", "warm", "warm in all", "cold users", "warm users"
]


@settings
class Evaluation:
    """How to evaluate: `[evaluate]`.

    Args:
        metrics: names such as "ndcg@20", "auc", "opauc@5%", "coverage@20".
        monitor: the one that selects, on validation: early stopping, the best epoch, tuning.
        skip_short_users: a metric at k counts only users with at least k test items (the LibCML protocol); off, everyone counts.
        min_test_full: a metric over the full ranking counts only users with at least that many test items (LibCML: 3).
        keep_valid: when testing, validation items stay candidates (LibCML); off, they are masked as the training items are.
        candidates: "all" ranks the whole catalogue; "sampled" estimates the same numbers from a few candidates per user, or ranks all
            where that is cheaper (a note says so). "new": test items without a training pair, ranked among such items alone; "new in all":
            the same test items, ranked in the whole catalogue; "warm" and "warm in all": those with a training pair. "cold users":
            users without a training pair alone, in the whole catalogue; "warm users": the others. Or several of these but "sampled", as in
            ["new", "new in all", "warm"]: each metric is then reported for each, under names like ndcg@20[new]; such a name may also
            stand in `metrics`. Without "all" among them, a monitor without brackets is that of the first.
        sampled: candidates drawn per user, none twice; all of them where there are no more.
        sampled_by: draw them "uniform" or by "popularity".
        estimator: how sampled ranks become metrics; "none" reports the uncorrected numbers, see `recsys.evaluation.sampled`.
        seed: of the drawn candidates.
        block: users ranked at a time; 0 chooses. No number depends on it.
        groups: also keep recall by item popularity (head, mid, tail).
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
    candidates: (
        Literal[
            "all", "sampled", "new", "new in all", "warm", "warm in all", "cold users", "warm users"
        ]
        | tuple[Candidates, ...]
    ) = "all"
    sampled: Annotated[int, Bound(ge=1, le=100_000)] = 100
    sampled_by: Literal["uniform", "popularity"] = "uniform"
    estimator: Literal["none", "rank", "bv", "mle", "bv_mle", "entropy"] = "mle"
    seed: Annotated[int, Bound(ge=0)] = 0
    block: Annotated[int, Bound(ge=0)] = 0
    groups: bool = False

    def __post_init__(self) -> None:
        if not self.metrics:
            raise InputError(
                "metrics is empty", remedy='name at least one, as in metrics = ["ndcg@20"]'
            )
        resolved = [_parsed(name, "metrics") for name in self.metrics]
        twice = sorted(
            {
                metric.name
                for metric in resolved
                if sum(other.name == metric.name for other in resolved) > 1
            }
        )
        if twice:
            raise InputError(f"metrics names {twice[0]} twice", remedy="name each metric once")
        if not self.candidates or len(set(self.views)) < len(self.views):
            raise InputError(
                "candidates is empty" if not self.candidates else "candidates names one twice",
                remedy='as in candidates = ["all", "new"]',
            )
        if "[" not in self.monitor and "" not in self.views:
            object.__setattr__(self, "monitor", f"{self.monitor}[{self.views[0]}]")
        resolved.append(_parsed(self.monitor, "monitor"))
        shown = {metric.name.partition("[")[0] for metric in self.wanted}
        if lost := [
            name
            for name in self.metrics
            if _parsed(name, "metrics").name.partition("[")[0] not in shown
        ]:
            cause = f"{lost[0]} is about whole lists, and candidates = {list(self.views)} ranks all items for others"
            raise InputError(cause, remedy='add "all" to candidates, or leave it out')
        if resolved[-1].higher is None:
            raise InputError(
                f"monitor = '{self.monitor}': more of it is neither better nor worse",
                remedy="monitor one such as ndcg@20",
            )
        if self.candidates == "sampled":
            for metric in resolved:
                if metric.source in ("lists", "catalogue"):
                    raise InputError(
                        f"{metric.name} is about whole lists, and candidates = 'sampled' makes none",
                        remedy="use candidates = 'all'",
                    )
                if metric.kept is not None:
                    cause = f"{metric.name} has no estimator from drawn candidates: which of them are the best-ranked is what a draw does not tell"
                    raise InputError(cause, remedy="use candidates = 'all'")
                if metric.view:
                    raise InputError(
                        f"{metric.name} is not estimated from drawn candidates",
                        remedy="use candidates = 'all'",
                    )
            if self.sampled_by == "popularity" and self.estimator not in ("none", "rank"):
                cause = f"estimator '{self.estimator}' supposes uniform candidates, and sampled_by = 'popularity'"
                raise InputError(cause, remedy="use estimator = 'rank' or 'none'")
            if self.groups:
                raise InputError(
                    "groups needs whole lists, and candidates = 'sampled' makes none",
                    remedy="use candidates = 'all'",
                )

        if self.groups and "" not in self.views:
            raise InputError(
                f"groups needs the lists of all items, and candidates = {list(self.views)} makes none",
                remedy='add "all" to candidates',
            )

    @property
    def views(self) -> tuple[str, ...]:
        """The views of a metric without brackets: "" for all items, or some of `metrics.VIEWS`."""
        given = (self.candidates,) if isinstance(self.candidates, str) else self.candidates
        return tuple("" if view in ("all", "sampled") else view for view in given)

    @property
    def wanted(self) -> tuple[Metric, ...]:
        """Every metric in every view, each once; one about whole lists only where the lists differ."""
        found: dict[str, Metric] = {}
        for metric in map(parse, self.metrics):
            for view in (metric.view,) if metric.view else self.views:
                if metric.source in ("lists", "catalogue") and view.endswith("in all"):
                    continue
                name = f"{metric.name}[{view}]" if view and not metric.view else metric.name
                found.setdefault(name, replace(metric, name=name, view=view))
        return tuple(found.values())

    def protocol(self, drawn: bool) -> str:
        """What decides the numbers, in words: reports of different protocols must not be compared. `drawn`: candidates were drawn."""
        parts = ["all candidates"]
        if drawn:
            parts = [
                f"{self.sampled} {self.sampled_by} candidates, estimator {self.estimator}, seed {self.seed}"
            ]
        if self.skip_short_users:
            parts.append("users with fewer than k test items skipped")
        if self.min_test_full > 1:
            parts.append(
                f"full-list metrics over users with {self.min_test_full} or more test items"
            )
        if self.keep_valid:
            parts.append("validation items are candidates")
        return "; ".join(parts)


def _parsed(name: str, place: str) -> Metric:
    try:
        return parse(name)
    except InputError as error:
        raise error.at(place) from None
