import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.base.errors import AugmentError
from augment.cli import main
from augment.config import DataConfig, RenderedConfig
from augment.data.layouts import list_market, parse_market
from augment.data.rendered.body import HIP, View, lean_points, pose_figure, sample_limbs
from augment.data.rendered.canvas import OVERSAMPLE
from augment.data.rendered.dataset import Item, item_joints, plan, render_item, render_set, visible_joints
from augment.data.rendered.figure import draw_figure
from augment.data.rendered.people import Build, sample_person
from augment.data.stage import identity, scan_images
from augment.pose.annotations import read_posegan_csv
from augment.pose.skeleton import INDEX

SMALL = RenderedConfig(train_identities=3, test_identities=2, images_per_identity=4, cameras=3)
AVERAGE = Build(height=1.0, girth=1.0, shoulders=1.0, hips=1.0)


def figure_of(seed: int):
    return pose_figure(sample_limbs(np.random.default_rng(seed)), AVERAGE)


def view(turn: float) -> View:
    return View(turn=turn, pitch=0.1, scale=110.0, x=32.0, y=122.0)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(2, 20), st.integers(2, 9))
def test_plan_follows_the_protocol(train, test, images, cameras):
    items = plan(
        RenderedConfig(train_identities=train, test_identities=test, images_per_identity=images, cameras=cameras)
    )
    assert len({(item.split, item.name) for item in items}) == len(items)
    people = {split: {item.pid for item in items if item.split == split} for split in ("train", "query", "gallery")}
    assert len(people["train"]) == train and len(people["query"]) == test
    assert not people["train"] & (people["query"] | people["gallery"])
    assert people["gallery"] == people["query"] | {0}
    queries = [(item.pid, item.camera) for item in items if item.split == "query"]
    assert len(queries) == len(set(queries))  # one for a person and camera
    for item in items:
        name = parse_market(item.name)
        assert (name.pid, name.camid) == (item.pid, item.camera) and 1 <= item.camera <= cameras
    for pid, camera in queries:  # each can be found in another camera
        assert any(item.split == "gallery" and item.pid == pid and item.camera != camera for item in items)


def test_default_demo_is_forty_and_forty_by_twelve():
    items = plan(RenderedConfig())
    assert sum(item.split == "train" for item in items) == 480
    assert sum(item.split == "query" for item in items) == 240
    assert sum(item.split == "gallery" and item.pid > 0 for item in items) == 240


def test_set_on_disk_has_the_layout_and_exact_joints(tmp_path):
    root = render_set(SMALL, tmp_path / "rendered")
    assert [(image.split, image.file.name) for image in list_market(root)] == sorted(
        ((item.split, item.name) for item in plan(SMALL)), key=lambda pair: f"{pair[0]}/{pair[1]}"
    )
    for split, file in (("train", "annotation-train.csv"), ("gallery", "annotation-test.csv")):
        rows = read_posegan_csv(root / file).set_index("name")
        items = [item for item in plan(SMALL) if item.split == split]
        assert list(rows.index) == [item.name for item in items]
        for item in items:
            exact = item_joints(SMALL.seed, item)
            written = np.stack([rows.loc[item.name, "x"], rows.loc[item.name, "y"]], axis=1)
            np.testing.assert_allclose(written, np.round(exact), equal_nan=True)


def test_half_a_set_is_completed_to_the_same_bytes(tmp_path):
    whole = render_set(SMALL, tmp_path / "whole")
    half = tmp_path / "half"
    shutil.copytree(whole, half)
    state = json.loads((half / "rendered.json").read_text()) | {"complete": False}
    (half / "rendered.json").write_text(json.dumps(state))
    for number, file in enumerate(sorted(half.rglob("*.jpg"))):
        if number % 3:
            file.unlink()
    (half / "annotation-test.csv").unlink()
    render_set(SMALL, half)
    assert contents(half) == contents(whole)
    lost = next(half.rglob("*.jpg"))
    lost.unlink()  # a finished set that lost a file is mended too
    render_set(SMALL, half)
    assert contents(half) == contents(whole)


