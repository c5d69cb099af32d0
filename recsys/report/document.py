"""One self-contained HTML page of finished runs.

It shows a table, learning curves, costs, groups, the lists of some users, and where every number
comes from. The page loads nothing: style and script are inside, charts are inline SVG. Without its
script it shows the same. The script sorts tables, copies text, shows values at the pointer, and
switches between light and dark.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from recsys.errors import InputError
from recsys.files import write_text
from recsys.report.cost_charts import costs
from recsys.report.group_charts import groups
from recsys.report.html import Markup, element, join
from recsys.report.learning_curves import curves
from recsys.report.provenance import provenance
from recsys.report.result_table import headline, lead
from recsys.report.section import Section, sections
from recsys.report.user_lists import user_lists

__all__ = ["Section", "page", "sections", "write_page"]

# Nothing is loaded from anywhere, even if a name in the data looks like an address.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def write_page(
    out: str | Path, sections: Sequence[Section], title: str = "", *, picture: str = ""
) -> Path:
    """Write the page to a file, atomically.

    Args:
        out: the file; its name ends in .html or .htm.
        sections: one per data set, in order.
        title: heading of the page, see `page`.
        picture: SVG at the top of the page, see `page`.

    Returns:
        The path of the file.

    Raises:
        InputError: the name does not end in .html, `sections` is empty, or the file cannot be
            written.
    """
    out = Path(out)
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(
            f"ends in '{out.suffix}'", place=str(out), remedy="the page is HTML: end in .html"
        )
    text = page(
        sections, title, written=datetime.now(UTC).isoformat(timespec="minutes"), picture=picture
    )
    write_text(out, text)
    return out


def page(
    sections: Sequence[Section], title: str = "", *, written: str = "", picture: str = ""
) -> str:
    """Return the page as text.

    Args:
        sections: one per data set, in order.
        title: heading of the page; by default that of the only section.
        written: time for the foot of the page.
        picture: SVG about all data sets, such as the critical differences of a benchmark. It is
            shown as an image, in which no script runs.

    Raises:
        InputError: `sections` is empty.
    """
    if not sections:
        raise InputError("there is nothing to report", remedy="name at least one run")
    title = title or (sections[0].title if len(sections) == 1 else f"{len(sections)} data sets")
    is_alone = len(sections) == 1
    parts = [
        _section(section, f"s{number}", is_alone=is_alone)
        for number, section in enumerate(sections)
    ]
    runs = sum(len(method.runs) for section in sections for method in section.methods)
    time = f"{written} " if written else ""
    plural = "s" if runs > 1 else ""
    foot = f"Written {time}by recsys {version('recsys')} from {runs} run{plural}."
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", _file("page.css")),
    )
    targets = {f"s{number}": section.title for number, section in enumerate(sections)}
    if is_alone:
        targets = {f"s0-{name}": word for name, word in _PLACES.items()}
    links = [element("a", word, href=f"#{target}") for target, word in targets.items()]
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


def _section(section: Section, name: str, *, is_alone: bool) -> Markup:
    """Return one data set.

    Args:
        section: what to show.
        name: prefix of the ids of its elements.
        is_alone: whether it is the only one; then it needs no heading.
    """
    contents = {
        "table": join(lead(section), headline(section, name)),
        "curves": curves(section) or _note("No method was trained by epochs."),
        "costs": costs(section),
        "groups": groups(section) or _note("No metric has values per user."),
        "users": user_lists(section, name) or _note(section.no_users),
        "runs": provenance(section, name),
    }
    parts = [
        element(
            "section", element("h3", _HEADINGS[key]), content, id=f"{name}-{key}", class_="part"
        )
        for key, content in contents.items()
    ]
    title = None if is_alone else element("h2", section.title)
    return element("section", title, _data(section), *parts, id=name)


def _data(section: Section) -> Markup:
    """Return the size of the data and the protocol."""
    method = section.methods[0]
    split = method.runs[0].split
    return _note(
        f"{split.users:,} users, {split.items:,} items; {split.train:,} train, "
        f"{split.valid:,} valid and {split.test:,} test pairs ({split.rule}). "
        f"Protocol: {method.reports[0].protocol}."
    )


def _note(text: str) -> Markup:
    return element("p", text, class_="note")


def _picture(svg: str) -> Markup:
    source = f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
    caption = (
        "Average ranks of the methods over the data sets; "
        "a bar joins methods that do not differ significantly."
    )
    image = element("img", src=source, alt=caption)
    return element("figure", image, element("figcaption", caption), class_="picture")


def _file(name: str) -> Markup:
    """Return a file of this package that is put into the page unchanged."""
    return Markup(Path(__file__).with_name(name).read_text(encoding="utf-8"))
