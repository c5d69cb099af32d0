"""docs/queries.md: every command of the page runs and prints what the page shows."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from mistakes import invoke
from pages import blocks, commands, plain

PAGE = Path(__file__).parents[2] / "docs" / "queries.md"
# The page says that it leaves this line out.
LEFT_OUT = "51 of 3,659 items have no training pair"


def test_the_page_runs_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    environment = {**os.environ, "PYTHONPATH": str(PAGE.parents[1]), "OMP_NUM_THREADS": "1"}
    ran = 0
    for file, language, content in blocks(PAGE.read_text(encoding="utf-8")):
        if language == "python":
            subprocess.run([sys.executable, "-c", content], env=environment, check=True)
        elif file:
            Path(file).write_text(content, encoding="utf-8")
        else:
            for command, lines in commands(content):
                given, _, command = command.rpartition("| ")
                if given:
                    line = shlex.split(given)
                    assert line[0] == "echo"
                    monkeypatch.setattr("sys.stdin", io.StringIO(line[1] + "\n"))
                code, out, err = invoke(command.removeprefix("recsys "))
                assert code == 0, err
                if not command.startswith("recsys run "):
                    printed, scores = plain([*out.splitlines(), *err.splitlines()], LEFT_OUT)
                    shown, shown_scores = plain(lines, LEFT_OUT)
                    assert printed == shown, command
                    assert scores == pytest.approx(shown_scores, abs=2e-3), command
                ran += 1
    assert ran == 8
