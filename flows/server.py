"""The Prefect server of one run, where the user has none: started with the run, gone with it, silent.

Prefect starts a temporary server by itself, too. That one writes to the user's terminal, dies of the user's Ctrl-C
before the flow could tell it so, and lives on when the run is killed. This module imports no Prefect: its settings
have to stand in the environment before Prefect reads them.
"""

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from augment.base.errors import AugmentError
from augment.base.progress import say

_START_LIMIT_S = 300  # 7 to 16 s on an idle machine, over a minute on a very busy one
_LOG = "prefect.log"


@contextmanager
def prefect_server(run: Path) -> Iterator[None]:
    """Prepare the environment for Prefect, and a server for the run unless PREFECT_API_URL names one.

    Call it before Prefect is imported. Raises :class:`AugmentError` where the server does not come up.
    """
    os.environ["PREFECT_LOGGING_SETTINGS_PATH"] = str(Path(__file__).with_name("logging.yaml"))
    os.environ["PREFECT_LOGGING_HANDLERS_FILE_FILENAME"] = str(run / _LOG)
    os.environ["DO_NOT_TRACK"] = "1"
    os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
    if os.environ.get("PREFECT_API_URL"):
        yield
        return
    os.environ.setdefault("PREFECT_HOME", str(run / ".prefect"))
    os.environ["PREFECT_LOGGING_TO_API_ENABLED"] = "false"  # the file has it, and SQLite has enough to do
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with open(run / _LOG, "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "--factory", "flows.server:create_app", "--host", "127.0.0.1",
             "--port", str(port), "--log-level", "error", "--lifespan", "on"],
            env={**os.environ, "PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1",
                 "PREFECT__SERVER_FINAL": "1", "AUGMENT_PARENT": str(os.getpid())},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}/api"
    os.environ["PREFECT_API_URL"] = address
    try:
        _wait_until_healthy(process, address, run / _LOG)
        yield
    finally:
        del os.environ["PREFECT_API_URL"]
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_healthy(process: subprocess.Popen, address: str, log: Path) -> None:
    advice = f"The reason is in {log}. --engine local runs the same stages without Prefect."
    start = time.monotonic()
    told = False
    while process.poll() is None and (waited := time.monotonic() - start) < _START_LIMIT_S:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
        if waited > 5 and not told:
            say("Prefect's server is starting (up to 20 s on a run's first start) ...")
            told = True
    if process.poll() is not None:
        raise AugmentError(f"Prefect's server stopped while it started (exit code {process.returncode}). {advice}")
    raise AugmentError(f"Prefect's server did not answer within {_START_LIMIT_S} s. {advice}")


def create_app():
    """The server's application, for uvicorn: Prefect's, that ends when the run is gone, however that ended."""
    parent = int(os.environ["AUGMENT_PARENT"])

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    from prefect.server.api.server import create_app as prefect_app

    return prefect_app()
