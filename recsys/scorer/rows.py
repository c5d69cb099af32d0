"""Rows of users in queries, for scorers that store something per user."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recsys.data.query import Queries

__all__ = ["user_rows"]


def user_rows(queries: Queries, device: torch.device | str = "cpu") -> Tensor:
    """Return the rows of the users who ask, int64 [B], on a device.

    Args:
        queries: queries with users.
        device: of the rows.
    """
    assert queries.user is not None
    return torch.as_tensor(queries.user.astype(np.int64), device=device)
