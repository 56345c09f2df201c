"""Shards in the workers of a Dask cluster: what that costs beside plain processes, and what kills do to the result.

    python benchmarks/clusters.py overhead --rows 200000 --folder /tmp/clusters
    python benchmarks/clusters.py killed --rows 200000 --folder /tmp/clusters

The stage is ``images`` of hard links to small JPEGs. overhead: the same shards in a pool of four processes and in a
flow on a Dask cluster of four; the processor time of all processes together, and the time that passed. killed: a
scheduler and four workers; every 20 s one worker is killed (SIGKILL), and once the scheduler, which is started again;
where a run ends with an error, the same command is given again. The table is then compared with that of one process.
"""

import argparse
import multiprocessing
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import yaml
from million_rows import configuration, prepare

from augment.pipeline.stages import run_stage, stage_named

PROCESSES = 4
EVERY_S = 20.0
RUN = """
import sys
from augment.cli import main
arguments, sys.argv = sys.argv[1:], ["augment", "images", "config.yaml"]  # the command that the table records
main(arguments)
"""


def run(folder: Path, output: str, *settings: str) -> subprocess.CompletedProcess:
    """``augment images`` with its output in a folder of its own."""
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(configuration(folder).model_dump(mode="json", exclude_unset=True)))
    arguments = ["images", str(config), "--set", f"output={folder / output}"]
    for setting in settings:
        arguments += ["--set", setting]
    return subprocess.run([sys.executable, "-c", RUN, *arguments], stderr=subprocess.PIPE, text=True)


def in_a_pool(folder: Path) -> None:
    config = configuration(folder).model_copy(update={"output": folder / "pool"})
    sys.argv = ["augment", "images", "config.yaml"]
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        run_stage(stage_named("images"), config, pool.imap_unordered)
        pool.close()
        pool.join()


def overhead(folder: Path, rows: int) -> None:
    times = {}
    for name in ("pool", "dask"):
        command = [sys.executable, __file__, "part", "--rows", str(rows), "--folder", folder.parent, "--part", name]
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times[name] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"{name:>6}: {times[name]:7.1f} s of processors, {time.monotonic() - start:7.1f} s passed", flush=True)
    print(f"overhead: {times['dask'] / times['pool'] - 1:.1%}; tables "
          + ("of the same bytes" if same(folder, "pool", "dask") else "DIFFER"))  # fmt: skip


def same(folder: Path, *outputs: str) -> bool:
    return len({(folder / output / "images" / "images.parquet").read_bytes() for output in outputs}) == 1


def killed(folder: Path) -> None:
    shutil.rmtree(folder / "killed", ignore_errors=True)
    run(folder, "one", "flow.workers=1").check_returncode()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "10"}

    def start(*arguments: str) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]],
                                env=environment, stderr=subprocess.DEVNULL)  # fmt: skip

    def scheduler() -> subprocess.Popen:
        return start("scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--no-dashboard")

    def workers() -> subprocess.Popen:
        return start("worker", address, "--nworkers", str(PROCESSES), "--nthreads", "1", "--no-dashboard")

    running = [scheduler(), workers()]
    ended, deaths = threading.Event(), []

    def kill() -> None:
        parts = folder / "killed" / "images" / ".parts"
        while not ended.is_set() and not list(parts.glob("*/*.parquet")):
            time.sleep(0.1)
        due = time.monotonic() + EVERY_S
        while not ended.wait(1):
            if running[1].poll() is not None:  # they give up some time after their scheduler
                running[1] = workers()
            if time.monotonic() < due:
                continue
            due += EVERY_S
            if len(deaths) == 2:  # the scheduler, in the middle
                running[0].kill()
                deaths.append("scheduler")
                time.sleep(5)
                running[0] = scheduler()
            elif children := children_of(running[1].pid):
                with suppress(ProcessLookupError):
                    os.kill(random.choice(children), signal.SIGKILL)
                    deaths.append("worker")

    killer = threading.Thread(target=kill)
    killer.start()
    runs, code = 0, None
    try:
        while code != 0:
            done = run(folder, "killed", "flow.runner=dask", f"flow.address={address}")
            runs, code = runs + 1, done.returncode
            if code:
                print(f"run {runs} ended with {code}: {done.stderr.strip().splitlines()[-1]}", flush=True)
    finally:
        ended.set()
        killer.join()
        for process in running:
            process.terminate()
            process.wait()
    print(f"{deaths.count('worker')} workers and {deaths.count('scheduler')} schedulers killed, {runs} runs; table "
          + ("of the same bytes" if same(folder, "one", "killed") else "DIFFERS"))  # fmt: skip


def children_of(parent: int) -> list[int]:
    """Its worker processes."""
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            fields = Path("/proc", process, "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and b"spawn_main" in Path("/proc", process, "cmdline").read_bytes():
                found.append(int(process))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["overhead", "killed", "part"])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.folder.absolute() / str(options.rows)
    prepare(folder, options.rows)
    if options.what == "overhead":
        overhead(folder, options.rows)
    elif options.what == "killed":
        killed(folder)
    elif options.part == "pool":
        in_a_pool(folder)
    else:
        run(folder, "dask", "flow.runner=dask", f"flow.workers={PROCESSES}").check_returncode()


if __name__ == "__main__":
    main()
