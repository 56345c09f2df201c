"""Shards in processes of a Dask cluster: the same bytes, a worker killed at work, a worker without the data."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from augment.base.errors import AugmentError, UsageError
from augment.config import Config, FlowConfig, load_config
from augment.pipeline.stages import run_local, stages_until
from flows import runners
from flows.runners import with_data_there

distributed = pytest.importorskip("distributed")
pytest.importorskip("prefect_dask")


def test_a_worker_without_the_data_is_named(tmp_path):
    shard = ["train/1"]
    done = with_data_there(shard, function=lambda ids: Path(ids[0]), folders=[tmp_path], stage="images")
    assert done == Path("train/1")
    with pytest.raises(AugmentError, match=rf"gone: no such folder on the worker .+ \(process {os.getpid()}\)"):
        with_data_there(shard, function=None, folders=[tmp_path, tmp_path / "gone"], stage="images")


@pytest.mark.usefixtures("prefect_harness")
def test_the_bytes_of_the_local_engine_though_a_worker_is_killed(tiny_config, tmp_path, monkeypatch):
    from flows.pipeline import pipeline_flow

    clusters = []

    class Cluster(distributed.LocalCluster):
        def __init__(self, **options):
            super().__init__(**options)
            clusters.append(self)

    monkeypatch.setattr("distributed.LocalCluster", Cluster)
    monkeypatch.setattr("sys.argv", ["augment", "run"])
    local = Config.model_validate(tiny_config.model_dump() | {"output": str(tmp_path / "local")})
    run_local(local, until="poses")
    flow = tiny_config.flow.model_dump() | {"runner": "dask", "workers": 2}
    config = Config.model_validate(tiny_config.model_dump() | {"flow": flow})

    killed, ended = [], threading.Event()

    def kill_one() -> None:
        while not ended.is_set() and not list(config.folder.glob("*/.parts/*/*.parquet")):
            time.sleep(0.01)
        killed.append(next(iter(clusters[0].workers.values())).pid)
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    pipeline_flow(config, until="poses")
    ended.set()
    killer.join()
    assert killed and killed[0] not in {nanny.pid for nanny in clusters[0].workers.values()}
    for stage in stages_until("poses"):
        assert stage.path(config.folder).read_bytes() == stage.path(local.folder).read_bytes()


def test_configurations_of_runners_fit_over_any_other():
    configs = Path(__file__).parents[2] / "configs"
    files = sorted((configs / "runner").glob("*.yaml"))
    assert len(files) == 5
    for file in files:
        config = load_config(configs / "demo.yaml", ["flow.shard_size=3"], [file])
        assert config.flow.runner in ("dask", "ray") and config.flow.shard_size == 3
        assert config.identity() == load_config(configs / "demo.yaml").identity()


def test_a_class_of_clusters_that_is_not_there():
    section = FlowConfig(runner="dask", cluster={"class": "dask_nowhere.Cluster"})
    with pytest.raises(UsageError, match=r"flow\.cluster\.class=dask_nowhere\.Cluster: No module named"):
        next(iter(runners._dask(section)))
