"""On a real S3 server: listing, conditional writes, and whole runs whose bytes are those of a local run."""

import os
import shutil
import signal
import subprocess
import threading
import time

import pytest
from bucket import MARKET, assert_same, run_here, upload
from click.testing import CliRunner

from augment.base.errors import AugmentError, UsageError
from augment.base.files import atomic_write, read_file
from augment.base.storage import copies, lease, objects
from augment.base.storage.addresses import copy_of
from augment.cli import main
from augment.config import Config
from augment.pipeline.folder import locked_run
from augment.pipeline.stages import run_local


def test_a_large_folder_is_listed_by_ranges(s3, monkeypatch):
    names = [f"{person:04d}_c1s1_{frame:06d}_00.jpg" for person in range(7) for frame in range(3)]
    names += ["-1_c1s1_000001_00.jpg", "05", "Thumbs.db", "été.jpg", "fasion 1+2.jpg"]
    fs, path = objects._fs("s3://lab/many")
    for name in names:
        fs.pipe_file(f"{path}/{name}", name.encode())
    fs.pipe_file(f"{path}/below/x.jpg", b"x")
    monkeypatch.setattr(objects, "_PAGE", 4)
    monkeypatch.setattr(objects, "_PAGES_IN_TURN", 1)
    entries, folders = objects.listing("s3://lab/many")
    assert sorted(entry.name for entry in entries) == sorted(names) and folders == ["below"]
    assert {entry.name: entry.size for entry in entries} == {name: len(name.encode()) for name in names}
    assert objects.listing("s3://lab/nothing") == ([], [])


def test_of_many_that_create_an_object_one_does(s3):
    s3.faults = 0.2
    done = []
    threads = [threading.Thread(target=lambda k=k: done.append(objects.create("s3://lab/lock", b"%d" % k)))
               for k in range(8)]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [False] * 7 + [True]


def test_large_objects_and_cut_answers(s3, monkeypatch):
    monkeypatch.setattr(objects, "_WHOLE", 2**20)
    s3.faults = 0.3
    data = os.urandom(6 * 2**20)
    path = copy_of("s3://lab/state.pt")
    with atomic_write(path) as file:
        file.write(data)
    os.unlink(path)
    assert read_file(path) == data
    for number in range(40):
        with atomic_write(copy_of(f"s3://lab/small/{number}")) as file:
            file.write(data[number : number + 5000])
    copies.forget()
    shutil.rmtree(copy_of("s3://lab/small"))
    copies.fetch_all(copy_of(f"s3://lab/small/{number}") for number in range(40))
    for number in range(40):
        assert copy_of(f"s3://lab/small/{number}").read_bytes() == data[number : number + 5000]
    assert sum(s3.failed[kind] for kind in s3.KINDS) > 10


