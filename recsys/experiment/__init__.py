"""Experiments and runs: read a TOML file, carry it out once, keep the result in a folder.

    experiment      One experiment: data, split, model, training, evaluation.
    execution       Carry out an experiment.
    progress        Progress events of a run.
    run             The folder of a run, opened for reading.
    run_meta        The content of `run.json`.
    environment     Versions, processor and GPU.
    tune_settings   Settings `[tune]`.
    search_space    The space that a study searches.
    searched_field  The field of the experiment at a searched path.
    verification    Check that a run can be reproduced from its folder.
    reevaluation    Evaluate a finished run with other settings.
    speed           Measurement of the speed of ranking.
    trackers        Logging to TensorBoard, MLflow and Weights & Biases.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.experiment.environment import current_environment
from recsys.experiment.execution import data_of, execute, open_test
from recsys.experiment.experiment import SECTIONS, Experiment, from_tree, read
from recsys.experiment.reevaluation import reevaluate
from recsys.experiment.run import Run, open_run
from recsys.experiment.run_meta import Environment, RunMeta, SplitSummary
from recsys.experiment.search_space import Range, Tune
from recsys.experiment.verification import Check, verify

__all__ = [
    "SECTIONS",
    "Check",
    "Environment",
    "Experiment",
    "Range",
    "Run",
    "RunMeta",
    "SplitSummary",
    "Tune",
    "current_environment",
    "data_of",
    "execute",
    "from_tree",
    "open_run",
    "open_test",
    "read",
    "reevaluate",
    "verify",
]
