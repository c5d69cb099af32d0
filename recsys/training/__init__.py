"""Training: the loop, its settings, optimisers, early stopping and checkpoints.

The loop gets training and validation data only; it cannot reach the test set.

    loop           Settings `[train]`, and the loop that trains one recipe.
    progress       Progress events, and the entry of one epoch in the history.
    stopping       When training stops, and whether it stopped too early.
    held_out  Loss on held-out interactions.
    optimizers     Optimisers by name.
    device         Choice of the device.
    malloc         Memory settings of glibc for training on the CPU.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.training.device import own_random_numbers, pick_device
from recsys.training.held_out import held_out_loss
from recsys.training.loop import Fitted, Train, fit
from recsys.training.progress import EpochDone, EpochEntry, Event, Resumed, StepDone, Watch

__all__ = [
    "EpochDone",
    "EpochEntry",
    "Event",
    "Fitted",
    "Resumed",
    "StepDone",
    "Train",
    "Watch",
    "fit",
    "held_out_loss",
    "own_random_numbers",
    "pick_device",
]
