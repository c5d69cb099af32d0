"""Item features as inputs of an encoder: gaps filled, modalities scaled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.data.splitting.missing_modalities import Donors
from recsys.data.types import FeatureTable

__all__ = ["Modality", "Reader"]


@dataclass(frozen=True, eq=False)
class Modality:
    """How the features of one modality are read.

    Args:
        name: as in the data.
        fill: vector of an item that lacks the modality, float32 [d].
        scale: "row" divides each row by its length, after gaps are filled; "none" keeps it.
    """

    name: str
    fill: Tensor
    scale: Literal["none", "row"] = "none"

    @property
    def dim(self) -> int:
        return len(self.fill)

    def read(self, table: FeatureTable) -> Tensor:
        """Return the inputs of a network, float32 [n, d], on the CPU.

        The result shares memory with the table where nothing has to be changed.
        """
        # float32 before anything is added up: tables may hold narrower numbers.
        values = np.asarray(table.values, dtype=np.float32)
        gaps = ~table.present
        if gaps.any() or not values.flags.writeable:
            values = values.copy() if values is table.values else values
            values[gaps] = self.fill.cpu().numpy()
        read = torch.from_numpy(values)
        return F.normalize(read, dim=1) if self.scale == "row" else read


@dataclass(frozen=True, eq=False)
class Reader:
    """How the features of items become the inputs of a network.

    Args:
        modalities: the modalities, in the order of training.
        donors: training items that lend vectors to items that lack a modality. Gaps that remain, or
            all gaps if None, are filled by `Modality.fill`.
    """

    modalities: tuple[Modality, ...]
    donors: Donors | None = None

    def __call__(self, features: Mapping[str, FeatureTable]) -> dict[str, Tensor]:
        """Return the inputs of each modality by name, float32 [n, d_m], on the CPU.

        Args:
            features: a table of n rows for each modality, with the dimension it had in training.
        """
        whole = self.lent(features)
        return {modality.name: modality.read(whole[modality.name]) for modality in self.modalities}

    def lent(self, features: Mapping[str, FeatureTable]) -> Mapping[str, FeatureTable]:
        """Return the tables after donors lent their vectors, before `Modality.fill` is used."""
        return features if self.donors is None else self.donors.lend(features)

    def state(self) -> tuple[dict[str, Tensor], list[list[str]]]:
        """Return tensors and JSON metadata from which `restore` builds an equal reader."""
        tensors = {f"fill.{index}": modality.fill for index, modality in enumerate(self.modalities)}
        if self.donors is not None:
            tensors["donors.warm"] = _tensor(self.donors.warm)
            for index, table in enumerate(self.donors.features.values()):
                tensors[f"donors.{index}.values"] = _tensor(table.values)
                tensors[f"donors.{index}.present"] = _tensor(table.present)
        return tensors, [[modality.name, modality.scale] for modality in self.modalities]

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Sequence[Sequence[Any]]) -> Reader:
        """Build the reader that `state` described."""
        modalities = tuple(
            Modality(str(name), tensors[f"fill.{index}"], scale)
            for index, (name, scale) in enumerate(meta)
        )
        if "donors.warm" not in tensors:
            return cls(modalities)
        tables = {
            modality.name: FeatureTable(
                tensors[f"donors.{index}.values"].numpy(),
                tensors[f"donors.{index}.present"].numpy(),
            )
            for index, modality in enumerate(modalities)
        }
        return cls(modalities, Donors(tables, tensors["donors.warm"].numpy()))


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))
