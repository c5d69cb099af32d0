"""Item neighbours: an item is scored by its similarity to what the user has met.

Papers: Sarwar, Karypis, Konstan, Riedl, "Item-based collaborative filtering recommendation algorithms", WWW 2001; Deshpande,
Karypis, "Item-based top-N recommendation algorithms", TOIS 2004; the powers instead of fixed roots follow Aiolli, "Efficient top-N
recommendation for very large scale binary rated datasets", RecSys 2013.

    s(u, j) = sum_{i met by u} S_ij,
    S_ij = sum_v x_vi x_vj / (n_i^history_power n_j^target_power + shrink),      n_i = sum_v x_vi^2,

kept where i is among the k items most similar to j (`side` "target") or j among the k most similar to i ("history"); no item is
its own neighbour. x_vi, for a pair (v, i) that was observed, by `weighting`:

    "cosine"   d_v^(-user_power / 2)                      d_v the number of items of v; with user_power 0 and both powers 1/2: the cosine
    "tfidf"    log(|U| / (1 + d_v)), times the same power of d_v
    "bm25"     (k1 + 1) / (1 + k1 (1 - b + b d_i / mean d)) log(|U| / (1 + d_v)), times the same power of d_v

With user_power 1, both powers 1/2 on counts and unbounded k, this is the linear part of GF-CF.

Differs from the papers: only in being all of them; interactions are binary.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import scipy.sparse as sp

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.nn.neighbours import nearest, weighted
from recsys.scorer import Product
