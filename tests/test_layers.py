"""Imports go down only: between wings, and between the packages of `data`. A method imports no
other method. All is read from the source, so that imports inside functions count too."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys import models

PACKAGE = Path(__file__).parents[1] / "recsys"

# From the ground up. Members of one layer do not import each other.
WINGS: tuple[tuple[str, ...], ...] = (
    ("errors", "notebook", "worker_pool"),
    ("config", "files", "plugins", "statistics"),
    ("data",),
    ("quickstart",),
    ("sampling", "scorer"),
    ("nn", "ranking", "tensors"),
    ("kernels",),
    ("models", "evaluation"),
    ("training",),
    ("experiment",),
    ("study", "comparison", "serving"),
    ("benchmark", "report", "api"),
    ("cli",),
)
DATA: tuple[tuple[str, ...], ...] = (
    ("finding", "hashing", "row_errors"),
    ("ids", "times"),
    ("vocab", "histories", "raw_parts"),
    ("interactions", "pair_numbers", "query", "relations"),
    ("answers", "held_out"),
    ("types",),
    ("plausible", "unmatched"),
    ("reading", "log_figures"),
    ("sessions",),
    ("numbering", "prepare", "features"),
    ("auxiliary", "catalog", "event_log"),
    ("load",),
    ("splitting",),
    ("audit", "summary", "id_files"),
)
HEIGHT = {member: height for height, layer in enumerate(WINGS) for member in layer}
IN_DATA = {member: height for height, layer in enumerate(DATA) for member in layer}

# Packages that a wing may not import, whoever asks for it.
BANNED = {
    "data": ("torch", "torch_geometric"),
    "errors": ("torch",),
    "config": ("torch",),
    "files": ("torch",),
}


def imports(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Yield line and absolute name of each import of a module of `package`.

    Both statements and calls of `import_module("...")` count.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"
        elif isinstance(node, ast.Call) and getattr(
            node.func, "attr", getattr(node.func, "id", "")
        ) in {"import_module", "__import__"}:
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield node.lineno, argument.value


def violations(root: Path) -> list[str]:
    """Return a line for each import that breaks the rule; `recsys/__init__.py` is exempt."""
    lines = []
    for path in sorted(root.rglob("*.py")):
        inner = path.relative_to(root)
        if inner == Path("__init__.py"):
            continue
        package = ".".join([root.name, *inner.parts[:-1]])
        place = f"{root.name}/{inner.as_posix()}"
        names = [part.removesuffix(".py") for part in inner.parts]
        lines += [
            f"{place}:{line}: {breach}" if line else f"{place}: {breach}"
            for line, breach in breaches(names, path.read_text(encoding="utf-8"), package)
        ]
    return lines


def breaches(names: list[str], source: str, package: str) -> Iterator[tuple[int, str]]:
    """Yield line and description of each breach in the module with these parts of its name."""
    wing = names[0]
    if wing not in HEIGHT:
        yield 0, f"'{wing}' has no place among the wings"
        return
    for line, name in imports(source, package):
        first, *rest = name.split(".")
        if first in BANNED.get(wing, ()):
            yield line, f"{wing} imports {first}"
        if first != package.split(".")[0]:
            continue
        target = rest[0] if rest else ""
        if target == wing == "data":
            yield from inside_data(names, rest, line)
        elif target == wing == "models":
            yield from inside_models(names, rest, line)
        elif target != wing and target not in HEIGHT:
            yield line, f"imports {name}, which has no place among the wings"
        elif target != wing and HEIGHT[target] >= HEIGHT[wing]:
            yield line, f"{wing} imports {target}, which is not below it"


def inside_data(names: list[str], target: list[str], line: int) -> Iterator[tuple[int, str]]:
    """Yield a breach of the order inside `data`, in which each package and module has a place."""
    member = names[1]
    other = target[1] if len(target) > 1 else ""
    if member == "__init__" or member == other:
        return
    for part in (member, other):
        if part not in IN_DATA:
            yield line, f"'{part}' has no place inside data"
            return
    if IN_DATA[other] >= IN_DATA[member]:
        yield line, f"data.{member} imports data.{other}, which is not below it"


def inside_models(names: list[str], target: list[str], line: int) -> Iterator[tuple[int, str]]:
    """Yield a breach where a method imports another one.

    A method may import the public names of `recsys.models` and its files with an underscore, which
    hold no method. Those files and `__init__` do not import a method either.
    """
    other = target[1] if len(target) > 1 else ""
    if other and not other.startswith("_") and other not in models.__all__:
        yield line, f"models.{names[1]} imports the method models.{other}"


def test_every_import_goes_downwards() -> None:
    assert violations(PACKAGE) == []


def test_the_rule_is_strict_where_it_matters_most() -> None:
    """A method cannot reach the loop that trains it nor the evaluation; the loop reaches no run."""
    assert HEIGHT["models"] < HEIGHT["training"] < HEIGHT["experiment"]
    assert HEIGHT["models"] <= HEIGHT["evaluation"]
    assert max(HEIGHT.values()) == HEIGHT["cli"]
    assert len(HEIGHT) == sum(map(len, WINGS))
    assert len(IN_DATA) == sum(map(len, DATA))


def contents(init: Path) -> tuple[set[str], set[str]]:
    """Return the modules that the docstring of a package lists, and those that it has."""
    text = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8")), clean=False) or ""
    listed = set(re.findall(r"(?m)^ {4}([a-z_]+) {2,}\S", text))
    folder = init.parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "__main__"}
    modules |= {path.parent.name for path in folder.glob("*/__init__.py")}
    if folder.name == "models":  # `recsys models` lists the methods
        modules = {name for name in modules if name.startswith("_")}
    return listed, modules


@pytest.mark.parametrize(
    "init", sorted(PACKAGE.glob("*/**/__init__.py")), ids=lambda path: path.parent.name
)
def test_a_package_begins_with_its_table_of_contents(init: Path) -> None:
    listed, modules = contents(init)
    assert listed == modules


def test_a_module_that_is_not_listed_is_found(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text('"""A package.\n\n    one  The first module.\n"""\n')
    (tmp_path / "one.py").touch()
    assert contents(tmp_path / "__init__.py") == ({"one"}, {"one"})
    (tmp_path / "two.py").touch()
    assert contents(tmp_path / "__init__.py") == ({"one"}, {"one", "two"})


def test_every_wing_hands_out_its_public_names_and_hides_no_module() -> None:
    """A public name that is also the name of a module of the wing would hide that module."""
    for wing in sorted(path.parent for path in PACKAGE.rglob("__init__.py")):
        name = ".".join(wing.relative_to(PACKAGE.parent).parts)
        package = importlib.import_module(name)
        public = set(getattr(package, "__all__", ()))
        modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
        assert not {n for n in public if not hasattr(package, n)}, name
        if wing != PACKAGE:
            hidden = public & modules
            assert not {n for n in hidden if not hasattr(getattr(package, n), "__path__")}, name


@pytest.mark.parametrize(
    ("path", "source", "breach"),
    [
        ("models/cml.py", "from recsys.training.loop import fit", "models imports training"),
        (
            "models/cml.py",
            "from recsys.evaluation.evaluator import evaluate",
            "models imports evaluation",
        ),
        ("models/cml.py", "from recsys import training", "models imports training"),
        ("models/cml.py", "import recsys.training.loop as t", "models imports training"),
        ("models/cml.py", "from ..training import fit", "models imports training"),
        ("models/cml.py", "from .. import training", "models imports training"),
        (
            "models/cml.py",
            "def late():\n    from recsys.training.loop import fit",
            "models imports training",
        ),
        (
            "models/cml.py",
            "if TYPE_CHECKING:\n    from recsys.experiment.execution import Run",
            "models imports experiment",
        ),
        (
            "models/cml.py",
            "import importlib\nimportlib.import_module('recsys.training.loop')",
            "models imports training",
        ),
        (
            "training/loop.py",
            "from recsys.experiment.execution import Run",
            "training imports experiment",
        ),
        ("ranking.py", "from recsys.evaluation import Report", "ranking imports evaluation"),
        ("sampling.py", "from recsys.nn.losses import Terms", "sampling imports nn"),
        ("errors.py", "from recsys.config import build", "errors imports config"),
        ("data/reading/reader.py", "import torch", "data imports torch"),
        (
            "data/reading/reader.py",
            "def late():\n    from torch.nn import Module",
            "data imports torch",
        ),
        ("data/reading/reader.py", "from recsys.scorer import Factors", "data imports scorer"),
        ("training/loop.py", "import recsys", "has no place among the wings"),
        ("training/loop.py", "from recsys import fit", "has no place among the wings"),
        ("data/types.py", "from recsys.data.load import load", "data.types imports data.load"),
        ("data/load.py", "from recsys.data.splitting import split", "not below it"),
        ("data/stuff.py", "from recsys.data.load import load", "'stuff' has no place inside data"),
        (
            "models/clcrec.py",
            "from recsys.models.duif import from_pool",
            "models.clcrec imports the method models.duif",
        ),
        ("models/cml.py", "from . import mf", "models.cml imports the method models.mf"),
        ("models/cml.py", "from recsys.models import mf", "imports the method models.mf"),
        ("models/cml.py", "import recsys.models.mf as mf", "imports the method models.mf"),
        (
            "models/deca.py",
            "def late():\n    from .gmf import GMF",
            "models.deca imports the method models.gmf",
        ),
        ("models/_base.py", "from recsys.models.mf import MF", "imports the method models.mf"),
        ("utils.py", "", "'utils' has no place among the wings"),
        ("common/thing.py", "", "'common' has no place among the wings"),
    ],
)
def test_a_breach_is_found(tmp_path: Path, path: str, source: str, breach: str) -> None:
    file = tmp_path / "recsys" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source)
    found = violations(tmp_path / "recsys")
    assert len(found) == 1
    assert breach in found[0]
    assert path in found[0]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "models/cml.py",
            "from recsys.nn.losses import Terms\nfrom recsys.models import Network, recipe\n"
            "from recsys.models._finished_run import part_of\nfrom ._base import Network\n"
            "import torch",
        ),
        (
            "data/reading/reader.py",
            "from recsys.data.types import Split\nfrom ..types import Vocab\nimport polars",
        ),
        (
            "cli/run.py",
            "def late():\n    from recsys.experiment.execution import execute\n"
            "    from recsys import serving",
        ),
        ("__init__.py", "from recsys.experiment.execution import execute"),
    ],
)
def test_what_is_allowed_is_let_through(tmp_path: Path, path: str, source: str) -> None:
    file = tmp_path / "recsys" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source)
    assert violations(tmp_path / "recsys") == []
