"""The log of a training: JSON lines, one for every ``gan.log_every`` iterations."""

from pathlib import Path
from typing import TextIO

from augment.base.files import atomic_write
from augment.base.progress import say
from augment.base.seals import read_sealed_json, sealed_json

FILE = "log.jsonl"


def read_log(folder: Path) -> list[dict[str, float]]:
    """The lines in the folder of a training, oldest first: iteration, losses, iterations_per_second.

    A damaged line is left out with a word; without one, a last line that was cut off (the process was killed, or is
    writing it). Empty where there is no log.
    """
    path = folder / FILE
    try:
        lines = path.read_text(errors="replace").splitlines(keepends=True)
    except OSError:
        return []
    rows, damaged = [], 0
    for line in lines:
        try:
            row = {name: float(value) for name, value in read_sealed_json(line).items()}
            rows.append(row | {"iteration": int(row["iteration"])})
        except (ValueError, TypeError, KeyError):
            damaged += line.endswith("\n") or "}" in line  # one that was cut off has neither
    if damaged:
        say(f"{path}: {damaged} damaged lines are left out.")
    return rows


def log_line(row: dict[str, float]) -> str:
    """A line of the log."""
    return sealed_json(row) + "\n"


def open_log(folder: Path, iteration: int) -> TextIO:
    """The log, open for appending, without the lines after ``iteration``."""
    kept = [row for row in read_log(folder) if row["iteration"] <= iteration]
    with atomic_write(folder / FILE) as file:
        file.write("".join(map(log_line, kept)).encode())
    return open(folder / FILE, "a", encoding="utf-8")
