"""kill -9 in the middle of every stage, then the same command: the manifests of an undisturbed run, byte for byte."""

import json
import signal

LOCAL = ("run", "tiny.yaml", "--engine", "local")

# (pattern of files, n): killed at the n-th; one in the middle of every stage, in the order of the stages
KILLS = [
    (r"rendered/bounding_box_train/", 5),
    (r"images/\.parts/", 4),
    (r"poses/\.parts/", 3),
    (r"pairs/pairs\.parquet", 1),
    (r"gan/state-000004", 1),  # after its weights
    (r"gan/checkpoints\.parquet", 1),
    (r"synthetic/\.parts/", 3),  # after its images
    (r"quality/metrics\.parquet", 1),
    (r"reid/\.parts/", 2),
    (r"report\.html", 1),
]


def manifests(run):
    return {path.relative_to(run): path.read_bytes() for path in sorted(run.rglob("*.parquet"))}


def test_killed_in_every_stage(run_command, finished_run, tmp_path):
    done = run_command(tmp_path, *LOCAL, kill=[*KILLS, ("", 0)])
    assert done.returncode == 0, done.stderr
    codes = json.loads(done.stdout.splitlines()[-1])
    assert codes == [-signal.SIGKILL] * len(KILLS) + [0], done.stderr

    run = tmp_path / "outputs" / "tiny"
    expected = manifests(finished_run)
    assert len(expected) == 7
    assert manifests(run) == expected
    assert {path.name: path.read_bytes() for path in run.glob("synthetic/images/*")} == {
        path.name: path.read_bytes() for path in finished_run.glob("synthetic/images/*")
    }
    assert not list(run.rglob("*.partial")) and not list(run.rglob(".parts"))


def test_killed_under_prefect(run_command, finished_run, tmp_path):
    arguments = ("poses", "tiny.yaml", "--set", "flow.workers=2")
    done = run_command(tmp_path, *arguments, kill=[(r"poses/\.parts/", 3)])
    assert done.returncode == -signal.SIGKILL, done.stderr
    done = run_command(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert "images: up to date, reused" in done.stderr
    assert "poses: done" in done.stderr

    run = tmp_path / "outputs" / "tiny"
    for name in ("images/images.parquet", "poses/poses.parquet"):
        assert (run / name).read_bytes() == (finished_run / name).read_bytes()
    said = (done.stdout + done.stderr).replace("Prefect's server is starting", "").replace(str(tmp_path), "")
    for noise in ("prefect", "Traceback", "sqlite", "WARNING"):
        assert noise not in said
    assert "Finished in state Reused('images: up to date" in (run / "prefect.log").read_text()


def test_second_run_makes_nothing(run_command, finished_run):
    before = {path: path.stat().st_mtime_ns for path in finished_run.rglob("*.parquet")}
    done = run_command(finished_run.parents[1], "run", "tiny.yaml", "--engine", "local")
    assert done.returncode == 0, done.stderr
    for stage in ("images", "poses", "pairs", "gan", "synthetic", "quality", "reid"):
        assert f"{stage}: up to date, reused" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in finished_run.rglob("*.parquet")} == before
    assert "rank-1" in done.stdout and "report.html" in done.stdout
