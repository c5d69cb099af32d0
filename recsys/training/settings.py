"""Settings of training: the section `[train]`."""

from __future__ import annotations

from typing import Annotated, Literal

from recsys.config import Bound, settings
from recsys.nn.denoise import Denoise
from recsys.training.optimizers import OptimizerName, Schedule

__all__ = ["Train"]


@settings
class Train:
    """How to train. A method without gradients uses only `seed` and `device`."""

    epochs: Annotated[int, Bound(ge=1)] = 100
    """Maximum number of epochs; early stopping may end training sooner."""
    batch_size: Annotated[int, Bound(ge=1)] = 2048
    """Maximum number of training interactions per step; the batches of an epoch are of even size.
    Users instead of interactions for methods that train on whole users; triplets with
    sampler.unit = "triplet". Methods that train on histories keep them whole: a step has about this
    many positions, or with batch_of = "histories" at most this many histories."""
    lr: Annotated[float, Bound(gt=0)] = 1e-3
    """Peak learning rate."""
    optimizer: OptimizerName = "adam"
    update: Literal["batch", "pair"] = "batch"
    """batch: a step is the gradient of a batch. pair: compiled kernels update after every pair, for
    mf, cml and dpcml on the CPU with optimizer = "sgd" or "adagrad"; needs numba. `batch_size` then
    only scales the diversity of dpcml."""
    rows: Literal["dense", "touched"] = "dense"
    """dense: each step updates every row of an embedding table, as the optimiser is defined.
    touched: it updates only the rows of the batch (lazy Adam). That is several times faster with
    small batches, and the result differs slightly."""
    weight_decay: Annotated[float, Bound(ge=0)] = 0.0
    """Decoupled weight decay, for adamw."""
    schedule: Schedule = "constant"
    """Learning rate after the warm-up. constant; linear or cosine: decays to 0 at the last epoch;
    exponential: multiplied by `lr_decay` after each epoch."""
    lr_decay: Annotated[float, Bound(gt=0, le=1)] = 0.99
    """exponential: factor between the learning rates of two consecutive epochs; the first epoch
    uses `lr`."""
    warmup: Annotated[int, Bound(ge=0)] = 0
    """Number of steps in which the learning rate rises linearly from 0."""
    clip: Annotated[float, Bound(gt=0)] | None = None
    """Maximum norm of all gradients together; larger gradients are scaled down to it."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: mixed precision; weights and optimiser state stay in float32."""
    compile: bool = False
    """Compile the loss with torch.compile; needs a C++ compiler on the CPU."""
    eval_every: Annotated[int, Bound(ge=1)] = 1
    """Number of epochs between two evaluations on the validation set."""
    patience: Annotated[int, Bound(ge=1)] | None = 10
    """Number of evaluations without improvement after which training stops; none: never."""
    min_epochs: Annotated[int, Bound(ge=0)] | Literal["auto"] = "auto"
    """Patience starts to count after this epoch, because a curve may fall before it rises.
    auto: a fifth of `epochs`."""
    select: Literal["metric", "loss"] = "metric"
    """What chooses the best epoch and stops training. metric: evaluate.monitor. loss: the loss of
    the validation interactions, for losses with labels (bce)."""
    trim: Annotated[float, Bound(ge=0, lt=1)] = 0.2
    """select = "loss": share of the validation interactions that is left out. These are the ones
    with the largest loss, since they may be noise."""
    denoise: Denoise = Denoise()
    """How noisy training interactions are handled."""
    seed: Annotated[int, Bound(ge=0)] = 0
    device: str = "auto"
    """auto, cpu, cuda or cuda:N; auto uses the first GPU if there is one."""
    checkpoint_seconds: Annotated[float, Bound(ge=0)] = 60.0
    """A checkpoint is written after the first step at which this many seconds have passed since
    the last one."""
