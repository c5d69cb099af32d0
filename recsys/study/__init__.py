"""Studies: search the settings of an experiment on training and validation data.

    study = recsys.tune("cml.toml", "runs/cml-study")
    study.best, study.table(), study.importance()

    tuning       Begin or resume a study.
    worker       The loop of one worker.
    pool         Several worker processes on one study.
    trial        One trial: training, validation, pruning.
    sampler      Optuna's samplers and pruners for our settings.
    storage      Where trials are kept: a journal file or a database.
    artifact     The folder of a study, opened for reading.
    trials_file  Export and import of trials.
    plots        Pictures of a study.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.study.artifact import Study, Trial, is_study, open_study
from recsys.study.trial import TrainValid
from recsys.study.tuning import read_with_space, ready, spaces, train_valid_of, tune
from recsys.study.worker import Worker, line

__all__ = [
    "Study",
    "TrainValid",
    "Trial",
    "Worker",
    "is_study",
    "line",
    "open_study",
    "read_with_space",
    "ready",
    "spaces",
    "train_valid_of",
    "tune",
]