def contents(root):
    return {file.relative_to(root): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def test_order_and_company_do_not_matter():
    items = plan(SMALL)
    alone = render_item(5, items[7])
    for item in items[:9]:
        render_item(5, item)
    again = render_item(5, items[7])
    np.testing.assert_array_equal(alone[0], again[0])
    np.testing.assert_array_equal(alone[1], again[1])
    assert (render_item(6, items[7])[0] != alone[0]).any()
    assert alone[0].shape == (128, 64, 3) and alone[0].dtype == np.uint8


def test_only_a_runs_own_set_is_drawn_anew_and_nothing_else_is_removed(tmp_path):
    root = render_set(SMALL, tmp_path / "rendered")
    added = root / "bounding_box_train" / "9999_c1s1_000001_01.jpg"
    added.write_bytes(b"mine")
    other = SMALL.model_copy(update={"images_per_identity": 2, "seed": 1})
    before = {path: path.read_bytes() for path in root.rglob("*.jpg")}
    with pytest.raises(AugmentError, match=r"rendered set of another configuration \(.*seed 0, not 1"):
        render_set(other, root)
    assert {path: path.read_bytes() for path in root.rglob("*.jpg")} == before
    render_set(other, root, own=True)
    names = {item.name for item in plan(other)}
    assert {path.name for path in root.rglob("*.jpg")} == names | {added.name} and added.read_bytes() == b"mine"
    fresh = render_set(other, tmp_path / "fresh")
    assert all((root / path.relative_to(fresh)).read_bytes() == path.read_bytes() for path in fresh.rglob("*.jpg"))
    (root / "rendered.json").write_text("{")
    with pytest.raises(AugmentError, match=r"rendered\.json: damaged\. Delete"):
        render_set(other, root)
    render_set(other, root, own=True)
    assert added.read_bytes() == b"mine"


def test_foreign_folders_are_left_alone(tmp_path):
    foreign = tmp_path / "holidays"
    foreign.mkdir()
    (foreign / "photo.jpg").write_bytes(b"mine")
    section = DataConfig(layout="rendered", root=foreign)
    for call in (lambda: render_set(SMALL, foreign), lambda: identity(section, tmp_path / "run" / "images")):
        with pytest.raises(AugmentError, match="holidays: is not empty, and not a rendered set"):
            call()
    assert [path.name for path in foreign.iterdir()] == ["photo.jpg"]


DRAW = """
import sys
from pathlib import Path
from augment.config import RenderedConfig
from augment.data.rendered.dataset import render_set
from augment.base.errors import AugmentError
try:
    render_set(RenderedConfig(train_identities=3, test_identities=3, images_per_identity=4, seed=int(sys.argv[2])),
               Path(sys.argv[1]))
except AugmentError as error:
    sys.exit(str(error))
"""


def test_of_two_runs_with_one_root_and_different_seeds_one_is_refused(tmp_path):
    shared = [subprocess.Popen([sys.executable, "-c", DRAW, tmp_path / "set", str(seed)], stderr=subprocess.PIPE,
                               text=True) for seed in (1, 2, 1)]  # fmt: skip
    told = [(process.communicate()[1], process.returncode) for process in shared]
    first = json.loads((tmp_path / "set" / "rendered.json").read_text())["section"]["seed"]
    assert [code for _, code in told] == ([0, 1, 0] if first == 1 else [1, 0, 1])
    assert all(f"(seed {first}, not {3 - first})" in message for message, code in told if code)
    alone = render_set(RenderedConfig(train_identities=3, test_identities=3, images_per_identity=4, seed=first),
                       tmp_path / "alone")  # fmt: skip
    for path in alone.rglob("*.*"):
        if path.is_file() and path.name != ".lock":
            assert (tmp_path / "set" / path.relative_to(alone)).read_bytes() == path.read_bytes()


def test_scanning_renders_first_and_reuses(tmp_path):
    section = DataConfig(layout="rendered", rendered=SMALL, train_identities=2)
    manifest = scan_images(section, tmp_path / "images")
    frame = manifest.frame()
    assert set(frame["status"]) == {"ok"} and set(frame.loc[frame["split"] == "train", "pid"]) == {1, 2}
    before = manifest.path.read_bytes()
    assert scan_images(section, tmp_path / "images").path.read_bytes() == before


def test_left_and_right_as_seen_from_front_and_behind():
    figure = figure_of(0)
    front, back = view(0.0).project(figure.joints), view(np.pi).project(figure.joints)
    left, right = INDEX["left_shoulder"], INDEX["right_shoulder"]
    assert front[left, 0] > front[right, 0] and back[left, 0] < back[right, 0]
    for joint in ("nose", "left_eye", "right_eye"):
        assert np.isnan(visible_joints(figure._replace(head=0.0), view(np.pi), np.ones(18))[INDEX[joint]]).all()
        assert not np.isnan(visible_joints(figure._replace(head=0.0), view(0.0), np.ones(18))[INDEX[joint]]).any()
    profile = visible_joints(figure._replace(head=0.0), view(np.pi / 2), np.ones(18))  # walks to the picture's right
    assert np.isnan(profile[INDEX["left_ear"]]).all() and not np.isnan(profile[INDEX["right_ear"]]).any()


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_limbs_keep_their_lengths_and_feet_stand_on_the_ground(seed):
    figure = figure_of(seed)

    def length(a, b):
        return np.linalg.norm(figure.joints[INDEX[a]] - figure.joints[INDEX[b]])

    assert length("left_elbow", "left_wrist") == pytest.approx(length("right_elbow", "right_wrist"), abs=0.01)
    assert length("left_hip", "left_knee") == pytest.approx(0.245, abs=0.001)
    assert length("right_shoulder", "right_elbow") == pytest.approx(0.165, abs=1e-6)
    assert 0 <= figure.toes[:, 1].min() < 0.05
    nose = figure.joints[INDEX["nose"], 1]
    assert 0.7 < nose < 1.0


def test_leaning_turns_about_the_hips():
    np.testing.assert_allclose(lean_points(np.array([0.1, HIP, 0.0]), 0.3), [0.1, HIP, 0.0])
    np.testing.assert_allclose(lean_points(np.array([0.0, HIP + 1, 0.0]), np.pi / 2), [0.0, HIP, 1.0], atol=1e-12)


@given(st.integers(0, 10_000), st.floats(0, 6.28))
@settings(max_examples=25, deadline=None)
def test_joints_lie_on_the_drawn_body(seed, turn):
    figure, seen = figure_of(seed), view(turn)
    canvas = np.full((128 * OVERSAMPLE, 64 * OVERSAMPLE, 3), 255, np.uint8)
    canvas[:, :, 1] = 0  # a magenta that nobody wears
    background = canvas.copy()
    draw_figure(canvas, sample_person(np.random.default_rng(seed)), figure, seen, light=1.0)
    drawn = (canvas != background).any(axis=2)
    drawn = cv2.dilate(drawn.astype(np.uint8), np.ones((2 * OVERSAMPLE + 1,) * 2))  # within a pixel of the outline
    for x, y in visible_joints(figure, seen, np.ones(18)):
        if not np.isnan(x):
            assert drawn[round((y + 0.5) * OVERSAMPLE - 0.5), round((x + 0.5) * OVERSAMPLE - 0.5)]


def test_most_poses_pass_the_papers_filter():
    torso = [INDEX[name] for name in ("right_shoulder", "left_shoulder", "right_hip", "left_hip")]
    items = [item for item in plan(RenderedConfig()) if item.split == "train"]
    accepted = [not np.isnan(item_joints(0, item)[torso]).any() for item in items]
    assert 0.85 < np.mean(accepted) < 1.0


def test_distractors_are_nobody_else():
    items = plan(RenderedConfig())
    people = {item.person for item in items if item.pid > 0}
    assert not {item.person for item in items if item.pid == 0} & people
    assert Item("gallery", 0, 90, 2, 9).name.startswith("0000_c2s1_")


def test_a_damaged_set_is_rendered_again(tmp_path, capfd):
    root = render_set(SMALL, tmp_path / "set")
    whole = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    images = [path for path in whole if path.suffix == ".jpg"]
    done = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for path in (images[3], root / "annotation-train.csv", root / "SHA256SUMS", root / "rendered.json"):
        data = bytearray(whole[path])
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        render_set(SMALL, root, own=True)
        assert {path: path.read_bytes() for path in whole} == whole, path
        if path.suffix in (".jpg", ".csv"):
            assert "1 files in" in capfd.readouterr().err
    (root / "rendered.json").write_bytes(b"{")
    with pytest.raises(AugmentError, match=r"rendered\.json: damaged"):
        render_set(SMALL, root)
    (root / "rendered.json").write_bytes(whole[root / "rendered.json"])
    images[5].unlink()
    render_set(SMALL, root)
    assert images[5].read_bytes() == whole[images[5]]
    (root / "SHA256SUMS").unlink()  # of an earlier version
    render_set(SMALL, root)
    assert (root / "SHA256SUMS").read_bytes() == whole[root / "SHA256SUMS"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seed", "-1"], "--seed: Input should be greater than or equal to 0 (got -1)"),
        (["--cameras", "1000"], "--cameras: Input should be less than or equal to 999 (got 1000)"),
        (["--train-identities", "1000", "--images-per-identity", "10000"], "10,400,000 images are more than"),
    ],
)
def test_impossible_sets_are_refused_on_the_command_line(tmp_path, options, said):
    result = CliRunner().invoke(main, ["data", "render", str(tmp_path / "set"), *options])
    assert result.exit_code == 2 and said in result.output and not (tmp_path / "set").exists()
