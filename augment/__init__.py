"""Pose-guided synthetic images for person re-identification.

The stages, in the order in which data flows through them::

    images -> poses -> pairs -> generator -> synthetic images -> re-ID with and without them -> report
    data      pose     pairs    gan          synthesis           reid                           report

A module imports only from modules to its left and from the ground floor: ``errors``, ``files``, ``progress``,
``config``, ``manifest`` and ``stage``.
"""

import os

# GNU's OpenMP, torch's, reads this when it is loaded. By default threads spin while they wait for each other, and
# beside a busy process they take the processor from the one they wait for.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__version__ = "0.1.0"
