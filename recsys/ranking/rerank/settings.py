"""The section `[rerank]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from recsys.config import Bound, build, defaults, override, settings, to_dict
from recsys.errors import InputError

__all__ = ["Rerank", "absolute_paths", "moment_of"]

_PATHS = ("categories", "exclusions", "candidates", "groups", "availability")


@settings
class Rerank:
    """How lists are made of the best items of a scorer: `[rerank]`.

    The lists of the test and validation reports and those of `recsys recommend` follow it. Early
    stopping and tuning see the lists of the scorer. Files are CSV or Parquet tables with a header.

    Args:
        by: what the items of a list are chosen by, from the `pool` best of the scorer. "none": the
            score alone; "mmr" and "dpp": also how little they resemble each other; "popularity":
            also how few users they have; "calibration": also the user's shares of categories.
        weight: share of the second aim, 0 to 1; the rest is that of the score.
        similarity: of two items, for mmr and dpp: the cosine of their training users
            ("interactions"), of the item vectors of the scorer ("vectors"), or of their categories.
        pool: items of the scorer that a list is chosen from; at least those of the list.
        categories: table with a column `item` and columns of categories. Several categories of an
            item are separated by |.
        category: column of the categories for calibration and similarity = "categories".
        at_most: largest number of items of a list with the same value, by column of `categories`,
            as in at_most = {brand = 2}.
        exclusions: table with the columns user and item: items that a user never gets.
        candidates: table with the columns user or group, and item: the only items that a user, or
            the users of a group, can get. Users without a list can get all.
        groups: table with the columns user and group; needed if `candidates` has groups.
        availability: table with the columns item, from and until: an item can be recommended from
            a date to before another; an empty field sets no bound. Items that are not in the table
            always can.
        moment: date or time at which availability is checked, such as "2026-05-01"; no zone is UTC.

    Raises:
        InputError: settings that do not go together.
    """

    by: Literal["none", "mmr", "dpp", "popularity", "calibration"] = "none"
    weight: Annotated[float, Bound(gt=0, le=1)] = 0.3
    similarity: Literal["interactions", "vectors", "categories"] = "interactions"
    pool: Annotated[int, Bound(ge=1, le=10_000)] = 100
    categories: str | None = None
    category: str = "category"
    at_most: Mapping[str, int] = field(default_factory=dict)
    exclusions: str | None = None
    candidates: str | None = None
    groups: str | None = None
    availability: str | None = None
    moment: str | None = None

    def __post_init__(self) -> None:
        for column, most in self.at_most.items():
            if most < 1:
                raise InputError(
                    f"at_most of '{column}' must be at least 1, got {most}",
                    remedy="use exclusions or candidates to leave items out",
                )
        reads = self.reads_category
        if (reads or self.at_most) and self.categories is None:
            raise InputError(
                "categories is missing", remedy="name a table of items and their categories"
            )
        usual = defaults(Rerank)
        for key, has_effect in (
            ("weight", self.by != "none"),
            ("similarity", self.by in ("mmr", "dpp")),
            ("pool", self.chooses),
            ("category", reads),
            ("categories", reads or bool(self.at_most)),
            ("groups", self.candidates is not None),
            ("moment", self.availability is not None),
        ):
            if not has_effect and getattr(self, key) != usual[key]:
                raise InputError(
                    f"{key} = {getattr(self, key)!r} has no effect with the rest of [rerank]",
                    remedy=f"leave {key} out",
                )
        if self.availability is not None:
            if self.moment is None:
                raise InputError(
                    "moment is missing, and availability depends on it",
                    remedy='as in moment = "2026-05-01"',
                )
            moment_of(self.moment, "moment")

    @property
    def reads_category(self) -> bool:
        """Whether the column `category` decides the lists."""
        similar = self.by in ("mmr", "dpp") and self.similarity == "categories"
        return self.by == "calibration" or similar

    @property
    def chooses(self) -> bool:
        """Whether lists are chosen from a pool."""
        return self.by != "none" or bool(self.at_most)

    @property
    def active(self) -> bool:
        """Whether the lists may differ from those of the scorer."""
        files = (self.exclusions, self.candidates, self.availability)
        return self.chooses or any(path is not None for path in files)

    def to_json(self) -> dict[str, Any]:
        """Return the settings that differ from their defaults."""
        usual = to_dict(Rerank())
        return {key: value for key, value in to_dict(self).items() if value != usual.get(key)}

    def words(self) -> str:
        """Return the settings that differ from their defaults, and the weight, in words."""
        parts = []
        values = self.to_json()
        if self.by != "none":
            values = {"by": self.by, "weight": self.weight, **values}
        for key, value in values.items():
            shown = Path(value).name if key in _PATHS else value
            if isinstance(value, Mapping):
                shown = ", ".join(f"{column} {most}" for column, most in value.items())
            parts.append(f"{key} {shown}")
        return "re-ranked: " + ", ".join(parts)

    def with_paths(self, absolute: Any) -> Rerank:
        """Return the settings with other paths.

        Args:
            absolute: returns the new form of a path.
        """
        values = {**to_dict(self)}
        for key in _PATHS:
            if key in values:
                values[key] = absolute(values[key])
        return Rerank(**values)

    def overridden(self, assignments: Sequence[str], place: str = "[rerank]") -> Rerank:
        """Return the settings with assignments such as `by=mmr`.

        Another `by` starts from the default weight and similarity.

        Args:
            assignments: as on the command line.
            place: for errors.

        Raises:
            InputError: an unknown setting or a wrong value.
        """
        if not assignments:
            return self
        named = [f"rerank.{text.removeprefix('rerank.')}" for text in assignments]
        tree = override({"rerank": self.to_json()}, named)["rerank"]
        if tree.get("by", self.by) != self.by:
            given = {text.partition("=")[0].strip().removeprefix("rerank.") for text in named}
            idle = ["weight", "similarity"]
            if tree["by"] == "none":
                idle += ["category"] if tree.get("at_most") else ["category", "pool", "categories"]
            tree = {key: value for key, value in tree.items() if key in given or key not in idle}
        return build(Rerank, tree, place)


def absolute_paths(assignments: Sequence[str]) -> tuple[str, ...]:
    """Return assignments such as `exclusions=blocked.csv` with absolute paths."""
    lasting = []
    for text in assignments:
        key, separator, value = text.partition("=")
        if separator and key.removeprefix("rerank.") in _PATHS:
            value = str(Path(value.strip("\"'")).expanduser().resolve())
        lasting.append(f"{key}{separator}{value}")
    return tuple(lasting)


def moment_of(text: str, place: str) -> datetime:
    """Return a date or a time in UTC, without a zone.

    Args:
        text: in the form of ISO 8601.
        place: for the error.

    Raises:
        InputError: it is neither.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InputError(
            f"'{text}' is not a date or time", place=place, remedy="as in 2026-05-01"
        ) from None
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
