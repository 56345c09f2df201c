"""What the trials share: a smallest run, forked children to do it in, and the count of what came out.

One process does the whole run first and forks a child for each attempt, or for some hundred quick ones: that costs
what the work costs, and whatever it does to its process (hang, die, run out of files) ends with it.
"""

import hashlib
import io
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

SMALLEST: dict[str, Any] = {
    "name": "tiny",
    "data": {
        "layout": "rendered",
        "rendered": {"train_identities": 2, "test_identities": 2, "images_per_identity": 4, "cameras": 2},
    },
    "pose": {
        "estimator": "annotations",
        "annotations": {"train": "annotation-train.csv", "gallery": "annotation-test.csv"},
    },
    "pairs": {"test_pairs": 4},
    "gan": {
        "width": 0.0625, "features": "patches", "iterations": 2, "checkpoint_every": 1, "keep_checkpoints": 1,
        "sample_every": 2, "log_every": 1, "batch_size": 1, "image_size": [64, 32],
    },
    "synthesis": {"poses_per_image": 1},
    "quality": {"pairs": 2},
    "reid": {"model": "osnet_x0_25", "height": 32, "width": 16, "iterations": 2, "batch_size": 4, "seeds": [0]},
    "report": {"examples": 1},
    "flow": {"shard_size": 4},
}  # fmt: skip
RUN = ("run", "tiny.yaml", "--engine", "local")
OUTPUT = Path("outputs/tiny")
LIMIT_S = 120  # of processor time; what takes longer hangs: a whole run takes five seconds
_BUSY = 8  # times as long by the clock: others may be at work on the machine, too
_MEMORY = 16 * 2**30  # of address space, so that a bomb bursts in the child

# What differs between two undisturbed runs: when they ran, how fast, and where. None of it is a result.
VOLATILE = ("timings.json", "rendered/.lock", "gan/tensorboard/", "gan/log.jsonl", ".lock", "prefect.log", ".prefect/")


class Ended(NamedTuple):
    """How a child ended: its exit code (negative: the signal; None: it hung and was killed) and what it said."""

    code: int | None
    said: str


