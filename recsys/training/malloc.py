"""Keep freed memory with the process while training on the CPU."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def keep_freed_memory(limit: int = 512 << 20) -> bool:
    """Let glibc's malloc keep up to `limit` bytes of freed memory instead of giving it back to the system at once.

    A training step frees and allocates the same tensors of a few megabytes over and over. By default each goes back to the system and comes
    back as fresh pages, to be zeroed one page fault at a time: with ten negatives a pair that costs several times the arithmetic. The
    setting is the process's own, and changes speed alone.

    Returns:
        Whether it was set; False where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl
        return False
    return bool(mallopt(_MMAP_THRESHOLD, 32 << 20)) and bool(mallopt(_TRIM_THRESHOLD, limit))
