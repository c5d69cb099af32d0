"""The parts of a section of the page, as HTML: table, curves, costs, groups, users."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from recsys.comparison.table import LEVEL, TableCell
from recsys.evaluation.metrics import parse
from recsys.experiment.execution import Run
from recsys.report import charts as draw
from recsys.report.charts import Mark, Series
from recsys.report.html import Markup, element, join
from recsys.report.section import Method, Section
from recsys.training.stopping import marked, reasons

__all__ = [
    "costs",
    "curves",
    "dot",
    "groups",
    "headline",
    "lead",
    "listing",
    "method_id",
    "people",
    "run_id",
    "verbatim",
]

_POINTS = (
    120  # of a curve; a longer history is thinned out evenly, its best epoch and its last stay
)


def lead(section: Section) -> Markup:
    """The result in a sentence or two."""
    found, metric = section.comparison, section.metric
    best = next((cell for cell in found.cells if cell.metric == metric and cell.best), None)
    if best is None:
        return element(
            "p",
            f"{metric} is neither better nor worse when it is higher; no method is called the best.",
            class_="lead",
        )
    said = [
        element("b", best.method),
        f" has the best {metric}: {_mean(best.mean)}",
        _interval(best),
        ".",
    ]
    rivals = [
        test
        for test in found.tests
        if test.metric == metric and best.method in (test.first, test.second)
    ]
    if rivals:
        worst = max(rivals, key=lambda test: test.p_holm)
        other = worst.second if worst.first == best.method else worst.first
        if best.bold:
            said.append(
                f" It beats every method it was tested against (largest adjusted p {_p(worst.p_holm)}, against {other})."
            )
        else:
            said.append(
                f" That it is better than {other} is not established (adjusted p {_p(worst.p_holm)})."
            )
        early = [
            name for name in found.methods if any(name in test.undertrained for test in rivals)
        ]
        if early:
            said.append(
                f" Undertrained, so that this may be a matter of training: {', '.join(f'{name} {found.signs(name)}' for name in early)}."
            )
    return element("p", *said, class_="lead")


def headline(section: Section, name: str) -> Markup:
    """Methods x metrics: mean, interval, adjusted p against the best; a number leads to the run it is from."""
    found = section.comparison
    several = any(len(method.runs) > 1 for method in section.methods)
    heads = [element("th", "method", scope="col")]
    heads += [
        element("th", metric, _arrow(metric), scope="col", class_="n") for metric in found.metrics
    ]
    heads += [element("th", "seeds", scope="col", class_="n"), element("th", "stopped by")]
    rows = []
    for order, method in enumerate(section.methods):
        early = _sign(section, method.label)
        cells = [element("th", dot(order), method.label, early, scope="row", data_v=method.label)]
        cells += [
            _cell(section, method, order, found.cell(method.label, metric), name)
            for metric in found.metrics
        ]
        cells.append(
            element(
                "td", len(method.runs), class_="n", data_v=len(method.runs), title=_seeds(method)
            )
        )
        ends = found.stopping.get(method.label, ())
        cells.append(element("td", reasons(ends), title="; ".join(map(str, ends))))
        rows.append(element("tr", *cells))
    head, body = element("thead", element("tr", *heads)), element("tbody", *rows)
    what = f"Mean over {found.n_users:,} users; in brackets the 95 % interval{' over users and seeds' if several else ', bootstrap over users'}."
    if found.tests:
        kind = (
            "t test over users and seeds"
            if several
            else {"t": "paired t test", "wilcoxon": "Wilcoxon signed-rank test"}[found.test]
        )
        what += f" p: {kind} against the best of the column, Holm over all {len(found.tests)} tests. Bold: the best, where every p is below {LEVEL}."
    return join(
        _scroll(element("table", head, body, class_="sortable"), "Means by method and metric"),
        element("p", what, class_="note"),
        *(
            element("p", note, class_="note")
            for note in (*found.undertrained, *found.notes, *section.notes)
        ),
        _copy(name, "csv", "The table as CSV", found.csv()),
        _copy(name, "md", "The table as Markdown", found.markdown()),
        _tests(section),
    )


def curves(section: Section) -> Markup | None:
    """The monitored metric on valid by epoch, all methods in one chart; the training loss, a chart per method, as losses have their own scales."""
    metric, series, losses, table = section.metric, [], [], []
    for order, method in enumerate(section.methods):
        run = method.runs[0]
        kept = [entry for entry in run.history if _finite(entry.get("valid", {}).get(metric))]
        best = run.meta.get("best_epoch")
        marks = []
        for entry in _thin(kept, best):
            value, epoch = float(entry["valid"][metric]), int(entry["epoch"])
            marks.append(
                Mark(
                    epoch,
                    value,
                    f"{method.label}, epoch {epoch}: {value:.4f}",
                    ring=epoch == best and len(kept) > 1,
                )
            )
        if marks:
            level = len(kept) == 1
            marks = (
                [Mark(marks[0].x, marks[0].y, f"{method.label}, no epochs: {marks[0].y:.4f}")]
                if level
                else marks
            )
            series.append(Series(method.label, order, tuple(marks), dashed=level))
            top = max(marks, key=lambda mark: mark.y)
            end = run.stopping
            table.append(
                (
                    method.label,
                    len(run.history),
                    best,
                    f"{top.y:.4f}",
                    end.reason,
                    ", ".join(end.marks),
                )
            )
        lost = [entry for entry in run.history if _finite(entry.get("loss"))]
        if len(lost) > 1:
            course = [
                Mark(
                    int(e["epoch"]),
                    float(e["loss"]),
                    f"{method.label}, epoch {e['epoch']}: loss {e['loss']:.5g}",
                )
                for e in _thin(lost, best)
            ]
            losses.append((method, Series(method.label, order, tuple(course))))
    if not series:
        return None
    said = f"{metric} on valid by epoch, for {', '.join(one.name for one in series)}"
    figures = []
    if any(not one.dashed for one in series):
        figures.append(
            _figure(
                draw.lines(series, "epoch", f"valid {metric}", said),
                f"{metric} on valid. Ring: the epoch that was kept. Dashed: fitted in one step.",
            )
        )
    for method, one in losses:
        figures.append(
            _figure(
                draw.lines([one], "epoch", "loss", f"training loss of {method.label} by epoch"),
                f"Training loss of {method.label}.",
            )
        )
    if not figures:
        return None
    first = (
        ""
        if all(len(method.runs) == 1 for method in section.methods)
        else "Of several seeds, the first is drawn. "
    )
    return join(
        element(
            "p",
            f"{first}Losses of different methods are on different scales and cannot be compared.",
            class_="note",
        ),
        draw.key([method.label for method in section.methods]),
        _grid(figures),
        _behind(
            "The curves in numbers",
            (
                "method",
                "epochs",
                "kept",
                f"highest valid {metric} drawn",
                "stopped by",
                "undertrained",
            ),
            table,
        ),
    )


def costs(section: Section) -> Markup:
    """The metric on test against seconds of training, users evaluated a second, and the number of parameters."""
    metric, table = section.metric, []
    charts: dict[str, list[Series]] = {
        "training, s": [],
        "users evaluated per s": [],
        "numbers in the scorer": [],
    }
    for order, method in enumerate(section.methods):
        cell, n = section.comparison.cell(method.label, metric), len(method.runs)
        seconds = sum(float(run.meta.get("train_seconds", math.nan)) for run in method.runs) / n
        speed = (
            sum(
                report.n_users / report.seconds if report.seconds > 0 else math.nan
                for report in method.reports
            )
            / n
        )
        size = sum(float(run.meta.get("parameters", math.nan)) for run in method.runs) / n
        for (across, series), value in zip(charts.items(), (seconds, speed, size), strict=True):
            if math.isfinite(value) and value > 0 and math.isfinite(cell.mean):
                said = f"{method.label}: {metric} {cell.mean:.4f}, {across} {value:,.4g}"
                series.append(
                    Series(
                        method.label, order, (Mark(value, cell.mean, said, cell.low, cell.high),)
                    )
                )
        table.append(
            (method.label, _mean(cell.mean), _amount(seconds, 2), _amount(speed), _amount(size))
        )
    figures = [
        _figure(
            draw.points(
                series, f"{across} (log)", f"test {metric}", f"test {metric} against {across}"
            ),
            f"{metric} against {across}.",
        )
        for across, series in charts.items()
        if series
    ]
    machines = {_machine(run) for method in section.methods for run in method.runs}
    where = (
        f"All on {next(iter(machines))}."
        if len(machines) == 1
        else f"Measured on different machines ({'; '.join(sorted(machines))}): times differ."
    )
    note = f"{where} Training: epochs of the fit that selected, or the one step. Evaluated: test users ranked and measured by all metrics per second."
    return join(
        element("p", note, class_="note"),
        draw.key([method.label for method in section.methods]),
        _grid(figures),
        _behind("The costs in numbers", ("method", f"test {metric}", *charts), table),
    )


def groups(section: Section) -> Markup | None:
    """Means and intervals per group, a small chart each on one scale."""
    found = []
    for kind, frames in section.groups.items():
        every = pl.concat(
            [frame.with_columns(method=pl.lit(label)) for label, frame in frames.items()]
        )
        if every.is_empty():
            continue
        values = [
            value
            for name in ("low", "mean", "high")
            for value in every[name].drop_nulls().to_list()
        ]
        if not values:
            continue
        ends, metric = (min(0.0, *values), max(values)), str(every["metric"][0])
        figures = []
        for group in every["group"].unique(maintain_order=True):
            series, users = [], 0
            for order, method in enumerate(section.methods):
                for row in every.filter(
                    (pl.col("group") == group) & (pl.col("method") == method.label)
                ).iter_rows(named=True):
                    users = row["users"]
                    if row["mean"] is not None:
                        low, high = (
                            math.nan if row[end] is None else row[end] for end in ("low", "high")
                        )
                        said = f"{method.label}, {group}: {metric} {row['mean']:.4f} [{low:.4f}, {high:.4f}], {row['users']:,} users"
                        series.append(
                            Series(method.label, order, (Mark(row["mean"], 0.0, said, low, high),))
                        )
            figures.append(
                _figure(
                    draw.rows(series, metric, f"{metric}, {kind}: {group}", ends),
                    f"{group} · {users:,} users",
                )
            )
        table = [
            (
                row["group"],
                row["method"],
                row["users"],
                *(
                    ("" if row[name] is None else f"{row[name]:.4f}")
                    for name in ("mean", "low", "high")
                ),
            )
            for row in every.iter_rows(named=True)
        ]
        head = ("group", "method", "users", f"mean {metric}", "low", "high")
        found.append(
            join(
                element("h4", f"{kind[0].upper()}{kind[1:]}"),
                _grid(figures),
                _behind(f"{kind}, in numbers", head, table),
            )
        )
    if not found:
        return None
    several = any(len(method.runs) > 1 for method in section.methods)
    mean = (
        " Of several seeds, each user's mean is taken, and the interval leaves the chance of the seeds out."
        if several
        else ""
    )
    note = f"Activity: items met in what {section.methods[0].label} learned from. Popularity: head, mid and tail hold a third of those pairs each."
    missing = (
        ""
        if len(section.groups) > 1
        else " By popularity: not stored by these runs (evaluate.groups = true)."
    )
    return join(
        element(
            "p", f"{note} Intervals: 95 %, bootstrap over users.{mean}{missing}", class_="note"
        ),
        *found,
    )


def people(section: Section, name: str) -> Markup | None:
    """Some users: what they met, and each method's list beside the others'."""
    if not section.people:
        return None
    found = []
    for number, person in enumerate(section.people):
        wanted = (
            element(
                "p", element("b", f"Test items ({len(person.wanted)}): "), "; ".join(person.wanted)
            )
            if section.marked
            else None
        )
        more = (
            f" and {person.met - len(person.history)} more"
            if person.met > len(person.history)
            else ""
        )
        history = element(
            "p", element("b", f"Met before ({person.met}): "), "; ".join(person.history) + more
        )
        lists = []
        for order, method in enumerate(section.methods):
            best = person.lists[method.label]
            hits = sum(item.hit for item in best)
            count = (
                element("span", f" {hits} of {len(best)}", class_="hits")
                if section.marked
                else None
            )
            items = [
                element(
                    "li",
                    _tick() if item.hit else None,
                    item.name,
                    class_="hit" if item.hit else None,
                )
                for item in best
            ]
            lists.append(
                element(
                    "div",
                    element("h5", dot(order), method.label, count),
                    element("ol", *items),
                    class_="list",
                )
            )
        said = f"user {person.id} · {person.met} items met" + (
            f" · {len(person.wanted)} in test" if section.marked else ""
        )
        body = (element("summary", said), history, wanted, element("div", *lists, class_="lists"))
        found.append(
            element("details", *body, name=f"{name}-user", class_="person", open=number == 0)
        )
    marks = (
        "✓ marks an item of the user's test part."
        if section.marked
        else "Hits are not marked: the test part was not opened."
    )
    seeds = (
        " Of several seeds, the first is shown."
        if any(len(method.runs) > 1 for method in section.methods)
        else ""
    )
    note = f"{len(section.people)} of {section.comparison.n_users:,} test users, drawn at random with a fixed seed, not chosen. {marks}{seeds}"
    return join(element("p", note, class_="note"), element("div", *found, class_="people"))


def method_id(name: str, order: int) -> str:
    """Where the page tells of a method's runs."""
    return f"{name}-m{order}"


