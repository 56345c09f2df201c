"""The times of stages: recorded in this run, and predicted.

Times are in ``timings.json`` and not in the manifests, which have the same bytes however long the work took.
"""

import json
import threading
from pathlib import Path
from typing import Any

from augment.base.files import atomic_write
from augment.config import Section
from augment.stage import Estimate

Times = dict[str, dict[str, Any]]

_writing = threading.Lock()


def read_times(run: Path) -> Times:
    """Stage -> its entry by :func:`record_time`."""
    try:
        times = json.loads((run / "timings.json").read_text())
    except (OSError, ValueError):
        return {}
    return times if isinstance(times, dict) else {}


def record_time(run: Path, stage: str, seconds: float, section: Section, estimate: Estimate) -> None:
    """Record the time of a stage made from scratch, beside the estimate for the same work."""
    entry = {
        "seconds": round(seconds, 2), "units": estimate.units, "estimated": estimate.seconds,
        "section": section.identity(),
    }  # fmt: skip
    with _writing:  # two stages may end at once
        times = read_times(run) | {stage: entry}
        with atomic_write(run / "timings.json") as file:
            file.write(json.dumps(times, indent=1).encode())


def time_needed(stage: str, section: Section, estimate: Estimate, done: int,
                times: Times) -> tuple[float | None, str]:  # fmt: skip
    """Seconds (None: unknown) for the units that are not done, and the source of that figure.

    The run's recorded time of the stage, scaled by the ratio of the estimates now and then; else the estimate.
    """
    seconds, source = estimate.seconds, "default rates"
    if (known := times.get(stage)) and "estimated" in known:
        seconds, source = _scaled(known, section, estimate), "this run's own times"
    elif seconds is not None and estimate.on_gpu and has_gpu():
        return None, "no rate for this GPU yet"
    if seconds is None:
        return None, "unknown"
    return seconds * max(0.0, 1 - done / max(1, estimate.units)), source


def _scaled(known: dict[str, Any], section: Section, estimate: Estimate) -> float | None:
    if estimate.seconds is None or known["estimated"] is None:
        same = known["section"] == section.identity() and known["units"] == estimate.units
        return known["seconds"] if same else None
    return known["seconds"] * estimate.seconds / max(known["estimated"], 1e-6)


def has_gpu() -> bool:
    """Whether torch sees one."""
    import torch

    return torch.cuda.is_available()
