"""A Prefect server as a company has one, on PostgreSQL, with workers that can be killed; and how runs are compared."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import httpx

from augment.manifest import read_manifest, write_manifest
from augment.pipeline.stages import Stage

ROOT = Path(__file__).parents[2]
POSTGRESQL = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)  # Debian's

# Imported by every Python process that has its folder on the path: kills the process and its parent (a run and its
# worker) where the process would put its n-th file that matches a pattern in place.
KILLER = """
import json, os, re, signal

if pattern := os.environ.get("AUGMENT_TEST_KILL"):
    pattern, count = json.loads(pattern)
    put_in_place, seen = os.replace, []

    def replace(source, target, **others):
        if re.search(pattern, str(target)):
            seen.append(target)
            if len(seen) == count:
                os.kill(os.getppid(), signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)
        put_in_place(source, target, **others)

    os.replace = replace
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(condition: Callable[[], object], what: str, limit_s: float = 120):
    """What the condition returns as soon as that is true."""
    end = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < end, f"{what} did not come within {limit_s} s"
        time.sleep(0.2)
    return found


class Server:
    """A Prefect server on a free port, and what the tests ask of it."""

    def __init__(self, folder: Path, database: str | None = None):
        """``database``: its address; None: Prefect's own choice, a file of SQLite."""
        self.folder, self.port = folder, free_port()
        self.address = f"http://127.0.0.1:{self.port}/api"
        outside = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
        self.environment = outside | {
            "PREFECT_HOME": str(folder / "prefect"), "PREFECT_API_URL": self.address,
            "PREFECT_UI_API_URL": self.address, "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PYTHONPATH": f"{ROOT}:{folder}", "OMP_NUM_THREADS": "1",
        } | ({"PREFECT_API_DATABASE_CONNECTION_URL": database} if database else {})  # fmt: skip
        (folder / "sitecustomize.py").write_text(KILLER)

    def command(self, *arguments: str) -> None:
        done = subprocess.run([sys.executable, "-m", "prefect", "--no-prompt", *arguments], cwd=ROOT, text=True,
                              env=self.environment, capture_output=True, timeout=120)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    @contextmanager
    def process(self, *arguments: str, kill: tuple[str, int] | None = None) -> Iterator[str]:
        """``prefect ...``, killed with SIGKILL at the end, and so is all that it started. Yields its mark.

        ``kill``: earlier, by :data:`KILLER`.
        """
        mark = f"AUGMENT_TEST_PROCESS={uuid.uuid4()}"
        environment = self.environment | dict([mark.split("=")])
        if kill:
            environment["AUGMENT_TEST_KILL"] = json.dumps(kill)
        with (self.folder / f"{arguments[0]}.log").open("ab") as file:
            process = subprocess.Popen([sys.executable, "-m", "prefect", *arguments], cwd=ROOT, env=environment,
                                       stdout=file, stderr=file)  # fmt: skip
        try:
            yield mark
        finally:
            while processes := started_by(mark):  # again: one may have been starting another
                for pid in processes:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                process.poll()
                time.sleep(0.05)

    @contextmanager
    def started(self) -> Iterator[None]:
        """The server itself, answering."""

        def healthy():
            try:
                return httpx.get(f"{self.address}/health", timeout=5).is_success
            except httpx.TransportError:
                return False

        with self.process("server", "start", "--port", str(self.port)):
            wait_for(healthy, "the server", 300)
            yield

    def worker(self, limit: int = 1, kill: tuple[str, int] | None = None):
        """A worker of the pool, as :meth:`process`."""
        return self.process("worker", "start", "--pool", "augment", "--limit", str(limit), kill=kill)

    def ask(self, method: str, path: str, **body) -> dict | list:
        answer = httpx.request(method, self.address + path, json=body or None, timeout=30)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else {}

    def start(self, config: dict, until: str | None = None) -> str:
        """Start a run; returns its id."""
        deployment = self.ask("GET", f"/deployments/name/augment/{until or 'everything'}")
        parameters = {"config": config, "until": until}
        return self.ask("POST", f"/deployments/{deployment['id']}/create_flow_run", parameters=parameters)["id"]

    def run(self, run: str) -> SimpleNamespace:
        return SimpleNamespace(**self.ask("GET", f"/flow_runs/{run}"))

    def runs_of(self, deployment: str) -> set[str]:
        """The ids of a deployment's runs; ``deployment`` is its id."""
        return {run["id"] for run in self.ask("POST", "/flow_runs/filter",
                                              flow_runs={"deployment_id": {"any_": [deployment]}})}  # fmt: skip

    def at_work(self, stage: str) -> int:
        """How many shards of a stage are running."""
        running = {"state": {"type": {"any_": ["RUNNING"]}}, "name": {"like_": f"{stage} "}}
        return len(self.ask("POST", "/task_runs/filter", task_runs=running))

    def final_state(self, run: str) -> dict:
        def ended():
            state = self.run(run).state
            return state if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

        return wait_for(ended, "the end of the run", 900)


def started_by(mark: str, name: str = "") -> list[int]:
    """Processes with this mark in their environment, whatever their parent, and ``name`` in their command."""
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            environment = Path("/proc", process, "environ").read_bytes().split(b"\0")
            command = Path("/proc", process, "cmdline").read_bytes()
        except OSError:
            continue
        if mark.encode() in environment and name.encode() in command:
            found.append(int(process))
    return found


@contextmanager
def postgresql() -> Iterator[str | None]:
    """A new PostgreSQL on a free port, run by an ordinary user; yields its address, None where it is not installed."""
    if POSTGRESQL is None:
        yield None
        return
    root = os.getuid() == 0  # it refuses to run as root
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if root else {}
    folder, port = Path(tempfile.mkdtemp(prefix="augment-postgresql-")), free_port()
    if root:
        shutil.chown(folder, "postgres", "postgres")
    data = folder / "data"
    subprocess.run([POSTGRESQL / "initdb", "-D", data, "-U", "augment", "--auth=trust"], check=True, cwd=folder,
                   stdout=subprocess.DEVNULL, **user)  # fmt: skip
    with (folder / "log").open("wb") as log:
        database = subprocess.Popen([POSTGRESQL / "postgres", "-D", data, "-p", str(port), "-k", folder], cwd=folder,
                                    stdout=log, stderr=log, **user)  # fmt: skip
    try:
        ready = [POSTGRESQL / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        wait_for(lambda: subprocess.run(ready).returncode == 0, "PostgreSQL")
        yield f"postgresql+asyncpg://augment@127.0.0.1:{port}/postgres"
    finally:
        database.send_signal(signal.SIGINT)  # its fast shutdown
        database.wait(60)
        shutil.rmtree(folder)


def assert_same_bytes(run: Path, expected: Path, stages: Sequence[Stage], scratch: Path) -> None:
    """The tables of two runs, but for the recorded command: a table is written again with that of the other."""
    for stage in stages:
        found, other = (read_manifest(stage.path(folder)) for folder in (run, expected))
        origin = found.provenance | {"command": other.provenance["command"]}
        again = write_manifest(scratch / f"{stage.name}.parquet", stage.table, found.table, origin, found.files)
        assert again.path.read_bytes() == other.path.read_bytes(), stage.name
