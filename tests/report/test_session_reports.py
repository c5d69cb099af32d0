"""The page of runs whose test reports are of sessions, items, or several queries per user."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mistakes import LOG, MF, invoke
from session_reports import session_report, session_units

from recsys.cli.show import report_table
from recsys.evaluation.evaluator import Report
from recsys.experiment.execution import open_run
from recsys.report.document import page, sections

UNIT = session_units(30)  # not more than users and items of the log


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders of a popularity list and of MF with two seeds."""
    folder = tmp_path_factory.mktemp("sessions")
    (folder / "log.csv").write_text(LOG)
    (folder / "mf.toml").write_text(MF)
    (folder / "popular.toml").write_text(
        re.sub(r"\[model\].*?\n\n", '[model]\nname = "popular"\n\n', MF, flags=re.S)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, command in {
            "popular": "popular.toml name=popular",
            "mf-0": "mf.toml name=mf",
            "mf-1": "mf.toml name=mf train.seed=1",
        }.items():
            code, _, err = invoke(f"run {command} -q --out runs/{name}")
            assert code == 0, err
    return [folder / "runs" / name for name in ("popular", "mf-0", "mf-1")]


def with_reports(runs: list[Path], **options) -> list[Report]:
    """Replace the test reports of the runs by synthetic ones."""
    reports = [session_report(k, 0.2 * (k > 0), UNIT, **options) for k in range(3)]
    for folder, report in zip(runs, reports, strict=True):
        report.save(folder / "test")
    return reports


@pytest.mark.parametrize(
    ("unit", "group", "activity"),
    [
        ("session", "Sessions by length", "test queries of a session"),
        ("user", "Users by activity", "training items of a user"),
        ("item", "Query items by popularity", "training users of a query item"),
    ],
)
def test_the_page_names_what_was_measured(runs, unit, group, activity):
    reports = with_reports(runs, unit_name=unit)
    section = sections(runs, hits=False)[0]
    text = page([section])
    assert f"Mean over {len(UNIT)} queries of 30 {unit}s" in text
    assert f"over {unit}s and seeds" in text
    weak = reports[0]
    assert f"{weak['ndcg@5']:.4f}" in text
    assert f"over {unit}s {weak.unit_mean('ndcg@5'):.4f}" in text
    assert f"{len(UNIT)} queries of 30 {unit}s" in text
    assert group in text
    assert activity in text
    assert "queries evaluated per s" in text
    assert section.users == ()
    reason = "a user has several" if unit == "user" else f"queries are of {unit}s"
    assert f"No lists are shown, as {'the test ' if unit != 'user' else ''}{reason}" in text
    rows = section.groups[group[0].lower() + group[1:]]["popular"]
    assert rows["queries"].sum() == len(UNIT)
    assert rows["users"].sum() == 30
    tails = section.groups["items by popularity"]["mf"]
    assert (tails["queries"] > tails["users"]).any()


def test_the_notebook_and_the_command_show_a_run_of_sessions(runs, capsys):
    report = with_reports(runs)[0]
    html = open_run(runs[0])._repr_html_()
    assert "<th>mean over sessions</th>" in html
    report_table(report, "test")
    words = capsys.readouterr().out.split()
    assert {"sessions", "queries", f"{report.unit_mean('ndcg@5'):.4f}"} <= set(words)
    code, out, _ = invoke(f"compare {runs[0]} {runs[1]}")
    assert code == 0
    assert f"{len(UNIT)} queries of 30 sessions" in " ".join(out.split())
    assert "was not checked" not in out
