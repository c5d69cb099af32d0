"""Studies: search the settings of an experiment on training and validation data.

    study = recsys.tune("cml.toml", "runs/cml-study")
    study.best, study.table(), study.importance()

    tuning          Begin or resume a study.
    progress        Its progress, as typed events.
    readiness       Checks before the first trial.
    space_file      Search spaces in files of their own.
    first_trials    Settings that are tried before the sampler proposes any.
    train_valid     The data of a study, without the test set.
    trial           One trial: training, validation, pruning.
    measurement     Latency and peak memory of a trial.
    worker          The loop of one worker.
    pool            Several worker processes on one study.
    pool_worker     The process of one worker.
    pool_task       Tasks and errors between these processes.
    sampler         Optuna's samplers and pruners for our settings.
    storage         The storage of the trials: a journal file or a database.
    attributes      What a study writes next to each trial in the storage.
    creation        Creation, resumption and removal of the folder of a study.
    meta            The record of a study, study.json.
    artifact        The folder of a study, opened for reading.
    results         The files that follow from the trials.
    trial_record    One trial as a value.
    trial_table     The trials as a table.
    trials_file     Export and import of trials.
    plots           Pictures of a study.
    optuna_private  All uses of private names of Optuna.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.study.artifact import Study, Trial, is_study, open_study
from recsys.study.attributes import Facts
from recsys.study.meta import BestTrial, StudyMeta, Used
from recsys.study.progress import DataLoaded, Event, Note, TrialBegun, TrialDone, WorkerLost
from recsys.study.readiness import ready
from recsys.study.space_file import read_with_space, spaces
from recsys.study.train_valid import TrainValid, train_valid_of
from recsys.study.tuning import tune
from recsys.study.worker import Worker

__all__ = [
    "BestTrial",
    "DataLoaded",
    "Event",
    "Facts",
    "Note",
    "Study",
    "StudyMeta",
    "TrainValid",
    "Trial",
    "TrialBegun",
    "TrialDone",
    "Used",
    "Worker",
    "WorkerLost",
    "is_study",
    "open_study",
    "read_with_space",
    "ready",
    "spaces",
    "train_valid_of",
    "tune",
]
