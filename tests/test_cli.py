"""The command line: what it says, and with which exit code."""

import json
import os
import re
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from augment.cli import main
from augment.config import RenderedConfig
from augment.data.rendered.dataset import render_set
from augment.manifest import read_manifest

HOLD_LOCK = """
import pathlib, sys, filelock
path = pathlib.Path(sys.argv[1])
path.parent.mkdir(parents=True)
lock = filelock.FileLock(path)
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""
TRAIN_IMAGE = "0001_c1s1_001075_03"


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """Calls ``augment`` in the test's folder; returns exit code and everything it printed."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str]:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        return result.exit_code, result.output

    return call


@pytest.fixture
def config_file(tmp_path, tiny_config) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_config.model_dump(mode="json")), encoding="utf-8")
    return path


def write_yaml(path: Path, values: dict) -> Path:
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def test_help_does_not_wait_for_torch():
    code = "import sys, augment.cli; print(sorted({'torch', 'pandas', 'prefect', 'pyarrow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_command_has_help(cli):
    def walk(group, path):
        for name, command in group.commands.items():
            code, output = cli(*path, name, "--help")
            assert code == 0, (path, name, output)
            assert command.help.splitlines()[0] in " ".join(output.split())
            if hasattr(command, "commands"):
                walk(command, [*path, name])

    walk(main, [])


def test_wrong_key_names_the_right_one(cli, tmp_path):
    code, output = cli("config", "show", write_yaml(tmp_path / "a.yaml", {"gan": {"iteration": 5}}))
    assert code == 2
    assert "unknown key gan.iteration. Did you mean gan.iterations?" in output


def test_wrong_value(cli, config_file):
    code, output = cli("run", config_file, "--set", "gan.width=2", "--dry-run")
    assert code == 2
    assert "gan.width" in output and "less than or equal to 1" in output


def test_no_such_config(cli, tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "demo.yaml").write_text("{}")
    code, output = cli("run", "configs/dmo.yaml")
    assert code == 2
    assert "no such configuration file. Did you mean configs/demo.yaml?" in output


def test_a_shipped_configuration_is_found_by_name_unless_a_file_has_it(cli, tmp_path):
    code, output = cli("config", "show", "demo")
    assert code == 0 and "name: demo" in output and "start: rendered  # default: null" in output
    (tmp_path / "demo").write_text("name: mine")
    assert "name: mine" in cli("config", "show", "demo")[1]
    code, output = cli("run", "configs/demo.yaml")  # there is no such folder here
    assert code == 2 and "Did you mean demo?" in output


def test_set_without_value(cli, config_file):
    code, output = cli("config", "show", config_file, "--set", "gan.width")
    assert code == 2 and "write it as section.key=value" in output


def test_config_show_marks_what_differs(cli, config_file):
    code, output = cli("config", "show", config_file, "--set", "gan.seed=7")
    lines = output.splitlines()
    assert code == 0
    assert "  width: 0.0625  # default: 1.0" in lines
    assert "  seed: 7  # default: 0" in lines
    assert "  learning_rate: 0.0002" in lines
    assert "    images_per_identity: 6  # default: 12" in lines


def test_missing_data_set(cli, tmp_path):
    path = write_yaml(tmp_path / "a.yaml", {"data": {"root": str(tmp_path / "nowhere")}})
    for arguments in (("images", path, "--engine", "local"), ("run", path, "--dry-run")):
        code, output = cli(*arguments)
        assert code == 3
        assert "nowhere: no such folder. Set data.root or the environment variable MARKET1501_ROOT" in output


def test_unexpected_error_shows_no_traceback(cli, config_file, monkeypatch, tmp_path):
    monkeypatch.setattr("augment.pipeline.stages.run_local", lambda *_: {}["gone"])
    code, output = cli("run", config_file, "--engine", "local")
    assert code == 1
    assert "unexpected KeyError: 'gone'" in output and "Traceback (most" not in output
    assert "KeyError" in (tmp_path / "tiny" / "error.log").read_text()


