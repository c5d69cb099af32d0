"""Sampling: batches of training interactions with negative samples, on the device.

There are three streams: batches of pairs, each with its negatives; batches of users, each with all
their items, for losses over whole rows; and batches of histories, packed, whose positions predict
the next item, or are masked and predicted. A network says which one it needs (`Network.stream`). A
sampler never sees a model.

Every draw is a function of (seed, epoch, step) alone: each step seeds its generator again. A run
that stops anywhere can continue from any step with the same bytes, and the only state of a sampler
is the position of the stream. All is drawn on the CPU, so every device trains on the same batches,
and the sizes of a batch are known without a wait for the device.

Batches of pairs and of users are even: none is larger than `batch_size`, and their lengths differ
by at most one (`place_of`). A short last batch would be averaged over few pairs and yet update the
weights as much as the others: docs/decisions/0011-short-last-batches.md. Batches of histories are
as even as whole histories allow.

    settings         Settings of the sampler: how negatives are drawn.
    batches          What a stream yields.
    streams          The interface of a stream; random seeds; even batches.
    pair_stream      Batches of pairs with negatives.
    user_stream      Batches of users with all their items.
    sequence_stream  Batches of packed histories.
    item_pair_stream  Batches of pairs of items that were bought together.
    windows          Histories that are longer than a batch reads.
    masking          Masked positions of histories.
    negatives        Negatives of pairs, and the mask of false negatives.
    proposals        Proposal distributions of negatives.
    positives        The set of observed pairs, for fast look-up.
    transfer         Copies to a device that no step waits for.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.sampling.batches import AnyBatch, Batch, SequenceBatch, UserBatch
from recsys.sampling.masking import Masking
from recsys.sampling.pair_stream import Pairs, PairStream
from recsys.sampling.proposals import mixture_log_q, proposal_of, proposal_weights
from recsys.sampling.sequence_stream import BatchOf, By, Sequences, SequenceStream, Windows
from recsys.sampling.settings import Sampler
from recsys.sampling.streams import Stream, StreamKind, place_of, stream_seed
from recsys.sampling.transfer import to_device
from recsys.sampling.user_stream import Users, UserStream

__all__ = [
    "AnyBatch",
    "Batch",
    "BatchOf",
    "By",
    "Masking",
    "PairStream",
    "Pairs",
    "Sampler",
    "SequenceBatch",
    "SequenceStream",
    "Sequences",
    "Stream",
    "StreamKind",
    "UserBatch",
    "UserStream",
    "Users",
    "Windows",
    "mixture_log_q",
    "place_of",
    "proposal_of",
    "proposal_weights",
    "stream_seed",
    "to_device",
]
