"""Damage to what a run keeps: noticed, named, and made again. tests/trials flips by the thousand."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from test_stage import make

from augment.base.errors import AugmentError
from augment.base.seals import check_seal, sealed_write
from augment.cli import main
from augment.gan.generators import SHIPPED
from augment.manifest import SCHEMAS, file_problem, read_manifest, write_manifest

ORIGIN = {"stage": "made up", "digest": "0" * 64}


def metrics(folder: Path) -> Path:
    rows = [{"run": f"{arm}-s{seed}", "arm": arm, "seed": seed, "metric": "mAP", "value": 0.25 * seed + 0.01}
            for arm in ("real", "augmented") for seed in range(3)]  # fmt: skip
    return write_manifest(folder / "metrics.parquet", "metrics", rows, ORIGIN).path


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("kept_rows", [1000, -1])
def test_no_flipped_bit_of_a_table_is_believed(tmp_path, monkeypatch, kept_rows):
    """In memory as a whole, or read piece by piece."""
    monkeypatch.setattr("augment.manifest._KEPT_ROWS", kept_rows)
    path = metrics(tmp_path)
    whole, data = read_manifest(path), path.read_bytes()
    told = 0
    for bit in random.Random(0).sample(range(8 * len(data)), 400):
        path.write_bytes(flip(data, bit))
        try:
            read = read_manifest(path, "metrics")
            read.columns("value")
        except AugmentError as error:
            assert str(path) in str(error)
            told += 1
        else:
            assert read.table.equals(whole.table) and read.provenance == whole.provenance
    assert told > 200  # the others are in places that nobody reads


def lose_a_row(path: Path) -> None:
    pq.write_table(pq.read_table(path).slice(1), path)


@pytest.mark.parametrize("column", SCHEMAS["metrics"].names)
def test_a_table_emptied_nulled_or_changed_by_hand_is_not_believed(tmp_path, column):
    path = metrics(tmp_path)
    table = pq.read_table(path)
    place = table.column_names.index(column)
    nulls = pa.nulls(len(table), table.schema.field(column).type)
    for changed in (table.slice(0, 0), table.slice(1), table.set_column(place, table.schema.field(column), nulls)):
        pq.write_table(changed, path)
        with pytest.raises(AugmentError, match=r"metrics\.parquet: damaged: its rows or its header are not"):
            read_manifest(path)


def test_a_table_without_a_column_or_of_another_type_is_told(tmp_path):
    path = metrics(tmp_path)
    table = pq.read_table(path)
    as_text = table.set_column(4, "value", table["value"].cast(pa.string()))
    for changed in (table.drop_columns(["value"]), as_text, table.append_column("value", table["value"])):
        pq.write_table(changed, path)
        with pytest.raises(AugmentError, match=r"metrics\.parquet: "):
            read_manifest(path)
    for header in (b"", b"{", b"[]", b'{"kind": "metrics"}', b'{"kind": 1, "schema_version": 2, "provenance": {}}'):
        pq.write_table(table.replace_schema_metadata({"augment": header}), path)
        with pytest.raises(AugmentError, match=r"metrics\.parquet: its header is damaged"):
            read_manifest(path)


def test_a_table_of_version_1_0_has_no_seal_and_is_read(tmp_path):
    path = metrics(tmp_path)
    header = {"kind": "metrics", "schema_version": [1, 0], "provenance": ORIGIN}
    pq.write_table(pq.read_table(path).replace_schema_metadata({"augment": json.dumps(header)}), path)
    assert len(read_manifest(path, "metrics").table) == 6


def test_a_damaged_table_and_damaged_parts_are_made_again(tmp_path, capfd):
    path = make(tmp_path).path
    before = path.read_bytes()
    lose_a_row(path)
    log: list[str] = []
    assert make(tmp_path, log).path.read_bytes() == before
    assert len(log) == 10 and "images.parquet: damaged; its rows are made again" in capfd.readouterr().err

    shutil.rmtree(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, stop_at="train/09")
    for part in (tmp_path / ".parts").rglob("*.parquet"):
        lose_a_row(part)
    log.clear()
    assert make(tmp_path, log).path.read_bytes() == before and len(log) == 10


def test_a_pipe_or_a_device_in_place_of_a_table_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.parquet")
    for path in (tmp_path / "pipe.parquet", Path("/dev/zero")):
        with pytest.raises(AugmentError, match="is not a regular file"):
            read_manifest(path)
    with pytest.raises(AugmentError, match=r"is a folder, not a manifest\. Name a \.parquet file"):
        read_manifest(tmp_path)
    make(tmp_path / "images")
    with pytest.raises(AugmentError, match=r"is a folder, not a manifest\. It holds images/images\.parquet"):
        read_manifest(tmp_path)


def test_a_pipe_or_a_device_in_place_of_a_file_is_a_problem_and_nothing_waits(tmp_path):
    manifest = make(tmp_path / "images")
    (tmp_path / "images" / "files" / "train-01").unlink()
    os.mkfifo(tmp_path / "images" / "files" / "train-01")
    for path, problem in (("files/train-01", "is not a regular file"), ("/dev/zero", "is not a regular file"),
                          ("files", "is not a regular file"), ("a\0b", "embedded null byte")):  # fmt: skip
        assert file_problem(tmp_path / "images", path, "0" * 64) == f"{path}: {problem}"
    result = CliRunner().invoke(main, ["manifest", "verify", str(manifest.path)])
    assert result.exit_code == 3 and "train/01: files/train-01: is not a regular file" in result.output


def test_a_sealed_archive_tells_every_flipped_bit(tmp_path):
    import torch

    path = tmp_path / "state.pt"
    with sealed_write(path) as file:
        torch.save({"weight": torch.arange(20.0)}, file)
    data = path.read_bytes()
    assert torch.load(path, weights_only=True)["weight"].tolist() == list(range(20))
    check_seal(path)
    for bit in random.Random(0).sample(range(8 * len(data)), 300):
        path.write_bytes(flip(data, bit))
        with pytest.raises(AugmentError, match=r"state\.pt: damaged"):
            check_seal(path)
    torch.save({}, path)
    with pytest.raises(AugmentError, match=r"state\.pt: damaged"):
        check_seal(path)


def test_verify_goes_on_after_a_damaged_table(tmp_path):
    run = tmp_path / "run"
    for kind, stage in (("pairs", "pairs"), ("metrics", "reid")):
        path = run / stage / f"{kind}.parquet"
        rows = [] if kind == "pairs" else pq.read_table(metrics(tmp_path)).to_pylist()
        write_manifest(path, kind, rows, ORIGIN)
        if kind == "pairs":
            path.write_bytes(path.read_bytes()[:-8])
    make(run / "images")
    (run / "images" / "files" / "train-01").unlink()
    result = CliRunner().invoke(main, ["manifest", "verify", str(run)])
    assert result.exit_code == 3
    assert "train/01: files/train-01: is gone" in result.output
    assert "pairs.parquet: not readable as parquet" in result.output
    assert "metrics.parquet: 6 rows, 0 problems" in result.output and "2 files differ from" in result.output


def test_a_generator_whose_weights_are_no_numbers_or_all_zero_is_refused(tmp_path):
    import torch

    from augment.config import GanConfig
    from augment.gan.checkpoints import load_generator, save_weights
    from augment.gan.networks import build_generator

    section = GanConfig(width=0.0625)
    good = build_generator(section, (128, 64)).state_dict()
    name = next(name for name, tensor in good.items() if tensor.dim() > 1)
    header = {"config": section.identity(), "image_size": [128, 64]}
    for value, message in ((torch.nan, f"{name} holds values that are not finite"), (torch.inf, "not finite")):
        save_weights(tmp_path / "w.safetensors", {}, good | {name: good[name] * 0 + value}, header)
        with pytest.raises(AugmentError, match=message):
            load_generator(tmp_path / "w.safetensors")
    save_weights(tmp_path / "w.safetensors", {}, {key: tensor * 0 for key, tensor in good.items()}, header)
    with pytest.raises(AugmentError, match="all its weights are zero"):
        load_generator(tmp_path / "w.safetensors")
    save_weights(tmp_path / "w.safetensors", {}, good, header)
    load_generator(tmp_path / "w.safetensors")


def test_a_training_state_with_a_flipped_bit_is_refused(tmp_path):
    import torch

    from augment.base.state import load_state, save_state

    path = tmp_path / "state-000001.pt"
    save_state(path, {"identity": "{}", "weight": torch.ones(1000)})
    assert load_state(path)["weight"].sum() == 1000
    data = path.read_bytes()
    path.write_bytes(flip(data, 8 * data.index(torch.ones(100).numpy().tobytes())))
    with pytest.raises(AugmentError, match=r"state-000001\.pt: not a training state, or damaged"):
        load_state(path)


def test_postscript_below_the_name_of_a_jpeg_is_no_image():
    from augment.base.images import decode_image

    with pytest.raises(ValueError, match="not an image"):
        decode_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n")


def test_a_sealed_json_object_tells_every_flipped_bit():
    from augment.base.seals import read_sealed_json, sealed_json

    fields = {"digest": "ab" * 8, "metrics": {"mAP": 0.25, "rank1": 0.5}, "files": []}
    data = sealed_json(fields).encode()
    assert read_sealed_json(data) == fields
    for bit in range(8 * len(data)):  # those of the seal's own name, too
        with pytest.raises(ValueError):
            read_sealed_json(flip(data, bit))
    with pytest.raises(ValueError, match="not what was written"):
        read_sealed_json(json.dumps(fields))


def test_weights_tell_every_flipped_bit(tmp_path):
    import torch

    from augment.base.tensors import load_tensors, read_header, save_tensors

    path = tmp_path / "weights.safetensors"
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7), "c": torch.ones(4).half()}
    sha256 = save_tensors(path, tensors, "augment", {"iteration": 7})
    data = path.read_bytes()
    assert save_tensors(path, dict(reversed(tensors.items())), "augment", {"iteration": 7}) == sha256
    assert read_header(path, "augment") == {"iteration": 7}
    for bit in random.Random(0).sample(range(8 * len(data)), 500):
        path.write_bytes(flip(data, bit))
        try:
            found, header = load_tensors(path, "augment")
        except AugmentError as error:
            assert str(path) in str(error)
            continue
        assert header["iteration"] == 7 and all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_weights_without_a_seal_need_a_pinned_hash(tmp_path):
    import safetensors.torch
    import torch

    from augment.base.files import sha256_file
    from augment.base.tensors import load_tensors

    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({"a": torch.ones(2)}, path, {"augment": '{"iteration": 7}'})
    with pytest.raises(AugmentError, match=r"weights\.safetensors: damaged"):
        load_tensors(path, "augment")
    assert load_tensors(path, "augment", {sha256_file(path)})[1] == {"iteration": 7}


@pytest.mark.parametrize("name", sorted(file.stem for file in SHIPPED.glob("*.safetensors")))
def test_a_changed_weight_of_a_shipped_generator_is_told(tmp_path, name):
    from augment.gan.checkpoints import load_generator
    from augment.gan.generators import shipped

    data = shipped()[name].read_bytes()
    path = tmp_path / "weights.safetensors"
    path.write_bytes(data)
    load_generator(path)
    path.write_bytes(flip(data, 8 * len(data) - 16))  # in the last weight
    with pytest.raises(AugmentError, match=r"weights\.safetensors: damaged"):
        load_generator(path)


def test_a_flipped_result_of_a_run_is_no_known_result(tmp_path):
    from augment.base.seals import sealed_json
    from augment.reid.stage import _known_result

    path = tmp_path / "real-s0.json"
    path.write_text(sealed_json({"digest": "d", "metrics": {"mAP": 0.25}, "files": {}}))
    assert _known_result(tmp_path, "real-s0", "digest", "d")["metrics"] == {"mAP": 0.25}
    path.write_text(path.read_text().replace("0.25", "0.35"))
    assert _known_result(tmp_path, "real-s0", "digest", "d") is None


def test_a_damaged_line_of_the_log_is_left_out_with_a_word(tmp_path, capfd):
    from augment.gan.log import log_line, read_log

    lines = [log_line({"iteration": number, "loss": number / 8}) for number in (1, 2, 3)]
    (tmp_path / "log.jsonl").write_text("".join(lines) + lines[2][:20])  # the process is writing the last one
    assert [row["iteration"] for row in read_log(tmp_path)] == [1, 2, 3]
    assert capfd.readouterr().err == ""
    (tmp_path / "log.jsonl").write_text(lines[0] + lines[1].replace("0.25", "0.75") + lines[2])
    assert [row["loss"] for row in read_log(tmp_path)] == [0.125, 0.375]
    assert "log.jsonl: 1 damaged lines are left out" in capfd.readouterr().err


def test_last_line_of_a_log_that_lost_its_line_feed_to_a_flip_is_damaged(tmp_path, capfd):
    from augment.gan.log import log_line, read_log

    log = "".join(log_line({"iteration": i, "loss": i / 8}) for i in (1, 2))
    for bit in range(8):
        (tmp_path / "log.jsonl").write_bytes(log[:-1].encode() + bytes([ord("\n") ^ 1 << bit]))
        whole = [row["iteration"] for row in read_log(tmp_path)] == [1, 2]
        assert whole != ("1 damaged lines" in capfd.readouterr().err)


def test_last_line_of_a_log_that_was_cut_off_is_no_damage(tmp_path, capfd):
    from augment.gan.log import log_line, read_log

    first, last = (log_line({"iteration": i, "loss": i / 8}) for i in (1, 2))
    for length in range(len(last) + 1):
        (tmp_path / "log.jsonl").write_text(first + last[:length])
        assert len(read_log(tmp_path)) == 1 + (length >= len(last) - 1)
    assert "damaged" not in capfd.readouterr().err


def test_a_training_whose_owner_is_damaged_goes_on(tmp_path, capfd):
    from augment.gan.folder import OWNER, place_of_training, take_folder

    origin = {"digest": "0" * 64, "section": {"iterations": 4, "decay_iterations": 0}, "inputs": {}}
    take_folder(tmp_path, origin)
    owner = (tmp_path / OWNER).read_bytes()
    (tmp_path / "state-000002.pt").touch()
    (tmp_path / OWNER).write_bytes(owner.replace(b"iterations", b"iterationz", 1))
    take_folder(tmp_path, origin)
    assert (tmp_path / OWNER).read_bytes() == owner and (tmp_path / "state-000002.pt").exists()
    assert "training.json: damaged" in capfd.readouterr().err and place_of_training(tmp_path, origin) == tmp_path


TENSORBOARD_ON_A_FULL_DISK = """
import errno, sys, threading
from tensorboard.compat.tensorflow_stub.io import gfile
from augment.gan.gallery import SummaryWriter

def refused(*_):
    raise OSError(errno.ENOSPC, "No space left on device")

writer = SummaryWriter(sys.argv[1])
gfile.LocalFileSystem.append = refused
try:
    while True:
        writer.add_scalar("loss", 1.0)
        writer.flush()
except OSError as error:
    print(error)
for thread in set(threading.enumerate()) - {threading.main_thread()}:
    thread.join()  # it prints while it ends
"""


def test_a_full_disk_under_tensorboard_is_said_once_without_a_traceback(tmp_path):
    done = subprocess.run([sys.executable, "-c", TENSORBOARD_ON_A_FULL_DISK, tmp_path], capture_output=True, text=True)
    assert "No space left on device" in done.stdout
    assert "Exception in thread" not in done.stderr
