"""The data set and the runs of the tests in the bucket ``lab``, beside the same on this disk."""

from pathlib import Path
from typing import Any

from augment.base.storage import objects
from augment.config import Config
from augment.pipeline.folder import locked_run
from augment.pipeline.stages import run_local

MARKET = {"layout": "market1501", "root": "s3://lab/Market"}
LOCAL_ONLY = {".lock", "timings.json", "config.yaml", "report.html"}  # times, the folder's own name, locks


def upload(folder: Path, address: str) -> None:
    """Put a folder there, and nothing else."""
    fs, path = objects._fs(address)
    fs.rm(path, recursive=True) if fs.exists(path) else None
    fs.put(f"{folder}/", f"{path}/", recursive=True)


def contents(address: str) -> dict[str, bytes]:
    """Name -> bytes of all objects below an address."""
    fs, path = objects._fs(address)
    return {name.removeprefix(f"{path}/"): fs.cat_file(name) for name in fs.find(path)}


def files(folder: Path) -> dict[str, bytes]:
    """The same of a folder on disk."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_same(address: str, folder: Path) -> None:
    """That an address holds the bytes of a local run, but for what tells of time and place."""
    there, here = contents(address), files(folder)
    wanted = {name for name in here if name.rpartition("/")[2] not in LOCAL_ONLY and "/tensorboard/" not in name}
    if "gan/log.jsonl" in wanted:  # its lines say how fast it went
        wanted -= {"gan/log.jsonl"}
        assert "gan/log.jsonl" in there
    assert wanted and wanted <= there.keys()
    assert [name for name in sorted(wanted) if there[name] != here[name]] == []
    assert {name for name in there if name not in here} == set()


def run_here(market: Path, config: Config, folder: Path, until: str) -> dict[str, Any]:
    """Upload the data set, run the stages on that of this disk, and return the configuration as a mapping."""
    upload(market, "s3://lab/Market")
    tiny = config.model_dump(mode="json")
    here = Config.model_validate(tiny | {"output": str(folder), "data": MARKET | {"root": str(market)}})
    with locked_run(here):
        run_local(here, until=until)
    return tiny
