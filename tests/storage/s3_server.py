"""A real S3 server for tests (SeaweedFS, from its wheel), and a proxy before it that fails some of the requests."""

import http.client
import json
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

KEY, SECRET = "test", "not-a-secret"
_IDENTITY = {"name": "test", "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
             "actions": ["Admin", "Read", "Write", "List", "Tagging"]}  # fmt: skip


def program() -> str | None:
    """SeaweedFS's program, beside this Python or on the path."""
    return shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")


def _free_port() -> int:
    """A free port whose other one, for gRPC, is free as well: SeaweedFS adds 10,000."""
    while True:
        with socket.socket() as first, socket.socket() as second, suppress(OSError, OverflowError):
            first.bind(("127.0.0.1", random.randrange(20_000, 30_000)))
            second.bind(("127.0.0.1", first.getsockname()[1] + 10_000))
            return first.getsockname()[1]


class S3Server:
    """SeaweedFS on free ports of this machine, its data in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, *others = (_free_port() for _ in range(4))
        (folder / "data").mkdir(parents=True)
        (folder / "s3.json").write_text(json.dumps({"identities": [_IDENTITY]}))
        names = ("master.port", "volume.port", "filer.port")
        ports = [f"-{name}={port}" for name, port in zip(names, others, strict=True)]
        self._command = [
            program(), "-logtostderr=true", "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            *ports, "-filer", "-s3", f"-s3.port={self.port}", "-s3.port.iceberg=0", "-s3.port.lance=0",
            f"-s3.config={folder / 's3.json'}", "-master.volumeSizeLimitMB=64", "-volume.max=30",
            f"-filer.localSocket={folder / 'filer.sock'}", f"-s3.localSocket={folder / 's3.sock'}",
        ]  # fmt: skip
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        with open(self.folder / "log", "ab") as log:  # it would take its own keys from AWS_ACCESS_KEY_ID
            self._process = subprocess.Popen(self._command, cwd=self.folder, env=environment, stdout=log, stderr=log)
        for _ in range(600):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError((self.folder / "log").read_text()[-2000:])

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class FaultyProxy:
    """Passes requests on to a server, but the share ``faults`` of them: refused with 503, the connection reset before
    or after the server has answered, or the answer cut."""

    KINDS = ("503", "reset before", "reset after", "cut")

    def __init__(self, server_port: int, faults: float, seed: int = 0) -> None:
        self.faults, self.seen, self.failed = faults, 0, Counter()
        self.on_request: Callable[[int], None] = lambda number: None
        chance, lock = random.Random(seed), threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with lock:
                    proxy.seen += 1
                    number = proxy.seen
                    kind = chance.choice(proxy.KINDS) if chance.random() < proxy.faults else None
                    proxy.failed[kind] += 1
                proxy.on_request(number)
                if kind == "reset before":
                    return self._reset()
                if kind == "503":
                    return self._answer(503, {}, b"<Error><Code>ServiceUnavailable</Code></Error>")
                try:
                    there = http.client.HTTPConnection("127.0.0.1", server_port, timeout=60)
                    headers = {name: value for name, value in self.headers.items() if name != "Expect"}
                    there.request(self.command, self.path, body, headers)
                    answer = there.getresponse()
                    content = answer.read()
                    there.close()
                except (OSError, http.client.HTTPException):
                    return self._reset()  # as from a server that is being restarted
                if kind == "reset after":
                    return self._reset()
                self._answer(answer.status, dict(answer.getheaders()), content, kind == "cut")

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

            def _answer(self, status: int, headers: dict[str, str], content: bytes, cut: bool = False) -> None:
                self.send_response_only(status)
                for name, value in headers.items():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                length = headers.get("Content-Length") if self.command == "HEAD" else None
                self.send_header("Content-Length", length or str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if cut else content)
                if cut:
                    self._reset()

            def _reset(self) -> None:
                self.close_connection = True
                self.wfile.flush()
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

            def handle_one_request(self) -> None:
                with suppress(OSError, ValueError):
                    return super().handle_one_request()
                self.close_connection = True

            def finish(self) -> None:
                with suppress(OSError, ValueError):
                    super().finish()

            def log_message(self, *_) -> None:
                pass

        self._listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._listening.daemon_threads = True
        self.port = self._listening.server_address[1]
        threading.Thread(target=self._listening.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown()
        self._listening.server_close()
