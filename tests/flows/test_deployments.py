"""On a real Prefect server: runs started through its API, cancelled, their machine killed, taken up by the next."""

import shutil
import time
from collections.abc import Iterator
from datetime import datetime

import httpx
import pytest
import yaml
from browser import By, look, needs_chromium, open_chromium
from prefect_server import POSTGRESQL, ROOT, Server, assert_same_bytes, postgresql, started_by, wait_for

from augment.config import Config, load_config
from augment.pipeline.stages import STAGES, stages_until
from flows.serving import deployments

# (pattern of files, n): where the worker is killed, once in every stage
KILLS = [
    (r"images/\.parts/", 4), (r"poses/\.parts/", 3), (r"pairs/pairs\.parquet", 1), (r"gan/state-000004", 1),
    (r"synthetic/\.parts/", 3), (r"quality/metrics\.parquet", 1), (r"reid/\.parts/", 2),
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """On PostgreSQL, where that is installed."""
    with postgresql() as database:
        server = Server(tmp_path_factory.mktemp("server"), database)
        with server.started():
            server.ask("POST", "/work_pools/", name="augment", type="process")
            server.command("deploy", "--name", "everything", "--name", "pairs", "--name", "reid")
            yield server


@pytest.fixture
def config(tiny_config, tmp_path) -> dict:
    teller = tmp_path / "tell.sh"
    teller.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/told.txt\n')
    teller.chmod(0o755)
    return tiny_config.model_dump(mode="json") | {
        "output": str(tmp_path / "run"), "flow": {"shard_size": 8, "notify": str(teller)},
    }  # fmt: skip


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
def test_two_runs_at_once_a_wrong_one_and_the_command_line(server, config, tmp_path, run_command, finished_run):
    if POSTGRESQL is not None:
        assert "postgresql" in server.environment["PREFECT_API_DATABASE_CONNECTION_URL"]
    form = server.ask("GET", "/deployments/name/augment/pairs")
    properties = form["parameter_openapi_schema"]["properties"]
    definitions = form["parameter_openapi_schema"]["definitions"]
    assert definitions["GanConfig"]["properties"]["system"]["enum"] == ["baseline", "dsc", "percloss", "full"]
    assert {"gan", "reid"} <= set(properties["until"]["anyOf"][0]["enum"])
    wrong = httpx.post(
        f"{server.address}/deployments/{form['id']}/create_flow_run",
        json={"parameters": {"config": config | {"pairs": {"test_pairs": 0}}}},
    )
    assert wrong.status_code == 409 and "minimum" in wrong.text  # refused before it is a run

    folders = [tmp_path / "one", tmp_path / "two"]
    with server.worker(limit=3):
        runs = [server.start(config | {"output": str(folder)}, "pairs") for folder in folders]
        nowhere = server.start(config | {"data": {"root": str(tmp_path / "nowhere")}}, "pairs")
        states = [server.final_state(run) for run in (*runs, nowhere)]
    assert [state["type"] for state in states] == ["COMPLETED", "COMPLETED", "FAILED"], states
    assert server.run(nowhere).run_count == 1  # trying again would not help
    begun, ended = ([datetime.fromisoformat(getattr(server.run(run), moment)) for run in runs]
                    for moment in ("start_time", "end_time"))  # fmt: skip
    assert max(begun) < min(ended)
    for folder in folders:
        assert_same_bytes(folder, finished_run, stages_until("pairs"), tmp_path / "again")
    assert server.run(runs[0]).name == "tiny: pairs"
    assert "augment" in server.run(runs[0]).tags
    progress = server.ask("GET", "/artifacts/images/latest")
    assert (progress["type"], progress["data"]) == ("progress", 100.0)
    (told,) = (tmp_path / "told.txt").read_text().splitlines()
    assert told.startswith("augment: tiny: pairs failed: ") and "nowhere" in told

    done = run_command(tmp_path, "pairs", "tiny.yaml", "--set", f"output={folders[0]}", "--engine", "local")
    assert done.returncode == 0 and done.stderr.count("up to date, reused") == 3, done.stderr


@pytest.mark.server
@needs_chromium
def test_a_run_from_the_form_of_the_page(server, config, tmp_path, finished_run):
    """Every field of the configuration goes through the form, which checks it by the JSON schema."""
    deployment = server.ask("GET", "/deployments/name/augment/pairs")["id"]
    server.ask("PATCH", f"/deployments/{deployment}", parameters={"config": config, "until": "pairs"})
    before = server.runs_of(deployment)
    with server.worker(), open_chromium() as page:
        look(page, 1280, 1600)
        page.get(f"http://127.0.0.1:{server.port}/deployments/deployment/{deployment}/run")

        def button():
            return [found for found in page.find_elements(By.TAG_NAME, "button") if found.text.strip() == "Submit"]

        (submit,) = wait_for(button, "the form")
        page.execute_script("arguments[0].scrollIntoView()", submit)
        submit.click()
        (run,) = wait_for(lambda: server.runs_of(deployment) - before, "the run")
        assert server.final_state(run)["type"] == "COMPLETED"
    assert_same_bytes(tmp_path / "run", finished_run, stages_until("pairs"), tmp_path / "again")


@pytest.mark.server
def test_cancelled_within_ten_seconds_though_two_trainings_are_at_work(server, config, tmp_path, finished_run):
    shutil.copytree(finished_run, tmp_path / "run")
    config["reid"] |= {"iterations": 100_000, "seeds": [0, 1]}
    config["flow"]["workers"] = 2
    with server.worker() as mark:
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


@pytest.fixture
def lost_machines(server) -> Iterator[None]:
    """The automation that a run is taken up by; after 40 s instead of 90: a sign of life comes every 30."""
    automation = yaml.safe_load((ROOT / "flows" / "automations.yaml").read_text())["automations"][0]
    automation["trigger"]["within"] = 40
    made = server.ask("POST", "/automations/", **automation)
    yield
    server.ask("DELETE", f"/automations/{made['id']}")


@pytest.mark.server
@pytest.mark.usefixtures("lost_machines")
def test_a_run_whose_worker_is_killed_in_every_stage(server, config, tmp_path, finished_run):
    run = server.start(config)
    for kill in KILLS:
        with server.worker(kill=kill) as mark:
            wait_for(lambda mark=mark: started_by(mark), "the worker")
            wait_for(lambda mark=mark: not started_by(mark), f"the death at {kill}", 900)
    with server.worker():
        state = server.final_state(run)
    assert state["type"] == "COMPLETED", state
    assert server.run(run).run_count == len(KILLS) + 1
    assert "gan: resuming" in (server.folder / "worker.log").read_text()
    assert_same_bytes(tmp_path / "run", finished_run, STAGES, tmp_path / "again")
    for image in (finished_run / "synthetic" / "images").iterdir():
        assert (tmp_path / "run" / "synthetic" / "images" / image.name).read_bytes() == image.read_bytes()
