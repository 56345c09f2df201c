"""A whole run is killed (SIGKILL) after random shares of its processor time, until it comes to its end: the same bytes.

With the local engine, and under Prefect with shards in threads. A killed child can't tidy up; only the disk goes on.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from harness import FAILED, HEALED, OUTPUT, RUN, Golden, Tally, child, command, new_folder, rng

LONGEST_S = {"local engine": 2.0, "Prefect": 4.0}  # of processor time before a kill; a whole run takes 5 and 9
PREFECT = ("run", "tiny.yaml", "--set", "flow.workers=2")
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def trial(golden: Golden, folder: Path, tally: Tally, count: int, only: str = "", first: int = 0) -> None:
    """``count`` kills of runs without Prefect, and a tenth of them with."""
    if only in "local engine":
        _chains(golden, folder, tally, count, "local engine", command(*RUN))
    if only in "Prefect":
        from flows.server import prefect_server

        new_folder(folder)
        with prefect_server(folder):  # one for all: each run's own would take longer than the run
            _chains(golden, folder / "runs", tally, max(1, count // 10), "Prefect", command(*PREFECT))


def _chains(golden: Golden, folder: Path, tally: Tally, count: int, kind: str, work: Callable[[], int]) -> None:
    killed = chain = 0
    while killed < count:
        chain += 1
        random = rng(tally.seed, "kill", kind, chain)
        new_folder(folder)
        places = []
        while True:
            after = random.uniform(0, LONGEST_S[kind]) if killed + len(places) < count else 1e9
            ended = child(work, folder, meanwhile=lambda pid, after=after: _kill(pid, after))
            if ended.code != -signal.SIGKILL:
                break
            places.append(f"{after:.2f}")
        killed += len(places)
        differing = golden.differing(folder / OUTPUT) if ended.code == 0 else []
        if differing == ["report.html"]:  # one that was made with other stages before it in the same process
            differing = golden.differing(folder / OUTPUT) if child(work, folder).code == 0 else differing
        detail = f"exit code {ended.code}: {ended.said[-1500:]}" if ended.code else f"differs: {differing[:5]}"
        for place in places:
            bad = ended.code != 0 or differing
            tally.add(kind, (FAILED, detail) if bad else (HEALED, ""), f"chain {chain}, killed after {place} s")


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
