"""Sampling: batches of training interactions with negative samples, on the device.

There are two streams: batches of pairs, each with its negatives, and batches of users, each with
all their items, for losses over whole rows. A network says which one it needs (`Network.sampler`).
A sampler never sees a model.

Every draw is a function of (seed, epoch, step) alone: each step seeds its generator again. A run
that stops anywhere can continue from any step with the same bytes, and the only state of a sampler
is the position of the stream.

The batches of an epoch are even: none is larger than `batch_size`, and their lengths differ by at
most one (`place_of`). A short last batch would be averaged over few pairs and yet update the
weights as much as the others: docs/decisions/0011-short-last-batches.md.

    settings     Settings of the sampler: how negatives are drawn.
    batches      What a stream yields.
    streams      The interface of a stream; random seeds; even batches.
    pair_stream  Batches of pairs with negatives.
    user_stream  Batches of users with all their items.
    proposals    Proposal distributions of negatives.
    positives    The set of observed pairs, for fast look-up.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.sampling.batches import Batch, UserBatch
from recsys.sampling.pair_stream import PairStream, stream
from recsys.sampling.proposals import mixture_log_q
from recsys.sampling.settings import Sampler
from recsys.sampling.streams import Stream, place_of, stream_seed
from recsys.sampling.user_stream import UserStream

__all__ = [
    "Batch",
    "PairStream",
    "Sampler",
    "Stream",
    "UserBatch",
    "UserStream",
    "mixture_log_q",
    "place_of",
    "stream",
    "stream_seed",
]
