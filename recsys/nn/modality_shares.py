"""The share of each modality in a graph or a similarity of items."""

from __future__ import annotations

from recsys.errors import InputError

__all__ = ["shares_of"]


def shares_of(shares: tuple[float, ...], names: list[str]) -> tuple[float, ...]:
    """Return one share per modality: the given ones, or equal shares that add up to 1.

    Args:
        shares: the setting, one number per modality; empty for equal shares.
        names: names of the modalities, in the order of the features of the data.

    Raises:
        InputError: the number of shares is not the number of modalities, or all shares are 0.
    """
    if shares and len(shares) != len(names):
        raise InputError(
            f"shares has {len(shares)} numbers for {len(names)} modalities: {', '.join(names)}",
            place="[model]",
            remedy="give one share per modality, in this order",
        )
    if shares and not sum(shares):
        raise InputError(
            "shares are all 0, so no modality counts",
            place="[model]",
            remedy="give one modality a share above 0, or leave shares out",
        )
    return shares or (1 / len(names),) * len(names)
