"""The run's own Prefect server: gone with the run, reached past any proxy, healed of a damaged database."""

import http.server
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

from augment.base.errors import AugmentError, UsageError
from flows.server import _check_database, check_server, server_of_run

HOLD = """
import sys, time, pathlib
from flows.server import server_of_run
import os
with server_of_run(pathlib.Path(sys.argv[1])):
    print(os.environ["PREFECT_API_URL"], flush=True)
    time.sleep(600)
"""
SET = ("PREFECT_LOGGING_SETTINGS_PATH", "PREFECT_LOGGING_HANDLERS_FILE_FILENAME", "DO_NOT_TRACK", "PREFECT_HOME",
       "PREFECT_SERVER_ANALYTICS_ENABLED", "PREFECT_LOGGING_TO_API_ENABLED", "no_proxy", "NO_PROXY")  # fmt: skip


@pytest.fixture(autouse=True)
def environment_as_before(monkeypatch):
    for name in SET:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def foreign_server():
    """``foreign_server(status, body)`` -> address of a web server that always answers so."""
    servers = []

    def start(status: int, body: bytes) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        servers.append(http.server.HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/api"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5):
            return True
    except OSError:
        return False


def test_past_a_proxy_with_a_damaged_database_and_gone_when_the_run_is_killed(tmp_path):
    database = tmp_path / ".prefect" / "prefect.db"
    database.parent.mkdir()
    database.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    with socket.socket() as silent:  # takes every connection, answers none
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        proxy = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment |= {name: proxy for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY")} | {"NO_PROXY": "internal"}
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment,
        )  # fmt: skip
        with holder:
            address = holder.stdout.readline().strip()
            assert answers(address)
            holder.send_signal(signal.SIGKILL)
            assert "prefect.db: damaged (" in holder.stderr.read()
    assert database.with_name("prefect.db.damaged").read_bytes()[-1] == 255
    with sqlite3.connect(database) as connection:
        assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
    limit = time.monotonic() + 30
    while answers(address) and time.monotonic() < limit:
        time.sleep(0.2)
    assert not answers(address)


def test_a_server_of_the_users_is_left_alone(tmp_path, monkeypatch, foreign_server):
    address = foreign_server(200, b"true")
    monkeypatch.setenv("PREFECT_API_URL", address)
    monkeypatch.setenv("no_proxy", "internal,localhost")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setattr("flows.server.find_spec", lambda _: None)
    with server_of_run(tmp_path):
        import httpx

        assert httpx.get(f"{address}/health").json() is True  # without socksio it would not even begin
        assert os.environ["PREFECT_API_URL"] == address
        assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "internal,localhost,127.0.0.1"
    assert not list(tmp_path.iterdir())


def test_an_address_where_no_prefect_server_answers(tmp_path, monkeypatch, foreign_server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        refused = f"http://127.0.0.1:{free.getsockname()[1]}/api"
    for address, reason in (
        (refused, "no server answers there .*refused"), ("http://nowhere.invalid/api", "no server answers there"),
        ("127.0.0.1:4200/api", "no server answers there"), ("http://[::1", "no server answers there|Invalid IPv6"),
        (foreign_server(200, b"<html>"), "not a Prefect server"), (foreign_server(404, b""), "not a Prefect server"),
    ):  # fmt: skip
        monkeypatch.setenv("PREFECT_API_URL", address)
        with pytest.raises(UsageError, match=f"PREFECT_API_URL=.*({reason}).*--engine local"), server_of_run(tmp_path):
            pass
    for status in (401, 403):  # it wants a key, which is Prefect's own matter
        check_server(foreign_server(status, b""))
    check_server("https://api.prefect.cloud/api/accounts/1/workspaces/2")


def test_a_database_that_another_program_holds(tmp_path):
    database = tmp_path / "prefect.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE a (b)")
        connection.commit()
        _check_database(database)
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(AugmentError, match=r"prefect\.db: .* \(database is locked\)\. Close the program"):
            _check_database(database)
    _check_database(database)
    _check_database(tmp_path / "none.db")
    assert {path.name for path in tmp_path.iterdir()} == {"prefect.db"}


def test_a_server_that_does_not_start(tmp_path, monkeypatch):
    (tmp_path / "prefect.log").write_text("alembic.util.exc.CommandError: Can't locate revision\nfrom 1.2\n")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(AugmentError, match=r"stopped during startup .*\(alembic.*revision\)\. --engine local"), \
            server_of_run(tmp_path):  # fmt: skip
        pass
    assert "PREFECT_API_URL" not in os.environ
