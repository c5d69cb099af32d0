"""The Python interface: runs in, matrices in, and what a value shows of itself."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from asking import asked

import recsys
from recsys.comparison.comparison import compare_runs
from recsys.errors import InputError
from recsys.experiment.execution import Run, execute, open_run
from recsys.experiment.experiment import from_tree
from recsys.experiment.run_meta import RunMeta
from recsys.notebook import facts_html, table_html
from recsys.study.tuning import tune

EXAMPLE = Path(__file__).parents[2] / "docs" / "plugin-example"


def write_log(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    taste = rng.integers(2, size=60)
    user = np.repeat(np.arange(60), 10)
    item = taste[user] * 15 + rng.integers(15, size=len(user))
    frame = pl.DataFrame({"user": [f"u{u}" for u in user], "item": [f"i{i}" for i in item]})
    frame.unique(maintain_order=True).write_csv(folder / "log.csv")
    return folder / "log.csv"


def tree(log: Path, **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "data": {"path": str(log)},
        "model": {"name": "mf", "dim": 4},
        "train": {"epochs": 2, "batch_size": 128, "device": "cpu"},
        "evaluate": {"metrics": ["recall@5", "ndcg@5", "coverage@5"], "monitor": "ndcg@5"},
    }
    for section, values in changes.items():
        merged = isinstance(values, dict) and section in made
        made[section] = {**made[section], **values} if merged else values
    return made


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Two seeds of a method, and another method, on one split."""
    folder = tmp_path_factory.mktemp("runs")
    log = write_log(folder)
    trees = {
        "mf": tree(log, name="mf"),
        "mf2": tree(log, name="mf2", train={"seed": 1}),
        "popular": tree(log, name="popular") | {"model": {"name": "popular"}},
    }
    return {name: execute(from_tree(each), folder / name) for name, each in trees.items()}


def rows(comparison: Any) -> pl.DataFrame:
    return comparison.table()


def test_runs_in_a_list_are_compared_by_their_names(runs: dict[str, Run]) -> None:
    both = [runs["mf"], runs["popular"]]
    found = recsys.compare(both)
    assert found.methods == ("mf", "popular")
    for run in both:
        report = run.report("test")
        for metric in ("recall@5", "ndcg@5", "coverage@5"):
            assert found.cell(run.name, metric).mean == pytest.approx(report[metric])
    folders = [str(run.folder) for run in both]
    for same in (folders, tuple(both), [runs["mf"], folders[1]], [run.folder for run in both]):
        assert rows(recsys.compare(same)).equals(rows(found))
    assert rows(compare_runs(folders)).equals(rows(found))
    assert recsys.compare(both, "ndcg@5", "popular").metrics == ("ndcg@5",)
    assert recsys.compare(both, "ndcg@5", test="wilcoxon").test == "wilcoxon"


