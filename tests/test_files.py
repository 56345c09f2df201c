"""Reading with suspicion, writing whole or not at all, and what the user is told where the system refuses."""

import errno
import os
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from augment.base.errors import AugmentError, Refused, UsageError, out_of_memory, refusal
from augment.base.files import atomic_write, read_file, remove_begun, remove_leftovers
from augment.base.images import decode_image, is_upright, read_image

TOP_RED = np.concatenate([np.full((20, 12, 3), (250, 0, 0)), np.full((20, 12, 3), (0, 0, 250))]).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


# EXIF's orientation: what must be done to the pixels as stored so that they stand upright.
STORED = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: a.transpose(1, 0, 2),
          6: lambda a: np.rot90(a, 1), 7: lambda a: np.rot90(a.transpose(1, 0, 2), 2),
          8: lambda a: np.rot90(a, -1)}  # fmt: skip


@pytest.mark.parametrize("orientation", STORED)
def test_images_stand_upright_as_their_exif_data_says(orientation):
    turned = Image.fromarray(np.ascontiguousarray(STORED[orientation](TOP_RED)))
    exif = turned.getexif()
    exif[0x0112] = orientation
    data = encoded(turned, "PNG", exif=exif)
    np.testing.assert_array_equal(decode_image(data), TOP_RED)
    assert is_upright(data) == (orientation == 1)


@pytest.mark.parametrize("tag", [0x011A, 0x0128, 0x0213, 0x0100])  # XResolution, its unit, YCbCrPositioning, width
def test_tags_that_nobody_can_write_back_turn_the_image_all_the_same(tag):
    """An ASCII string where the standard has a number, which cameras and editors leave behind."""
    stored = Image.fromarray(np.ascontiguousarray(STORED[6](TOP_RED)))
    plain = encoded(stored, "JPEG", quality=100)
    entries = b"".join([b"\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00",
                        tag.to_bytes(2, "little") + b"\x02\x00\x02\x00\x00\x00x\x00\x00\x00"])  # fmt: skip
    exif = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x02\x00" + entries + b"\x00\x00\x00\x00"
    data = plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:]
    assert decode_image(data).shape == TOP_RED.shape and not is_upright(data)
    assert decode_image(data)[0, 0, 0] > 200  # red is above


