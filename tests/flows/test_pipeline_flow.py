"""The flows: same tables as the local engine, one task a shard, reuse that shows, errors that come through."""

import errno
import threading
from types import SimpleNamespace

import pytest
from prefect.client.orchestration import get_client

from augment.base.errors import AugmentError, refusal
from augment.base.randomness import RANDOM_STATE
from augment.config import Config, load_config
from augment.gan.generators import with_start
from augment.pipeline import stages as pipeline
from augment.pipeline.stages import run_local
from augment.pipeline.times import read_times
from flows import runners
from flows.runners import ClusterLost

pytestmark = pytest.mark.usefixtures("prefect_harness")


def with_flow(config: Config, **flow: object) -> Config:
    return Config.model_validate(config.model_dump() | {"flow": config.flow.model_dump() | flow})


def task_names(flow_run_id) -> list[str]:
    from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterFlowRunId

    with get_client(sync_client=True) as client:
        wanted = TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[flow_run_id]))
        return sorted(run.name for run in client.read_task_runs(task_run_filter=wanted))


@pytest.mark.parametrize("workers", [1, 3])
def test_same_tables_as_the_local_engine(tiny_config, tmp_path, workers, monkeypatch):
    from flows.pipeline import pipeline_flow

    monkeypatch.setattr("sys.argv", ["augment", "run"])
    local = Config.model_validate(tiny_config.model_dump() | {"output": str(tmp_path / "local")})
    run_local(local, until="pairs")
    done = pipeline_flow(with_flow(tiny_config, workers=workers, shard_size=10), until="pairs")
    assert list(done) == ["images", "poses", "pairs"]
    for stage in pipeline.stages_until("pairs"):
        assert stage.path(tiny_config.folder).read_bytes() == stage.path(local.folder).read_bytes()


def test_quality_is_measured_beside_the_stages_after_it(tiny_config, monkeypatch, capsys):
    """Its failure takes nothing from them, and they do not wait for it."""
    from flows import pipeline as flows

    run_stage, quality_begun, reid_begun = flows.run_stage, threading.Event(), threading.Event()

    def broken(stage, *arguments):
        if stage.name == "quality":
            raise AugmentError("no scores today")
        return run_stage(stage, *arguments)

    def waiting(stage, *arguments):
        if stage.name == "synthetic":
            assert quality_begun.wait(120)
        elif stage.name == "reid":
            reid_begun.set()
        elif stage.name == "quality":
            quality_begun.set()
            assert reid_begun.wait(120)
            assert RANDOM_STATE.locked()  # or its networks would change the weights of trainings in this process
        return run_stage(stage, *arguments)

    config = with_flow(tiny_config, workers=2)
    monkeypatch.setattr(flows, "run_stage", broken)
    with pytest.raises(AugmentError, match="no scores today"):
        flows.pipeline_flow(config)
    assert pipeline.stage_named("reid").path(config.folder).is_file()
    said = capsys.readouterr().err  # at once, and no stage is said to be at work that is not
    assert said.index("quality failed: no scores today") < said.index("reid: done") and "Waiting for" not in said
    monkeypatch.setattr(flows, "run_stage", waiting)
    done = flows.pipeline_flow(config)
    assert list(done) == [stage.name for stage in pipeline.STAGES]
    assert {name for name, stage in done.items() if not stage["reused"]} == {"quality"}
    assert set(read_times(config.folder)) == set(done)


def test_reuse_shows_as_state_and_a_shard_is_a_task(tiny_config):
    from flows.pipeline import STAGE_FLOWS

    images = STAGE_FLOWS["images"]
    first = images(tiny_config, return_state=True)
    assert (first.name, first.type) == ("Completed", "COMPLETED")
    assert task_names(first.state_details.flow_run_id) == [f"images {k} of 7" for k in range(1, 8)]  # 49 images, by 8
    second = images(tiny_config, return_state=True)
    assert (second.name, second.type) == ("Reused", "COMPLETED")
    assert second.result()["reused"] is True
    assert second.result()["digest"] == first.result()["digest"]
    assert task_names(second.state_details.flow_run_id) == []


