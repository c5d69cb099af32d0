"""docs/sequences.md: every command of its first page runs, and counted ones print what it shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mistakes import invoke
from pages import blocks, commands, plain

PAGE = Path(__file__).parents[2] / "docs" / "sequences.md"


def test_the_page_runs_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    environment = {**os.environ, "PYTHONPATH": str(PAGE.parents[1]), "OMP_NUM_THREADS": "1"}
    ran, compared = 0, 0
    for file, language, content in blocks(PAGE.read_text(encoding="utf-8")):
        if language == "python":
            subprocess.run([sys.executable, "-c", content], env=environment, check=True)
        elif file:
            # The trained run is not compared, so two epochs do.
            text = content.replace("epochs = 10", "epochs = 2")
            Path(file).write_text(text, encoding="utf-8")
        else:
            for command, lines in commands(content):
                code, out, err = invoke(command.removeprefix("recsys "))
                assert code == 0, err
                ran += 1
                shown, shown_scores = plain(lines)
                if shown:
                    printed, scores = plain([*out.splitlines(), *err.splitlines()])
                    assert printed == shown, command
                    assert scores == pytest.approx(shown_scores, abs=2e-3), command
                    compared += 1
    assert (ran, compared) == (7, 2)
    assert (tmp_path / "lists.parquet").exists()