def test_exif_data_that_cannot_be_read_turn_nothing():
    data = encoded(Image.fromarray(TOP_RED), "PNG", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x09\x00\x12")
    np.testing.assert_array_equal(decode_image(data), TOP_RED)
    assert is_upright(data)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_of_grey_become_eight(kind):
    """v/257, rounded: 40,000 is 155.6."""
    grey = np.tile(np.array([0, 128, 257, 40_000, 65_535], np.uint16).repeat(4), (8, 1))
    eight = decode_image(encoded(Image.fromarray(grey), kind))
    assert eight.shape == (8, 20, 3) and (eight == eight[..., :1]).all()
    assert eight[0, ::4, 0].tolist() == [0, 0, 1, 156, 255]


@pytest.mark.parametrize("values", [np.full((9, 9), 0.5, np.float32), np.full((9, 9), 40_000, np.int32)])
def test_numbers_of_no_agreed_range_are_no_picture(values):
    with pytest.raises(ValueError, match="no agreed range: save it with 8 or 16 bits"):
        decode_image(encoded(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize(
    ("size", "message"),
    [((1, 1), "1x1 pixels is too small"), ((3, 40), "3x40 pixels is too small"), ((4, 129), "4x129 pixels is too nar"),
     ((100_000, 9), "100000x9 pixels is too narrow")],
)  # fmt: skip
def test_what_is_too_small_or_narrow_for_a_person(size, message):
    with pytest.raises(ValueError, match=message):
        decode_image(encoded(Image.new("RGB", size), "PNG"))
    assert decode_image(encoded(Image.new("RGB", (4, 128)), "PNG")).shape == (128, 4, 3)


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    for path in (tmp_path / "pipe.jpg", "/dev/zero"):
        with pytest.raises(OSError, match="not a regular file"):
            read_file(path)
    for path in (tmp_path / "pipe.jpg", tmp_path, "/dev/zero", tmp_path / "loop.jpg"):
        with pytest.raises(AugmentError, match="cannot be read as an image"):
            read_image(path)
    (tmp_path / "long").write_bytes(b"12345")
    assert read_file(tmp_path / "long", limit=5) == b"12345"
    with pytest.raises(ValueError, match=r"5 bytes is too large \(limit 4\)"):
        read_file(tmp_path / "long", limit=4)


REFUSALS = {
    errno.ENOSPC: "the disk is full", errno.EDQUOT: "your quota", errno.EROFS: "read-only", errno.EACCES: "permission",
    errno.EMFILE: "ulimit -n", errno.ENOMEM: "too little memory", errno.EIO: "the disk reports an error",
    errno.ENAMETOOLONG: "too long", errno.EFBIG: "ulimit -f", errno.ETIMEDOUT: "does not answer",
}  # fmt: skip


@pytest.mark.parametrize("number", REFUSALS)
@pytest.mark.parametrize("call", ["mkdir", "open", "fsync", "replace"])
def test_each_refusal_names_the_file_and_the_remedy(tmp_path, monkeypatch, number, call):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    place = {"mkdir": "pathlib.Path.mkdir", "open": "tempfile.mkstemp"}.get(call, f"os.{call}")
    with monkeypatch.context() as patched:
        patched.setattr(place, refuse)
        with pytest.raises(AugmentError) as caught, atomic_write(tmp_path / "state.pt") as file:
            file.write(b"whole")
    assert str(tmp_path / "state.pt") in str(caught.value) and REFUSALS[number] in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_refusal_is_not_renamed(tmp_path):
    assert refusal(FileNotFoundError(errno.ENOENT, "gone")) is None
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "a"):
        raise ZeroDivisionError
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a"):
        (tmp_path / "other").read_bytes()
    assert list(tmp_path.iterdir()) == []


SAVE = """
import resource, signal, sys
import torch
from pathlib import Path
from augment.base.errors import AugmentError
from augment.base.state import save_state
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sizes, refused = list(range(0, 3_300_000, 50_000)), 0
for size in sizes:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        save_state(Path(sys.argv[1], "state.pt"), {"a": torch.ones(400_000), "b": [torch.ones(n) for n in (3, 50_000)]})
    except AugmentError as error:
        assert "/state.pt: the file would become larger than is allowed here" in str(error), error
        refused += 1
print(refused, "of", len(sizes))
"""


def test_a_large_state_that_finds_no_room_is_told_at_whatever_byte(tmp_path):
    """The file has 1.8 MB: it fits from the 37th size on. torch itself tells of its own inline_container."""
    done = subprocess.run([sys.executable, "-c", SAVE, tmp_path], capture_output=True, text=True)
    assert done.stdout.split() == ["37", "of", "66"], done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_memory_that_runs_out_is_told():
    import torch

    on_cpu = RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory")
    loader = ImportError("libtorch_cpu.so: failed to map segment from shared object")
    arrow = OSError("Unknown error: Failed to launch worker thread: Resource temporarily unavailable")
    for error in (MemoryError(), torch.OutOfMemoryError("CUDA out of memory."), on_cpu, loader, arrow):
        assert "Close other programs or set a smaller batch_size" in str(out_of_memory(error))
    assert out_of_memory(RuntimeError("shapes differ")) is None


def test_only_what_a_killed_write_left_is_removed(tmp_path):
    mine = [".thesis.partial", "x.partial", ".config.yaml", ".a.abcdefgh.part"]
    left = [".config.yaml.abcd_123.partial", ".weights-000002.safetensors.k3jx0_9q.partial"]
    for name in mine + left:
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path)
    remove_leftovers(tmp_path / "nowhere")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(mine)


def test_a_begun_folder_is_removed_only_with_its_marker(tmp_path):
    folder = tmp_path / ".out.partial"
    remove_begun(folder, folder / ".digest")
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match=r"\.out\.partial: is in the way"):
        remove_begun(folder, folder / ".digest")
    assert (folder / "thesis.tex").read_text() == "mine"
    (folder / ".digest").write_text("")
    remove_begun(folder, folder / ".digest")
    assert not folder.exists()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE])
def test_what_the_system_refuses_for_now_does_not_count_as_a_failed_image(tmp_path, monkeypatch, number):
    from augment.data.layouts import Found, parse_market
    from augment.data.stage import _examine

    name = "0002_c1s1_000451_03.jpg"
    Image.new("RGB", (64, 128)).save(tmp_path / name)
    found = Found(f"train/{name[:-4]}", str(tmp_path / name), "train", parse_market(name))
    assert _examine(found, tmp_path)["status"] == "ok"

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr("augment.base.files.os.open", refuse)
        with pytest.raises(Refused, match=name):
            _examine(found, tmp_path)
    (tmp_path / name).unlink()
    assert _examine(found, tmp_path)["status"] == "failed"
