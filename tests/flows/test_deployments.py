"""On a real Prefect server: runs started through its API, cancelled, their machine killed, taken up by the next."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import yaml

from augment.config import Config, load_config
from augment.pipeline.stages import STAGES
from flows.serving import deployments

pytestmark = pytest.mark.xdist_group("run")

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def wait_for(condition: Callable[[], object], what: str, limit_s: float = 120):
    """What the condition returns as soon as that is true."""
    end = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < end, f"{what} did not come within {limit_s} s"
        time.sleep(0.2)
    return found


class Server:
    """A Prefect server on a free port, and what the tests ask of it."""

    def __init__(self, folder: Path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.folder, self.address = folder, f"http://127.0.0.1:{port}/api"
        outside = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
        self.environment = outside | {
            "PREFECT_HOME": str(folder / "prefect"), "PREFECT_API_URL": self.address, "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        self.port = port

    def command(self, *arguments: str) -> None:
        done = subprocess.run([sys.executable, "-m", "prefect", "--no-prompt", *arguments], cwd=ROOT, text=True,
                              env=self.environment, capture_output=True, timeout=120)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    @contextmanager
    def process(self, *arguments: str) -> Iterator[str]:
        """``prefect ...``, killed with SIGKILL at the end, and so is all that it started. Yields its mark."""
        mark = f"AUGMENT_TEST_PROCESS={uuid.uuid4()}"
        environment = self.environment | dict([mark.split("=")])
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

    def ask(self, method: str, path: str, **body) -> dict | list:
        answer = httpx.request(method, self.address + path, json=body or None, timeout=30)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else {}

    def start(self, config: dict, until: str) -> str:
        """Start a run; returns its id."""
        deployment = self.ask("GET", f"/deployments/name/augment/{until}")
        parameters = {"config": config, "until": until}
        return self.ask("POST", f"/deployments/{deployment['id']}/create_flow_run", parameters=parameters)["id"]

    def run(self, run: str) -> SimpleNamespace:
        return SimpleNamespace(**self.ask("GET", f"/flow_runs/{run}"))

    def at_work(self, stage: str) -> int:
        """How many shards of a stage are running."""
        running = {"state": {"type": {"any_": ["RUNNING"]}}, "name": {"like_": f"{stage} "}}
        return len(self.ask("POST", "/task_runs/filter", task_runs=running))

    def final_state(self, run: str) -> dict:
        def ended():
            state = self.run(run).state
            return state if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

        return wait_for(ended, "the end of the run", 240)


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


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))

    def healthy():
        try:
            return httpx.get(f"{server.address}/health", timeout=5).is_success
        except httpx.TransportError:
            return False

    with server.process("server", "start", "--port", str(server.port), "--no-ui"):
        wait_for(healthy, "the server", 300)
        server.command("work-pool", "create", "--type", "process", "augment")
        server.command("deploy", "--name", "pairs", "--name", "gan", "--name", "reid")
        yield server


@pytest.fixture
def config(tiny_config, tmp_path) -> dict:
    teller = tmp_path / "tell.sh"
    teller.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/told.txt\n')
    teller.chmod(0o755)
    return tiny_config.model_dump(mode="json") | {
        "output": str(tmp_path / "run"), "flow": {"shard_size": 8, "notify": str(teller)},
    }  # fmt: skip


def worker(server: Server):
    return server.process("worker", "start", "--pool", "augment", "--limit", "1")


def test_the_file_of_deployments_names_every_stage_and_the_demo():
    page = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    found = {deployment["name"]: deployment for deployment in page["deployments"]}
    assert list(found) == ["everything", *(stage.name for stage in STAGES)]
    demo = load_config(ROOT / "configs" / "demo.yaml")
    for name, deployment in found.items():
        assert Config.model_validate(deployment["parameters"]["config"]) == demo
        assert deployment["parameters"].get("until", "everything") == name
        assert deployment["work_pool"] == {"name": "augment"}
    assert [(deployment.name, deployment.parameters["until"]) for deployment in deployments(demo)] == [
        (name, deployment["parameters"].get("until")) for name, deployment in found.items()
    ]


def test_serve_needs_a_server(monkeypatch):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from augment.base.errors import UsageError
    from flows.serving import serve_stages

    with temporary_settings(restore_defaults={PREFECT_API_URL}), pytest.raises(UsageError, match="prefect server st"):
        serve_stages(Config(), 1)


@pytest.mark.slow
def test_page_and_command_line_reuse_each_other_s_work(server, config, tmp_path, run_command):
    form = server.ask("GET", "/deployments/name/augment/pairs")["parameter_openapi_schema"]
    assert form["definitions"]["GanConfig"]["properties"]["system"]["enum"] == ["baseline", "dsc", "percloss", "full"]
    assert {"gan", "reid"} <= set(form["properties"]["until"]["anyOf"][0]["enum"])
    wrong = httpx.post(
        f"{server.address}/deployments/{server.ask('GET', '/deployments/name/augment/pairs')['id']}/create_flow_run",
        json={"parameters": {"config": config | {"pairs": {"test_pairs": 0}}}},
    )
    assert wrong.status_code == 409 and "minimum" in wrong.text  # refused before it is a run

    with worker(server):
        run = server.start(config, "pairs")
        state = server.final_state(run)
        assert state["type"] == "COMPLETED", state
        assert server.run(run).name == "tiny: pairs"
        assert "augment" in server.run(run).tags
        progress = server.ask("GET", "/artifacts/images/latest")
        assert (progress["type"], progress["data"]) == ("progress", 100.0)

        done = run_command(tmp_path, "pairs", "tiny.yaml", "--set", f"output={tmp_path / 'run'}", "--engine", "local")
        assert done.returncode == 0 and done.stderr.count("up to date, reused") == 3, done.stderr

        nowhere = server.start(config | {"data": {"root": str(tmp_path / "nowhere")}}, "pairs")
        assert server.final_state(nowhere)["type"] == "FAILED"
        assert server.run(nowhere).run_count == 1  # trying again would not help
    (told,) = (tmp_path / "told.txt").read_text().splitlines()
    assert told.startswith("augment: tiny: pairs failed: ") and "nowhere" in told


@pytest.mark.server
def test_cancelled_within_ten_seconds_though_two_trainings_are_at_work(server, config, tmp_path, finished_run):
    shutil.copytree(finished_run, tmp_path / "run")
    config["reid"] |= {"iterations": 100_000, "seeds": [0, 1]}
    config["flow"]["workers"] = 2
    with worker(server) as mark:
        run = server.start(config, "reid")
        wait_for(lambda: server.at_work("reid") == 2, "two trainings")
        time.sleep(3)  # deep in their iterations
        server.ask("POST", f"/flow_runs/{run}/set_state", state={"type": "CANCELLING", "name": "Cancelling"})
        start = time.monotonic()
        wait_for(lambda: not started_by(mark, "prefect.engine"), "the end of the process", 10)
        assert time.monotonic() - start < 10
        assert server.final_state(run)["type"] == "CANCELLED"
    (told,) = (tmp_path / "told.txt").read_text().splitlines()
    assert told.startswith("augment: tiny: reid cancel")


@pytest.mark.server
def test_the_next_worker_takes_up_a_run_whose_machine_was_killed(server, config, tmp_path, finished_run):
    automation = yaml.safe_load((ROOT / "flows" / "automations.yaml").read_text())["automations"][0]
    automation["trigger"]["within"] = 40  # of the 90 s, so that the test is shorter; a sign of life comes every 30
    server.ask("POST", "/automations/", **automation)
    shutil.copytree(finished_run, tmp_path / "run")
    config["gan"] |= {"iterations": 60}
    checkpoints = tmp_path / "run" / "gan"
    before = set(checkpoints.rglob("*"))
    with worker(server):
        run = server.start(config, "gan")
        wait_for(lambda: [file for file in checkpoints.rglob("*.pt") if file not in before], "a checkpoint")
    assert server.run(run).state["type"] == "RUNNING"  # as far as the server knows
    with worker(server):
        state = server.final_state(run)
    assert state["type"] == "COMPLETED", state
    assert "gan: going on" in (server.folder / "worker.log").read_text()
