"""Importing recsys changes nothing, and help needs no torch. Each test starts an interpreter."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# The state of a process. Other packages are imported first: their effects do not count.
WATCH = """
import importlib, logging, os, random, sys, warnings, locale, signal, threading
for name in {third!r}:
    importlib.import_module(name)
import numpy as np
torch = sys.modules.get("torch")

def state():
    seen = {{
        "environment": dict(os.environ),
        "working directory": os.getcwd(),
        "loggers": sorted(
            name for name in logging.Logger.manager.loggerDict if name.startswith("recsys")
        ),
        "root logger": (logging.root.level, list(logging.root.handlers), logging.root.disabled),
        "levels": {{
            name: logger.level
            for name, logger in logging.Logger.manager.loggerDict.items()
            if hasattr(logger, "level")
        }},
        "warnings": list(warnings.filters),
        "random": random.getstate(),
        "numpy random": [
            part.tolist() if hasattr(part, "tolist") else part for part in np.random.get_state()
        ],
        "numpy attributes": {{name: id(value) for name, value in vars(np).items()}},
        "numpy options": (np.get_printoptions(), np.geterr()),
        "recursion limit": sys.getrecursionlimit(),
        "hooks": (sys.excepthook, sys.displayhook, threading.excepthook),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "locale": locale.setlocale(locale.LC_ALL),
        "path": list(sys.path),
    }}
    if torch is not None:
        seen["torch random"] = torch.get_rng_state().tolist()
        seen["torch settings"] = (
            torch.get_num_threads(), torch.get_default_dtype(),
            torch.are_deterministic_algorithms_enabled(), torch.is_grad_enabled(),
            torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark,
        )
    return seen

before = state()
{act}
after = state()
changed = [name for name in before if before[name] != after[name]]
print("changed:", changed)
"""


def modules() -> list[str]:
    """Names of all modules of the package, without `__main__`, which runs the command line."""
    paths = sorted((ROOT / "recsys").rglob("*.py"))
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in paths
    ]
    return [name for name in names if not name.endswith("__main__")]


def third_parties(*, torch: bool) -> list[str]:
    """What the package imports from outside at the top of its modules."""
    found: set[str] = set()
    for path in (ROOT / "recsys").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module)
    return sorted(
        name for name in found if not name.startswith("recsys") and (torch or "torch" not in name)
    )


def inside(code: str, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_every_module_changes_nothing() -> None:
    act = f"for name in {modules()!r}:\n    importlib.import_module(name)"
    assert inside(WATCH.format(third=third_parties(torch=True), act=act)).strip() == "changed: []"


def test_importing_the_package_changes_nothing_and_brings_no_torch() -> None:
    act = "import recsys\nprint('torch:', 'torch' in sys.modules)"
    assert inside(WATCH.format(third=["numpy"], act=act)).split("\n")[:2] == [
        "torch: False",
        "changed: []",
    ]


@pytest.mark.parametrize(
    ("act", "name"),
    [
        ("os.environ['OMP_NUM_THREADS'] = '7'", "environment"),
        ("logging.basicConfig()", "root logger"),
        ("logging.getLogger('numpy').setLevel(10); logging.getLogger('recsys.x')", "loggers"),
        ("random.random()", "random"),
        ("np.random.rand()", "numpy random"),
        ("np.Inf = np.inf", "numpy attributes"),
        ("warnings.simplefilter('ignore')", "warnings"),
        ("np.seterr(all='ignore')", "numpy options"),
        ("sys.path.append('x')", "path"),
    ],
)
def test_a_change_would_be_seen(act: str, name: str) -> None:
    assert f"'{name}'" in inside(WATCH.format(third=["numpy"], act=act))


def test_no_module_has_the_name_of_a_public_function() -> None:
    """Importing a submodule sets it on the package, where it would replace the function."""
    code = (
        "import recsys, pkgutil\n"
        "modules = {module.name for module in pkgutil.iter_modules(recsys.__path__)}\n"
        "print(modules & set(recsys.__all__))"
    )
    assert inside(code).strip() == "set()"


def test_every_public_name_can_be_had() -> None:
    code = (
        "import recsys\n"
        "are_callable = all(callable(getattr(recsys, name)) for name in recsys.__all__)\n"
        "print(sorted(recsys.__all__) == sorted(dir(recsys)), are_callable)"
    )
    assert inside(code).strip() == "True True"


def test_a_run_waits_for_no_import_of_scipy_stats() -> None:
    """It takes 0.6 s, a fifth of a short run, and few commands need it."""
    act = "import sys\nimport recsys.experiment.execution\nprint('scipy.stats' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", act], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_data_layer_brings_no_torch() -> None:
    names = [
        name
        for name in modules()
        if name.startswith(("recsys.data", "recsys.errors", "recsys.config"))
    ]
    assert len(names) > 10
    code = (
        f"import importlib, sys\nfor name in {names!r}:\n    importlib.import_module(name)\n"
        "print('torch' in sys.modules)"
    )
    assert inside(code).strip() == "False"


HELP = """
import sys
from recsys.cli import main
sys.argv = ["recsys", *sys.argv[1:]]
try:
    main()
finally:
    sys.stderr.flush()
    print("torch:", sorted({"torch", "scipy", "pandas", "polars"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["run", "--help"], ["data", "--help"], ["audit", "--help"], ["--version"]],
    ids=" ".join,
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert inside(HELP, *arguments).strip().splitlines()[-1] == "torch: []"