def run_id(name: str, order: int, seed: int) -> str:
    """Where the page tells of a run."""
    return f"{name}-m{order}-r{seed}"


def _cell(section: Section, method: Method, order: int, cell: TableCell, name: str) -> Markup:
    beside = section.comparison.beside(cell.method, cell.metric)
    bold = join(element("b", _mean(cell.mean)), beside)
    mean = bold if cell.bold else _mean(cell.mean)
    target = run_id(name, order, 0) if len(method.runs) == 1 else method_id(name, order)
    exact = f"{cell.mean!r}; {cell.users:,} users" + (
        f"; standard deviation of {cell.seeds} seeds {cell.seeds_sd:.4f}" if cell.seeds > 1 else ""
    )
    best = next(
        (other for other in section.comparison.cells if other.metric == cell.metric and other.best),
        None,
    )
    test = next(
        (
            test
            for test in section.comparison.tests
            if best is not None
            and test.metric == cell.metric
            and {test.first, test.second} == {best.method, cell.method}
        ),
        None,
    )
    lines = [
        element("a", mean, href=f"#{target}", title=exact),
        element("small", _interval(cell)) if math.isfinite(cell.low) else None,
    ]
    if cell.best:
        lines.append(element("small", "best"))
    elif test is not None:
        seen = section.comparison.signs(test.first) + section.comparison.signs(test.second)
        lines.append(element("small", " ".join(filter(None, (f"p {_p(test.p_holm)}", seen)))))
    return element("td", *lines, class_="n", data_v=repr(cell.mean))