def child(work: Callable[[], int | None], folder: Path, limit: int = LIMIT_S,
          meanwhile: Callable[[int], None] = lambda pid: None) -> Ended:  # fmt: skip
    """``work()`` in a forked process that is in ``folder``; ``meanwhile(its pid)`` here. An exception is code 70."""
    said = folder / ".said"
    sys.stdout.flush(), sys.stderr.flush()
    if (pid := os.fork()) == 0:
        code = 70
        try:
            output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1), os.dup2(output, 2)
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
            os.chdir(folder)
            record_command()
            code = work() or 0
        except SystemExit as leave:
            code = leave.code if isinstance(leave.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
    meanwhile(pid)
    end = time.monotonic() + _BUSY * limit
    status = None
    while status is None:
        done, waited = os.waitpid(pid, os.WNOHANG)
        if done:
            status = os.waitstatus_to_exitcode(waited)
        elif time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            break
        else:
            time.sleep(0.005)
    return Ended(status, said.read_text(errors="replace") if said.exists() else "")


def record_command() -> None:
    """Tables record the command: always the same."""
    sys.argv = ["augment", "run", "tiny.yaml"]


def command(*arguments: str) -> Callable[[], int]:
    """The command line with these arguments, for :func:`child`."""

    def work() -> int:
        from augment.cli import main

        main(arguments, standalone_mode=True)
        return 0

    return work


def is_message(ended: Ended) -> bool:
    """Whether the command line said what is wrong: exit code 2 or 3, nothing "unexpected", no traceback."""
    return ended.code in (2, 3) and "Traceback" not in ended.said and "unexpected" not in ended.said


def forget_all() -> None:
    """Empty the program's caches of what a run's files say: the next attempt in this process reads them anew."""
    for name, module in list(sys.modules.items()):
        if name.startswith(("augment", "flows")):
            for title, value in list(vars(module).items()):
                if hasattr(value, "cache_clear") and title not in ("package_versions", "_environment"):
                    value.cache_clear()


def new_folder(folder: Path, settings: dict[str, Any] = SMALLEST) -> Path:
    """An empty folder with the configuration in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings))
    return folder


@dataclass
class Golden:
    """An undisturbed run: the bytes that every other run must come to."""

    files: dict[str, bytes] = field(default_factory=dict)
    _known: dict[Path, tuple] = field(default_factory=dict)  # files that had these bytes, by inode, time and size

    @classmethod
    def make(cls, folder: Path, settings: dict[str, Any] = SMALLEST) -> "Golden":
        """Run it twice in this process: the second time nothing is made, and the report is of a run that stood already.

        Every child then begins with all imported and every first computation done. On one thread (``OMP_NUM_THREADS``)
        that leaves no thread behind whose work a child would miss.
        """
        new_folder(folder, settings)
        said = folder / ".said"
        here, arguments = Path.cwd(), sys.argv
        os.chdir(folder)
        record_command()
        for _ in range(2):
            with open(said, "w") as out, redirect_stdout(out), redirect_stderr(out):
                try:
                    code = command(*RUN)()
                except SystemExit as leave:
                    code = leave.code
            if code:
                raise SystemExit(f"trials: the undisturbed run failed:\n{said.read_text()}")
            forget_all()
        os.chdir(here)
        sys.argv = arguments
        return cls({name: path.read_bytes() for name, path in _files(folder / OUTPUT)})

    def restore(self, run: Path, without: tuple[str, ...] = ()) -> None:
        """Make the run in another folder this one, ``without`` some files and folders; only what differs is written."""
        run.mkdir(parents=True, exist_ok=True)
        there = dict(_files(run))
        wanted = {name: data for name, data in self.files.items() if not any(
            name == other or name.startswith(f"{other}/") for other in without)}  # fmt: skip
        for name, path in there.items():
            if name not in wanted:
                path.unlink()
        for name, data in wanted.items():
            path = run / name
            if name not in there or not self._same(path, data, exactly=True):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                path.write_bytes(data)
        for path in sorted((path for path in run.rglob("*") if path.is_dir()), reverse=True):
            if not any(path.iterdir()):
                path.rmdir()

    def differing(self, run: Path) -> list[str]:
        """Names of files of the run that are not as here; volatile ones aside."""
        there = {name: path for name, path in _files(run) if not name.startswith(VOLATILE)}
        names = {name for name in self.files if not name.startswith(VOLATILE)} | set(there)
        return sorted(name for name in names if name not in there or name not in self.files
                      or not self._same(there[name], self.files[name]))  # fmt: skip

    def is_whole(self, run: Path, name: str) -> bool:
        """Whether one file is as here."""
        return (run / name).is_file() and self._same(run / name, self.files[name])

    def _same(self, path: Path, data: bytes, exactly: bool = False) -> bool:
        state = path.lstat()
        key = (state.st_ino, state.st_mtime_ns, state.st_ctime_ns, state.st_size)
        if self._known.get(path) == key:
            return True
        if path.is_symlink() or path.read_bytes() != data:
            return not exactly and _is_same_state(path, data)
        self._known[path] = key
        return True


def _is_same_state(path: Path, data: bytes) -> bool:
    """Whether a training state says the same: its pickle also tells which equal objects were one, before it resumed."""
    import torch

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return (value.dtype, value.tolist()) if isinstance(value, torch.Tensor) else value

    if path.suffix != ".pt":
        return False
    try:
        found, wanted = (torch.load(file, weights_only=True) for file in (path, io.BytesIO(data)))
    except Exception:  # of a damaged file: anything
        return False
    return plain(found) == plain(wanted)


def _files(run: Path) -> Iterator[tuple[str, Path]]:
    for path in run.rglob("*"):
        if path.is_file():
            yield path.relative_to(run).as_posix(), path


MESSAGE, HEALED, HARMLESS, FAILED = "clear message", "healed", "harmless", "FAILED"
Outcome = tuple[str, str]  # one of these, and what happened


@dataclass
class Tally:
    """What came of the attempts of each kind."""

    seed: int
    counts: dict[str, Counter] = field(default_factory=dict)
    failures: int = 0
    seconds: Counter[str] = field(default_factory=Counter)  # of processor time
    _used: float = field(default_factory=lambda: children_s())

    def add(self, kind: str, outcome: Outcome, attempt: str = "", seconds: float | None = None) -> None:
        """Count one; of a failure say what happened. ``seconds``: what it took, where it was no child of its own."""
        self.counts.setdefault(kind, Counter())[outcome[0]] += 1
        self.seconds[kind] += children_s() - self._used if seconds is None else seconds
        self._used = children_s()
        if outcome[0] == FAILED:
            self.failures += 1
            print(f"FAILED {kind}, {attempt}: {outcome[1]}", flush=True)

    def show(self) -> None:
        """The table that docs/reliability.md quotes."""
        print(f"{'':<34}{'tried':>7}{MESSAGE:>15}{HEALED:>8}{HARMLESS:>10}{'failed':>8}{'ms each':>9}")
        for kind, counts in [*self.counts.items(), ("all", sum(self.counts.values(), Counter()))]:
            tried = sum(counts.values())
            spent = 1000 * (self.seconds[kind] if kind in self.counts else self.seconds.total()) / max(1, tried)
            numbers = (tried, *(counts[outcome] for outcome in (MESSAGE, HEALED, HARMLESS, FAILED)), round(spent))
            print("{:<34}{:>7}{:>15}{:>8}{:>10}{:>8}{:>9}".format(kind, *numbers))
        print(f"seed {self.seed}; {self.seconds.total():.0f} s of processor time", flush=True)


def children_s() -> float:
    """Processor time of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def in_batches(numbers: Iterable[int], attempt: Callable[[int], Outcome], folder: Path,
               limit: int = LIMIT_S, size: int = 100) -> Iterator[tuple[int, Outcome, float]]:  # fmt: skip
    """The outcome of each quick attempt and its processor time in seconds, ``size`` of them in one child.

    An attempt that hangs or kills the child has failed.
    """
    left = list(numbers)
    record = folder / ".outcomes"
    while left:
        record.write_text("")

        def work(some: list[int] = left[:size]) -> None:
            with open(record, "a") as out:
                for number in some:
                    print(f"{number}", file=out, flush=True)
                    begun_s = time.process_time()
                    signal.setitimer(signal.ITIMER_PROF, limit)  # of processor time; SIGPROF ends the process
                    signal.alarm(_BUSY * limit)
                    forget_all()
                    try:
                        kind, detail = attempt(number)
                    except Exception:
                        kind, detail = FAILED, traceback.format_exc()
                    spent_s = time.process_time() - begun_s
                    print(f"{number}\t{kind}\t{detail[-2000:]!r}\t{spent_s}", file=out, flush=True)

        ended = child(work, folder, limit * size)
        lines = [line.split("\t") for line in record.read_text().splitlines()]
        begun = [int(line[0]) for line in lines]
        for number, *outcome in lines:
            if outcome:
                yield int(number), (outcome[0], outcome[1]), float(outcome[2])
        if ended.code != 0:
            if not begun:
                raise SystemExit(f"trials: a child could not begin: {ended}")
            hung = ended.code in (None, -signal.SIGPROF, -signal.SIGALRM)
            what = "hung" if hung else f"ended with {ended.code}"
            yield begun[-1], (FAILED, f"{what}: {ended.said[-500:]}"), 0.0
        left = [number for number in left if number not in begun]


def rng(seed: int, *keys: object) -> random.Random:
    """Random numbers of one attempt, which can be made again alone."""
    text = ":".join(map(str, (seed, *keys)))
    return random.Random(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]))
