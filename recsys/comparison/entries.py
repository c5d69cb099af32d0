"""What is compared by its folder: a finished run, or a report alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recsys.evaluation.report import Report
from recsys.experiment.execution import Run, open_run

__all__ = ["Entry"]


@dataclass(frozen=True, eq=False)
class Entry:
    """A finished run, or the folder of a report alone, such as one of several test parts.

    Args:
        folder: of the run or of the report.
        run: the run; None: the folder holds a report alone, see `Report.save`.
    """

    folder: Path
    run: Run | None

    @classmethod
    def of(cls, value: Run | str | Path) -> Entry:
        """Open a folder that holds a finished run or a report.

        Raises:
            InputError: it holds neither, or the run is damaged or not finished.
        """
        folder = value.folder if isinstance(value, Run) else Path(value)
        if (folder / "report.json").exists() and not (folder / "run.json").exists():
            return cls(folder, None)
        return cls(folder, open_run(folder))

    @property
    def name(self) -> str:
        """Name of the run, or of the folder of a report."""
        return self.folder.name if self.run is None else self.run.name

    def report(self) -> Report:
        """Read the test report of the run, or the report.

        Raises:
            InputError: it is missing or damaged.
        """
        return Report.load(self.folder) if self.run is None else self.run.report("test")
