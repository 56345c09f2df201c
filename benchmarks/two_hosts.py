"""Two hosts with a shared folder, as network namespaces of this machine; the link between them is cut for 30 s.

    python benchmarks/two_hosts.py --rows 50000 --folder /tmp/hosts        # as root, with iproute2

On the one: Prefect's server, Dask's scheduler and the run. On the other: a Dask worker, which writes the shards. The
link is cut when the first shard is there. The table is then compared with that of a run in one process.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clusters import run, same
from million_rows import prepare

SWITCH = "augment-switch"  # the namespace of the bridge that they are plugged into
HOSTS = {"augment-one": "10.77.0.1", "augment-two": "10.77.0.2"}
CUT_S = 30
# Dask would give a connection up that is silent for 30 s.
PATIENCE = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "300s", "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "300s"}
API, SCHEDULER = "http://10.77.0.1:4200/api", "tcp://10.77.0.1:8786"


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@contextmanager
def hosts() -> Iterator[None]:
    try:
        ip("netns", "add", SWITCH)
        ip("-n", SWITCH, "link", "add", "bridge", "type", "bridge")
        ip("-n", SWITCH, "link", "set", "bridge", "up")
        for host, address in HOSTS.items():
            ip("netns", "add", host)
            ip("-n", SWITCH, "link", "add", host, "type", "veth", "peer", "name", "eth0", "netns", host)
            ip("-n", SWITCH, "link", "set", host, "master", "bridge", "up")
            ip("-n", host, "addr", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", host, "link", "set", device, "up")
        yield
    finally:
        for host in (*HOSTS, SWITCH):
            subprocess.run(["ip", "netns", "delete", host])


@contextmanager
def started(host: str, log: Path, *command: str) -> Iterator[subprocess.Popen]:
    """A command on a host; terminated at the end."""
    environment = os.environ | PATIENCE | {"PREFECT_API_URL": API, "PREFECT_HOME": str(log.parent / f"prefect-{host}")}
    with log.open("ab") as file:
        process = subprocess.Popen(["ip", "netns", "exec", host, sys.executable, *command], env=environment,
                                   stdout=file, stderr=file)  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def answers(host: str) -> bool:
    asked = f"import httpx; httpx.get('{API}/health', timeout=5).raise_for_status()"
    done = subprocess.run(["ip", "netns", "exec", host, sys.executable, "-c", asked], capture_output=True)
    return done.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--flow", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.folder.absolute() / str(options.rows)
    if options.flow:  # on the first host
        done = run(folder, "hosts", "flow.runner=dask", f"flow.address={SCHEDULER}", "flow.shard_size=1000")
        print(done.stderr.strip().splitlines()[-1], flush=True)
        raise SystemExit(done.returncode)
    prepare(folder, options.rows)
    run(folder, "one", "flow.workers=1").check_returncode()
    shutil.rmtree(folder / "hosts", ignore_errors=True)
    one, two = HOSTS
    port = SCHEDULER.rpartition(":")[2]
    with (
        hosts(),
        started(one, folder / "server.log", "-m", "prefect", "server", "start", "--host", HOSTS[one], "--no-ui"),
        started(one, folder / "dask.log", "-m", "distributed.cli.dask_scheduler", "--host", HOSTS[one], "--port", port),
        started(two, folder / "dask.log", "-m", "distributed.cli.dask_worker", SCHEDULER, "--nthreads", "1"),
    ):
        while not answers(two):
            time.sleep(1)
        with started(one, folder / "flow.log", __file__, "--flow", "--rows", str(options.rows), "--folder",
                     str(options.folder)) as flow:  # fmt: skip
            parts = folder / "hosts" / "images" / ".parts"
            while not (before := len(list(parts.glob("*/*.parquet")))):
                time.sleep(0.1)
            ip("-n", SWITCH, "link", "set", two, "down")
            time.sleep(CUT_S)
            during = len(list(parts.glob("*/*.parquet")))
            ip("-n", SWITCH, "link", "set", two, "up")
            print(f"cut with {before} of {options.rows // 1000} shards written, restored after {CUT_S} s with {during}")
            start = time.monotonic()
            code = flow.wait()
            print(f"the run ended with {code}, {time.monotonic() - start:.0f} s after that")
    print((folder / "flow.log").read_text().strip().splitlines()[-1])
    print("table " + ("of the same bytes" if same(folder, "one", "hosts") else "DIFFERS"))


if __name__ == "__main__":
    main()
