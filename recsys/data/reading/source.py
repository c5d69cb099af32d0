"""Settings `[data]`: where interactions come from, how they are written, and which are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from recsys import plugins
from recsys.config import Bound, settings
from recsys.errors import InputError, suggest

__all__ = [
    "COLUMN_SETTINGS",
    "FILE_SETTINGS",
    "FORMATS",
    "LOG_ROLES",
    "NONE",
    "ROLES",
    "Column",
    "Source",
]

# Name or position (from 0) of a column; None: guess it.
Column: TypeAlias = str | int | None
Core = Annotated[int, Bound(ge=0)]

# What a column can hold.
ROLES = (
    "user",
    "item",
    "time",
    "weight",
    "clean",
    "behaviour",
    "session",
    "clicked",
    "position",
)
# Roles of columns that only the log holds.
LOG_ROLES = ("clicked", "position")
# Value of a role: the data have no such column, so no usual name is tried.
NONE = "none"
# The formats of this package. `recsys.data.reading.formats` has a reader for each.
FORMATS = (
    "csv",
    "parquet",
    "inter",
    "adjacency",
    "users-dat",
    "x-label",
    "noise-flag",
    "npz",
    "npy",
    "json-lists",
    "baskets",
)
# Settings that only apply to files on disk, and settings that only apply to tables with columns.
FILE_SETTINGS = (
    "source",
    "path",
    "train",
    "valid",
    "test",
    "behaviour_files",
    "format",
    "separator",
    "header",
    "quote",
)
COLUMN_SETTINGS = (*ROLES, "nulls")


@settings
class Source:
    """Where the interactions come from, and which of them are kept.

    Ids of a text file become integers if all of them are whole numbers. Ids of Parquet and of a
    data frame keep their type.

    Args:
        source: name of a data set of the catalogue. Other settings given here replace those of the
            catalogue.
        path: a file, a folder, or the folder (or the common beginning of the names) of files that
            are already split.
        train, valid, test: files that are already split, relative to `path` if that is a folder.
        behaviour_files: one file per behaviour, as in { view = "view.txt", buy = "buy.txt" }, in
            the folder `path`. `behaviours` names the target, which makes the pairs. A behaviour
            whose files are already split is a table: buy = { train = "train.txt", test =
            "test.txt" }; the files of other behaviours then belong to train.
        format: how the files are written: csv, parquet, inter, adjacency, users-dat, x-label,
            noise-flag, npz, npy, json-lists, baskets, or a format that an installed package
            registers in the entry-point group `recsys.readers`. "auto" recognises a format of
            this package by the name and the first lines of a file; the history records the guess.
        user, item, time, weight, clean, behaviour, session: name or position (from 0) of each
            column. If not given, the usual names are tried (user_id, CustomerID, movieId,
            timestamp, rating, ...), and, in a file without header, the order user item weight time.
            `clean` (1 clean, 0 known noise) is only read if it is named; its earlier name `label`
            still works. `session` (a visit, an invoice, a basket) too is only read if it is named.
            In a log of sessions without users (SessionId, ItemId, Time) each session is a user,
            and both columns are filled; user and session may name one column to say so. "none" for
            all but user and item: the data have no such column, regardless of names. A column that
            is not named here and holds no value is left out.
        clicked, position: columns of what was shown, read into the log alone, and only if they are
            named: whether the item was clicked (1) or shown and not clicked (0), and its place in
            the list, 1 the first. The pairs are the clicked rows. They need `keep_log`.
        separator, header: of delimited text; recognised by the first lines if not given.
        quote: the quote character of delimited text; "" if no character quotes. Default: `"`, but
            none in text separated by tabs or `::`, where quotes are part of the values, nor in
            .inter files.
        ordered: the rows of data without a time column, or the items of each line of lists, are in
            time order; the place in the file becomes the time.
        nulls: what to do with rows that lack a user or an item: "error" or "drop".
        titles: table with a text per item, CSV or Parquet, with a column of item ids and a column
            `title` or `name`.
        features: item features by modality: files or folders as
            `recsys.data.features.tables.feature_table` reads them, relative to the folder of the
            interactions or to the working folder; or one folder of them. They are added to those of
            the catalogue, and replace one of the same name. A run stores the absolute paths of
            these and of `titles`. A CSV file of attributes, a `.item` file of RecBole, or a table
            { path = ..., categorical = [...] } with the settings of
            `recsys.data.features.attribute_files.AttributeFile`, becomes one sparse table, whose
            name is "attributes" if it is alone.
        user_features: attributes of users, likewise: a file, or files by name.
        relations: files of edges by name, see `recsys.data.features.relation_files`: "knowledge"
            around the items, "social" between the users.
        min_weight: keep interactions with at least this weight. If not given, weights of 0 and
            below are not positive; 0 or a negative number keeps them. With duplicates = "sum" or
            "last" the threshold applies to the merged weight of a pair, otherwise to every row.
        clean_weight: label each row by its weight: 1 (clean) if it is at least this, else 0
            (noise), as for ratings where 3 is liked and 2 is not. Without min_weight all rows are
            kept, those of 0 and below too.
        session_gap: make sessions of the times: a new one begins after more than this many seconds
            without an event of the user. Not with `session`.
        keep_log: keep every event in `Dataset.log`, those too that `behaviours`, `min_weight` and
            `duplicates` leave out of the pairs.
        behaviours: keep rows with these behaviours: those of the column `behaviour`, or names of
            `behaviour_files`.
        auxiliary: other behaviours that methods may learn from, such as ["view", "cart"], where
            `behaviours` names the target. They are kept in `Dataset.auxiliary`: they are neither
            pairs nor answers, and a split removes the events that know an answer.
        since, until: keep times from `since` (inclusive) to `until` (exclusive); ISO dates or unix
            times, UTC.
        duplicates: which of several rows of one user and item to keep: "first" or "last" (in time;
            in the file without times), "sum" (the first, with the sum of the weights, 1 each
            for data without weights), or "error".
        user_core, item_core: remove users and items with fewer rows, repeatedly, until none is
            left.
        min_user: remove users with fewer rows, once, without filtering items (the LibCML protocol).
    """

    # Keys of earlier versions that still work, with their current names.
    RENAMED = (("label", "clean"),)

    source: str | None = None
    path: str | None = None
    train: str | None = None
    valid: str | None = None
    test: str | None = None
    behaviour_files: Mapping[str, str | Mapping[str, str]] | None = None
    format: str = "auto"
    user: Column = None
    item: Column = None
    time: Column = None
    weight: Column = None
    clean: Column = None
    behaviour: Column = None
    session: Column = None
    clicked: Column = None
    position: Column = None
    separator: str | None = None
    quote: str | None = None
    header: bool | None = None
    ordered: bool = False
    nulls: Literal["error", "drop"] = "error"
    titles: str | None = None
    features: str | Mapping[str, str | Mapping[str, Any]] | None = None
    user_features: str | Mapping[str, str | Mapping[str, Any]] | None = None
    relations: Mapping[str, str | Mapping[str, str]] | None = None
    min_weight: float | None = None
    clean_weight: float | None = None
    session_gap: Annotated[float, Bound(gt=0)] | None = None
    # None, not False: the fingerprints of earlier runs do not mention it.
    keep_log: bool | None = None
    behaviours: tuple[str, ...] | None = None
    auxiliary: tuple[str, ...] | None = None
    since: str | int | None = None
    until: str | int | None = None
    duplicates: Literal["first", "last", "sum", "error"] = "first"
    user_core: Core = 0
    item_core: Core = 0
    min_user: Core = 0

    def __post_init__(self) -> None:
        if self.session_gap is not None and self.session not in (None, NONE):
            raise InputError(
                "session names sessions and session_gap makes them", remedy="leave out one of them"
            )
        if self.source is None:  # else the settings of the catalogue are not known yet
            self._refuse_without_log()
            self._check_auxiliary()
        known = ("auto", *FORMATS)
        if self.format in (*known, *plugins.names("readers")):
            return
        names = sorted({*known, *plugins.names("readers")})
        raise InputError(
            f"format = {self.format!r} is not a valid choice",
            remedy=f"{suggest(self.format, names)}; "
            "a package can add a format through the entry-point group 'recsys.readers'",
        )

    def _refuse_without_log(self) -> None:
        """Refuse columns of the log where no log is kept."""
        for role in LOG_ROLES:
            if getattr(self, role) not in (None, NONE) and not self.keep_log:
                raise InputError(
                    f"{role} has no effect without keep_log, because only the log holds it",
                    remedy=f"set keep_log = true, or leave out {role}",
                )

    def _check_auxiliary(self) -> None:
        """Refuse auxiliary behaviours without a target, or that are the target."""
        if self.auxiliary is None:
            return
        if not self.behaviours:
            raise InputError(
                "auxiliary needs behaviours, which names the target",
                remedy='name what is predicted, as in behaviours = ["buy"]',
            )
        both = [name for name in self.auxiliary if name in self.behaviours]
        if both:
            raise InputError(
                f"'{both[0]}' cannot be a target and auxiliary",
                remedy="leave it out of behaviours, or out of auxiliary",
            )

    def columns(self) -> dict[str, Column]:
        """Return the name or position of the column of each role."""
        return {role: getattr(self, role) for role in ROLES}
