"""One self-contained HTML page of finished runs: table, curves, costs, groups, some users' lists, and where every number comes from.

The page asks for nothing: style and script are inside, charts are inline SVG. Without its script it shows the same; the script sorts, copies,
shows values at the pointer and changes between light and dark.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from recsys.errors import InputError
from recsys.files import write_text
from recsys.report.html import Markup, element, join
from recsys.report.html_parts import costs, curves, groups, headline, lead, people
from recsys.report.provenance import provenance
from recsys.report.section import Section, sections

__all__ = ["Section", "page", "sections", "write_page"]

# Nothing is loaded from anywhere, whatever a name in the data may look like.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def write_page(
    out: str | Path, found: Sequence[Section], title: str = "", *, picture: str = ""
) -> Path:
    """Write `page` to a file, whole or not at all.

    Raises:
        InputError: it does not end in .html, there is no section, or it cannot be written.
    """
    out = Path(out)
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(
            f"ends in '{out.suffix}'", place=str(out), remedy="the page is HTML: end in .html"
        )
    text = page(
        found, title, written=datetime.now(UTC).isoformat(timespec="minutes"), picture=picture
    )
    write_text(out, text)
    return out


def page(
    sections: Sequence[Section], title: str = "", *, written: str = "", picture: str = ""
) -> str:
    """The page as text.

    Args:
        sections: one per data set, in order.
        title: heading of the page; the section's, where there is one section.
        written: when, for the foot of the page.
        picture: SVG of the whole, such as the critical differences of a benchmark; it is shown as an image, in which no script runs.

    Raises:
        InputError: there is no section.
    """
    if not sections:
        raise InputError("there is nothing to report", remedy="name at least one run")
    title = title or (sections[0].title if len(sections) == 1 else f"{len(sections)} data sets")
    parts = [
        _section(found, f"s{number}", alone=len(sections) == 1)
        for number, found in enumerate(sections)
    ]
    runs = sum(len(method.runs) for found in sections for method in found.methods)
    foot = f"Written {written + ' ' if written else ''}by recsys {version('recsys')} from {runs} run{'s' if runs > 1 else ''}."
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", _file("page.css")),
    )
    links = (
        [element("a", found.title, href=f"#s{number}") for number, found in enumerate(sections)]
        if len(sections) > 1
        else []
    )
    links += (
        [element("a", word, href=f"#s0-{place}") for place, word in _PLACES.items()]
        if len(sections) == 1
        else []
    )
    body = element(
        "body",
        element(
            "header", element("h1", title), element("nav", *links, aria_label="parts of the page")
        ),
        element("main", _picture(picture) if picture else None, *parts),
        element("footer", foot),
        element("div", id="tip", role="status", hidden=True),
        element("script", _file("page.js")),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


_PLACES = {
    "table": "Table",
    "curves": "Curves",
    "costs": "Costs",
    "groups": "Groups",
    "users": "Users",
    "runs": "Provenance",
}
_HEADINGS = {
    "table": "Methods and metrics",
    "curves": "Learning curves",
    "costs": "Quality against cost",
    "groups": "By group",
    "users": "Side by side, for some users",
    "runs": "Provenance",
}


def _section(found: Section, name: str, *, alone: bool) -> Markup:
    contents = {
        "table": join(lead(found), headline(found, name)),
        "curves": curves(found) or element("p", "No method was trained by epochs.", class_="note"),
        "costs": costs(found),
        "groups": groups(found) or element("p", "No metric has values per user.", class_="note"),
        "users": people(found, name) or element("p", "No users were asked for.", class_="note"),
        "runs": provenance(found, name),
    }
    parts = [
        element(
            "section", element("h3", _HEADINGS[place]), content, id=f"{name}-{place}", class_="part"
        )
        for place, content in contents.items()
    ]
    title = None if alone else element("h2", found.title)
    return element("section", title, _data(found), *parts, id=name)


def _data(found: Section) -> Markup:
    split = found.methods[0].runs[0].meta["split"]
    said = (
        f"{split.get('users'):,} users, {split.get('items'):,} items; {split.get('train'):,} train, {split.get('valid'):,} valid and "
        f"{split.get('test'):,} test pairs ({split.get('rule')}). Protocol: {found.methods[0].reports[0].protocol}."
    )
    return element("p", said, class_="note")


def _picture(svg: str) -> Markup:
    source = f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
    said = "Average ranks of the methods over the data sets; a bar joins those that are not told apart."
    return element(
        "figure",
        element("img", src=source, alt=said),
        element("figcaption", said),
        class_="picture",
    )


def _file(name: str) -> Markup:
    """A part of this package that goes into the page as it is."""
    return Markup(Path(__file__).with_name(name).read_text(encoding="utf-8"))
