"""Writes the lock files from pip's reports of what it would install here: versions and hashes, no address.

``make lock`` runs it: ``lock.py LOCK REPORT...``.
"""

import json
import sys
from pathlib import Path

# Their builds differ from index to index (CPU, CUDA), and with them what they need: pinned in pyproject.toml.
BUILDS = ("torch", "torchvision", "triton", "reid-augment")
VENDOR = ("nvidia-", "cuda-")

HEAD = """\
# Written by `make lock`; `make setup` compares every file with its hash. For Linux (x86_64, glibc) and Python 3.11.
# torch and torchvision are pinned in pyproject.toml: the index decides whether their builds are for CPU or CUDA.
"""


def main(lock: str, *reports: str) -> None:
    """Of a package in several reports the last counts."""
    lines = {}
    for report in reports:
        for item in json.loads(Path(report).read_text(encoding="utf-8"))["install"]:
            name = item["metadata"]["name"].lower().replace("_", "-")
            if name not in BUILDS and not name.startswith(VENDOR):
                sha256 = item["download_info"]["archive_info"]["hashes"]["sha256"]
                lines[name] = f"{name}=={item['metadata']['version']} --hash=sha256:{sha256}\n"
    Path(lock).write_text(HEAD + "".join(lines[name] for name in sorted(lines)), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
