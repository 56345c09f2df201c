"""The log of a training: JSON lines, one for every ``gan.log_every`` iterations."""

import json
from pathlib import Path
from typing import TextIO

from augment.base.files import atomic_write

FILE = "log.jsonl"


def read_log(folder: Path) -> list[dict[str, float]]:
    """The lines in the folder of a training, oldest first: iteration, losses, iterations_per_second.

    A truncated line (the process was killed, or is writing it) is skipped. Empty where there is no log.
    """
    try:
        lines = (folder / FILE).read_text(errors="replace").splitlines()
    except OSError:
        return []
    rows = []
    for line in lines:
        try:
            row = {name: float(value) for name, value in json.loads(line).items()}
        except (ValueError, TypeError, AttributeError):
            continue
        if "iteration" in row:
            rows.append(row | {"iteration": int(row["iteration"])})
    return rows


def open_log(folder: Path, iteration: int) -> TextIO:
    """The log, open for appending, without the lines after ``iteration``."""
    kept = [row for row in read_log(folder) if row["iteration"] <= iteration]
    with atomic_write(folder / FILE) as file:
        file.write("".join(json.dumps(row) + "\n" for row in kept).encode())
    return open(folder / FILE, "a", encoding="utf-8")
