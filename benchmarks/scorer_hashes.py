"""Print the SHA-256 of every method's scorer, to show that a change of code changed no number.

    python benchmarks/scorer_hashes.py > before.txt
    ... change the code ...
    python benchmarks/scorer_hashes.py | diff before.txt -

The first lines are the methods of the conformance suite on its planted data. The last are complete
runs of ready configurations on the built-in data, shortened to two epochs: the hash is that of the
scorer's file, followed by the validation metrics.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIGS = ("mf", "freedom", "itemknn")


def config_of(method: str) -> Path:
    """Return the ready configuration of a method on the built-in data."""
    names = (f"{method}-online-retail.toml", f"online-retail/{method}.toml")
    return next(path for name in names if (path := ROOT / "configs" / name).exists())


def methods() -> None:
    """Print a line for each method of the conformance suite."""
    suite = next((ROOT / "tests").rglob("test_methods.py"))
    sys.path[:0] = [str(suite.parent), str(ROOT / "tests" / "support"), str(ROOT)]
    import test_methods

    for name in test_methods.METHODS:
        scorer = test_methods.fitted(name).scorer
        digest = hashlib.sha256(test_methods.saved(scorer)).hexdigest()
        print(f"{name:12s} {digest}", flush=True)


def runs() -> None:
    """Print a line for each shortened run."""
    for method in CONFIGS:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            command = [sys.executable, "-m", "recsys.cli", "run", str(config_of(method))]
            epochs = [] if method == "itemknn" else ["train.epochs=2"]
            command += [*epochs, "--out", str(out), "--quiet"]
            subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
            digest = hashlib.sha256((out / "scorer.safetensors").read_bytes()).hexdigest()
            report = json.loads((out / "valid" / "report.json").read_text())
            values = {row["metric"]: row["mean"] for row in report["metrics"]}
            print(f"{method}-online-retail {digest} {values}", flush=True)


if __name__ == "__main__":
    methods()
    runs()
