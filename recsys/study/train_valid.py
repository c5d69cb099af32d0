"""The data of a study: training and validation interactions, without the test set."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.data.types import Dataset, HeldOut, Split
from recsys.errors import InputError
from recsys.experiment.execution import data_of
from recsys.experiment.experiment import Experiment

__all__ = ["TrainValid", "train_valid_of"]


@dataclass(frozen=True, eq=False)
class TrainValid:
    """The data that a trial may see. Nothing here holds the test set, or could open it.

    Args:
        train: the training data.
        valid: the validation part, which selects.
        fingerprint: fingerprint of their split.
        rule: the split rule in words.
        pairs_fingerprint: fingerprint of the interactions of the split alone, without features.
        items_fingerprint: fingerprint of the split without features of users and relations.
    """

    train: Dataset
    valid: HeldOut
    fingerprint: str
    rule: str = ""
    pairs_fingerprint: str = ""
    items_fingerprint: str = ""

    def matches(self, kept: str) -> bool:
        """Return whether a stored fingerprint is that of these data, as `Split.matches`."""
        return kept in (self.fingerprint, self.pairs_fingerprint, self.items_fingerprint)

    def require_match(self, kept: str, place: str) -> None:
        """Refuse data that differ from those with which a study was begun.

        Args:
            kept: the stored fingerprint.
            place: the folder of the study, for the message.

        Raises:
            InputError: the data have changed.
        """
        if not self.matches(kept):
            raise InputError(
                "the data have changed since this study began",
                place=place,
                remedy="restore the data, or start a new study",
            )


def train_valid_of(experiment: Experiment, split: Split | None = None) -> TrainValid:
    """Return the training and validation data of an experiment, without the test set.

    Args:
        experiment: the experiment.
        split: its data, if they are loaded already.

    Raises:
        InputError: an error in loading or splitting, or a split without a validation part.
    """
    split = split or data_of(experiment)
    if split.valid is None or not len(split.valid):
        raise InputError(
            "a study selects on valid, and this split has no validation part",
            place="[split]",
            remedy="give valid a share in [split] ratios, valid_share or valid_from",
        )
    return TrainValid(
        split.train,
        split.valid,
        split.fingerprint,
        split.rule,
        split.pairs_fingerprint,
        split.items_fingerprint,
    )
