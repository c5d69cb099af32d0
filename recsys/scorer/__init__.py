"""Scorers: frozen values that score items. What is evaluated is what is saved and shipped.

Nearly every scorer is a product of matrices, or a sum of products, with one of three similarities
at the end: factor models, neighbourhood and linear models, and their sums. `Relational` and `Deep`
hold models in which user and item interact in more than a product. `Blend` and `Fallback` join
scorers whose scores are on different scales.

    base                Interface of a scorer, and the abilities of some scorers.
    plan                How a scorer is ranked.
    ability             Users and items without a training interaction.
    factors             Vectors of users and items.
    product             Chains of matrices, sparse ones included.
    pairwise            Small networks over user and item.
    sum                 Weighted sums of scores.
    blend               Weighted sums of standardised scores, and a second scorer as fallback.
    scales              Scores of different methods on one scale.
    parts               What scorers that consist of scorers share.
    registry            Kinds by name; a scorer from its saved state.
    nested_state        Tensor names of the parts of a scorer.
    feature_reader      Item features as inputs of an encoder.
    feature_encoder     Item vectors from item features.
    feature_neighbours  Item neighbours by item features.
    als_fold_in         User vectors by exact least squares.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.scorer.ability import Places, places_of, unplaced
from recsys.scorer.base import (
    FoldsIn,
    ItemVectors,
    Scorer,
    Similarity,
    TakesItems,
    VectorScorer,
    require,
)
from recsys.scorer.blend import Blend, Fallback
from recsys.scorer.factors import Factors, MultiFactors
from recsys.scorer.pairwise import Deep, Relational
from recsys.scorer.plan import BestOfSeveral, Blocks, Gemm, OneOrder, Plan
from recsys.scorer.product import Matrix, Product
from recsys.scorer.registry import KINDS, from_state
from recsys.scorer.sum import Sum

__all__ = [
    "KINDS",
    "BestOfSeveral",
    "Blend",
    "Blocks",
    "Deep",
    "Factors",
    "Fallback",
    "FoldsIn",
    "Gemm",
    "ItemVectors",
    "Matrix",
    "MultiFactors",
    "OneOrder",
    "Places",
    "Plan",
    "Product",
    "Relational",
    "Scorer",
    "Similarity",
    "Sum",
    "TakesItems",
    "VectorScorer",
    "from_state",
    "places_of",
    "require",
    "unplaced",
]
