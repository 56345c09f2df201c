"""Addresses and copies, on fsspec's own local file system: no server is needed."""

import os
from pathlib import Path

import pytest

from augment.base.errors import AugmentError, Refused, UsageError
from augment.base.files import atomic_write, is_regular_file, read_file, read_stored, remove, remove_folder, sha256_file
from augment.base.storage import copies, lease, objects
from augment.base.storage.addresses import address_of, copy_of, is_copy, location, shown
from augment.config import Config, dump_yaml, load_config
from augment.data.patterns import parse_folder


@pytest.fixture
def far(tmp_path, another_machine) -> Path:
    """The folder that ``file://`` addresses are in."""
    (tmp_path / "far").mkdir()
    return tmp_path / "far"


def write(path: Path, data: bytes) -> None:
    with atomic_write(path) as file:
        file.write(data)


def test_an_address_is_a_path_and_back(another_machine):
    path = copy_of("s3://lab/people/0001.jpg")
    assert path == Path(os.environ["AUGMENT_CACHE"], "s3/lab/people/0001.jpg")
    assert address_of(path) == "s3://lab/people/0001.jpg"
    assert address_of(path.parent / "../people/0001.jpg") == "s3://lab/people/0001.jpg"
    assert copy_of("s3://lab/people/") == path.parent
    assert location("people/0001.jpg") == Path("people/0001.jpg") and not is_copy("people/0001.jpg")
    assert shown(f"{path}: gone, and {path.parent}") == "s3://lab/people/0001.jpg: gone, and s3://lab/people"


@pytest.mark.parametrize(
    "wrong", ["s3://", "s3://lab/../x", "s3://lab//x", "S3://lab", "simplecache::s3://lab", "s3://lab?x"]
)
def test_what_is_no_address(wrong):
    with pytest.raises(UsageError, match="not an object storage address"):
        copy_of(wrong)


def test_a_path_that_leads_out_of_the_cache_is_no_copy(another_machine, tmp_path):
    (tmp_path / "here.txt").write_text("here")
    path = copy_of("s3://lab/run/images") / os.path.relpath(tmp_path / "here.txt", copy_of("s3://lab/run/images"))
    assert os.environ["AUGMENT_CACHE"] in str(path) and not is_copy(path)


def test_a_configuration_shows_addresses_and_works_with_paths(another_machine):
    config = Config.model_validate({"output": "s3://lab/run", "data": {"root": "gs://sets/Market"},
                                    "pose": {"annotations": {"train": "s3://lab/train.csv"}}})  # fmt: skip
    assert config.folder == copy_of("s3://lab/run") and config.data.root == copy_of("gs://sets/Market")
    text = dump_yaml(config)
    assert "output: s3://lab/run" in text and "root: gs://sets/Market" in text and "train: s3://lab/train.csv" in text
    assert os.environ["AUGMENT_CACHE"] not in text
    assert Config.model_validate(config.model_dump()) == config == Config.model_validate(config.model_dump(mode="json"))


def test_the_example_of_a_configuration(another_machine):
    configs = Path(__file__).parents[2] / "configs"
    config = load_config(configs / "demo.yaml", others=[configs / "storage/s3.yaml"])
    assert config.folder == copy_of("s3://bucket/runs/market1501") and config.synthesis.format == "webdataset"


def test_names_of_another_data_set_are_listed_with_their_sizes(far):
    for name in ("7/c1/a.jpg", "7/c2/b.jpg", "8/c1/c.png", "9/c1/d.jpg", "5/c1/e.jpg",
                 "8/notes.txt"):  # fmt: skip
        (far / "crops" / name).parent.mkdir(parents=True, exist_ok=True)
        (far / "crops" / name).write_bytes(bytes(len(name)))
    pattern = r"(?P<pid>\d+)/c(?P<camid>\d+)"
    here, there = (parse_folder(folder, pattern) for folder in (far / "crops", copy_of(f"file://{far}/crops")))
    assert [image.id for image in there.images] == [image.id for image in here.images] and len(there.images) == 5
    assert {image.size for image in there.images} == {10}
    with pytest.raises(AugmentError, match=rf"file://{far}/gone: no such folder"):
        parse_folder(copy_of(f"file://{far}/gone"), pattern)


