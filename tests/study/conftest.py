"""A study of random pictures, without a generator."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augment.base.files import sha256_bytes
from augment.manifest import write_manifest
from augment.stage import provenance
from augment.study.protocol import Protocol


def _make_study(folder: Path, images: int = 3, training: int = 1) -> Path:
    rng = np.random.default_rng(0)
    rows = []
    (folder / "images").mkdir(parents=True)
    for number in range(2 * (images + training)):
        buffer = BytesIO()
        Image.fromarray(rng.integers(0, 256, (128, 64, 3), np.uint8)).save(buffer, "PNG")
        id = sha256_bytes(buffer.getvalue())[:16]
        (folder / "images" / f"{id}.png").write_bytes(buffer.getvalue())
        rows.append({
            "id": id, "path": f"images/{id}.png", "sha256": sha256_bytes(buffer.getvalue()), "width": 64, "height": 128,
            "status": "ok", "reason": None, "generated": bool(number % 2), "training": number < 2 * training,
            "source": None, "target": f"gallery/{number:04d}",
        })  # fmt: skip
    origin = provenance("study", 1, Protocol(images=images, training=training), {})
    write_manifest(folder / "stimuli.parquet", "stimuli", rows, origin)
    return folder


@pytest.fixture
def make_study(tmp_path) -> Callable[..., Path]:
    """``make_study(images=3, training=1)`` returns the folder of a study."""
    return lambda **counts: _make_study(tmp_path / "run" / "study", **counts)


@contextmanager
def _served(folder: Path, port: int = 0, host: str = "127.0.0.1") -> Iterator[str]:
    """A server of the study in a process of its own; gives its address, and ends it as Ctrl-C would."""
    code = "import sys; from pathlib import Path; from augment.study.server import serve; "
    code += "serve(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), host, str(port)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    lines: list[str] = []
    try:
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"http://\S+", line):
                yield found.group()
                break
        else:
            raise AssertionError("".join(lines))
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0, process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.fixture
def served() -> Callable[..., AbstractContextManager[str]]:
    """``with served(folder, port=0) as address:`` serves a study."""
    return _served