def _sign(section: Section, label: str) -> Markup | None:
    """The mark beside the name of a method whose training ended too early, with its words."""
    early = section.comparison.signs(label)
    if not early:
        return None
    said = marked(section.comparison.stopping[label])
    return element("span", f" {early}", title=said, aria_label=f"undertrained: {said}", role="img")


def _tests(section: Section) -> Markup | None:
    found = section.comparison
    if not found.tests:
        return None
    rows = [
        (
            test.metric,
            " ".join(filter(None, (test.first, found.signs(test.first)))),
            " ".join(filter(None, (test.second, found.signs(test.second)))),
            f"{test.result.difference:+.4f}",
            f"[{test.result.low:+.4f}, {test.result.high:+.4f}]",
            f"{test.result.d_z:+.2f}",
            _p(test.p),
            _p(test.p_holm),
        )
        for test in found.tests
    ]
    return _behind(
        "Every paired test",
        (
            "metric",
            "first",
            "second",
            "difference",
            "95 % interval",
            "effect size d",
            "p",
            "p adjusted",
        ),
        rows,
    )


def _behind(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> Markup:
    """A table that opens on demand: the same numbers for those who do not see a chart."""
    names = element(
        "tr",
        *(
            element("th", word, scope="col", class_=None if i == 0 else "n")
            for i, word in enumerate(head)
        ),
    )
    lines = [
        element(
            "tr",
            *(element("td", value, class_=None if i == 0 else "n") for i, value in enumerate(row)),
        )
        for row in rows
    ]
    table = element("table", element("thead", names), element("tbody", *lines), class_="sortable")
    return element("details", element("summary", title), _scroll(table, title))


def _copy(name: str, form: str, title: str, text: str) -> Markup:
    return element(
        "details", element("summary", title), verbatim(text, id=f"{name}-{form}"), class_="copy"
    )


def verbatim(text: str, **attributes: object) -> Markup:
    """Text as it stands, in a box that scrolls by keyboard too."""
    return element("pre", text, tabindex=0, **attributes)


def _scroll(table: Markup, said: str) -> Markup:
    """A box that scrolls sideways by itself, by keyboard too."""
    return element("div", table, class_="scroll", tabindex=0, role="region", aria_label=said)


def _figure(chart: Markup, caption: str) -> Markup:
    return element("figure", chart, element("figcaption", caption))


def _grid(figures: Sequence[Markup]) -> Markup:
    return element("div", *figures, class_="grid")


def listing(values: Iterable[object]) -> Markup:
    """A bullet list."""
    return element("ul", *(element("li", value) for value in values))


def dot(order: int) -> Markup:
    """Colour and shape of a method, before its name."""
    return element(
        "svg",
        element("path", d=draw.shape(order, 7, 7, 4.5)),
        viewBox="0 0 14 14",
        aria_hidden="true",
        class_=f"dot {draw.colour(order)}",
    )


def _tick() -> Markup:
    return element("span", "✓ ", class_="tick", aria_label="in test: ", role="img")


def _arrow(metric: str) -> Markup | None:
    higher = parse(metric).higher
    return (
        None
        if higher is None
        else element(
            "span",
            " ↑" if higher else " ↓",
            title="higher is better" if higher else "lower is better",
        )
    )


def _interval(cell: TableCell) -> str:
    return f" [{cell.low:.4f}, {cell.high:.4f}]" if math.isfinite(cell.low) else ""


def _mean(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "-"


def _amount(value: float, digits: int = 0) -> str:
    return f"{value:,.{digits}f}" if math.isfinite(value) else "-"


def _p(value: float) -> str:
    return "-" if not math.isfinite(value) else "< 0.0001" if value < 0.0001 else f"{value:.2g}"


def _seeds(method: Method) -> str:
    return f"train.seed = {', '.join(map(str, method.seeds))}"


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _thin(entries: Sequence[dict[str, Any]], best: object) -> list[dict[str, Any]]:
    """At most `_POINTS` entries of a history and the best."""
    step = -(-len(entries) // _POINTS) or 1
    return [
        entry
        for place, entry in enumerate(entries)
        if place % step == 0 or place == len(entries) - 1 or entry.get("epoch") == best
    ]


def _machine(run: Run) -> str:
    environment = run.meta.get("environment", {})
    where = environment.get("gpu") or f"{environment.get('cpus')} CPU cores"
    threads = environment.get("threads")
    return f"{where}, {threads} thread{'' if threads == 1 else 's'}"
