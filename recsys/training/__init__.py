"""Training: the loop, its settings, optimisers, early stopping and checkpoints.

The loop gets training and validation data only; it cannot reach the test set.

    settings       Settings `[train]`.
    loop           The loop that trains one recipe.
    job            What one training consists of.
    learner        One training step.
    pair_learner   One round of the compiled kernels in its place.
    loss_meter     The mean loss of an epoch, and the check for divergence.
    selection      The best epoch on the validation set, and early stopping.
    checkpoint     Checkpoints from which a training is resumed exactly.
    progress       Progress events, and the entry of one epoch in the history.
    stopping       Why training ended, and whether it ended too early.
    held_out       Loss on held-out interactions.
    optimizers     Optimisers by name.
    device         Choice of the device.
    malloc         Memory settings of glibc for training on the CPU.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.training.device import own_random_numbers, pick_device
from recsys.training.held_out import held_out_loss
from recsys.training.loop import Fitted, fit
from recsys.training.progress import EpochDone, EpochEntry, Event, Resumed, StepDone, Watch
from recsys.training.settings import Train
from recsys.training.stopping import Stopping

__all__ = [
    "EpochDone",
    "EpochEntry",
    "Event",
    "Fitted",
    "Resumed",
    "StepDone",
    "Stopping",
    "Train",
    "Watch",
    "fit",
    "held_out_loss",
    "own_random_numbers",
    "pick_device",
]
