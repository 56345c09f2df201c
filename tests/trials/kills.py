"""A whole run is killed (SIGKILL) after random shares of its processor time, until it comes to its end: the same bytes.

A killed process can't tidy up; only what is on the disk counts. The local engine runs in forked children; Prefect does
not survive a fork, so each of its runs is a process of its own, with the embedded server beside it.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness import FAILED, HEALED, OUTPUT, RUN, Golden, Tally, child, command, new_folder, rng

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Engine:
    """How a run is made, and the longest that it lives before a kill, in seconds of its own processor time."""

    work: Callable[[], int | None]
    longest_s: float


def _by_prefect() -> None:
    folder = Path(__file__).parent
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); from harness import record_command; record_command(); "
    code += "from augment.cli import main; main(['run', 'tiny.yaml'])"
    os.execv(sys.executable, [sys.executable, "-c", code])


ENGINES = {"local engine": Engine(command(*RUN), 2.0), "Prefect": Engine(_by_prefect, 12.0)}


def trial(golden: Golden, folder: Path, tally: Tally, count: int, only: str = "", first: int = 0) -> None:
    """``count`` kills of each engine, in chains that end with a finished run; ``first``: number of the first chain."""
    for title, engine in ENGINES.items():
        if only not in title:
            continue
        killed, chain = 0, first
        while killed < count:
            new_folder(folder)
            random = rng(tally.seed, "kill", title, chain)
            places = []
            while True:
                after = random.uniform(0, engine.longest_s) if killed + len(places) < count else 1e9
                ended = child(engine.work, folder, meanwhile=lambda pid, after=after: _kill(pid, after))
                if ended.code != -signal.SIGKILL:
                    break
                places.append(f"{after:.2f}")
            killed += len(places)
            differing = golden.differing(folder / OUTPUT) if ended.code == 0 else []
            if differing == ["report.html"]:  # one that was made with other stages before it in the same process
                differing = golden.differing(folder / OUTPUT) if child(command(*RUN), folder).code == 0 else differing
            detail = f"exit code {ended.code}: {ended.said[-1500:]}" if ended.code else f"differs: {differing[:5]}"
            for place in places or ["never"] * bool(ended.code):
                bad = ended.code != 0 or differing
                outcome = (FAILED, detail) if bad else (HEALED, "")
                tally.add(title, outcome, f"chain {chain}, killed after {place} s")
            if not places and ended.code:
                return  # it fails without a kill, and would do so for ever
            chain += 1


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
