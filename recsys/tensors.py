"""Files that are either whole or not there: atomic writes, tensors as safetensors, JSON. Nothing is ever unpickled."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from recsys.errors import InputError
from recsys.scorer import Scorer, from_state

__all__ = [
    "load_scorer",
    "read_json",
    "read_tensors",
    "save_scorer",
    "write",
    "write_json",
    "write_tensors",
]


def write(path: Path, produce: Callable[[Path], object]) -> None:
    """Let `produce` write a temporary file beside `path`, flush it to disk, and put it in place of `path` in one step.

    Raises:
        InputError: the folder cannot be written or the disk is full; `path` is then as it was before.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        produce(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:  # an interrupt too leaves nothing half-written behind
        temporary.unlink(missing_ok=True) if path.parent.is_dir() else None
        cause = _disk_cause(error)
        if cause is None:
            raise
        raise InputError(
            f"cannot be written: {cause}",
            place=str(path),
            remedy="free some space or choose another folder",
        ) from None


def write_json(path: Path, value: Any) -> None:
    """Write JSON, keys in order of insertion, floats in full."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"
    write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        InputError: missing, unreadable or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            "no such file", place=str(path), remedy="is this the folder of a run?"
        ) from None
    except (ValueError, OSError) as error:
        raise InputError(
            f"cannot be read: {error}",
            place=str(path),
            remedy="the file is damaged: restore it or run again",
        ) from None


def write_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write named tensors with plain metadata as one safetensors file."""
    plain: dict[str, Tensor] = {}
    homes: set[int] = set()
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        home = value.untyped_storage().data_ptr()
        plain[name] = (
            value.clone() if home in homes else value
        )  # safetensors refuses two names for one memory
        homes.add(home)
    header = {"recsys": json.dumps(meta, sort_keys=True)}
    write(
        path, lambda temporary: safetensors.torch.save_file(plain, str(temporary), metadata=header)
    )


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Raises:
        InputError: missing, damaged, or not written here.
    """
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            meta = (file.metadata() or {}).get("recsys")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except FileNotFoundError:
        raise InputError(
            "no such file", place=str(path), remedy="is this the folder of a finished run?"
        ) from None
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(
            f"is no readable safetensors file: {error}",
            place=str(path),
            remedy="it is damaged or foreign: run again",
        ) from None
    if meta is None:
        raise InputError(
            "is a safetensors file of another program",
            place=str(path),
            remedy="give a file that recsys wrote",
        )
    try:
        return tensors, dict(json.loads(meta))
    except (TypeError, ValueError):
        raise InputError(
            "holds metadata that is not JSON",
            place=str(path),
            remedy="it is damaged or foreign: run again",
        ) from None


def save_scorer(path: Path, scorer: Scorer, **about: Any) -> None:
    """Save a scorer; `about` is kept beside its metadata."""
    tensors, meta = scorer.state()
    write_tensors(path, tensors, {"scorer": meta, **about})


def load_scorer(path: Path) -> tuple[Scorer, dict[str, Any]]:
    """The scorer and what was said about it when it was saved.

    Raises:
        InputError: missing, damaged or foreign.
    """
    tensors, meta = read_tensors(path)
    if "scorer" not in meta:
        raise InputError(
            "holds no scorer", place=str(path), remedy="give the scorer.safetensors of a run"
        )
    try:
        return from_state(tensors, meta["scorer"]), meta
    except InputError as error:
        raise error.at(str(path)) from None


def _disk_cause(error: BaseException) -> str | None:
    """In words, if it is the disk's fault; safetensors reports its own errors as text."""
    if isinstance(error, OSError):
        return "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
    if isinstance(error, safetensors.SafetensorError):
        return "the disk is full" if "No space left" in str(error) else str(error)
    return None