def test_a_start_is_resolved_and_the_folder_is_a_runs(tiny_config, tmp_path):
    """As a deployment passes it: only what its user gave."""
    from flows.pipeline import STAGE_FLOWS

    data = tiny_config.data.model_dump(mode="json", exclude_unset=True)
    given = {"output": str(tmp_path / "run"), "data": data, "gan": {"start": "market1501", "iterations": 0}}
    STAGE_FLOWS["images"](Config.model_validate(given))
    kept = load_config(tmp_path / "run" / "config.yaml")
    assert kept.gan.width == 0.25 and with_start(kept) == kept
    run_local(kept, until="images")  # goes on in the same folder


def test_a_stage_alone_says_what_it_lacks(tiny_config):
    from flows.pipeline import STAGE_FLOWS

    with pytest.raises(AugmentError, match=r"images\.parquet: no such manifest\. Run the stage that makes it first"):
        STAGE_FLOWS["pairs"](tiny_config)


def test_errors_come_through_as_they_are(tiny_config, tmp_path):
    from flows.pipeline import pipeline_flow

    config = Config.model_validate({"data": {"root": str(tmp_path / "nowhere")}, "output": str(tmp_path / "run")})
    with pytest.raises(AugmentError, match="nowhere: no such folder"):
        pipeline_flow(config, until="images")


@pytest.mark.parametrize("broken_call", ["create_progress_artifact", "update_progress_artifact"])
def test_a_failing_artifact_fails_nothing(tiny_config, monkeypatch, broken_call):
    from flows import artifacts
    from flows.pipeline import pipeline_flow

    calls = []

    def broken(*_, **__):
        calls.append(broken_call)
        raise RuntimeError("the server is gone")

    monkeypatch.setattr(artifacts, broken_call, broken)
    assert list(pipeline_flow(tiny_config, until="images")) == ["images"]
    assert calls


def test_tables_and_paths_that_are_no_artifacts_are_a_line_in_the_log(tiny_config, monkeypatch, tmp_path):
    from flows import artifacts

    lines = []
    monkeypatch.setattr(artifacts, "get_run_logger", lambda: SimpleNamespace(warning=lambda *line: lines.append(line)))
    artifacts.show_arms(tiny_config)  # no re-ID stage has run
    monkeypatch.setattr(artifacts, "create_markdown_artifact", None)
    artifacts.show_report(tiny_config, tmp_path)
    assert [what for _, what, _ in lines] == ["the table of the arms", "the report's path"]


def test_what_is_tried_again():
    from prefect.states import Failed

    from flows.pipeline import may_pass

    def state(error):
        return Failed(data=error)

    assert may_pass(None, None, state(OSError(errno.EIO, "disk")))
    assert may_pass(None, None, state(refusal(OSError(errno.ESTALE, "stale"), "x.jpg")))
    assert may_pass(None, None, state(ConnectionResetError(errno.ECONNRESET, "link")))
    for error in (AugmentError("wrong"), ValueError(), FileNotFoundError(errno.ENOENT, "x"), OSError(errno.ENOSPC, "")):
        assert not may_pass(None, None, state(error))


def test_the_command_is_told(tiny_config, tmp_path):
    from flows.pipeline import pipeline_flow

    told = tmp_path / "told.txt"
    script = tmp_path / "tell.sh"
    script.write_text(f'#!/bin/sh\necho "$1: $2" >> {told}\n')
    script.chmod(0o755)
    wrong = tiny_config.model_dump() | {"data": {"root": str(tmp_path / "nowhere")}}
    config = with_flow(Config.model_validate(wrong), notify=f"{script} 'to me'")
    with pytest.raises(AugmentError):
        pipeline_flow(config, until="images")
    (line,) = told.read_text().splitlines()
    assert line.startswith("to me: augment: tiny: images failed: ") and "nowhere: no such folder" in line
    pipeline_flow(with_flow(tiny_config, notify=f"{script} x"), until="images")
    assert len(told.read_text().splitlines()) == 1  # nothing to tell
    with pytest.raises(AugmentError, match="nowhere"):
        pipeline_flow(with_flow(config, notify="/no/such/command"), until="images")


