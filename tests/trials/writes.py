"""Every write of a whole run fails once, as on a full, broken, read-only disk or without a free file descriptor.

Stage by stage, the stages before it finished: the n-th call that could fail with the error fails, and the command
says so in a clear message (or needs the file for nothing that counts). Given again, it ends as the undisturbed run.
"""

import errno
import json
from collections import Counter
from pathlib import Path

from faults import ERRORS, INJECTOR, possible
from harness import (
    FAILED,
    HARMLESS,
    MESSAGE,
    OUTPUT,
    RUN,
    Ended,
    Golden,
    Outcome,
    Tally,
    child,
    command,
    is_message,
    new_folder,
    rng,
)

# stage -> its command, and what of a finished run is absent when it begins
STAGES = {
    "images": (("images",), ("rendered", "images")),
    "poses": (("poses",), ("poses",)),
    "pairs": (("pairs",), ("pairs",)),
    "gan": (("gan", "train"), ("gan",)),
    "synthetic": (("synthesize",), ("synthetic",)),
    "quality": (("quality",), ("quality",)),
    "reid": (("reid",), ("reid",)),
    "report": (("run",), ("report.html", "timings.json", "config.yaml")),
}


def trial(golden: Golden, folder: Path, tally: Tally, share: float, only: str = "", first: int = 0) -> None:
    """Each call with each error once; of a smaller ``share`` some of each stage at random."""
    new_folder(folder)
    for stage, (name, absent) in STAGES.items():
        if only not in stage:
            continue
        arguments = (*name, "tiny.yaml", "--engine", "local")
        golden.restore(folder / OUTPUT, absent)
        calls = _attempt(folder, arguments, 0, 0)[1]
        faults = [(error, nth) for error in ERRORS for nth in range(1, possible(calls, error) + 1)]
        if share < 1:
            chosen = rng(tally.seed, "writes", stage)
            faults = chosen.sample(faults, max(1, round(share * len(faults))))
        for number, (error, nth) in enumerate(faults[first:], first):
            golden.restore(folder / OUTPUT, absent)
            outcome, call = _outcome(golden, folder, arguments, error, nth)
            tally.add(f"calls of {stage}", outcome, f"{number}: {errno.errorcode[error]} at {nth} ({call})")


def _attempt(folder: Path, arguments: tuple[str, ...], error: int, nth: int) -> tuple[Ended, Counter[str], str]:
    """How the command ended, how many calls there were, and which failed."""
    record = folder / ".calls"
    record.unlink(missing_ok=True)

    def work() -> int:
        INJECTOR.arm((folder / OUTPUT).absolute(), error, nth)
        try:
            return command(*arguments)()
        finally:
            INJECTOR.folder = None
            record.write_text(json.dumps([INJECTOR.calls, INJECTOR.failed or ""]))

    ended = child(work, folder)
    calls, failed = json.loads(record.read_text()) if record.exists() else ({}, "")
    return ended, Counter(calls), failed


def _outcome(golden: Golden, folder: Path, arguments: tuple[str, ...], error: int, nth: int) -> tuple[Outcome, str]:
    ended, _, call = _attempt(folder, arguments, error, nth)
    run = folder / OUTPUT
    if ended.code != 0 and not is_message(ended):
        return (FAILED, f"exit code {ended.code}: {ended.said[-1500:]}"), call
    if ended.code != 0 and "outputs/tiny" not in ended.said.splitlines()[-1]:
        return (FAILED, f"the message names no file: {ended.said[-300:]}"), call
    if list(run.rglob("*.partial")):
        return (FAILED, f"left behind: {[path.name for path in run.rglob('*.partial')]}"), call
    if ended.code == 0 and not golden.differing(run):
        return (HARMLESS, ""), call
    again = child(command(*arguments), folder)
    if again.code != 0:
        return (FAILED, f"the same command again: exit code {again.code}: {again.said[-800:]}"), call
    differing = golden.differing(run)
    if differing == ["report.html"] or not differing:
        whole = child(command(*RUN), folder) if differing else again
        if whole.code == 0 and not golden.differing(run):
            return (MESSAGE if ended.code else HARMLESS, ""), call
    return (FAILED, f"differs after the same command again: {', '.join(differing[:5])}"), call
