"""Scorers: frozen values that answer queries by scores of all items.

What is evaluated is what is saved and shipped.

Nearly every scorer is a product of matrices, or a sum of products, with one of three similarities
at the end: factor models, neighbourhood and linear models, and their sums. `Relational` and `Deep`
hold models in which user and item interact in more than a product. `Blend` and `Fallback` join
scorers whose scores are on different scales.

    base                Interface of a scorer, and the abilities of some scorers.
    plan                How a scorer is ranked.
    ability             Users and items without a training interaction.
    factors             Vectors of users and items.
    product             Chains of matrices, sparse ones included.
    item_vectors        Two vectors per item: one asked about, one as an answer.
    pairwise            Small networks over user and item.
    sum                 Weighted sums of scores.
    transitions         Markov chains.
    session_neighbours  Votes of similar training sessions.
    session_similarity  How sessions are compared.
    session_search      The nearest sessions of queries, and the scores of their items.
    past_sessions       Training sessions, newest first, and their index by item.
    stored_histories    The last events of each user.
    decay               Weights by place and by distance.
    blend               Weighted sums of standardised scores, and a second scorer as fallback.
    sequence_encoder    Histories encoded by a network.
    transformer         A self-attention encoder of histories.
    recurrent           A recurrent encoder of histories.
    cloze               A bidirectional encoder of histories with a mask at the end.
    hstu                An encoder of histories and their times, without a softmax.
    chain_factors       Factorised personal Markov chains.
    scales              Scores of different methods on one scale.
    rows                Rows of users in queries.
    parts               What scorers that consist of scorers share.
    registry            Kinds by name; a scorer from its saved state.
    nested_state        Tensor names of the parts of a scorer.
    feature_reader      Item features as inputs of an encoder.
    feature_encoder     Item vectors from item features.
    feature_neighbours  Item neighbours by item features.
    placed              Sparse matrices on a device.
    als_fold_in         Vectors of histories by exact least squares.
    als_steps           The same by conjugate gradient steps.
    als_kernel          These steps, compiled.
    history_encoder     Vectors of histories by an encoder.
    row_neighbours      The k nearest rows of a sparse matrix.
    row_neighbours_on_device  The same on a device.
    user_neighbours     The most similar users of histories.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.scorer.ability import Places, places_of, unplaced
from recsys.scorer.base import (
    ItemVectors,
    Scorer,
    Similarity,
    TakesItems,
    VectorScorer,
    answered_by,
    readable,
    require,
)
from recsys.scorer.blend import Blend, Fallback
from recsys.scorer.chain_factors import ChainFactors
from recsys.scorer.decay import Decay, by_distance
from recsys.scorer.factors import Factors, MultiFactors
from recsys.scorer.pairwise import Deep, Relational
from recsys.scorer.past_sessions import PastSessions
from recsys.scorer.plan import Dense, Dot, Listed, NearestOf, OneOrder, Plan, Pointwise
from recsys.scorer.product import Matrix, Product
from recsys.scorer.registry import KINDS, from_state
from recsys.scorer.sequence_encoder import Encoder, SequenceEncoder
from recsys.scorer.session_neighbours import SessionNeighbours
from recsys.scorer.session_similarity import SessionSimilarity
from recsys.scorer.stored_histories import StoredHistories
from recsys.scorer.sum import Sum
from recsys.scorer.transitions import Transitions

__all__ = [
    "KINDS",
    "Blend",
    "ChainFactors",
    "Decay",
    "Deep",
    "Dense",
    "Dot",
    "Encoder",
    "Factors",
    "Fallback",
    "ItemVectors",
    "Listed",
    "Matrix",
    "MultiFactors",
    "NearestOf",
    "OneOrder",
    "PastSessions",
    "Places",
    "Plan",
    "Pointwise",
    "Product",
    "Relational",
    "Scorer",
    "SequenceEncoder",
    "SessionNeighbours",
    "SessionSimilarity",
    "Similarity",
    "StoredHistories",
    "Sum",
    "TakesItems",
    "Transitions",
    "VectorScorer",
    "answered_by",
    "by_distance",
    "from_state",
    "places_of",
    "readable",
    "require",
    "unplaced",
]
