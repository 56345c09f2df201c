"""An export as a whole: interrupted, repeated, refused, checked, and flat in memory."""

import hashlib
import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from PIL import Image

from augment.base.errors import AugmentError, UsageError
from augment.base.files import sha256_file
from augment.base.images import encode_jpeg
from augment.export import shards
from augment.export.job import FORMATS, export
from augment.export.selection import Filters


def contents(folder: Path) -> dict[str, str]:
    """Every file's hash."""
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("to", FORMATS)
def test_card_and_sums_say_what_is_there(exported, truth, to):
    folder = exported(to)
    header = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
    assert {split: {name: count[name] for name in ("images", "people", "cameras")}
            for split, count in header["counts"].items()} == truth  # fmt: skip
    assert header["license"] == "mit" and header["source"]["layout"] == "rendered"
    assert header["generator"]["system"] == "full" and header["generator"]["iterations"] == 6
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    checked = subprocess.run(check, cwd=folder, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    assert len(checked.stdout.splitlines()) == len(contents(folder)) - 1  # all but SHA256SUMS itself


def test_images_are_hard_links_and_pictures_that_are_no_jpeg_become_one(small_run, tmp_path):
    picture = np.random.default_rng(1).integers(0, 256, (16, 8, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "x.png")
    small_run.real("train", 9, 1, "0009_c1s1_000001_01", (tmp_path / "x.png").read_bytes(), suffix=".png")
    export(small_run.write(), tmp_path / "out", "market1501", Filters())
    linked = tmp_path / "out" / "bounding_box_train" / "0002_c1s1_000001_01.jpg"
    assert linked.stat().st_ino == (small_run.folder / "images/files/train-0002_c1s1_000001_01.jpg").stat().st_ino
    encoded = tmp_path / "out" / "bounding_box_train" / "0009_c1s1_000001_01.jpg"
    assert encoded.read_bytes() == encode_jpeg(picture)
    assert not any((small_run.folder / "images/files/train-0009_c1s1_000001_01.png").samefile(file)
                   for file in (tmp_path / "out").rglob("*.jpg"))  # fmt: skip


def test_where_links_are_refused_images_are_copied(small_run, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("another disk")

    run = small_run.write()
    export(run, tmp_path / "linked", "market1501", Filters())
    monkeypatch.setattr(os, "link", refuse)
    export(run, tmp_path / "copied", "market1501", Filters())
    linked, copied = contents(tmp_path / "linked"), contents(tmp_path / "copied")
    assert linked == copied
    copy = tmp_path / "copied" / "query" / "0003_c1s1_000001_00.jpg"
    assert copy.stat().st_nlink == 1


KILLED = """
import os, signal, sys
from pathlib import Path
import augment.export.{module} as module
from augment.export.job import export
from augment.export.selection import Filters
before, seen = module.{function}, 0
def killing(*arguments):
    global seen
    seen += 1
    if seen == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return before(*arguments)
module.{function} = killing
module.PER_SHARD = 4
export(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], Filters())
"""


@pytest.mark.parametrize(("to", "module", "function"), [
    ("market1501", "folders", "place"), ("coco", "folders", "place"), ("webdataset", "shards", "read_jpeg"),
])  # fmt: skip
def test_a_killed_export_goes_on_and_ends_with_the_same_bytes(small_run, tmp_path, monkeypatch, to, module, function):
    run = small_run.write()
    monkeypatch.setattr(shards, "PER_SHARD", 4)
    export(run, tmp_path / "undisturbed", to, Filters())
    killed = subprocess.run([sys.executable, "-c", KILLED.format(module=module, function=function), run,
                             tmp_path / "killed", to], capture_output=True, text=True)  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "killed").exists()
    partial = tmp_path / ".killed.partial"
    early = {path: path.stat().st_mtime_ns for path in partial.rglob("*") if path.suffix in (".jpg", ".tar")}
    assert early
    export(run, tmp_path / "killed", to, Filters())
    assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed") and not partial.exists()
    for path, time in early.items():  # what was finished was not made again
        assert (tmp_path / "killed" / path.relative_to(partial)).stat().st_mtime_ns == time


def test_what_is_left_of_another_export_is_thrown_away(small_run, tmp_path):
    run, stale = small_run.write(), tmp_path / ".out.partial"
    stale.mkdir()
    (stale / ".digest").write_text("another")
    (stale / "stray.tar").write_text("stray")
    export(run, tmp_path / "out", "webdataset", Filters())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md", "SHA256SUMS", "gallery-000000.tar", "query-000000.tar", "train-000000.tar"
    ]  # fmt: skip


def test_the_same_export_again_is_reused_and_anything_else_refused(small_run, tmp_path):
    run, out = small_run.write(), tmp_path / "out"
    export(run, out, "market1501", Filters())
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    export(run, out, "market1501", Filters())
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    for to, filters in (("coco", Filters()), ("market1501", Filters(per_image=1))):
        with pytest.raises(UsageError, match="already exists, with other content"):
            export(run, out, to, filters)
    (out / "query" / "0003_c1s1_000001_00.jpg").unlink()
    with pytest.raises(UsageError, match="already exists"):
        export(run, out, "market1501", Filters())


@pytest.mark.parametrize("to", ["market1501", "parquet"])
def test_an_image_that_has_changed_since_the_run_is_told(small_run, tmp_path, to):
    run = small_run.write()
    (run / "synthetic/files/0002_c1s1_000001_01g1.jpg").write_bytes(b"another")
    with pytest.raises(AugmentError, match=r"0002_c1s1_000001_01g1\.jpg: its content has changed since the run"):
        export(run, tmp_path / "out", to, Filters())
    assert not (tmp_path / "out").exists()


def test_readers_that_refuse_many_people_or_a_path_are_named(small_run, tmp_path, capsys):
    small_run.real("train", 1502, 7, "1502_c7s1_000001_01")
    export(small_run.write(), tmp_path / "exp2_c1" / "out", "market1501", Filters())
    told = capsys.readouterr().err
    assert "pid 1502 and camera 7" in told and "'2_c1'" in told


@pytest.mark.parametrize("to", ["webdataset", "parquet"])
def test_memory_does_not_grow_with_the_number_of_images(small_run, tmp_path, monkeypatch, to):
    """Ten images are a row group; 160 must not hold more than 40 do at any time, but for the rows of their tables."""
    monkeypatch.setattr(shards, "_ROW_GROUP", 10)
    noise = encode_jpeg(np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8))
    read, held = shards.read_jpeg, []

    def watched(*arguments):
        held.append(tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes())
        return read(*arguments)

    monkeypatch.setattr(shards, "read_jpeg", watched)
    peaks = []
    for count in (40, 160):
        while len(small_run.images) < count:
            number = len(small_run.images)
            data = noise + hashlib.sha256(str(number).encode()).digest()  # behind the picture's end: another hash
            small_run.real("train", 2, 1, f"0002_c1s1_{number:06d}_01", data)
        run = small_run.write()
        held.clear()
        tracemalloc.start()
        export(run, tmp_path / f"out{count}", to, Filters())
        tracemalloc.stop()
        assert len(held) >= count
        peaks.append(max(held) - held[0])
    assert len(noise) > 100_000 and peaks[1] < peaks[0] + 5 * len(noise)
