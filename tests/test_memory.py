"""Memory that was freed goes back to the operating system."""

import ctypes
import os
import subprocess
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


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc")
def test_that_memory_which_is_freed_is_taken_again_without_page_faults():
    # 24 MB in 3 tensors, 20 times; a page of 4 KB that was returned faults when it is taken anew: 5,859 a round.
    script = (
        "import resource, torch\n"
        "from augment.base.devices import pick_device\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    for _ in range(20):\n"
        "        tensors = [torch.zeros(2_000_000) for _ in range(3)]\n"
        "        del tensors\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "before = faults()\n"
        "pick_device('cpu')\n"
        "faults()\n"
        "print(before, faults())\n"
    )
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"}  # as in a worker of Dask
    printed = subprocess.run([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, check=True)
    before, after = map(int, printed.stdout.split())
    assert before > 20 * 5_000
    assert after < 20 * 50
