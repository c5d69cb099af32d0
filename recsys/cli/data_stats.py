"""The lines of `recsys data stats`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from recsys.notebook import counted

if TYPE_CHECKING:
    from recsys.data.log_figures import Clicks, LogSize, TimeOrder
    from recsys.data.summary import Statistics, TableSize

__all__ = ["stats_rows"]

# Names of quantiles, where a word is shorter than a share.
_QUANTILES = {"0%": "min", "50%": "median", "100%": "max"}
_PLACES = 10  # places of a list whose clicks are shown
_COLUMNS = 8  # columns of attributes whose gaps are shown


def stats_rows(statistics: Statistics) -> list[list[str]]:
    """Return the lines of a table: what a figure is, and the figure."""
    rows = [*_size_rows(statistics), *_event_rows(statistics), *_content_rows(statistics)]
    for number, line in enumerate(statistics.history):
        rows.append(["" if number else "read", line])
    rows += [[f"note: {finding.check}", finding.message] for finding in statistics.findings]
    rows.append(["fingerprint", statistics.fingerprint])
    return rows


def _size_rows(statistics: Statistics) -> list[list[str]]:
    """Return the lines about the numbers of users, items and interactions."""
    interactions = f"{statistics.interactions:,}"
    for part, size in (("valid", statistics.valid), ("test", statistics.test)):
        if size is not None:
            interactions += f" + {size:,} {part}"
    rows = [
        ["users", _vocabulary_size(statistics.users, statistics.users_that_occur)],
        ["items", _vocabulary_size(statistics.items, statistics.items_that_occur)],
        ["interactions", interactions],
        ["density", f"{statistics.density:.4%}"],
    ]
    for label, shares in (("per user", statistics.per_user), ("per item", statistics.per_item)):
        rows.append([label, _quantile_text(shares)])
    return rows


def _quantile_text(quantiles: Mapping[str, float]) -> str:
    return "  ".join(
        f"{_QUANTILES.get(share, share)} {value:,.0f}" for share, value in quantiles.items()
    )


def _event_rows(statistics: Statistics) -> list[list[str]]:
    """Return the lines about the log, its times, sessions and clicks, as far as they are known."""
    rows = []
    log, sessions = statistics.log, statistics.sessions
    if log is not None:
        rows.append(["events", f"{log.events:,}; {_repeat_text(log)}"])
        rows.append(["events per user", _quantile_text(log.per_user)])
    if statistics.order is not None:
        rows += _order_rows(statistics.order, statistics.users_that_occur)
    if sessions is not None:
        rows.append(["sessions", f"{sessions.count:,}"])
        rows.append(["per session", _quantile_text(sessions.per_session)])
    if statistics.clicks is not None:
        rows += _click_rows(statistics.clicks)
    return rows


def _repeat_text(log: LogSize) -> str:
    """Return how many events repeat an item of their user."""
    text = f"{log.repeats:,} ({log.repeated:.2%}) repeat an item of the user"
    if log.repeats:
        text += f", in {counted(log.repeating_users, 'user')}"
        if log.adjacent is not None:
            text += f"; {log.adjacent:,} directly after it"
    return text


def _click_rows(clicks: Clicks) -> list[list[str]]:
    """Return the lines about what was shown and clicked."""
    rows = [["shown", f"{clicks.shown:,}, {clicks.rate:.2%} of them clicked"]]
    shares = [
        f"{place}: {clicked / shown:.2%} of {shown:,}"
        for place, shown, clicked in clicks.places[:_PLACES]
    ]
    if shares:
        more = "  ..." if len(clicks.places) > _PLACES else ""
        rows.append(["clicked by position", "  ".join(shares) + more])
    return rows


def _order_rows(order: TimeOrder, users: int) -> list[list[str]]:
    """Return the lines about equal times and about the time that a user spans.

    Args:
        order: of the events.
        users: number of users with an event.
    """
    last = f"{order.last_tied:,} of {users:,} users ({order.last_tied / max(1, users):.2%})"
    rows = [
        ["equal times", f"{order.tied:.2%} of the events, with another of the user"],
        ["", f"the last two events of {last}: the file decides which is the last"],
    ]
    if not order.last_tied:
        rows.pop()
    if order.within_day is not None and order.median_span is not None:
        span = f"{order.within_day:.2%} of users span less than a day"
        rows.append(["time of a user", f"{span}, median {_duration(order.median_span)}"])
    return rows


def _duration(seconds: float) -> str:
    """Return a number of seconds in its largest unit, as in "49 minutes"."""
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:,.0f} seconds"


def _table_rows(label: str, table: TableSize, role: str) -> list[list[str]]:
    """Return the lines about a feature table: its size, and for attributes what is missing."""
    if table.missing is None:
        return [[label, f"{table.dim} numbers, {table.present:.1%} of the {role}"]]
    rows = [[label, f"{counted(table.dim, 'column')}, {table.present:.1%} of the {role}"]]
    gaps = [f"{name} {share:.1%}" for name, share in table.missing.items()]
    more = "  ..." if len(gaps) > _COLUMNS else ""
    rows.append(["missing", "  ".join(gaps[:_COLUMNS]) + more])
    return rows


def _vocabulary_size(size: int, occurring: int) -> str:
    """Return the number of users or items, and how many of them have no interaction."""
    unused = size - occurring
    return f"{size:,}" + (f" ({unused:,} of them never occur)" if unused else "")


def _content_rows(statistics: Statistics) -> list[list[str]]:
    """Return the lines about times, weights, labels, behaviours, features and titles."""
    rows = [["time", " to ".join(statistics.time) if statistics.time else "none"]]
    weight, clean = statistics.weight, statistics.labels
    if weight is not None:
        shown = f"{weight.least:g} to {weight.most:g}, mean {weight.mean:.3g}"
        rows.append(["weight", shown])
    if clean is not None:
        rows.append(["labels", f"{clean:.2%} clean, {1 - clean:.2%} noise"])
    if statistics.behaviours:
        counts = (f"{name} {count:,}" for name, count in statistics.behaviours.items())
        rows.append(["behaviours", ", ".join(counts)])
    if statistics.auxiliary is not None:
        counts = (f"{name} {count:,}" for name, count in statistics.auxiliary.items())
        rows.append(["auxiliary", ", ".join(counts)])
    for name, modality in statistics.features.items():
        rows += _table_rows(f"feature {name}", modality, "items")
    for name, table in statistics.user_features.items():
        rows += _table_rows(f"user feature {name}", table, "users")
    for name, each in statistics.relations.items():
        triples = f"{each.triples:,} triples of {counted(each.relations, 'relation')}"
        rows.append([name, f"{triples}, {each.entities:,} entities"])
        rows.append(["", f"{each.linked:.1%} of the items or users have one"])
    if statistics.titles is not None:
        rows.append(["titles", f"{statistics.titles:.1%} of the items"])
    return rows
