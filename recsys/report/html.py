"""HTML from values. All text is escaped, so the name of an item or a run cannot become markup."""

from __future__ import annotations

import html

__all__ = ["Markup", "element", "join"]

_VOID = frozenset({"meta", "img", "br", "hr"})


class Markup(str):
    """Text that is HTML already.

    It comes from `element` and `join`, or from a file of this package.
    """

    __slots__ = ()


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """Return an element; children that are not `Markup`, and all attributes, are escaped.

    Args:
        name: name of the element.
        children: its content, in order; None is left out.
        attributes: an underscore becomes a hyphen, and one at the end is dropped (`data_v`,
            `class_`). None and False are left out; True gives an attribute without a value.
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
    """Return children one after the other, escaped unless they are `Markup`; None is left out."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else html.escape(str(child))
            for child in children
            if child is not None
        )
    )