def test_a_dict_names_the_rows_and_takes_seeds_together(runs: dict[str, Run]) -> None:
    found = recsys.compare(
        {"ours": [runs["mf"], runs["mf2"].folder], "theirs": runs["popular"]}, "ndcg@5"
    )
    assert found.methods == ("ours", "theirs")
    ours = found.cell("ours", "ndcg@5")
    values = [runs[name].report("test")["ndcg@5"] for name in ("mf", "mf2")]
    assert ours.seeds == 2
    assert ours.mean == pytest.approx(np.mean(values))
    assert ours.seeds_sd == pytest.approx(np.std(values, ddof=1))
    plain = recsys.compare({"ours": runs["mf"], "theirs": str(runs["popular"].folder)}, "ndcg@5")
    reports = {"ours": runs["mf"].report("test"), "theirs": runs["popular"].report("test")}
    # A report alone does not know how its training ended.
    bare = recsys.compare(reports, "ndcg@5")
    assert rows(plain).drop("stopped", "marks").equals(rows(bare).drop("stopped", "marks"))
    mixed = recsys.compare({"ours": runs["mf"], "theirs": reports["theirs"]}, "ndcg@5")
    assert rows(plain).drop("stopped", "marks").equals(rows(mixed).drop("stopped", "marks"))


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        (lambda runs: runs["mf"], "one Run is given, not a list; give several"),
        (lambda runs: "runs/mf", "one str is given, not a list"),
        (lambda runs: [], "there is nothing to compare"),
        (lambda runs: {}, "there is nothing to compare"),
        (lambda runs: {"a": []}, "'a' has no report"),
        (lambda runs: [runs["mf"], 3], "expected a run or a report, got int"),
        (lambda runs: {"a": runs["mf"].scorer}, "compare: a: expected a run or a report"),
        (lambda runs: [runs["mf"].report("test")], "a report has no name; name each"),
        (lambda runs: [runs["mf"], runs["mf"].folder], "is given twice"),
        (lambda runs: ["nowhere"], "is not the folder of a run"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_line(
    runs: dict[str, Run], given: Any, cause: str
) -> None:
    with pytest.raises(InputError, match=cause) as caught:
        recsys.compare(given(runs))
    assert len(str(caught.value)) < 300


def test_seeds_of_another_split_are_no_seeds(runs: dict[str, Run], tmp_path: Path) -> None:
    log = runs["mf"].experiment.data.path
    other = execute(from_tree(tree(Path(str(log)), split={"seed": 7})), tmp_path / "other")
    with pytest.raises(InputError, match="different data or split"):
        recsys.compare({"mf": [runs["mf"], other]})


# Matrices and arrays

DENSE = np.array([[5, 0, 0, 1], [0, 0, 0, 0], [2, -1, 3, 0]], dtype=np.float64)


def triples(loaded: Any) -> list[tuple[int, int, float]]:
    data = loaded.dataset
    weight = np.ones(len(data.pairs)) if data.pairs.weight is None else data.pairs.weight
    return sorted(
        (int(data.users.ids[int(user)]), int(data.items.ids[int(item)]), float(each))
        for user, item, each in zip(data.pairs.user, data.pairs.item, weight, strict=True)
    )


@pytest.mark.parametrize("layout", ["csr", "csc", "coo", "lil", "dok", "bsr", "csr_array"])
@pytest.mark.parametrize("kind", ["float64", "float32", "int32"])
def test_a_sparse_matrix_is_read_as_its_file_is(layout: str, kind: str, tmp_path: Path) -> None:
    dense = DENSE.astype(kind)
    matrix = sp.csr_array(dense) if layout == "csr_array" else sp.csr_matrix(dense).asformat(layout)
    right = [(u, i, float(dense[u, i])) for u, i in np.argwhere(dense > 0)]
    loaded = recsys.load(matrix)
    assert triples(loaded) == right
    assert (loaded.dataset.n_users, loaded.dataset.n_items) == (3, 4), "ids that never occur stay"
    sp.save_npz(tmp_path / "m.npz", sp.csr_matrix(dense))
    written = recsys.load(tmp_path / "m.npz")
    assert loaded.dataset.pairs_fingerprint == written.dataset.pairs_fingerprint
    assert triples(recsys.load(matrix, min_weight=3)) == [(0, 0, 5), (2, 2, 3)]
    negative = triples(recsys.load(matrix, min_weight=-1))
    assert negative == [(u, i, float(dense[u, i])) for u, i in np.argwhere(dense != 0)]


@pytest.mark.parametrize("kind", ["int64", "int32", "uint8", ">i4"])
def test_pairs_in_an_array_are_read_as_a_frame_of_them_is(kind: str) -> None:
    pairs = np.array([[3, 9], [1, 7], [3, 7], [1, 7]]).astype(kind)
    loaded = recsys.load(pairs)
    frame = recsys.load(pl.DataFrame({"user": [3, 1, 3, 1], "item": [9, 7, 7, 7]}))
    assert loaded.dataset.fingerprint == frame.dataset.fingerprint
    assert triples(loaded) == [(1, 7, 1), (3, 7, 1), (3, 9, 1)]
    assert triples(recsys.load(np.asfortranarray(pairs)[::-1])) == triples(loaded)
    ordered = recsys.load(pairs, ordered=True, duplicates="last").dataset
    assert ordered.pairs.time is not None
    assert sorted(ordered.pairs.time.tolist()) == [0, 2, 3]
    assert triples(recsys.load(pairs, duplicates="sum", min_weight=2)) == [(1, 7, 2)]


@pytest.mark.parametrize(
    ("given", "settings", "cause"),
    [
        (np.zeros((3, 2)), {}, r"array: float64 \[3, 2\], not pairs of whole numbers"),
        (np.zeros((3, 3), dtype=int), {}, r"int64 \[3, 3\], not pairs"),
        (np.zeros(4, dtype=int), {}, r"int64 \[4\], not pairs"),
        (np.zeros((2, 2), dtype=bool), {}, "bool"),
        (np.array([["a", "b"]]), {}, "not pairs of whole numbers"),
        (np.array([[1, None]], dtype=object), {}, "not pairs of whole numbers"),
        (np.zeros((0, 2), dtype=int), {}, "holds no pair"),
        (sp.csr_matrix((3, 3)), {}, "sparse matrix: holds no pair"),
        (sp.csr_matrix([[1.0, np.nan]]), {}, r"entry \(0, 1\) is nan"),
        (sp.csr_matrix([[1j]]), {}, "complex128, not of real numbers"),
        (sp.csr_matrix([[1]]), {"weight": "w"}, "weight does not apply here; leave it out"),
        (np.ones((1, 2), dtype=int), {"user": 1}, "user does not apply here"),
        (np.ones((1, 2), dtype=int), {"separator": ","}, "separator does not apply here"),
        (np.ones((1, 2), dtype=int), {"wieght": 1}, "did you mean"),
        ({"user": [1]}, {}, "expected a data frame, got dict"),
    ],
)
def test_other_arrays_are_refused_in_a_line(
    given: Any, settings: dict[str, Any], cause: str
) -> None:
    with pytest.raises(InputError, match=cause) as caught:
        recsys.load(given, **settings)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


# What a value shows of itself


class _Text(HTMLParser):
    """The texts of a page; fails where a tag is not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def values(runs: dict[str, Run], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("values")
    log = write_log(folder)
    loaded = recsys.load(log)
    parts = recsys.split(loaded, seed=0)
    fitted = recsys.fit(
        recsys.recipe("mf", dim=4), parts.train, parts.valid, epochs=2, device="cpu"
    )
    space = {"train.lr": {"low": 1e-3, "high": 1e-1, "log": True}}
    study = tune(
        from_tree(tree(log, name="small", tune={"trials": 2, "space": space})), folder / "study"
    )
    return {
        "LoadedData": loaded,
        "Dataset": loaded.dataset,
        "Interactions": loaded.dataset.pairs,
        "Vocab": loaded.dataset.items,
        "Split": parts,
        "Sealed": parts.test,
        "Fitted": fitted,
        "Report": runs["mf"].report("test"),
        "Comparison": recsys.compare([runs["mf"], runs["popular"]]),
        "Run": runs["mf"],
        "Study": study,
    }


NAMES = [
    *("LoadedData", "Dataset", "Interactions", "Vocab", "Split", "Sealed"),
    *("Fitted", "Report", "Comparison", "Run", "Study"),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_value_at_the_end_of_a_cell_is_short(name: str, values: dict[str, Any]) -> None:
    line = repr(values[name])
    assert line.startswith(f"{name}(")
    assert line.endswith(")")
    assert len(line) <= 200
    assert "\n" not in line
    for innards in ("array(", "tensor(", "shape:", "object at 0x", "dtype"):
        assert innards not in line
    if name != "Sealed":
        page = values[name]._repr_html_()
        assert len(page) < 6000
        assert _Text(page).texts


def test_the_words_hold_the_numbers(values: dict[str, Any]) -> None:
    loaded, parts = values["LoadedData"], values["Split"]
    pairs = len(loaded.dataset.pairs)
    assert f"LoadedData({pairs} pairs, 60 users x {loaded.dataset.n_items} items" in repr(loaded)
    assert repr(parts).startswith(
        f"Split({len(parts.train.pairs)} train, {len(parts.valid)} valid, {len(parts.test)} test"
    )
    assert parts.test.openings == [], "looking is not opening"
    assert any("csv" in text for text in _Text(loaded._repr_html_()).texts), "the history"
    history = values["Fitted"].history
    best = next(entry for entry in history if entry.epoch == values["Fitted"].best_epoch)
    for name, value in best.valid.items():
        assert name in values["Fitted"]._repr_html_()
        assert f"{value:.4f}" in values["Fitted"]._repr_html_()
    report = values["Report"]
    assert f"ndcg@5 {report['ndcg@5']:.4f}" in repr(report)
    low, high = report.interval("ndcg@5")
    assert f"[{low:.4f}, {high:.4f}]" in _Text(report._repr_html_()).texts
    comparison = values["Comparison"]
    texts = _Text(comparison._repr_html_()).texts
    for cell in comparison.cells:
        assert any(text.startswith(f"{cell.mean:.4f}") for text in texts)
    study = values["Study"]
    assert f"{study.best.values[0]:.4f} (trial {study.best.number})" in repr(study)
    assert "2 trials" in repr(study)


def test_a_value_that_is_not_finished_is_shown_too(values: dict[str, Any], tmp_path: Path) -> None:
    meta = RunMeta(format=1, status="running", name="x", method="mf", experiment="")
    running = Run(tmp_path, meta)
    assert repr(running).startswith("Run(x, mf, running")
    assert running._repr_html_()
    bare = replace(values["Split"], valid=None, test=None, rule="")
    assert "no valid, no test" in repr(bare)
    empty = values["Interactions"].take(np.array([], dtype=int))
    assert repr(empty).startswith("Interactions(0 pairs")
    long = replace(values["Split"], rule="x" * 1000)
    assert len(repr(long)) == 200
    assert repr(long).endswith("...)")


def test_names_are_never_markup(runs: dict[str, Run]) -> None:
    evil = "<script>alert(1)</script>"
    found = recsys.compare({evil: runs["mf"], "b": runs["popular"]}, "ndcg@5")
    titled = replace(runs["mf"].report("test"), notes=(evil,), protocol=evil)
    frame = pd.DataFrame({"user": ["a"], "item": [evil]})
    for page in (
        found._repr_html_(),
        titled._repr_html_(),
        recsys.load(frame).dataset.items._repr_html_(),
        facts_html(evil, [(evil, evil), ("", evil)]),
        table_html([evil], [[evil]], title=evil, notes=[evil]),
    ):
        assert "<script>" not in page
        assert "&lt;script&gt;" in page


# Methods of other packages


def installed(folder: Path) -> Path:
    """The example as installed: its modules, and the entry points of its pyproject.toml."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for path in (EXAMPLE / "recsys_shelf").glob("*.py"):
        (folder / "recsys_shelf").mkdir(exist_ok=True)
        (folder / "recsys_shelf" / path.name).write_bytes(path.read_bytes())
    about = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def recsys_command(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "recsys.cli", *arguments],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), str(site)]),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_example_package_brings_a_method(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    site = installed(tmp_path / "site")
    log = write_log(tmp_path)
    config = tmp_path / "shelf.toml"
    config.write_text(
        f'[data]\npath = "{log}"\n[model]\nname = "shelf"\ndamping = 2.0\n'
        '[evaluate]\nmetrics = ["recall@5"]\nmonitor = "recall@5"\n'
    )
    listed = recsys_command(site, "models")
    assert listed.returncode == 0
    assert "shelf" in listed.stdout
    ran = recsys_command(site, "run", str(config), "--out", str(tmp_path / "out"), "-q")
    assert (ran.returncode, ran.stderr) == (0, "")
    run = open_run(tmp_path / "out")
    assert run.meta.method == "shelf"
    # By hand: n / (n + 2) of the users who have it, the same for everyone.
    pairs = run.train.pairs
    counts = np.bincount(pairs.item, minlength=pairs.n_items)
    scores = run.scorer.score(asked(torch.tensor([0, 3]))).numpy()
    np.testing.assert_allclose(scores, np.tile(counts / (counts + 2), (2, 1)), rtol=1e-6)
    wrong = recsys_command(site, "check", str(config), "model.dampnig=1")
    assert wrong.returncode == 2
    assert "did you mean 'damping'" in wrong.stderr


def test_the_guide_shows_the_example_as_it_is() -> None:
    guide = (EXAMPLE.parent / "plugins.md").read_text(encoding="utf-8")
    for path in (EXAMPLE / "pyproject.toml", EXAMPLE / "recsys_shelf" / "shelf.py"):
        assert path.read_text(encoding="utf-8").strip() in guide


def test_a_method_that_cannot_be_imported_is_told_by_its_package(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    site = installed(tmp_path / "site")
    (site / "recsys_shelf" / "shelf.py").write_text("import nothing_of_this_name\n")
    listed = recsys_command(site, "models")
    assert listed.returncode == 0, "the other methods are still there"
    assert "lightgcn" in listed.stdout
    asked = recsys_command(site, "models", "shelf")
    assert asked.returncode == 2
    assert "recsys_shelf.shelf" in asked.stderr
    assert "nothing_of_this_name" in asked.stderr
    assert "Traceback" not in asked.stderr


def test_the_lines_of_the_readme_run() -> None:
    """With one epoch in place of twenty; each statement as it is written there."""
    readme = (EXAMPLE.parents[1] / "README.md").read_text(encoding="utf-8")
    lines = readme.split("```python\n")[1].split("```")[0]
    assert "epochs=20" in lines
    done = subprocess.run(
        [sys.executable, "-c", lines.replace("epochs=20", "epochs=1")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(EXAMPLE.parents[1]), "OMP_NUM_THREADS": "1"},
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert "recall@20" in done.stdout
    assert "12347" in done.stdout