def test_what_is_written_is_in_the_storage_before_it_is_here(far):
    path = copy_of(f"file://{far}/run/table")
    write(path, b"first")
    assert (far / "run/table").read_bytes() == b"first" == path.read_bytes()
    far.joinpath("run").chmod(0o755)
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b"second")
        raise RuntimeError
    assert (far / "run/table").read_bytes() == b"first" == path.read_bytes()


def test_another_machine_reads_it_and_sees_when_it_changes(far, another_machine):
    write(copy_of(f"file://{far}/run/table"), b"first")
    another_machine()
    path = copy_of(f"file://{far}/run/table")
    assert is_regular_file(path) and read_file(path) == b"first"
    (far / "run/table").write_bytes(b"other")
    os.utime(far / "run/table", ns=(1, 1))
    assert read_file(path) == b"other"
    (far / "run/table").unlink()
    assert not is_regular_file(path)
    with pytest.raises(FileNotFoundError):
        sha256_file(path)


def test_a_part_of_a_container_is_read(far):
    (far / "0001.tar").write_bytes(b"headJPEGtail")
    assert read_stored(copy_of(f"file://{far}/0001.tar#4+4")) == b"JPEG"


def test_a_run_is_brought_without_its_images_and_its_leftovers_go(far):
    for name in ("a", "gan/state-1.pt", "synthetic/images/1.jpg", "synthetic/t.parquet", "poses/.parts/d/1.parquet"):
        (far / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (far / "run" / name).write_bytes(name.encode())
    run = copy_of(f"file://{far}/run")
    copies.pull(run, lambda name: not name.endswith(".pt"))
    here = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert here == {"a", "synthetic/t.parquet", "poses/.parts/d/1.parquet"}
    write(run / "own", b"of this machine")
    (run / "log").write_bytes(b"never uploaded")
    for name in ("own", "poses/.parts/d/1.parquet"):
        (far / "run" / name).unlink()
    (far / "run/poses/.parts/d").rmdir()
    copies.pull(run, lambda name: True)
    here = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert here == {"a", "synthetic/t.parquet", "gan/state-1.pt", "log"}


def test_a_file_that_grew_after_its_upload_gives_way_to_the_storage_where_the_run_is_held(far):
    log = copy_of(f"file://{far}/run/log")
    log.parent.mkdir(parents=True)
    log.write_bytes(b"one\n")
    copies.publish(log)
    with open(log, "ab") as file:
        file.write(b"two\n")
    copies.pull(log.parent, lambda name: True)
    assert log.read_bytes() == b"one\ntwo\n"  # another process of this machine may be writing
    copies.pull(log.parent, lambda name: True, held=True)
    assert log.read_bytes() == b"one\n" == (far / "run/log").read_bytes()


def test_removed_and_moved_here_is_removed_and_moved_there(far):
    run = copy_of(f"file://{far}/run")
    for name in ("a", "b", "parts/1", "parts/2"):
        write(run / name, name.encode())
    remove(run / "a")
    remove(run / "a")
    copies.move(run / "b", run / "c")
    remove_folder(run / "parts")
    assert sorted(path.name for path in (far / "run").rglob("*") if path.is_file()) == ["c"]
    assert sorted(path.name for path in run.rglob("*") if path.is_file()) == ["c"]
    assert read_file(run / "c") == b"b"


def test_a_folder_is_moved_with_what_is_only_here(far):
    run = copy_of(f"file://{far}/run")
    write(run / "gan/samples/000100.jpg", b"there")
    (run / "gan/tensorboard").mkdir()
    (run / "gan/tensorboard/events").write_bytes(b"here")
    copies.move(run / "gan/samples", run / "earlier/samples")
    copies.move(run / "gan/tensorboard", run / "earlier/tensorboard")
    assert [str(path.relative_to(far)) for path in far.rglob("*.jpg")] == ["run/earlier/samples/000100.jpg"]
    assert read_file(run / "earlier/samples/000100.jpg") == b"there"
    assert (run / "earlier/tensorboard/events").read_bytes() == b"here" and not any((run / "gan").iterdir())


def test_the_cache_keeps_its_bound_and_what_was_used_last(far, monkeypatch):
    monkeypatch.setenv("AUGMENT_CACHE_GB", "1e-5")  # 10,000 bytes
    for number in range(12):
        (far / f"{number:02d}.jpg").write_bytes(bytes(1000))
    run = copy_of(f"file://{far}/run")
    for name in (".augment-run", "images/table.parquet"):
        write(run / name, bytes(4000))
    for number in range(12):
        read_file(copy_of(f"file://{far}/{number:02d}.jpg"))
        read_file(copy_of(f"file://{far}/00.jpg"))
    kept = sorted(path.name for path in copy_of(f"file://{far}").glob("*.jpg"))
    assert "00.jpg" in kept and "11.jpg" in kept and "01.jpg" not in kept and len(kept) <= 10
    assert (run / "images/table.parquet").exists()  # of a run that may be at work
    assert len(read_file(copy_of(f"file://{far}/01.jpg"))) == 1000


def test_a_storage_that_gives_no_answer(far, monkeypatch):
    monkeypatch.setattr(objects, "PATIENCE_S", 0.3)
    attempts = []

    def fail(fs, path):
        attempts.append(path)
        raise ConnectionResetError("reset by peer")

    with pytest.raises(Refused, match=rf"file://{far}/x: the storage is not responding \(reset by peer\)"):
        objects._try(f"file://{far}/x", fail)
    assert 2 <= len(attempts) <= 5


def test_a_full_disk_is_not_tried_again(far, monkeypatch):
    def fail(fs, path):
        raise OSError(28, "No space left on device")

    with pytest.raises(AugmentError, match="the disk is full"):
        objects._try(f"file://{far}/x", fail)


def test_an_unknown_protocol_names_what_to_install(another_machine):
    with pytest.raises(UsageError, match=r"nowhere://lab/x: .*install"):
        objects.info("nowhere://lab/x")


def test_a_run_has_one_holder_and_a_dead_one_is_succeeded(far, another_machine, monkeypatch):
    monkeypatch.setattr(lease, "BEAT_S", 0.2)
    monkeypatch.setattr(lease, "DEAD_AFTER_S", 60.0)
    address = f"file://{far}/run"
    with lease.held(copy_of(address)):
        assert [path.name for path in (far / "run").iterdir()] == [".lock-000001"]
        another_machine()
        with pytest.raises(AugmentError, match=rf"{address}: another run is using this address \(process \d+ on"):
            lease._take(address, {"id": "2", "host": "b", "process": 2, "machine": "other"})
    assert not list((far / "run").iterdir())
    (far / "run/.lock-000007").write_text('{"host": "gone", "process": 1, "machine": "that one"}')
    monkeypatch.setattr(lease, "DEAD_AFTER_S", 0.5)
    with lease.held(copy_of(address)):
        assert [path.name for path in (far / "run").iterdir()] == [".lock-000008"]
        assert not objects.create(f"{address}/.lock-000008", b"second")


def test_of_two_one_has_the_object_where_a_storage_knows_no_conditions(far, monkeypatch):
    fs, _ = objects._fs(f"file://{far}/lock")
    write = fs.pipe_file

    def overwrite(path, data, mode):
        write(path, data)
        write(path, b"of another, a moment later")

    monkeypatch.setattr(fs, "pipe_file", overwrite)
    assert not objects.create(f"file://{far}/lock", b"mine")


def test_a_storage_that_gives_no_answer_is_not_waited_for_twice(far, monkeypatch):
    with pytest.raises(Refused), monkeypatch.context() as patched, lease.held(copy_of(f"file://{far}/run")):
        patched.setattr(objects, "remove", lambda address: pytest.fail("asked again"))
        raise Refused("no answer")
    with lease.held(copy_of(f"file://{far}/run")):  # the same machine need not wait for a sign
        assert [path.name for path in (far / "run").iterdir()] == [".lock-000002"]
