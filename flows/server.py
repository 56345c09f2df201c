"""The Prefect server of a single run, where the user has none: it starts and ends with the run, and is silent.

Prefect's own temporary server writes to the user's terminal, is stopped by the user's Ctrl-C before the flow can report
it, and survives when the run is killed. This module does not import Prefect: its settings must be in the environment
before Prefect reads them.
"""

import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from augment.base.errors import AugmentError, UsageError
from augment.base.progress import say

_START_LIMIT_S = 300  # 7 to 16 s on an idle machine, over a minute on a very busy one
_LOG = "prefect.log"
_LOCAL = "--engine local runs the same stages without Prefect."
_HERE = ("127.0.0.1", "localhost")


@contextmanager
def server_of_run(run: Path) -> Iterator[None]:
    """Prepare the environment for Prefect, and a server for the run unless PREFECT_API_URL names one.

    Call it before Prefect is imported. Raises :class:`AugmentError` where the server does not come up, and
    :class:`UsageError` where none answers at PREFECT_API_URL.
    """
    os.environ["PREFECT_LOGGING_SETTINGS_PATH"] = str(Path(__file__).with_name("logging.yaml"))
    os.environ["PREFECT_LOGGING_HANDLERS_FILE_FILENAME"] = str(run / _LOG)
    os.environ["DO_NOT_TRACK"] = "1"
    os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
    _reach_this_machine_directly()
    if os.environ.get("PREFECT_API_URL"):
        check_server(os.environ["PREFECT_API_URL"])
        yield
        return
    if "PREFECT_HOME" not in os.environ:
        os.environ["PREFECT_HOME"] = str(run / ".prefect")
        _check_database(run / ".prefect" / "prefect.db")
    os.environ["PREFECT_LOGGING_TO_API_ENABLED"] = "false"  # the file has it, and SQLite has enough to do
    # The server inherits a socket that is bound already: nobody else can take the port or answer in its place.
    with socket.socket() as listening, open(run / _LOG, "ab") as log:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.server", str(listening.fileno())], pass_fds=[listening.fileno()],
            # Without pages and block types, which a run does not use; the latter take a second of its start.
            env={**os.environ, "PREFECT_UI_ENABLED": "0", "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "0",
                 "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1", "AUGMENT_PARENT": str(os.getpid())},
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


def _reach_this_machine_directly() -> None:
    """Exclude localhost from the user's proxy; httpx, which Prefect uses, fails on SOCKS proxies without socksio."""
    if find_spec("socksio") is None:
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            if os.environ[name].lower().startswith("socks"):
                del os.environ[name]
    excepted = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    names = [*filter(None, excepted.split(",")), *_HERE]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(dict.fromkeys(names))


def check_server(address: str) -> None:
    """Raise :class:`UsageError` where no Prefect server answers at the address that PREFECT_API_URL gives."""
    remedy = ("Correct it (it ends in /api), start that server, or unset PREFECT_API_URL: a run then has a server of "
              f"its own. {_LOCAL}")  # fmt: skip
    try:
        if f".{urlsplit(address).hostname}".endswith(".prefect.cloud"):  # wants a key, which Prefect itself checks
            return
        with urllib.request.urlopen(f"{address.rstrip('/')}/health", timeout=20) as answer:
            found = answer.read(100)
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return
        found = str(error).encode()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"PREFECT_API_URL={address}: no server answers there ({getattr(error, 'reason', error)}). {remedy}"
        ) from None
    if found != b"true":
        raise UsageError(f"PREFECT_API_URL={address}: what answers there is not a Prefect server. {remedy}")


def _check_database(database: Path) -> None:
    """Move a damaged database aside: it has Prefect's history of the run, and nothing that a stage needs."""
    if not database.exists():
        return
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=rw", uri=True, timeout=5)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            ((problem,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.OperationalError as error:
        raise AugmentError(
            f"{database}: Prefect's history of this run cannot be used ({error}). Close the program that holds it, or "
            f"move the file away: a new one is created. {_LOCAL}"
        ) from None
    except sqlite3.DatabaseError as error:
        problem = str(error)
    if problem != "ok":
        for suffix in ("", "-wal", "-shm"):
            if (part := Path(f"{database}{suffix}")).exists():
                part.replace(f"{database}.damaged{suffix}")
        say(f"{database}: damaged ({problem}); it is kept as {database.name}.damaged, Prefect begins a new one.")


def _wait_until_healthy(process: subprocess.Popen, address: str, log: Path) -> None:
    start = time.monotonic()
    told = False
    while process.poll() is None and (waited := time.monotonic() - start) < _START_LIMIT_S:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
        if waited > 5 and not told:
            say("Prefect's server is starting (up to 20 s on a run's first start) ...")
            told = True
    advice = f"The reason is in {log}{_last_words(log)}. {_LOCAL}"
    if process.poll() is not None:
        raise AugmentError(f"Prefect's server stopped during startup (exit code {process.returncode}). {advice}")
    raise AugmentError(f"Prefect's server did not answer within {_START_LIMIT_S} s. {advice}")


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-100:]]
    errors = [line for line in lines if "Error" in line]
    return f" ({errors[-1][:200]})" if errors else ""


def create_app():
    """The server's application: Prefect's, which ends with the run, however that ended."""
    parent = int(os.environ["AUGMENT_PARENT"])

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    return factory()()


def factory() -> Callable[[], Any]:
    """What makes the application of Prefect's server. Raises ImportError where its packages do not fit together."""
    from prefect.server.api.server import create_app

    return create_app


def serve(handle: int) -> int:
    """Run the server on an inherited socket; returns the exit code."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(create_app, factory=True, log_level="error", lifespan="on"))
    server.run(sockets=[socket.socket(fileno=handle)])
    return 0 if server.started else 3


if __name__ == "__main__":
    sys.exit(serve(int(sys.argv[1])))
