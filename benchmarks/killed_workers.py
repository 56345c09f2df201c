"""A stage on a Dask cluster of four processes whose workers, and then whose scheduler, are killed while it runs.

    python benchmarks/killed_workers.py --rows 300000 --folder /tmp/killed

First nothing happens. Then, in a cluster of the run's own, one worker is killed (SIGKILL) every 20 s until the run
ends. Then a scheduler with an address and four workers, which are started again when they end, as a service manager
does; the scheduler is killed once a third of the shards is written. Tables are compared with that of a run in one
process.
"""

import argparse
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from clusters import PROCESSES, run, same
from million_rows import prepare

EVERY_S = 20


def parts(folder: Path, output: str) -> int:
    return len(list((folder / output / "images" / ".parts").glob("*/*.parquet")))


def workers_of(program: int) -> list[psutil.Process]:
    """The processes of a local cluster: forks of the fork server."""
    found = []
    for child in psutil.Process(program).children(recursive=True):
        with suppress(psutil.Error):
            if all("multiprocessing.forkserver" in " ".join(of.cmdline()) for of in (child, child.parent())):
                found.append(child)
    return found


def timed(folder: Path, output: str, *settings: str, meanwhile: Callable[[threading.Event], None]) -> None:
    """A run on Dask with something that happens to it; prints how it ended."""
    shutil.rmtree(folder / output, ignore_errors=True)
    ended, start = threading.Event(), time.monotonic()
    thread = threading.Thread(target=meanwhile, args=[ended])
    thread.start()
    done = run(folder, output, "flow.runner=dask", "flow.shard_size=1000", *settings)
    ended.set()
    thread.join()
    for line in done.stderr.splitlines():
        if "cluster lost" in line or done.returncode:
            print(line)
    done.check_returncode()
    print(f"{output}: the run took {time.monotonic() - start:.0f} s, table "
          + ("of the same bytes" if same(folder, "one", output) else "DIFFERS"), flush=True)  # fmt: skip


def killing_workers(seed: int) -> Callable[[threading.Event], None]:
    def kill(ended: threading.Event) -> None:
        choice, killed = random.Random(seed), 0
        while not ended.wait(EVERY_S):
            workers = sorted(workers_of(os.getpid()), key=lambda process: process.pid)
            if workers:
                choice.choice(workers).send_signal(signal.SIGKILL)
                killed += 1
        print(f"{killed} workers were killed, one every {EVERY_S} s")

    return kill


def free_port() -> int:
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return any_port.getsockname()[1]


class Cluster:
    """A scheduler and workers as programs of their own, each started again when it ends."""

    def __init__(self, log: Path) -> None:
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self._log, self._closed = log.open("ab"), threading.Event()
        self.scheduler: subprocess.Popen | None = None
        port = self.address.rpartition(":")[2]
        commands = [["dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"]]
        commands += [["dask_worker", self.address, "--nthreads", "1", "--no-dashboard"]] * PROCESSES
        self._threads = [threading.Thread(target=self._keep, args=command) for command in commands]

    def _keep(self, program: str, *arguments: str) -> None:
        while not self._closed.is_set():
            command = [sys.executable, "-m", f"distributed.cli.{program}", *arguments]
            process = subprocess.Popen(command, stdout=self._log, stderr=self._log, start_new_session=True)
            if program == "dask_scheduler":
                self.scheduler = process
            while process.poll() is None and not self._closed.wait(0.5):
                pass
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def __enter__(self) -> "Cluster":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._closed.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def killing_the_scheduler(folder: Path, rows: int) -> Iterator[tuple[str, Callable[[threading.Event], None]]]:
    def kill(ended: threading.Event) -> None:
        while not ended.wait(0.2):
            if (written := parts(folder, "scheduler")) >= rows // 3000:
                cluster.scheduler.send_signal(signal.SIGKILL)
                print(f"the scheduler was killed with {written} of {rows // 1000} shards written")
                return

    with Cluster(folder / "dask.log") as cluster:
        yield cluster.address, kill


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = options.folder.absolute() / str(options.rows)
    prepare(folder, options.rows)
    shutil.rmtree(folder / "one", ignore_errors=True)
    run(folder, "one", "flow.workers=1").check_returncode()
    timed(folder, "undisturbed", f"flow.workers={PROCESSES}", meanwhile=lambda ended: None)
    timed(folder, "workers", f"flow.workers={PROCESSES}", meanwhile=killing_workers(options.seed))
    with killing_the_scheduler(folder, options.rows) as (address, kill):
        timed(folder, "scheduler", f"flow.address={address}", f"flow.workers={PROCESSES}", meanwhile=kill)


if __name__ == "__main__":
    main()
