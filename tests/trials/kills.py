"""A whole run is killed (SIGKILL) after random shares of its processor time, until it comes to its end: the same bytes.

A killed child can't tidy up; only what is on the disk counts. With the local engine: Prefect does not survive a fork,
and its kill is in test_interruption.py.
"""

import os
import signal
import time
from pathlib import Path

from harness import FAILED, HEALED, OUTPUT, RUN, Golden, Tally, child, command, new_folder, rng

LONGEST_S = 2.0  # of processor time before a kill; a whole run takes 5
KIND = "local engine"
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def trial(golden: Golden, folder: Path, tally: Tally, count: int, only: str = "", first: int = 0) -> None:
    """``count`` kills."""
    if only not in KIND:
        return
    work = command(*RUN)
    killed = chain = 0
    while killed < count:
        chain += 1
        random = rng(tally.seed, "kill", KIND, chain)
        new_folder(folder)
        places = []
        while True:
            after = random.uniform(0, LONGEST_S) if killed + len(places) < count else 1e9
            ended = child(work, folder, meanwhile=lambda pid, after=after: _kill(pid, after))
            if ended.code != -signal.SIGKILL:
                break
            places.append(f"{after:.2f}")
        killed += len(places)
        differing = golden.differing(folder / OUTPUT) if ended.code == 0 else []
        if differing == ["report.html"]:  # one that was made with other stages before it in the same process
            differing = golden.differing(folder / OUTPUT) if child(work, folder).code == 0 else differing
        detail = f"exit code {ended.code}: {ended.said[-1500:]}" if ended.code else f"differs: {differing[:5]}"
        for place in places or ["never"] * bool(ended.code):
            bad = ended.code != 0 or differing
            tally.add(KIND, (FAILED, detail) if bad else (HEALED, ""), f"chain {chain}, killed after {place} s")


def _kill(pid: int, after: float) -> None:
    while not _is_gone(pid):
        if _processor_time(pid) >= after:
            os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.01)


def _is_gone(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def _processor_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S
