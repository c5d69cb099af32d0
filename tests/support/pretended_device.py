"""A pretended accelerator: tensors that claim to be on a device while their data stay on the host.

It has the rules of CUDA without its hardware. An operation that mixes devices is an error. An
operation that makes the host wait for the device is recorded with its line, and all operations are
counted. Results are those of the CPU, so only the rules are tested, not the kernels.

    with pretended() as record:
        x = torch.ones(3, device="pretend")
        x.sum().item()
    record.waits  # [Wait("_local_scalar_dense", "test_x.py:3")]

`register` gives torch the name of the device, once per process. It must come before the first
backward pass, because torch's autograd then starts one queue per device. So a test file calls it
where it is imported. With CUDA in the same process pinned memory would belong to this device, so
`register` refuses that.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretend"
DEVICE = torch.device("cpu")  # replaced by `register`
HERE = Path(__file__).name
ROOT = Path(__file__).parents[2]

# Operations that wait for the device and have no tag that says so.
WAITING = {
    "_coalesce": "the number of distinct entries",
    "multinomial": "the check of the weights",
    "to_sparse": "the number of entries",
    "_to_sparse": "the number of entries",
    "embedding_renorm_": "the distinct rows",
    "histc": "the range of the values",
    "histogramdd": "the range of the values",
}
# Operations that read a tensor of indices, which CUDA accepts from the host, and copies.
BY_INDEX = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")
COPIES = ("copy_", "_to_copy", "_copy_from", "_copy_from_and_resize")
# Operations that launch nothing.
FREE = ("detach", "empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided")


class MixedDevices(RuntimeError):
    """An operation got tensors of the device and of the host."""


class HostWaits(RuntimeError):
    """The host waited where it must not."""


@dataclass(frozen=True)
class Wait:
    """The host waits for the device.

    Args:
        what: the operation.
        where: file and line of the code that called it; "backward" within a gradient.
    """

    what: str
    where: str


@dataclass
class Record:
    """What was counted since the last `clear`.

    Args:
        waits: operations that make the host wait, in order.
        operations: number of launches by operation.
    """

    waits: list[Wait] = field(default_factory=list)
    operations: Counter[str] = field(default_factory=Counter)
    generator: torch.Generator | None = None

    @property
    def launched(self) -> int:
        """Number of operations that launch a kernel or a copy."""
        return self.operations.total()

    def clear(self) -> None:
        self.waits.clear()
        self.operations.clear()


class Pretended(torch.Tensor):
    """A tensor of the device; `raw` holds its data on the host."""

    raw: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> Pretended:
        kwargs: dict[str, Any] = {"dtype": raw.dtype, "device": DEVICE}
        if raw.layout == torch.strided:
            kwargs |= {"strides": raw.stride(), "storage_offset": raw.storage_offset()}
        elif raw.layout == torch.sparse_coo:
            kwargs["layout"] = raw.layout
        # A wrapper of a CSR matrix claims to be strided: torch has no wrapper of that layout.
        tensor = torch.Tensor._make_wrapper_subclass(cls, raw.size(), **kwargs)
        tensor.raw = raw
        return tensor

    def __repr__(self, **_: Any) -> str:
        return f"Pretended({self.raw!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _raw(value: Any) -> Any:
    return value.raw if isinstance(value, Pretended) else value


def _is_ours(device: Any) -> bool:
    return device is not None and torch.device(device).type == NAME


def _name(func: Any) -> str:
    return func.overloadpacket.__name__


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    """Run an operation on the raw tensors, by the rules of the device."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    ours = [tensor for tensor in tensors if isinstance(tensor, Pretended)]
    device = kwargs.get("device")
    if not ours and not _is_ours(device):
        return func(*args, **kwargs)
    name = _name(func)
    _refuse_mixture(name, args, kwargs, tensors)
    record = _ACTIVE[-1] if _ACTIVE else Record()
    if not (func.is_view or name in FREE):
        record.operations[name] += 1
    what = _waits(func, name, args, kwargs)
    if what:
        record.waits.append(Wait(what, _where()))
    to_host = bool(ours) and device is not None and not _is_ours(device)
    raw_args, raw_kwargs = tree_map(_raw, args), tree_map(_raw, kwargs)
    if device is not None:
        raw_kwargs["device"] = "cpu"
    raw_kwargs.pop("pin_memory", None)
    out = _drawn(func, raw_args, raw_kwargs, record)
    if to_host or (name == "copy_" and not isinstance(args[0], Pretended)):
        # A copy on a CPU shares nothing with its source.
        return out.clone() if to_host and any(out is tensor.raw for tensor in ours) else out
    known = {id(tensor.raw): tensor for tensor in ours}

    def wrapped(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return known.get(id(value)) if id(value) in known else Pretended(value)

    return tree_map(wrapped, out)


def _drawn(func: Any, args: Any, kwargs: Any, record: Record) -> Any:
    """Run a raw operation; random ones with the generator of the device, if it has its own."""
    if record.generator is None or torch.Tag.nondeterministic_seeded not in func.tags:
        return func(*args, **kwargs)
    host = torch.default_generator.get_state()
    torch.default_generator.set_state(record.generator.get_state())
    try:
        return func(*args, **kwargs)
    finally:
        record.generator.set_state(torch.default_generator.get_state())
        torch.default_generator.set_state(host)


def _refuse_mixture(name: str, args: Any, kwargs: Any, tensors: list[torch.Tensor]) -> None:
    """Raise an error if tensors of the host are among those of the device, as CUDA does.

    Allowed are copies, scalars, indices of the host, and the host tensors of step counters.
    """
    host = [tensor for tensor in tensors if not isinstance(tensor, Pretended) and tensor.dim() > 0]
    if not host or name in COPIES:
        return
    if name in BY_INDEX and isinstance(args[0], Pretended):
        indices = [index for index in args[1] if index is not None]
        if all(any(tensor is index for index in indices) for tensor in host):
            return
    raise MixedDevices(
        f"{name}: expected all tensors on one device, got "
        f"{', '.join(f'{tensor.device.type}{list(tensor.shape)}' for tensor in tensors)}"
    )


def _waits(func: Any, name: str, args: Any, kwargs: Any) -> str | None:
    """Return why the host waits for the device in this operation; None if it does not."""
    if name == "repeat_interleave" and kwargs.get("output_size") is not None:
        return None
    if name.startswith("nonzero_static"):
        return None
    tags = func.tags
    if torch.Tag.dynamic_output_shape in tags or torch.Tag.data_dependent_output in tags:
        if name == "index":  # only with a mask, see below
            pass
        else:
            return name
    if name in WAITING:
        return name
    if name in BY_INDEX:
        indices = [index for index in args[1] if index is not None]
        if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
            return f"{name} by a mask"
        if any(not isinstance(index, Pretended) and index.dim() for index in indices):
            return f"{name} by indices of the host"
        return None
    if name in COPIES:
        return _copy_waits(name, args, kwargs)
    return None


def _copy_waits(name: str, args: Any, kwargs: Any) -> str | None:
    if name == "_to_copy":
        source, to_ours = args[0], _is_ours(kwargs.get("device", args[0].device))
        from_ours, free = isinstance(source, Pretended), bool(kwargs.get("non_blocking"))
    else:
        target, source = args[0], args[1]
        to_ours, from_ours = isinstance(target, Pretended), isinstance(source, Pretended)
        free = bool(args[2]) if len(args) > 2 else bool(kwargs.get("non_blocking"))
        if source.dim() == 0 and not from_ours:  # the value is an argument of the kernel
            return None
    if from_ours == to_ours:
        return None
    if from_ours:  # even if the copy does not wait, who reads its result has to
        return "copy to the host"
    return None if free else "blocking copy from the host"


def _where() -> str:
    """Return file and line of the innermost frame of this project below this file."""
    frame = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.name != HERE and ROOT in path.parents and ".venv" not in path.parts:
            return f"{path.relative_to(ROOT)}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "backward"


class _Operations(TorchDispatchMode):
    """Sees the calls that have no tensor yet, such as `torch.zeros(3, device=...)`."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """`torch.tensor` and its like: made on the host, then copied, which waits as on CUDA."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.tolist and isinstance(args[0], Pretended):
            return args[0].cpu().tolist()
        if func in (torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy):
            device = kwargs.pop("device", None)
            if _is_ours(device):
                return func(*args, **kwargs).to(DEVICE)
            if device is not None:
                kwargs["device"] = device
        return func(*args, **kwargs)


_ACTIVE: list[Record] = []
_LIBRARY: list[torch.library.Library] = []


def register() -> None:
    """Register the name of the device, once per process.

    Raises:
        RuntimeError: this process has CUDA.
    """
    global DEVICE
    if _LIBRARY:
        return
    if torch.cuda.is_available():
        raise RuntimeError("the pretended device needs a process without CUDA")
    _setup_privateuseone_for_python_backend(NAME)
    DEVICE = torch.device(NAME, 0)
    # `torch.autocast` asks for it. No operation is cast: the CPU computes in the given precision.
    module = torch.get_device_module(NAME)
    module.get_amp_supported_dtype = lambda: [torch.bfloat16]
    # `torch.random.fork_rng` asks every device. All draws are on the host, so there is no state.
    module.device_count = lambda: 1
    module.get_rng_state = lambda device=None: torch.empty(0, dtype=torch.uint8)
    module.set_rng_state = lambda state, device=None: None
    library = torch.library.Library("aten", "IMPL")
    # Kernels of C++ that make their result where no mode looks.
    library.impl("empty_strided", _empty_strided, "PrivateUse1")
    library.impl("empty.memory_format", _empty, "PrivateUse1")
    every = torch.library.Library("_", "IMPL")
    every.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    _LIBRARY.extend([library, every])


def _empty_strided(size: Any, stride: Any, **kwargs: Any) -> torch.Tensor:
    return Pretended(torch.empty_strided(size, stride, dtype=kwargs.get("dtype")))


def _empty(size: Any, **kwargs: Any) -> torch.Tensor:
    return Pretended(torch.empty(size, dtype=kwargs.get("dtype")))


@contextlib.contextmanager
def pretended(*, own_generator: bool = True) -> Iterator[Record]:
    """Provide the device, and the record of its operations.

    Args:
        own_generator: the device draws other random numbers than the CPU, as an accelerator does.
            False: it draws from the CPU's default generator, so that noise is the same on both.
    """
    register()
    generator = torch.Generator().manual_seed(1) if own_generator else None
    _ACTIVE.append(Record(generator=generator))
    try:
        with _Functions(), _Operations():
            yield _ACTIVE[-1]
    finally:
        _ACTIVE.pop()


@contextlib.contextmanager
def no_wait(record: Record) -> Iterator[None]:
    """Raise an error at the end of the block if the host waited for the device in it."""
    start = len(record.waits)
    yield
    waits = record.waits[start:]
    if waits:
        raise HostWaits("; ".join(f"{wait.what} at {wait.where}" for wait in waits[:5]))


def seed(value: int) -> None:
    """Seed the generator of the device."""
    if _ACTIVE and _ACTIVE[-1].generator is not None:
        _ACTIVE[-1].generator.manual_seed(value ^ 0x5DEECE66D)
