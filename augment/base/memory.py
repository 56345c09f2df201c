"""Memory that the process no longer uses: kept for what comes next, or returned to the operating system."""

import ctypes
import sys
from collections.abc import Callable

import pyarrow as pa

# mallopt's parameters, and glibc's largest values that are still small beside what networks take.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES, _FROM_SYSTEM_BYTES = 2**30, 2**28


def release_unused() -> None:
    """Return what was freed. The allocators keep it for later: after a table of a million rows, half a gigabyte.

    Under other C libraries than glibc only Arrow's part.
    """
    pa.default_memory_pool().release_unused()
    trim = _from_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def keep_freed() -> None:
    """Keep up to a gigabyte of what is freed: a network takes its tensors anew in every iteration.

    glibc returns such memory at once, and each page of it is then cleared again by the system: 5 to 10 % of generation,
    and half of a training in a worker of Dask, which sets ``MALLOC_TRIM_THRESHOLD_`` to 64 KB.
    """
    option = _from_glibc("mallopt")
    if option is not None:
        option(_MMAP_THRESHOLD, _FROM_SYSTEM_BYTES)
        option(_TRIM_THRESHOLD, _KEPT_BYTES)


def _from_glibc(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
