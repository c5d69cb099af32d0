"""Each layer imports only what stands left of it. Read from the source, so that imports inside functions count too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "recsys"

# From the ground up; members of one layer do not import each other. A package counts as one member.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "allocator", "notebook", "processes"),
    ("config", "device", "locks"),
    ("data",),
    ("scorer", "ids"),
    ("sample", "nn", "storage"),
    ("models",),
    ("lists", "partial_auc", "draws"),
    ("rank", "index", "metrics", "statistics", "components", "critical"),
    ("sampled", "protocol"),
    ("views",),
    ("evaluation",),
    ("optimizers", "groups", "space", "selection", "stopping"),
    ("train",),
    ("experiment",),
    ("run",),
    (
        "study",
        "comparison",
        "recommendation",
        "newcomers",
        "verification",
        "export",
        "noise",
        "report",
        "trackers",
    ),
    ("matrix", "page"),
    ("api",),
    ("cli",),
)
HEIGHT = {member: height for height, layer in enumerate(LAYERS) for member in layer}

# What may not be imported from outside, whoever asks for it.
BANNED = {"data": ("torch", "torch_geometric"), "errors": ("torch",), "config": ("torch",)}


def imports(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Line and absolute name of everything a module of `package` imports, by statement or by `import_module("...")`."""
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
    """What breaks the rule under a package folder, a line each. The package's own front door, `__init__.py`, may show anything."""
    found = []
    for path in sorted(root.rglob("*.py")):
        inner = path.relative_to(root)
        if inner == Path("__init__.py"):
            continue
        member = inner.parts[0].removesuffix(".py")
        place = f"{root.name}/{inner.as_posix()}"
        if member not in HEIGHT:
            found.append(f"{place}: '{member}' stands in no layer")
            continue
        for line, name in imports(
            path.read_text(encoding="utf-8"), ".".join([root.name, *inner.parts[:-1]])
        ):
            first, *rest = name.split(".")
            if first in BANNED.get(member, ()):
                found.append(f"{place}:{line}: {member} imports {first}")
            if first != root.name:
                continue
            target = rest[0] if rest else ""
            if target == member:
                continue
            if target not in HEIGHT:
                found.append(f"{place}:{line}: imports {name}, which stands in no layer")
            elif HEIGHT[target] >= HEIGHT[member]:
                found.append(f"{place}:{line}: {member} imports {target}, which is not below it")
    return found


def test_every_import_goes_downwards() -> None:
    assert violations(PACKAGE) == []


def test_the_rule_is_strict_where_it_matters_most() -> None:
    """A method sees neither the loop that trains it nor the test set; the loop sees no experiment and no run."""
    assert HEIGHT["models"] < min(HEIGHT["train"], HEIGHT["evaluation"], HEIGHT["rank"])
    assert HEIGHT["train"] < min(HEIGHT["experiment"], HEIGHT["run"])
    assert max(HEIGHT.values()) == HEIGHT["cli"]
    assert len(HEIGHT) == sum(map(len, LAYERS))


@pytest.mark.parametrize(
    ("path", "source", "said"),
    [
        ("models/cml.py", "from recsys.train import fit", "models imports train"),
        ("models/cml.py", "from recsys.evaluation import evaluate", "models imports evaluation"),
        ("models/cml.py", "from recsys import train", "models imports train"),
        ("models/cml.py", "import recsys.train as t", "models imports train"),
        ("models/cml.py", "from ..train import fit", "models imports train"),
        ("models/cml.py", "from .. import train", "models imports train"),
        ("models/cml.py", "def late():\n    from recsys.train import fit", "models imports train"),
        (
            "models/cml.py",
            "if TYPE_CHECKING:\n    from recsys.run import Run",
            "models imports run",
        ),
        (
            "models/cml.py",
            "import importlib\nimportlib.import_module('recsys.train')",
            "models imports train",
        ),
        ("train.py", "from recsys.run import Run", "train imports run"),
        ("rank.py", "from recsys.metrics import ndcg", "rank imports metrics"),
        ("sample.py", "from recsys.nn.losses import Terms", "sample imports nn"),
        ("errors.py", "from recsys.config import build", "errors imports config"),
        ("data/read.py", "import torch", "data imports torch"),
        ("data/read.py", "def late():\n    from torch.nn import Module", "data imports torch"),
        ("data/read.py", "from recsys.scorer import Factors", "data imports scorer"),
        ("train.py", "import recsys", "stands in no layer"),
        ("train.py", "from recsys import fit", "stands in no layer"),
        ("utils.py", "", "'utils' stands in no layer"),
        ("common/thing.py", "", "'common' stands in no layer"),
    ],
)
def test_a_breach_is_found(tmp_path: Path, path: str, source: str, said: str) -> None:
    file = tmp_path / "recsys" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source)
    found = violations(tmp_path / "recsys")
    assert len(found) == 1
    assert said in found[0]
    assert path in found[0]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "models/cml.py",
            "from recsys.nn.losses import Terms\nfrom recsys.models import Network\nfrom . import mf\nimport torch",
        ),
        (
            "data/read.py",
            "from recsys.data.types import Split\nfrom .types import Vocab\nimport polars",
        ),
        (
            "cli/run.py",
            "def late():\n    from recsys.run import execute\n    from recsys import recommendation",
        ),
        ("__init__.py", "from recsys.run import execute"),
    ],
)
def test_what_is_allowed_is_let_through(tmp_path: Path, path: str, source: str) -> None:
    file = tmp_path / "recsys" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source)
    assert violations(tmp_path / "recsys") == []