def test_refusals_are_told(s3, tiny_config, monkeypatch):
    with pytest.raises(UsageError, match="s3://lab/other: is not a run and not empty"):
        objects.write("s3://lab/other/thesis.tex", b"x")
        with locked_run(tiny_config.model_copy(update={"output": copy_of("s3://lab/other")})):
            pass
    with pytest.raises(AugmentError, match="s3://lab/gone/bounding_box_train: No such file"):
        from augment.data.stage import list_images

        list_images(Config.model_validate({"data": {"root": "s3://lab/gone"}}).data, copy_of("s3://lab/gone"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    objects._systems.clear()
    with pytest.raises(AugmentError, match="s3://lab/x: access denied"):
        objects.read("s3://lab/x")


def test_the_bytes_of_a_local_run(s3, market, tiny_config, another_machine, tmp_path, monkeypatch):
    """Images, poses and pairs through a proxy that fails 2 % of the requests; then verified and read elsewhere."""
    monkeypatch.setattr("sys.argv", ["augment", "run"])
    objects.remove_below("s3://lab/run")
    tiny = run_here(market, tiny_config, tmp_path / "run", until="pairs")
    there = Config.model_validate(tiny | {"output": "s3://lab/run", "data": MARKET})
    s3.faults = 0.02
    with locked_run(there):
        run_local(there, until="pairs")
    assert s3.seen > 150
    s3.faults = 0
    assert_same("s3://lab/run", tmp_path / "run")

    another_machine()
    with locked_run(there):
        assert all(outcome.reused for outcome in run_local(there, until="pairs"))
    another_machine()
    verified = CliRunner().invoke(main, ["manifest", "verify", "s3://lab/run"])
    assert verified.exit_code == 0 and "s3://lab/run/images/images.parquet: 49 rows, 0 problems" in verified.output
    traced = CliRunner().invoke(main, ["manifest", "trace", "train/0001_c1s1_001075_03", "--run", "s3://lab/run"])
    assert "file: s3://lab/Market/bounding_box_train/0001_c1s1_001075_03.jpg" in traced.output, traced.output

    fs, path = objects._fs("s3://lab/Market/bounding_box_train/0001_c1s1_001075_03.jpg")
    fs.pipe_file(path, b"not an image any more")
    verified = CliRunner().invoke(main, ["manifest", "verify", "s3://lab/run"])
    assert verified.exit_code == 3 and "0001_c1s1_001075_03.jpg: its content has changed" in verified.output


@pytest.mark.server
@pytest.mark.parametrize("form", ["files", "webdataset"])
def test_a_whole_run_with_faults_and_a_restart_and_a_kill(
    s3, s3_server, market, another_machine, run_command, tmp_path, form
):
    """1 % of the requests fail and the server is killed and started again; then the machine is lost in synthesis and
    another one goes on. The bytes are those of an undisturbed local run."""
    upload(market, "s3://lab/Market")
    address = f"s3://lab/{form}"  # one for each: SeaweedFS lists the folders of what was removed
    (tmp_path / "here").mkdir()
    shutil.copytree(market, tmp_path / "here/Market")
    settings = [f"synthesis.format={form}", "data.layout=market1501"]

    def augment(*more: str, kill: tuple[str, int] = ("", 0)) -> subprocess.CompletedProcess:
        arguments = [word for setting in [*settings, *more] for word in ("--set", setting)]
        return run_command(tmp_path / "here", "run", "tiny.yaml", "--engine", "local", *arguments, kill=[kill])

    done = augment("output=run", "data.root=Market")
    assert done.returncode == 0, done.stderr[-3000:]
    restarted = threading.Event()

    def restart(number: int) -> None:
        if number == 250 and not restarted.is_set():
            restarted.set()
            s3_server.kill()
            threading.Timer(5, s3_server.start).start()

    s3.on_request, s3.faults = restart, 0.01
    pattern, count = (r"synthetic/images/.*jpg$", 20) if form == "files" else (r"synthetic/images/.*tar$", 1)
    there = [f"output={address}", "data.root=s3://lab/Market"]
    killed = augment(*there, kill=(pattern, count))
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    another_machine()
    finished = augment(*there)
    assert finished.returncode == 0, finished.stderr[-3000:]
    s3.on_request, s3.faults = lambda number: None, 0
    assert restarted.is_set()
    print(f"\n{s3.seen} requests, {dict(s3.failed)}")
    assert "used this address; waiting up to 90 s for a sign" in finished.stderr
    assert_same(address, tmp_path / "here/run")
    another_machine()
    verified = CliRunner().invoke(main, ["manifest", "verify", address])
    assert verified.exit_code == 0, verified.output
    page = CliRunner().invoke(main, ["report", address])
    assert page.exit_code == 0 and f"Report: {address}/report.html" in page.output, page.output


def test_a_machine_that_was_given_up_stops(s3, another_machine, monkeypatch):
    monkeypatch.setattr(lease, "BEAT_S", 0.2)
    run = copy_of("s3://lab/held")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a worker of pytest-xdist ignores it
    try:
        with pytest.raises(KeyboardInterrupt), lease.held(run):
            objects.write("s3://lab/held/.lock-000009", b'{"host": "other", "process": 1, "machine": "other"}')
            time.sleep(10)
    finally:
        signal.signal(signal.SIGINT, before)
