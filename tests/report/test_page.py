"""The page of `recsys report`: its numbers are those of the reports, and it works in a browser."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from chromium import BINARY, Chromium
from mistakes import LOG, MF, invoke

from recsys.comparison.comparison import compare
from recsys.errors import InputError
from recsys.evaluation.breakdown import by_activity
from recsys.experiment.execution import data_of, open_run
from recsys.report.charts import Mark, Series, lines, number, points
from recsys.report.document import page, sections
from recsys.report.html import element, join
from recsys.report.methods import without_common_end

EVIL = '<script>document.title="taken"</script>'
VOID = {"meta", "img", "br", "hr"}


class Read(HTMLParser):
    """Elements of a page with their attributes and text; fails where tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[dict] = []
        self.found: list[dict] = []
        self.feed(text)
        self.close()
        assert not self.stack, self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        node = {
            "tag": tag,
            "attrs": dict(attrs),
            "text": "",
            "up": self.stack[-1] if self.stack else None,
        }
        self.found.append(node)
        if tag not in VOID:
            self.stack.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack, tag
        assert self.stack.pop()["tag"] == tag, tag

    def handle_data(self, data: str) -> None:
        for node in self.stack:
            node["text"] += data

    def all(self, tag: str, **attrs: str) -> list[dict]:
        return [
            node
            for node in self.found
            if node["tag"] == tag
            and all(node["attrs"].get(name) == value for name, value in attrs.items())
        ]


