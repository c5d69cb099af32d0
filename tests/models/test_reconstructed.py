"""README's table and `recsys models` mark what was rebuilt without text or code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recsys import models
from recsys.cli import app
from recsys.config import schema
from recsys.nn.denoise import Denoise

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# As the heads of the files say it; what is only a detail of a method stands there alone.
EXPECTED = {
    "dual": "synthetic pairs",
    "cml": "2stS",
    "dpcml": "APA, DiHarS",
    "siger": "all of it",
    "m2f": "all of it",
    "duif": "all of it",
    "dropoutnet": "all of it",
    "heater": "all of it",
}


def rows() -> dict[str, str]:
    """The row of README's table of methods that names a method, by method."""
    table = README.split("## Methods")[1].split("\n\n")[1]
    return {
        name: line
        for line in table.splitlines()
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }


def marked(line: str) -> set[str]:
    """Return the methods that a row marks: those named before the word, otherwise all."""
    before, word, _ = line.split("|")[2].partition("reconstructed")
    if not word:
        return set()
    named = re.findall(r"`(\w+)`", before)
    return set(named or re.findall(r"`(\w+)`", line.split("|")[1]))


def test_every_method_has_a_row() -> None:
    assert set(rows()) == set(models.names())


@pytest.mark.parametrize("name", models.names())
def test_readme_and_recipe_say_the_same(name: str) -> None:
    line, mark = rows()[name], models.reconstructed(name)
    assert mark == EXPECTED.get(name, "")
    if name in ("nbpo", "deca"):  # their row marks DCF, which is a denoiser and no method
        assert f"reconstructed: {Denoise.reconstructed}" in line
        return
    assert (name in marked(line)) == bool(mark)
    assert not mark or f"reconstructed: {mark}" in line


def test_recsys_models_says_it() -> None:
    printed = " ".join(CliRunner().invoke(app, ["models"], env={"COLUMNS": "400"}).stdout.split())
    for name, mark in EXPECTED.items():
        assert f"[reconstructed: {mark}]" in models.summary(name)
        assert models.summary(name) in printed
    assert printed.count("[reconstructed:") == len(EXPECTED)
    assert f"reconstructed: {Denoise.reconstructed}" in printed
    assert Denoise.reconstructed == 'DCF in its mode "paper"'


def test_the_mark_is_no_setting() -> None:
    for name in EXPECTED:
        assert "reconstructed" not in models.recipe(name).__dataclass_fields__
        assert "reconstructed" not in schema(models.recipe(name))["properties"]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_head_of_the_file_says_what_is_certain(name: str) -> None:
    source = (ROOT / "recsys" / "models" / f"{name}.py").read_text(encoding="utf-8")
    assert "RECONSTRUCTED" in (ast.get_docstring(ast.parse(source)) or "")


def test_a_missing_mark_is_noticed() -> None:
    line = "| `siger`, `bm3` | content beside pairs; `siger` reconstructed: all of it | |"
    assert marked(line) == {"siger"}
    assert marked(line.replace("`siger` reconstructed", "`siger` rebuilt")) == set()
    assert marked("| `m2f` | M2F; reconstructed: all of it | |") == {"m2f"}
