"""The items of the front shelf: those that most users have, the same for all users."""

from typing import Annotated

import numpy as np
import torch

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.scorer import Product


@settings
class Shelf:
    """The items that most users have; the share of an item levels off as `damping` is small."""

    damping: Annotated[float, Bound(gt=0)] = 10.0
    """Users at which an item has half of the highest score."""

    def build(self, train: Dataset) -> Product:
        users = np.bincount(train.pairs.csr.indices, minlength=train.n_items)
        score = torch.from_numpy((users / (users + self.damping)).astype(np.float32))
        return Product((torch.ones(train.n_users, 1), score[None, :]), "ones")
