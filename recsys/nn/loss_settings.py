"""Settings of the loss: its kind, and the rule by which several negatives count."""

from __future__ import annotations

from typing import Annotated, Literal

from recsys import plugins
from recsys.config import Bound, settings
from recsys.errors import InputError, one_of

__all__ = ["KINDS", "Loss"]

KINDS = ("bpr", "bce", "hinge", "softmax", "ccl", "square", "opauc")


@settings
class Loss:
    """Choose the loss of a pair and how several negatives count."""

    kind: str = "bpr"
    """bpr: -log sigmoid(s+ - s-) (Rendle et al., UAI 2009). bce: binary cross-entropy. hinge:
    [margin - s+ + s-]+. softmax: sampled softmax, the cross-entropy of the positive among its
    negatives. ccl: cosine contrastive loss, [1 - s+]+ + weight * mean [s- - margin]+ (Mao et
    al., CIKM 2021). square: (1 - s+)^2 + weight * mean (s-)^2. opauc: (1 - f+ + f-)^2 of f =
    sigmoid(s / temperature); with reduce = "top" and a share, the one-way partial AUC of
    `recsys.nn.partial_auc`."""
    reduce: Literal[
        "each", "hardest", "top", "warp", "one-of-top", "fitting", "soft", "resampled"
    ] = "each"
    """How the K negatives count, for all losses but softmax. each: their mean. hardest: the hardest
    only (HarS, DNS). top: the mean of the `top` hardest (DiHarS, DNS(M, N)). warp: the hardest,
    weighted by the estimated rank of the positive (WARP). one-of-top: one of the `top` hardest,
    drawn uniformly. fitting: the one whose score suits that of the positive (AHNS). soft: all,
    weighted by hardness (Softmax(rho, N)). resampled: the mean of `top`, drawn in proportion to
    exp(score) (AdaSIR)."""
    top: Annotated[int, Bound(ge=1)] = 2
    """Number of hardest negatives that "top" keeps and "one-of-top" draws from, and number of
    draws, with replacement, of "resampled"."""
    share: Annotated[float, Bound(gt=0, le=1)] | None = None
    """Share of the candidates, at least one, in place of `top`: the beta of one-way partial AUC."""
    rho: Annotated[float, Bound(ge=0)] = 1.0
    """"soft": 0 weights all negatives equally; the larger, the more the hardest count."""
    fit_alpha: float = 0.5
    """"fitting" takes the negative whose score is closest to fit_beta (s + fit_alpha)^(fit_power +
    1), where s is the score of the positive."""
    fit_beta: Annotated[float, Bound(gt=0)] = 0.2
    """"fitting": the higher, the harder the negative."""
    fit_power: float = -2.0
    """"fitting": below -1, a positive with a high score gets an easy negative; the lower, the
    easier."""
    pairs: Literal["all", "hardest", "easiest"] = "all"
    """Pairs of a batch that count. all: every pair. hardest: those whose positives have the lowest
    scores; with "top" this is two-way partial AUC. easiest: those with the highest, which is
    lower-left partial AUC. `pair_share` sets their number."""
    pair_share: Annotated[float, Bound(gt=0, le=1)] = 0.5
    """Share of the pairs of a batch that "hardest" or "easiest" keep, at least one."""
    margin: float = 1.0
    """Margin of hinge and ccl."""
    temperature: Annotated[float, Bound(gt=0)] = 1.0
    """Scores are divided by it, for softmax, bpr and opauc and for the probabilities of
    "resampled"; with cosine scores, around 0.1."""
    weight: Annotated[float, Bound(ge=0)] = 1.0
    """Weight of the negative part, for bce, ccl and square."""
    correct: bool = True
    """softmax, "soft" and "resampled": subtract the log proposal log q from the scores where it is
    not uniform (the logQ correction)."""

    def __post_init__(self) -> None:
        one_of(self.kind, [*KINDS, *plugins.names("losses")], "kind")
        if self.kind == "square" and self.reduce not in ("each", "soft"):
            cause = (
                f"reduce = '{self.reduce}' keeps the negatives with the highest scores, "
                "where the square loss need not be largest"
            )
            raise InputError(cause, remedy='use reduce = "each"')
        if self.kind == "softmax" and self.reduce != "each":
            cause = (
                f"reduce = '{self.reduce}' selects negatives, but kind = 'softmax' weights "
                "all of them"
            )
            raise InputError(cause, remedy='use reduce = "each", or another kind such as bpr')

    def idle(self) -> set[str]:
        """Return the settings that have no effect given the others."""
        # A loss of another package may read any of the settings of a loss.
        foreign = self.kind not in KINDS
        chooses = self.reduce in ("top", "one-of-top", "resampled")
        works = {
            "top": chooses and self.share is None,
            "share": chooses,
            "rho": self.reduce == "soft",
            **dict.fromkeys(("fit_alpha", "fit_beta", "fit_power"), self.reduce == "fitting"),
            "pair_share": self.pairs != "all",
            "margin": foreign or self.kind in ("hinge", "ccl") or self.reduce == "warp",
            "temperature": foreign
            or self.kind in ("softmax", "bpr", "opauc")
            or self.reduce == "resampled",
            "weight": foreign or self.kind in ("bce", "ccl", "square"),
            "correct": self.kind == "softmax" or self.reduce in ("soft", "resampled"),
        }
        return {name for name, does in works.items() if not does}

    def n_kept(self, drawn: int) -> int:
        """Return the number of negatives, of `drawn`, that contribute to the loss of a pair."""
        if self.reduce in ("each", "soft"):
            return drawn
        return self.n_top(drawn) if self.reduce in ("top", "resampled") else min(1, drawn)

    def n_top(self, drawn: int) -> int:
        """Return the number of negatives, of `drawn`, that `top` or `share` selects."""
        return (
            min(drawn, self.top) if self.share is None else max(1, int(self.share * drawn + 1e-9))
        )