def test_interrupt(cli, config_file, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("augment.pipeline.stages.run_local", interrupted)
    code, output = cli("run", config_file, "--engine", "local")
    assert code == 130
    assert "interrupted; the same command resumes from here" in output


def test_second_run_at_the_same_time(cli, config_file, tiny_config):
    held = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(tiny_config.folder / ".lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with held:
        held.stdout.readline()
        code, output = cli("images", config_file, "--engine", "local")
        held.stdin.close()
    assert code == 3
    assert "another run is using this folder" in output
    assert cli("images", config_file, "--engine", "local")[0] == 0


def test_output_that_is_a_file(cli, config_file, tmp_path):
    (tmp_path / "file").write_text("")
    code, output = cli("images", config_file, "--engine", "local", "--set", f"output={tmp_path / 'file'}")
    assert code == 3 and "is a file, not a folder" in output


def test_one_stage_makes_what_it_needs(cli, config_file, tiny_config):
    code, output = cli("pairs", config_file, "--engine", "local")
    assert code == 0, output
    assert output.strip().splitlines()[-1] == str(tiny_config.folder / "pairs" / "pairs.parquet")
    assert {path.name for path in tiny_config.folder.iterdir() if path.is_dir()} == {
        "rendered", "images", "poses", "pairs",
    }  # fmt: skip


def test_full_disk(cli, config_file, tiny_config, monkeypatch):
    """The n-th write finds no room: a message, exit code 3, no torn file, and the same command ends the work."""
    synced = 0
    sync = os.fsync

    def no_room(handle):
        nonlocal synced
        synced += 1
        if synced == 12:
            raise OSError(28, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fsync", no_room)
    code, output = cli("poses", config_file, "--engine", "local")
    assert code == 3
    assert "the disk is full. Free some space and run the same command again." in output
    assert not list(tiny_config.folder.rglob("*.partial"))
    assert cli("poses", config_file, "--engine", "local")[0] == 0


def test_really_full_disk(cli, config_file, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("no permission to mount a small file system")
    try:
        code, output = cli("images", config_file, "--engine", "local", "--set", f"output={small / 'run'}")
        assert code == 3 and "the disk is full" in output
        subprocess.run(["mount", "-o", "remount,size=10m", small], check=True)
        assert cli("images", config_file, "--engine", "local", "--set", f"output={small / 'run'}")[0] == 0
    finally:
        subprocess.run(["umount", small], check=True)


def huge_png() -> bytes:
    """Header of a PNG of 30,000 x 30,000 pixels: 2.7 GB if anybody decoded it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\x04IDAT" + bytes(8)


class TestBadInput:
    """The data set is the user's, and anything can be in it."""

    @pytest.fixture
    def market(self, tmp_path, tiny_set) -> Path:
        section = json.loads((tiny_set / "rendered.json").read_text())["section"]
        return render_set(RenderedConfig(**section), tmp_path / "market")

    @pytest.fixture
    def poses_of(self, cli, tmp_path, market):
        def run(stage: str = "poses", **pose: object):
            section = {"estimator": "annotations", "minimum_detection_rate": 0,
                       "annotations": {"train": "annotation-train.csv", "gallery": "annotation-test.csv"}}  # fmt: skip
            values = {"output": str(tmp_path / "run"), "data": {"root": str(market)}, "pose": section | pose}
            return cli(stage, write_yaml(tmp_path / "m.yaml", values), "--engine", "local")

        return run

    def test_broken_files_become_rows(self, poses_of, market, tmp_path):
        train = market / "bounding_box_train"
        files = sorted(train.iterdir())
        contents = [b"", files[1].read_bytes()[:300], b"this is text", huge_png()]
        for file, content in zip(files, contents, strict=False):
            file.write_bytes(content)
        (train / "holiday.jpg").write_bytes(files[5].read_bytes())
        (train / "Thumbs.db").write_bytes(b"x")
        code, output = poses_of("pairs")
        assert code == 0, output
        rows = read_manifest(tmp_path / "run/images/images.parquet").frame().set_index("id")
        reasons = rows[rows["status"] == "failed"]["reason"].to_dict()
        assert len(reasons) == 5
        assert reasons[f"train/{files[0].stem}"] == "the file is empty"
        assert reasons[f"train/{files[1].stem}"].startswith("damaged image")
        assert reasons[f"train/{files[2].stem}"] == "not an image"
        assert "too large" in reasons[f"train/{files[3].stem}"]
        assert any("holiday" in reason for reason in reasons)
        poses = read_manifest(tmp_path / "run/poses/poses.parquet").frame().set_index("id")
        assert not poses["accepted"][list(reasons)].any()
        pairs = read_manifest(tmp_path / "run/pairs/pairs.parquet").frame()
        assert not set(pairs["from"]) & set(reasons)

    def test_identity_with_one_image(self, poses_of, market, tmp_path):
        for file in sorted((market / "bounding_box_train").glob("0001_*"))[1:]:
            file.unlink()
        code, output = poses_of("pairs")
        assert code == 0 and "1 training identities have one image only" in output
        pairs = read_manifest(tmp_path / "run/pairs/pairs.parquet").frame()
        assert not pairs["from"].str.startswith("train/0001").any()

    def test_empty_gallery(self, poses_of, market):
        for file in (market / "bounding_box_test").iterdir():
            file.unlink()
        code, output = poses_of("images")
        assert code == 3
        assert "bounding_box_test" in output and "gallery" in output

    def test_missing_column(self, poses_of, market):
        path = market / "annotation-train.csv"
        path.write_text(path.read_text().replace("keypoints_y", "keypoints"))
        code, output = poses_of()
        assert code == 3 and "annotation-train.csv: column keypoints_y is missing" in output

    def test_unknown_number_of_joints(self, poses_of, market):
        path = market / "annotation-train.csv"
        lines = path.read_text().splitlines()
        lines[1] = f"{TRAIN_IMAGE}.jpg: [1, 2, 3]: [4, 5, 6]"
        path.write_text("\n".join(lines))
        code, output = poses_of()
        assert code == 3 and "annotation-train.csv" in output and "3" in output and "18" in output

    def test_wrong_checkpoint_hash(self, poses_of, tmp_path):
        (tmp_path / "weights.pkl").write_bytes(b"not weights")
        code, output = poses_of(estimator="openpifpaf", checkpoint=str(tmp_path / "weights.pkl"))
        assert code == 2 and "set pose.checkpoint_sha256 as well" in output


class TestManifests:
    """Looking into a finished run."""

    def test_show(self, cli, finished_run):
        code, output = cli("manifest", "show", finished_run / "images/images.parquet", "--where", "split=query")
        assert code == 0
        assert "manifest of images, 49 rows" in output and "\n12 rows" in output
        assert "command: augment run tiny.yaml" in output

    def test_show_of_no_manifest(self, cli, tmp_path):
        code, output = cli("manifest", "show", tmp_path / "x.parquet")
        assert code == 3 and "no such manifest" in output

    def test_trace_reaches_everything(self, cli, finished_run):
        row = read_manifest(finished_run / "synthetic/synthetic.parquet").table.slice(0, 1).to_pylist()[0]
        code, output = cli("manifest", "trace", row["id"], "--run", finished_run)
        assert code == 0
        for wanted in (
            f"source image: {row['source']}", f"pose taken from: {row['pose_source']}", row["checkpoint"][:16],
            f"rendered/bounding_box_train/{row['source'].removeprefix('train/')}.jpg", "pose by annotations: ok",
            '"poses_per_image": 2', "input annotations train:", "weights-000006.safetensors", "augment run tiny.yaml",
        ):  # fmt: skip
            assert wanted in output

    def test_trace_finds_the_run(self, cli, finished_run, monkeypatch):
        monkeypatch.chdir(finished_run.parents[1])
        result = CliRunner().invoke(main, ["manifest", "trace", f"train/{TRAIN_IMAGE}"])
        assert result.exit_code == 0 and "outputs/tiny" in result.output

    def test_trace_of_an_unknown_id(self, cli, finished_run):
        code, output = cli("manifest", "trace", "train/nobody", "--run", finished_run)
        assert code == 3 and "no row with the id train/nobody" in output

    def test_verify(self, cli, finished_run, tmp_path):
        code, output = cli("manifest", "verify", finished_run)
        assert code == 0 and "synthetic.parquet: 44 rows, 0 problems" in output
        copy = tmp_path / "images.parquet"
        copy.write_bytes((finished_run / "images/images.parquet").read_bytes())
        code, output = cli("manifest", "verify", copy)  # its relative paths lead nowhere from here
        assert code == 3 and "49 problems" in output and "is gone" in output


def test_quality_prints_its_table_and_published_figures_beside_it(cli, finished_run):
    tiny = finished_run.parents[1] / "tiny.yaml"
    arguments = ("quality", tiny, "--engine", "local", "--set", f"output={finished_run}")
    code, output = cli(*arguments)
    assert code == 0 and "PATN" not in output
    lines = [" ".join(re.sub("[│┃]", " ", line).split()) for line in output.splitlines()]
    assert any(re.match(r"SSIM ↑ (0\.\d{3} \[-?0\.\d{3}, 0\.\d{3}\] ){2}1\.000$", line) for line in lines)
    assert "paired difference to full" in output and "Missing: quality.inception_weights: " in output
    _, output = cli(*arguments, "--beside", "market1501")
    lines = [" ".join(re.sub("[│┃]", " ", line).split()) for line in output.splitlines()]
    assert "PATN (0.311) (0.811) (3.323) (3.773) (0.740)" in lines
    assert any(line.startswith("ours: full 0.") for line in lines)
    assert cli(*arguments, "--beside", "nothing")[0] == 2


class TestDryRun:
    """The plan is true, and making it changes nothing."""

    def test_of_nothing(self, cli, config_file, tiny_config):
        code, output = cli("run", config_file, "--dry-run")
        assert code == 0
        assert "49 images: 24 train, 12 query, 13 gallery" in output
        assert "at most 120 for training, 20 for testing" in output  # 4 people, 6 images: 4 x 6 x 5
        assert "6 iterations of 4 pairs (full, width 0.0625)" in output
        assert "at most 48 images, 2 for each" in output
        assert "2 trainings on 24 images each (osnet_x0_25)" in output
        assert output.count("not made yet") == 7
        assert not tiny_config.folder.exists()

    def test_of_judging_names_the_cost_of_each_network_and_generator(self, cli, config_file, tmp_path):
        (tmp_path / "w.pt").write_bytes(b"weights")
        output = cli("quality", config_file, "--dry-run", "--set", "quality.generators=[rendered]",
                     "--set", f"quality.vgg_weights={tmp_path / 'w.pt'}")[1]  # fmt: skip
        lines = [" ".join(re.sub("[│┃]", " ", line).split()) for line in output.splitlines()]
        assert any(re.match(r"the run's generator 8 images, [\d.]+ ms each 1 s", line) for line in lines)
        assert any(re.match(r"rendered 8 images, [\d.]+ ms each", line) for line in lines)
        assert "SSIM, PSNR, L1 24 images, 10 ms each 1 s" in lines  # 8 pairs of two generators and the source
        assert "vgg19 32 images, 26 ms each 1 s" in lines  # and of the target
        assert not any(line.startswith("osnet") for line in lines)

    def test_of_a_finished_run(self, cli, finished_run):
        tiny = finished_run.parents[1] / "tiny.yaml"
        before = {path: path.stat().st_mtime_ns for path in finished_run.rglob("*")}
        code, output = cli("run", tiny, "--dry-run", "--set", f"output={finished_run}")
        assert code == 0 and output.count("up to date") == 7
        code, output = cli("run", tiny, "--dry-run", "--set", f"output={finished_run}", "--set", "gan.width=0.125")
        assert output.count("up to date") == 3
        assert "gan.width 0.0625 -> 0.125" in output and "waits for gan" in output and "this run's own times" in output
        assert {path: path.stat().st_mtime_ns for path in finished_run.rglob("*")} == before

    def test_of_an_interrupted_stage(self, cli, config_file, tiny_config, monkeypatch):
        written = 0
        replace = os.replace

        def stop(source, target):
            nonlocal written
            if "images/.parts" in str(target):
                written += 1
                if written == 4:
                    raise KeyboardInterrupt
            replace(source, target)

        monkeypatch.setattr(os, "replace", stop)
        assert cli("images", config_file, "--engine", "local")[0] == 130
        output = cli("images", config_file, "--dry-run")[1]
        assert "resume, 24 done" in output and "was interrupted" in output  # three shards of eight

    def test_of_a_changed_file(self, cli, config_file, tiny_config):
        assert cli("images", config_file, "--engine", "local")[0] == 0
        file = sorted((tiny_config.folder / "rendered/bounding_box_train").iterdir())[0]
        file.write_bytes(file.read_bytes() + b" ")
        output = cli("images", config_file, "--dry-run")[1]
        assert "1 file is missing or changed" in output and "resume, 48 done" in output


@pytest.mark.market
def test_dry_run_of_the_papers_setting(cli):
    configs = Path(__file__).parents[1] / "configs"
    root = os.environ.get("MARKET1501_ROOT") or configs.parent.parent / "data" / "Market-1501-v15.09.15"
    if not Path(root).is_dir():
        pytest.skip("Market-1501 is not there")
    start = time.monotonic()
    code, output = cli("run", configs / "market1501.yaml", "--dry-run", "--set", f"data.root={root}")
    assert code == 0
    assert "12,936 train, 3,368 query, 19,732 gallery" in output
    assert "at most 129,360 images, 10 for each" in output
    assert "90,000 iterations of 4 pairs (full, width 1)" in output
    assert time.monotonic() - start < 60


SHIPPED = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configurations_are_valid(path):
    from augment.config import load_config

    assert load_config(path).name == path.stem
