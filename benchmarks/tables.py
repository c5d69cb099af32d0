"""Make a table of the project from its plan: benchmarks/plans/NAME.toml -> docs/tables/NAME.md.

    python benchmarks/tables.py noise-small
    python benchmarks/tables.py denoising-modcloth data.modcloth.data.path=FOLDER --workers 2

The work is that of `recsys benchmark`: the folder is runs/NAME, an interrupted table is resumed.
The picture of a sweep goes to docs/pictures/NAME.svg.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from recsys.benchmark import benchmark, read_plan
from recsys.benchmark.progress import Event, TaskDone, TaskFailed
from recsys.errors import InputError, suggest

ROOT = Path(__file__).parents[1]
PLANS = ROOT / "benchmarks" / "plans"


def main() -> int:
    """Carry out the plan and write its table; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="of a plan")
    parser.add_argument("changes", nargs="*", help="of the plan, as for recsys benchmark")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    path = PLANS / f"{given.name}.toml"
    if not path.exists():
        names = sorted(path.stem for path in PLANS.glob("*.toml"))
        raise InputError(
            f"has no plan '{given.name}'",
            place=str(PLANS),
            remedy=suggest(given.name, names),
        )
    folder = Path("runs") / given.name
    plan = read_plan(path, given.changes)
    result = benchmark(plan, folder, workers=given.workers, watch=report)
    tables, pictures = ROOT / "docs" / "tables", ROOT / "docs" / "pictures"
    comment = f"<!-- made by: make table NAME={given.name} -->\n"
    text = comment + result.markdown()
    if (folder / "sweep.svg").exists():
        shutil.copyfile(folder / "sweep.svg", pictures / f"{given.name}.svg")
        text += f"\n![{result.swept}](../pictures/{given.name}.svg)\n"
    (tables / f"{given.name}.md").write_text(text, encoding="utf-8")
    print(f"{tables / given.name}.md, {folder}")
    return 1 if result.failed else 0


def report(event: Event) -> None:
    """Print finished and failed tasks."""
    if isinstance(event, TaskDone | TaskFailed):
        task = event.task
        reason = f": {event.reason}" if isinstance(event, TaskFailed) else ""
        what = f"seed {task.seed}" if task.seed else "tuning"
        print(f"{task.method} on {task.data}, {what}{reason}  {event.seconds:.1f} s", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"tables: {error}")
