"""Experiments and runs: read a TOML file, carry it out once, keep the result in a folder.

    experiment    One experiment: data, split, model, training, evaluation.
    execution     Carry out an experiment; open the folder of a run.
    search_space  Settings to search, `[tune]`.
    verification  Check that a run can be reproduced from its folder.
    trackers      Logging to TensorBoard, MLflow and Weights & Biases.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.experiment.execution import Run, data_of, execute, open_run, open_test
from recsys.experiment.experiment import SECTIONS, Experiment, from_tree, read
from recsys.experiment.search_space import Range, Tune
from recsys.experiment.verification import verify

__all__ = [
    "SECTIONS",
    "Experiment",
    "Range",
    "Run",
    "Tune",
    "data_of",
    "execute",
    "from_tree",
    "open_run",
    "open_test",
    "read",
    "verify",
]
