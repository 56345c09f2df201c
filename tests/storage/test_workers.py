"""Dask workers that share nothing but a bucket: each sees a cache folder of its own under the same path."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from bucket import MARKET, assert_same, run_here

from augment.base.storage import objects
from augment.config import Config

pytest.importorskip("distributed")
pytest.importorskip("prefect_dask")


def _may_mount() -> bool:
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


@pytest.fixture
def cluster(tmp_path, s3, monkeypatch):
    """The address of a scheduler with two workers, and the processes of these."""
    if not shutil.which("unshare") or not _may_mount():
        pytest.skip("a cache folder for each worker needs unshare --mount, as root")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    file = tmp_path / "scheduler.json"
    log = open(tmp_path / "dask.log", "ab")  # noqa: SIM115  closed below

    def start(*command: str) -> subprocess.Popen:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    python = [sys.executable, "-m"]
    scheduler = start(*python, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
                      "--scheduler-file", str(file))  # fmt: skip
    alone = 'mount -t tmpfs none "$AUGMENT_CACHE" && exec "$0" "$@"'
    workers = [
        start("unshare", "--mount", "--propagation", "private", "sh", "-c", alone, *python,
              "distributed.cli.dask_worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard",
              "--no-nanny", "--local-directory", str(tmp_path / f"worker-{number}"))
        for number in range(2)
    ]  # fmt: skip
    while not file.exists():
        time.sleep(0.2)
    yield json.loads(file.read_text())["address"], workers
    for process in (*workers, scheduler):
        process.kill()
        process.wait()
    log.close()


@pytest.mark.server
@pytest.mark.usefixtures("prefect_harness")
def test_two_machines_and_a_bucket_one_of_them_lost(s3, cluster, market, tiny_config, tmp_path, monkeypatch):
    """1 % of the requests fail, and one worker is killed while it writes synthetic images."""
    from flows.pipeline import pipeline_flow

    monkeypatch.setattr("sys.argv", ["augment", "run"])
    address, workers = cluster
    objects.remove_below("s3://lab/shared")
    tiny = run_here(market, tiny_config, tmp_path / "run", until="synthetic")

    flow = tiny["flow"] | {"runner": "dask", "address": address, "workers": 2}
    there = Config.model_validate(tiny | {"output": "s3://lab/shared", "data": MARKET, "flow": flow})
    ended = threading.Event()

    def kill_one() -> None:
        fs, path = objects._fs("s3://lab/shared/synthetic/images")
        while not ended.is_set() and len(fs.find(path)) < 10:
            time.sleep(0.05)
        os.killpg(workers[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    s3.faults = 0.01
    pipeline_flow(there, until="synthetic")
    ended.set()
    killer.join()
    s3.faults = 0
    assert workers[0].wait() == -signal.SIGKILL and workers[1].poll() is None
    # What workers have written was in their own folders only.
    assert not list(Path(os.environ["AUGMENT_CACHE"]).glob("s3/lab/shared/synthetic/images/*"))
    print(f"\n{s3.seen} requests, {dict(s3.failed)}")
    assert_same("s3://lab/shared", tmp_path / "run")
