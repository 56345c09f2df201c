"""The run's own Prefect server goes with the run, even when that is killed."""

import os
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

from augment.base.errors import AugmentError
from flows.server import prefect_server

HOLD = """
import sys, time, pathlib
from flows.server import prefect_server
import os
with prefect_server(pathlib.Path(sys.argv[1])):
    print(os.environ["PREFECT_API_URL"], flush=True)
    time.sleep(600)
"""


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5):
            return True
    except OSError:
        return False


def test_gone_when_the_run_is_killed(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=environment,
    )  # fmt: skip
    with holder:
        address = holder.stdout.readline().strip()
        assert answers(address)
        holder.send_signal(signal.SIGKILL)
    limit = time.monotonic() + 30
    while answers(address) and time.monotonic() < limit:
        time.sleep(0.2)
    assert not answers(address)


def test_a_server_of_the_users_is_left_alone(tmp_path, monkeypatch):
    for name in ("PREFECT_LOGGING_SETTINGS_PATH", "PREFECT_LOGGING_HANDLERS_FILE_FILENAME", "DO_NOT_TRACK",
                 "PREFECT_SERVER_ANALYTICS_ENABLED"):  # fmt: skip
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with prefect_server(tmp_path):
        assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:9/api"
    assert not list(tmp_path.iterdir())


def test_a_server_that_does_not_start(tmp_path, monkeypatch):
    for name in ("PREFECT_LOGGING_SETTINGS_PATH", "PREFECT_LOGGING_HANDLERS_FILE_FILENAME", "DO_NOT_TRACK",
                 "PREFECT_SERVER_ANALYTICS_ENABLED", "PREFECT_LOGGING_TO_API_ENABLED", "PREFECT_HOME"):  # fmt: skip
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(AugmentError, match=r"stopped while it started .*--engine local"), prefect_server(tmp_path):
        pass
    assert "PREFECT_API_URL" not in os.environ
