"""Pose-guided synthetic images for person re-identification.

The stages, in the order in which data flows through them::

    images -> poses -> pairs -> generator -> synthetic images -> re-ID with and without them -> report
    data      pose     pairs    gan          synthesis           reid                           report

A module imports only from its own floor and those listed before it in docs/architecture.md.
"""

import os

# GNU's OpenMP, torch's, reads this when it is loaded. Its threads spin long while they wait for each other, and beside
# a busy process take the processor from the one they wait for; where they sleep at once, small networks train half as
# fast. A short spin is near the better of the two in either case (benchmarks/waiting.py).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")

# Products of MKL, torch's, then round alike on any number of threads, for at most a tenth of their time: an image must
# not depend on the cores of the machine, or on whether a worker of a cluster has one thread or all.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

__version__ = "0.1.0"
