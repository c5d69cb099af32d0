"""HTML from values: whatever is not markup already is escaped, so a name of an item or a run is never anything but text."""

from __future__ import annotations

import html

__all__ = ["Markup", "element", "join"]

_VOID = frozenset({"meta", "img", "br", "hr"})


class Markup(str):
    """Text that is HTML already; made by `element` and `join`, and by hand only from text of this package."""

    __slots__ = ()


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element with its children and attributes, all escaped unless they are `Markup`.

    Args:
        name: of the element.
        children: None is left out.
        attributes: an underscore stands for a hyphen, a last one is dropped (`class_`, `data_v`); None and False are left out, True has no value.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        word = key.rstrip("_").replace("_", "-")
        words.append(word if value is True else f'{word}="{html.escape(str(value))}"')
    start = f"<{' '.join(words)}>"
    return Markup(start if name in _VOID else f"{start}{join(*children)}</{name}>")


def join(*children: object) -> Markup:
    """Children one after the other, each escaped unless it is `Markup`; None is left out."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else html.escape(str(child))
            for child in children
            if child is not None
        )
    )