def inside(node: dict, tag: str, **attrs: str) -> bool:
    up = node["up"]
    while up is not None:
        if up["tag"] == tag and all(
            up["attrs"].get(name) == value for name, value in attrs.items()
        ):
            return True
        up = up["up"]
    return False


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of a popularity list, of MF with two seeds, and of MF on another split.

    An item and the runs have markup in their names.
    """
    folder = tmp_path_factory.mktemp("page")
    (folder / "log.csv").write_text(LOG)
    titles = [f"Thing {i}" if i % 3 else f"{EVIL} & {i}" for i in range(30)]
    pl.DataFrame({"item": [f"i{i:02d}" for i in range(30)], "title": titles}).write_csv(
        folder / "items.csv"
    )
    mf = MF.replace("[model]", 'titles = "items.csv"\n\n[model]', 1).replace(
        "[evaluate]", "[evaluate]\ngroups = true"
    )
    mf = mf.replace('["recall@5", "ndcg@5"]', '["recall@5", "ndcg@5", "coverage@5"]').replace(
        "epochs = 2", "epochs = 4\neval_every = 1"
    )
    (folder / "mf.toml").write_text(mf)
    (folder / "popular.toml").write_text(
        re.sub(r"\[model\].*?\n\n", '[model]\nname = "popular"\n\n', mf, flags=re.S)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, command in {
            "popular": "popular.toml 'name=popular-<b>shop</b>'",
            "mf-0": "mf.toml 'name=mf-<b>shop</b>'",
            "mf-1": "mf.toml 'name=mf-<b>shop</b>' train.seed=1",
            "other": "mf.toml name=other split.seed=5 split.order=random",
        }.items():
            code, _, err = invoke(f"run {command} -q --out runs/{name}")
            assert code == 0, err
    return folder


@pytest.fixture
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def three(here: Path) -> list[Path]:
    return [here / "runs" / name for name in ("popular", "mf-0", "mf-1")]


def openings(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "openings.jsonl").read_text().splitlines()]


def test_text_is_never_markup() -> None:
    assert element("p", "<b>&'\"", title='"><x', data_v=1, hidden=True, id=None) == (
        '<p title="&quot;&gt;&lt;x" data-v="1" hidden>&lt;b&gt;&amp;&#x27;&quot;</p>'
    )
    assert element("p", element("b", "<"), None, 3) == "<p><b>&lt;</b>3</p>"
    assert element("meta", name="a") == '<meta name="a">'
    assert join("<", element("br")) == "&lt;<br>"


def test_the_numbers_are_those_of_the_reports(three: list[Path]) -> None:
    found = Read(page(sections(three, users=3)))
    popular, *seeds = [open_run(folder).report("test") for folder in three]
    table = [
        row
        for row in found.all("tr")
        if inside(row, "section", id="s0-table") and not inside(row, "details")
    ]
    assert [row["text"].split("0.")[0] for row in table[1:]] == ["popular", "mf"]
    cells = [cell for cell in found.all("td") if any(cell["up"] is row for row in table)]
    values = [float(cell["attrs"]["data-v"]) for cell in cells if "data-v" in cell["attrs"]]
    names = ("recall@5", "ndcg@5", "coverage@5")
    assert [cell["text"] for cell in cells if "data-v" not in cell["attrs"]] == [
        "closed form",
        "epochs",
    ]
    wanted = (
        [popular[name] for name in names]
        + [1]
        + [np.mean([report[name] for report in seeds]) for name in names]
        + [2]
    )
    np.testing.assert_allclose(values, wanted, rtol=1e-12)
    ends = [open_run(folder).stopping for folder in three]
    comparison = compare(
        {"popular": popular, "mf": seeds}, stopping={"popular": ends[0], "mf": ends[1:]}
    )
    for cell, (method, metric) in zip(
        [cell for i, cell in enumerate(cells) if i % 5 < 3],
        [(m, n) for m in ("popular", "mf") for n in names],
        strict=True,
    ):
        entry = comparison.cell(method, metric)
        assert cell["text"].startswith(f"{entry.mean:.4f}")
        assert (f"[{entry.low:.4f}, {entry.high:.4f}]" in cell["text"]) == math.isfinite(entry.low)
        bold = any(
            node["up"]["up"] is cell for node in found.all("b") if node["up"]["up"] is not None
        )
        assert bold == entry.bold
    # What stands behind the buttons is what `recsys compare` would write.
    assert next(node["text"] for node in found.all("pre", id="s0-csv")) == comparison.csv()
    assert next(node["text"] for node in found.all("pre", id="s0-md")) == comparison.markdown()
    p = {(test.metric, test.first, test.second): test.p_holm for test in comparison.tests}
    assert len(p) == 2
    for metric, first, second in p:
        worse = first if comparison.cell(second, metric).best else second
        columns = (*names, "seeds", "stopped by")
        place = [(m, n) for m in ("popular", "mf") for n in columns].index((worse, metric))
        said = cells[place]["text"].rsplit("p ", 1)[1]
        assert (
            said == "< 0.0001"
            if p[metric, first, second] < 1e-4
            else float(said) == pytest.approx(p[metric, first, second], rel=0.06)
        )


def test_it_nests_and_every_link_has_an_end_inside(three: list[Path]) -> None:
    text = page(sections(three))
    found = Read(text)
    ids = [node["attrs"]["id"] for node in found.found if "id" in node["attrs"]]
    assert len(ids) == len(set(ids))
    links = [node["attrs"]["href"] for node in found.found if "href" in node["attrs"]]
    assert len(links) >= 6
    assert {link.removeprefix("#") for link in links} <= set(ids)
    # A number of one run leads to that run, a number of several to their method.
    table = [node["attrs"]["href"] for node in found.all("a") if inside(node, "td")]
    assert set(table) == {"#s0-m0-r0", "#s0-m1"}
    # Nothing is asked for from anywhere.
    assert not [
        node
        for node in found.found
        if {"src", "srcset", "action", "data", "poster"} & set(node["attrs"])
    ]
    assert not [
        node for node in found.found if node["tag"] in {"link", "iframe", "object", "embed", "base"}
    ]
    style = "".join(node["text"] for node in found.all("style") + found.all("script"))
    assert not re.search(r"https?:|url\(|@import|fetch|XMLHttp|import\(", style)
    policy = next(
        node["attrs"]["content"] for node in found.all("meta") if node["attrs"].get("http-equiv")
    )
    assert "default-src 'none'" in policy
    # Each chart says what it is, and has its numbers in a table.
    charts = [node for node in found.all("svg") if node["attrs"].get("class") == "chart"]
    assert len(charts) >= 6
    assert all(
        node["attrs"].get("aria-label") and node["attrs"].get("role") == "img" for node in charts
    )


def test_markup_in_names_is_harmless(three: list[Path]) -> None:
    text = page(sections(three), title=EVIL)
    found = Read(text)
    assert len(found.all("script")) == 1
    assert EVIL not in text
    assert text.count("&lt;script&gt;") > 3
    assert any(EVIL in node["text"] for node in found.all("li"))
    assert [node["text"] for node in found.all("h1")] == [EVIL]
    assert not [node for node in found.all("b") if node["text"] == "shop"]


def test_lists_and_hits_against_a_naive_loop(three: list[Path]) -> None:
    before = [openings(folder) for folder in three]
    found = sections(three, users=7, k=4)[0]
    assert found.hits_known
    assert len({person.id for person in found.users}) == 7
    run = open_run(three[1])
    split = data_of(run.experiment)
    test = split.test.open("test").pairs
    ids, titles, n_hits = split.train.items.ids.to_list(), run.train.titles.to_list(), 0
    for person in found.users:
        user = split.train.users.rows([person.id])[0]
        wanted = {int(i) for i, u in zip(test.item, test.user, strict=True) if u == user}
        seen = {
            int(i)
            for part in (split.train.pairs, split.valid.pairs)
            for i, u in zip(part.item, part.user, strict=True)
            if u == user
        }
        scores = (run.scorer.user[user] @ run.scorer.item.T).tolist()
        order = sorted((i for i in range(len(ids)) if i not in seen), key=lambda i: -scores[i])[:4]
        assert [item.name for item in person.lists["mf"]] == [titles[i] for i in order]
        assert [item.hit for item in person.lists["mf"]] == [i in wanted for i in order]
        assert set(person.test_items) == {titles[i] for i in wanted}
        n_hits += sum(item.hit for each in person.lists.values() for item in each)
    assert n_hits, "the fixture should have a hit to mark"
    text = page([found])
    assert text.count('class="hit"') == n_hits
    # Reading the test part is on record, in the runs whose lists are held against it.
    after = [openings(folder) for folder in three]
    assert [len(now) - len(then) for now, then in zip(after, before, strict=True)] == [1, 1, 0]
    assert "hits" in after[0][-1]["reason"]
    assert after[0][-1]["reason"] in text
    # Without hits nothing is opened; without users nothing of a user is told.
    text = page(sections(three, hits=False))
    assert 'class="hit"' not in text
    assert "the test part was not opened" in text
    assert [openings(folder) for folder in three] == after
    assert "user u" not in page(sections(three, users=0))
    assert [openings(folder) for folder in three] == after
    assert [p.id for p in sections(three, users=7, hits=False)[0].users] == [
        p.id for p in found.users
    ]


def test_groups_are_those_of_the_reports(three: list[Path]) -> None:
    found = sections(three, users=0)[0]
    run = open_run(three[0])
    wanted = by_activity(run.report("test"), run.train.pairs).filter(pl.col("metric") == "ndcg@5")
    assert (
        found.groups["users by activity"]["popular"]
        .select("group", "mean", "users")
        .equals(wanted.select("group", "mean", "users"))
    )
    seeds = [open_run(folder).report("test") for folder in three[1:]]
    tail = np.mean([report.values("recall@5[tail]") for report in seeds], axis=0)
    row = found.groups["items by popularity"]["mf"].row(
        by_predicate=pl.col("group") == "tail", named=True
    )
    assert row["mean"] == pytest.approx(np.nanmean(tail))
    assert row["users"] == np.count_nonzero(~np.isnan(tail))


def test_provenance_has_what_makes_a_run_again(three: list[Path]) -> None:
    text = "".join(node["text"] for node in Read(page(sections(three, users=0))).all("details"))
    for folder in three:
        run = open_run(folder)
        meta = run.meta
        for fact in (
            run.split.fingerprint,
            meta.experiment,
            run.fingerprint,
            meta.finished,
            meta.environment.packages["torch"],
        ):
            assert str(fact) in text
        assert run.experiment.to_toml() in text
        assert f"recsys run {folder}/config.toml --out NEW" in text
        assert all(opening["time"] in text for opening in openings(folder))


@pytest.mark.parametrize(
    ("names", "options", "said"),
    [
        (["mf-0", "other"], {}, "different data or split"),
        (["mf-0", "mf-1", "mf-0"], {}, "same experiment with the same seed"),
        (["mf-0"], {"metric": "ndcg@50"}, "ndcg@50"),
        (["mf-0", "popular"], {"baseline": "nobody"}, "nobody"),
        (["."], {}, "not the folder of a run"),
        ([], {}, "nothing to report"),
    ],
)
def test_what_cannot_be_shown_together_is_refused(
    here: Path, names: list[str], options: dict, said: str
) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        sections([here / "runs" / name for name in names], users=0, **options)


def test_a_baseline_by_the_name_of_its_run_or_of_the_page(three: list[Path]) -> None:
    for name in ("popular", "popular-<b>shop</b>"):
        assert {
            test.second for test in sections(three, users=0, baseline=name)[0].comparison.tests
        } == {"popular"}


def test_short_names() -> None:
    assert without_common_end(["mf-shop-a", "cml-shop-a"]) == ["mf", "cml"]
    assert without_common_end(["mf-a", "mf-b"]) == ["mf-a", "mf-b"]
    assert without_common_end(["a", "b-a"]) == ["a", "b-a"]
    assert without_common_end(["mf-shop"]) == ["mf-shop"]
    assert without_common_end(["mf-shop", "mf-shop"]) == ["mf-shop", "mf-shop"]


def test_the_command_writes_the_page_whole_or_not(three: list[Path], tmp_path: Path) -> None:
    command = f"report {' '.join(map(str, three))} --no-hits --users 2"
    code, out, err = invoke(f"{command} --out {tmp_path}/a.html --title Shop")
    assert (code, err) == (0, "")
    assert out.startswith(f"written: {tmp_path}/a.html")
    text = (tmp_path / "a.html").read_text()
    assert "<h1>Shop</h1>" in text
    assert len(text) < 300_000
    code, out, err = invoke(f"{command} --out {tmp_path}/a.html --title Shop --json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "out": f"{tmp_path}/a.html",
        "bytes": (tmp_path / "a.html").stat().st_size,
        "notes": [],
    }
    code, _, err = invoke(f"{command} --out {tmp_path}/a.txt")
    assert code == 2
    assert ".html" in err
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]


def test_data_that_are_gone_leave_the_hits_out(
    three: list[Path], here: Path, tmp_path: Path
) -> None:
    kept = here / "log.csv"
    text = kept.read_text()
    kept.unlink()
    try:
        found = sections(three, users=2)
    finally:
        kept.write_text(text)
    assert not found[0].hits_known
    assert "log.csv" in found[0].notes[0]
    assert found[0].users[0].lists["mf"]


def test_a_benchmark_has_a_section_per_data_set(three: list[Path], tmp_path: Path) -> None:
    for data in ("one", "two"):
        for method, seeds in {"popular": [three[0]], "mf": three[1:]}.items():
            for seed, folder in enumerate(seeds, 1):
                shutil.copytree(folder, tmp_path / "cells" / data / method / f"seed-{seed}")
                (tmp_path / "cells" / data / method / f"seed-{seed}.json").write_text("{}")
    reports = {
        "mf": [open_run(folder).report("test") for folder in three[1:]],
        "popular": [open_run(three[0]).report("test")],
    }
    table = json.loads(compare(reports).json())
    (tmp_path / "results.json").write_text(json.dumps({"data": {"one": table, "two": table}}))
    found = sections([tmp_path], users=1, hits=False)
    assert [section.title for section in found] == ["one", "two"]
    assert [method.label for method in found[0].methods] == ["mf", "popular"]
    assert json.loads(found[0].comparison.json())["cells"] == table["cells"]
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><title>ranks</title></svg>'
    text = page(found, picture=svg)
    read = Read(text)
    assert [node["text"] for node in read.all("h2")] == ["one", "two"]
    assert [node["attrs"]["src"][:26] for node in read.all("img")] == ["data:image/svg+xml;base64,"]
    ids = [node["attrs"]["id"] for node in read.found if "id" in node["attrs"]]
    assert len(ids) == len(set(ids))
    shutil.rmtree(tmp_path / "cells" / "one" / "mf" / "seed-1")
    with pytest.raises(InputError, match="not the folder of a run"):
        sections([tmp_path], users=0)
    (tmp_path / "results.json").write_text('{"data": {"one": {}}}')
    with pytest.raises(InputError, match="not of a benchmark"):
        sections([tmp_path], users=0)


def test_charts_stay_in_their_frame() -> None:
    for values in ([1.0], [0.0, 0.0], [1e-9, 1e9], [-3.0, 5.0], [0.1, 0.1001]):
        marks = tuple(
            Mark(i + 1, value, "m", value - 0.1, value + 0.1) for i, value in enumerate(values)
        )
        for chart in (
            lines([Series("a", 0, marks)], "x", "y", "a chart"),
            points([Series("a", 0, marks)], "x", "y", "a chart"),
        ):
            places = [
                node["attrs"] for node in Read(chart).all("path") if "data-x" in node["attrs"]
            ]
            assert len(places) == len(values)
            assert all(
                0 <= float(at["data-x"]) <= 360 and 0 <= float(at["data-y"]) <= 236 for at in places
            )
    up = [
        float(node["attrs"]["data-y"])
        for node in Read(
            lines([Series("a", 0, tuple(Mark(i, i, "") for i in range(3)))], "x", "y", "")
        ).all("path")
        if "data-y" in node["attrs"]
    ]
    assert up == sorted(up, reverse=True)  # more is higher
    assert [number(value) for value in (0.05, 1200, 2_500_000, 0)] == ["0.05", "1.2k", "2.5M", "0"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    if BINARY is None:
        pytest.skip("no Chromium is installed")
    with Chromium(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture
def written(three: list[Path], tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    path.write_text(page(sections(three, users=5, hits=False)), encoding="utf-8")
    return path


def test_browser_nothing_makes_the_page_scroll_sideways(
    browser: Chromium, written: Path, tmp_path: Path
) -> None:
    for width, height in ((375, 800), (320, 640), (1280, 900)):
        for script in (True, False):
            browser.open(written, width, height, script=script)
            assert browser.ask("innerWidth") == width
            browser.ask(
                "document.querySelectorAll('details')"
                ".forEach((each) => { each.removeAttribute('name'); each.open = true; })"
            )
            assert browser.ask("document.documentElement.scrollWidth") <= width
            beyond = """[...document.querySelectorAll("body *")]
                .filter((each) => !each.closest(".scroll > *, pre, svg, #tip")
                    && each.getBoundingClientRect().right > innerWidth + 0.5)
                .map((each) => each.outerHTML.slice(0, 80))"""
            assert browser.ask(beyond) == []
            assert browser.asked == [written.resolve().as_uri()]
            assert browser.ask("document.title") != "taken"
    # The table does scroll, in its own box.
    browser.open(written, 320, 640)
    assert browser.ask(
        "[...document.querySelectorAll('.scroll')]"
        ".some((each) => each.scrollWidth > each.clientWidth)"
    )
    assert browser.picture(tmp_path / "phone.png").stat().st_size > 10_000


CONTRAST = """(() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
      .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = light(getComputedStyle(document.body).backgroundColor);
  const against = (colour) => {
    const own = light(colour);
    return (Math.max(own, ground) + 0.05) / (Math.min(own, ground) + 0.05);
  };
  const of = (query, property) => [...document.querySelectorAll(query)]
    .map((each) => against(getComputedStyle(each)[property]));
  const probe = document.querySelector("main").appendChild(document.createElement("i"));
  const colours = [0, 1, 2, 3, 4, 5, 6, 7].map((n) => {
    probe.style.color = `var(--c${n})`;
    return against(getComputedStyle(probe).color);
  });
  const least = (values) => Math.min(...values);
  const text = "p, td, th, a, summary, small, figcaption, li, dt, dd";
  return [least(of(text, "color")), least(of("svg text", "fill")), least(colours)];
})()"""


@pytest.mark.parametrize("dark", [False, True])
def test_browser_light_and_dark_can_be_read(browser: Chromium, written: Path, dark: bool) -> None:
    browser.open(written, 1280, 900, dark=dark)
    ground = "getComputedStyle(document.body).backgroundColor"
    seen = browser.ask(ground)
    assert (sum(map(int, re.findall(r"\d+", seen))) < 200) == dark
    text, labels, marks = browser.ask(CONTRAST)
    assert text >= 4.5
    assert labels >= 4.5
    assert marks >= 3.0
    theme = "document.querySelector('header .tool')"
    told = []
    for _ in range(3):
        browser.ask(f"{theme}.click()")
        told.append((browser.ask(f"{theme}.textContent"), browser.ask(ground)))
    assert [word for word, _ in told] == ["Theme: light", "Theme: dark", "Theme: auto"]
    assert told[0][1] != told[1][1]
    assert told[2][1] == seen


def test_browser_sorts_picks_tells_and_leads(browser: Chromium, written: Path) -> None:
    browser.open(written, 1280, 900)
    table = "document.querySelector('#s0-table table')"
    order = f"[...{table}.tBodies[0].rows].map((row) => row.cells[2].dataset.v)"
    values = browser.ask(order)
    for _ in range(2):
        browser.ask(f"{table}.tHead.rows[0].cells[2].querySelector('button').click()")
        down = browser.ask(f"{table}.tHead.rows[0].cells[2].ariaSort") == "descending"
        assert browser.ask(order) == sorted(values, key=float, reverse=down)
    # One user at a time, and the next one.
    shown = (
        "[...document.querySelectorAll('.person')]"
        ".flatMap((each, place) => (each.open ? [place] : []))"
    )
    assert browser.ask(shown) == [0]
    browser.ask("[...document.querySelectorAll('.picker button')].at(-1).click()")
    assert browser.ask(shown) == [1]
    browser.ask(
        "(() => { const s = document.querySelector('.picker select');"
        " s.value = 4; s.onchange(); })()"
    )
    assert browser.ask(shown) == [4]
    # The pointer at a mark.
    browser.ask("document.querySelector('#s0-costs svg.chart').scrollIntoView()")
    place = browser.ask(
        "(() => { const mark = document.querySelector('#s0-costs .chart .mark');"
        " const at = mark.getBoundingClientRect(); return [at.x + 3, at.y + 3]; })()"
    )
    browser.move(*place)
    assert re.match(
        r"(popular|mf): ndcg@5 0\.\d{4}", browser.ask("document.getElementById('tip').textContent")
    )
    assert browser.ask("document.getElementById('tip').hidden") is False
    # A number leads to its run, which opens.
    browser.ask("document.querySelector('#s0-table td a[href=\"#s0-m0-r0\"]').click()")
    browser.ask("new Promise((done) => setTimeout(done, 100))")
    assert browser.ask("document.getElementById('s0-m0-r0').open")


def test_browser_without_a_script_it_is_all_there(browser: Chromium, written: Path) -> None:
    browser.open(written, 1280, 900, script=False)
    assert browser.ask("document.querySelectorAll('.tool, .picker').length") == 0
    assert browser.ask("document.querySelectorAll('#s0-table tbody tr').length") >= 2
    assert browser.ask("document.querySelectorAll('svg.chart .mark title').length") > 10
    assert (
        browser.ask(
            "[...document.querySelectorAll('.person > summary')]"
            ".filter((each) => each.checkVisibility()).length"
        )
        == 5
    )
