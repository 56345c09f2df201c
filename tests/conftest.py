"""What tests of several parts share: a tiny rendered set, its configuration, a finished run, Prefect's test server."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import CompletedProcess

# Of tensors as small as the tests', a second thread costs more than it brings; on a busy machine far more.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest
import yaml

from augment.config import Config, RenderedConfig

# The same examples every time: a fresh machine must pass. HYPOTHESIS_PROFILE=explore looks for new ones.
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=500)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

# Small enough that the whole pipeline takes seconds, large enough for several shards of every stage.
TINY_SET = {"train_identities": 4, "test_identities": 4, "images_per_identity": 6, "cameras": 3}
TINY = {
    "name": "tiny",
    "data": {"layout": "rendered", "rendered": TINY_SET},
    "pose": {
        "estimator": "annotations",
        "annotations": {"train": "annotation-train.csv", "gallery": "annotation-test.csv"},
    },
    "pairs": {"test_pairs": 20},
    "gan": {
        "width": 0.0625, "features": "patches", "iterations": 6, "checkpoint_every": 2, "keep_checkpoints": 1,
        "sample_every": 3,
    },
    "synthesis": {"poses_per_image": 2},
    "quality": {"pairs": 8},
    "reid": {"model": "osnet_x0_25", "height": 64, "width": 32, "iterations": 3, "batch_size": 8, "seeds": [0]},
    "flow": {"shard_size": 8},
}  # fmt: skip

# Runs the command line in a process of its own with the same recorded command whatever the engine, and kills it with
# SIGKILL where it would put its n-th file that matches a pattern in place. Several kills: the command is run again
# after each, in a fork of a process that has only imported what runs need; exit codes go to the last line of stdout.
DRIVER = """
import importlib, json, os, re, signal, sys

def run(arguments, pattern, count):
    put_in_place, seen = os.replace, []
    def replace(source, target, **others):
        if pattern and re.search(pattern, str(target)):
            seen.append(target)
            if len(seen) == count:
                os.kill(os.getpid(), signal.SIGKILL)
        put_in_place(source, target, **others)
    os.replace = replace
    sys.argv = ["augment", "run", "tiny.yaml"]
    from augment.cli import main
    main(arguments)

def run_forked(arguments, kill):
    if not (child := os.fork()):
        try:
            run(arguments, *kill)
        except SystemExit as end:
            sys.stdout.flush()
            os._exit(end.code or 0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

kills, *arguments = sys.argv[1:]
kills = json.loads(kills)
if len(kills) == 1:
    run(arguments, *kills[0])
else:
    for name in ("reid.stage", "quality.stage", "synthesis.stage", "gan.stage", "report.page", "pipeline.stages"):
        importlib.import_module(f"augment.{name}")
    print(json.dumps([run_forked(arguments, kill) for kill in kills]))
"""

Command = Callable[..., CompletedProcess]


# Files that a single worker of pytest-xdist runs, one after the other.
_TOGETHER = {
    "run under Prefect": ("flows/", "test_interruption"),
    "use the finished run": (
        "export/", "pipeline/test_early_checks", "pipeline/test_reuse", "pipeline/test_run_folder",
        "storage/test_workers", "test_cli", "test_documentation",
    ),
    "keep several cores busy or look at the clock": (
        "gan/test_torchrun", "report/test_report_browser", "study/test_study_browser", "study/test_study_load",
        "trials/",
    ),
}  # fmt: skip


def unit_of_work(nodeid: str) -> str:
    """What of the tests one worker does as a whole: a file, or all files that belong together."""
    file = nodeid.partition("::")[0].removeprefix("tests/")
    return next((title for title, files in _TOGETHER.items() if file.startswith(files)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests of servers wait for them most of their time."""
    return min(8, len(os.sched_getaffinity(0)) + 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Workers get :func:`unit_of_work` after unit: ``--dist loadgroup`` groups nothing with pytest 9.2."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit_of_work(nodeid)

    config.option.loadscopereorder = False  # in the order of the files: the long units begin early
    return ByFile(config, log)


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch):
    """Neither a data set nor a Prefect server of the developer's machine may decide a test."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory) -> Path:
    """A rendered set in Market-1501's layout. Read only."""
    from augment.data.rendered.dataset import render_set

    return render_set(RenderedConfig(**TINY_SET), tmp_path_factory.mktemp("set") / "rendered")


@pytest.fixture
def tiny_config(tmp_path) -> Config:
    """The tiny configuration with its output in the test's own folder."""
    return Config.model_validate(TINY | {"output": str(tmp_path / "tiny")})


NO_KILL = ("", 0)


def _run_command(folder: Path, *arguments: str, kill: Sequence[tuple[str, int]] = (NO_KILL,)) -> CompletedProcess:
    """``augment`` with these arguments in ``folder``, with a ``tiny.yaml`` there; ``kill``: see :data:`DRIVER`."""
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    return subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(kill), *arguments],
        cwd=folder, env=environment | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip


@pytest.fixture(scope="session")
def run_command() -> Command:
    """``run_command(folder, *arguments, kill=[(pattern, count)])`` runs ``augment`` on the tiny configuration."""
    return _run_command


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Path:
    """The folder of an undisturbed run of the tiny configuration. Read only; ``tiny.yaml`` lies two folders up."""
    folder = tmp_path_factory.mktemp("finished")
    done = _run_command(folder, "run", "tiny.yaml", "--engine", "local")
    assert done.returncode == 0, done.stderr
    return folder / "outputs" / "tiny"


@pytest.fixture(scope="session")
def chromium() -> Iterator:
    """One browser for all tests of pages; :mod:`browser` says where they are skipped."""
    from browser import open_chromium

    with open_chromium() as driver:
        yield driver


@pytest.fixture(scope="session")
def prefect_harness() -> Iterator[None]:
    """One Prefect server for all tests that run flows; its start is slow on a busy machine."""
    from prefect.testing.utilities import prefect_test_harness

    # On leaving, Prefect drains its event workers; it raises where one has closed its loop by then, which is no matter.
    with suppress(RuntimeError), prefect_test_harness(server_startup_timeout=300):
        yield
