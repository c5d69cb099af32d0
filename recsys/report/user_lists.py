"""Side by side: for some users, their training items and the list of each method."""

from __future__ import annotations

from recsys.report.elements import dot
from recsys.report.html import Markup, element, join
from recsys.report.section import Section
from recsys.report.shown_users import ListedItem, ShownUser

__all__ = ["user_lists"]


def user_lists(section: Section, name: str) -> Markup | None:
    """Return the lists; None if no users were asked for.

    Args:
        section: the data set.
        name: prefix of the ids of its elements.
    """
    if not section.users:
        return None
    marks = "Hits are not marked: the test part was not opened."
    if section.hits_known:
        marks = "✓ marks an item of the user's test part."
    note = (
        f"{len(section.users)} of {section.comparison.n_users:,} test users, "
        f"drawn at random with a fixed seed, not chosen. {marks}"
    )
    if any(len(method.runs) > 1 for method in section.methods):
        note += " Of several seeds, the first is shown."
    shown = [
        _user(section, user, f"{name}-user", is_open=number == 0)
        for number, user in enumerate(section.users)
    ]
    return join(element("p", note, class_="note"), element("div", *shown, class_="people"))


def _user(section: Section, user: ShownUser, name: str, *, is_open: bool) -> Markup:
    summary = f"user {user.id} · {user.n_train} training items"
    if section.hits_known:
        summary += f" · {len(user.test_items)} in test"
    items = "; ".join(user.train_items)
    if user.n_train > len(user.train_items):
        items += f" and {user.n_train - len(user.train_items)} more"
    parts = [
        element("summary", summary),
        element("p", element("b", f"Training items ({user.n_train}): "), items),
    ]
    if section.hits_known:
        label = element("b", f"Test items ({len(user.test_items)}): ")
        parts.append(element("p", label, "; ".join(user.test_items)))
    lists = [
        _list(section, order, method.label, user.lists[method.label])
        for order, method in enumerate(section.methods)
    ]
    parts.append(element("div", *lists, class_="lists"))
    return element("details", *parts, name=name, class_="person", open=is_open)


def _list(section: Section, order: int, label: str, items: tuple[ListedItem, ...]) -> Markup:
    count = None
    if section.hits_known:
        hits = sum(item.hit for item in items)
        count = element("span", f" {hits} of {len(items)}", class_="hits")
    return element(
        "div",
        element("h5", dot(order), label, count),
        element("ol", *map(_item, items)),
        class_="list",
    )


def _item(item: ListedItem) -> Markup:
    if not item.hit:
        return element("li", item.name)
    tick = element("span", "✓ ", class_="tick", aria_label="in test: ", role="img")
    return element("li", tick, item.name, class_="hit")
