"""Memory that was freed goes back to the operating system."""

import sys
from pathlib import Path

import pytest

from augment.base.memory import release_unused


def resident_mb() -> float:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_was_freed_is_returned():
    blocks = [b"x" * 10_000 for _ in range(20_000)]  # 200 MB in blocks that the allocator keeps
    kept = blocks[::1000]  # the heap does not end with free memory
    full = resident_mb()
    del blocks
    release_unused()
    assert resident_mb() < full - 150
    assert len(kept) == 20
