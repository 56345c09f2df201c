"""Memory that the process no longer uses, returned to the operating system."""

import ctypes
import sys

import pyarrow as pa


def release_unused() -> None:
    """Return what was freed. The allocators keep it for later: after a table of a million rows, half a gigabyte.

    Under other C libraries than glibc only Arrow's part.
    """
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
