"""Tensors and scorers in safetensors files. Nothing is ever unpickled."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from recsys.errors import InputError
from recsys.files import write_atomic
from recsys.scorer import Scorer, from_state

__all__ = [
    "load_scorer",
    "read_tensors",
    "save_scorer",
    "write_tensors",
]


def write_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write named tensors with JSON metadata as one safetensors file.

    Args:
        path: the file; it appears when it is complete.
        tensors: tensors by name, on any device.
        meta: metadata that JSON can hold.

    Raises:
        InputError: the file cannot be written, or the disk is full.
    """
    plain: dict[str, Tensor] = {}
    memories: set[int] = set()
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        memory = value.untyped_storage().data_ptr()
        # safetensors refuses two names for one memory.
        plain[name] = value.clone() if memory in memories else value
        memories.add(memory)
    header = {"recsys": json.dumps(meta, sort_keys=True)}

    def produce(temporary: Path) -> None:
        try:
            safetensors.torch.save_file(plain, str(temporary), metadata=header)
        except safetensors.SafetensorError as error:  # it reports a full disk as text
            full = "No space left" in str(error)
            raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error

    write_atomic(path, produce)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Returns:
        The tensors by name, on the CPU, and the metadata.

    Raises:
        InputError: the file is missing or damaged, or was written by another program.
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
            f"is not a readable safetensors file: {error}",
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


def save_scorer(path: Path, scorer: Scorer, **about: object) -> None:
    """Save a scorer.

    Args:
        path: the file.
        scorer: any scorer.
        about: more metadata that JSON can hold, returned by `load_scorer`.

    Raises:
        InputError: the file cannot be written, or the disk is full.
    """
    tensors, meta = scorer.state()
    write_tensors(path, tensors, {"scorer": meta, **about})


def load_scorer(path: Path) -> tuple[Scorer, dict[str, Any]]:
    """Read what `save_scorer` wrote.

    Returns:
        The scorer, and the metadata of the file.

    Raises:
        InputError: the file is missing or damaged, or holds no scorer.
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