@pytest.mark.parametrize("runner", ["dask", "ray"])
def test_missing_runner_is_named(tiny_config, runner, monkeypatch):
    import sys

    from flows.pipeline import pipeline_flow

    monkeypatch.setitem(sys.modules, f"prefect_{runner}", None)
    with pytest.raises(AugmentError, match=f"pip install 'prefect-{runner}', or set flow.runner=threads"):
        pipeline_flow(with_flow(tiny_config, runner=runner), until="images")


def test_a_shard_that_the_cluster_forgot(tmp_path):
    from concurrent.futures import CancelledError

    from flows.pipeline import _result

    def forgotten():
        raise CancelledError("cancelled for reason: scheduler-connection-lost.\nPlease check")

    assert _result(SimpleNamespace(result=lambda: tmp_path)) == tmp_path
    with pytest.raises(ClusterLost, match=r"lost a shard \(cancelled .*scheduler-connection-lost\.\)\."):
        _result(SimpleNamespace(result=forgotten))

    def cut():
        raise pytest.importorskip("distributed.comm").CommClosedError("connection reset by peer")

    with pytest.raises(ClusterLost, match=r"lost a shard \(connection reset by peer\)\."):
        _result(SimpleNamespace(result=cut))

    def full():
        raise OSError(errno.ENOSPC, "No space left")

    with pytest.raises(OSError, match="No space left"):  # the shard's own
        _result(SimpleNamespace(result=full))


@pytest.mark.parametrize(("runner", "address", "losses", "expected"), [
    ("dask", None, 2, 1), ("ray", "ray://127.0.0.1:8786", 2, 1),  # no scheduler to wait for
    ("dask", "tcp://127.0.0.1:8786", 2, 3), ("dask", "tcp://127.0.0.1:8786", 5, 5),
])  # fmt: skip
def test_a_stage_goes_on_when_its_scheduler_is_back(
    tiny_config, monkeypatch, capsys, runner, address, losses, expected
):  # fmt: skip
    from flows import pipeline

    def stage_flow(config):
        tries.append(config)
        if len(tries) <= losses:
            raise ClusterLost("the cluster lost a shard.")
        return "done"

    tries, waited = [], []
    stage = pipeline.STAGES[0]
    monkeypatch.setitem(pipeline.STAGE_FLOWS, stage.name, SimpleNamespace(with_options=lambda task_runner: stage_flow))
    monkeypatch.setattr(pipeline, "wait_for_scheduler", waited.append)
    config = with_flow(tiny_config, runner=runner, address=address)
    if expected > losses:
        assert pipeline._made(stage, config, lambda: None) == "done"
        assert f"lost a shard. It continues as soon as {address} answers." in capsys.readouterr().err
    else:
        with pytest.raises(ClusterLost, match=r"lost a shard\. Make sure that its scheduler .* same command again\."):
            pipeline._made(stage, config, lambda: None)
    assert len(tries) == expected
    assert waited == [address] * (expected - 1)


def test_a_scheduler_that_never_answers(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(runners, "_SCHEDULER_LIMIT_S", 0.0)
    with pytest.raises(ClusterLost, match=r"127\.0\.0\.1:1: no scheduler answers .* what was finished is kept"):
        runners.wait_for_scheduler("tcp://127.0.0.1:1")


def test_the_contact_sheet_is_in_the_artifact_itself(tiny_config, finished_run, monkeypatch):
    from base64 import b64decode

    from augment.base.images import decode_image
    from flows import artifacts

    made = []
    monkeypatch.setattr(artifacts, "create_image_artifact", lambda **fields: made.append(fields))
    artifacts.show_samples(Config.model_validate(tiny_config.model_dump() | {"output": str(finished_run)}))
    kind, _, data = made[0]["image_url"].partition(",")
    assert kind == "data:image/jpeg;base64"
    assert decode_image(b64decode(data)).shape == (4 * 128 + 5 * 3, 3 * 64 + 4 * 3, 3)  # four sources, two poses each
