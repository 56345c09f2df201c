import json

import numpy as np
import pytest
from PIL import Image

from augment.base.errors import AugmentError, UsageError
from augment.base.files import sha256_file
from augment.config import PoseConfig
from augment.manifest import write_manifest
from augment.pose import lookup
from augment.pose.annotations import keypoint_rows
from augment.pose.skeleton import INDEX
from augment.pose.stage import estimate_poses, identity

NAMES = ("0001_c1s1_000001_00", "0001_c2s1_000002_00", "0002_c1s1_000003_00", "-1_c1s1_000004_00")
HEADER = "name:keypoints_y:keypoints_x"


@pytest.fixture
def images(tmp_path):
    """A root with four training crops, one of them truncated, and their manifest."""
    folder = tmp_path / "root" / "bounding_box_train"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    rows = []
    for number, name in enumerate(NAMES):
        path = folder / f"{name}.jpg"
        Image.fromarray(random.integers(0, 255, (128, 64, 3), dtype=np.uint8)).save(path)
        rows.append({
            "id": f"train/{name}", "path": f"../root/bounding_box_train/{name}.jpg", "sha256": sha256_file(path),
            "width": 64, "height": 128, "status": "ok", "reason": "", "split": "train",
            "pid": int(name.split("_")[0]), "camid": 1, "sequence": 1, "frame": number,
        })  # fmt: skip
    rows[1] |= {"status": "failed", "reason": "damaged image: truncated", "width": 0, "height": 0}
    return write_manifest(tmp_path / "images" / "images.parquet", "images", rows, {"digest": "x"})


def csv(path, rows):
    """A body from x, y (of the last joint) down to the right; -1, -1: nobody."""
    lines = []
    for name, (x, y) in rows.items():
        step = 0 if x < 0 else 2
        lines.append(f"{name}.jpg: {[y + 2 * step * (17 - k) for k in range(18)]}: {[x + step * k for k in range(18)]}")
    path.write_text("\n".join([HEADER, *lines]) + "\n")


def section(**changes):
    values = {"estimator": "annotations", "annotations": {"train": "a.csv"}, "splits": ("train",)}
    return PoseConfig(**(values | changes))


def test_a_key_point_file_is_parsed_once_and_again_when_it_changes(images, tmp_path, monkeypatch):
    parsed = []
    monkeypatch.setattr(lookup, "keypoint_rows", lambda path: parsed.append(path) or keypoint_rows(path))
    csv(tmp_path / "root" / "a.csv", {NAMES[0]: (7, 9), NAMES[2]: (5, 5)})
    estimate_poses(section(), images, tmp_path / "poses", shard_size=1)
    assert len(parsed) == 1
    csv(tmp_path / "root" / "a.csv", {NAMES[0]: (17, 19)})
    poses = estimate_poses(section(), images, tmp_path / "poses", shard_size=1)
    assert len(parsed) == 2 and poses.frame().set_index("id").loc[f"train/{NAMES[0]}"]["x"][0] == 17


def test_rows_of_a_key_point_file(images, tmp_path):
    csv(tmp_path / "root" / "a.csv", {NAMES[0]: (7, 9), NAMES[1]: (1, 1), NAMES[2]: (-1, -1), NAMES[3]: (5, 5)})
    poses = estimate_poses(section(), images, tmp_path / "poses", shard_size=1)
    rows = poses.frame().set_index("id")
    first = rows.loc[f"train/{NAMES[0]}"]
    assert (first["x"][0], first["y"][17], first["confidence"][3], first["people"]) == (7, 9, 1, 1)
    assert first["estimator"] == "annotations" and first["accepted"]
    crop = tmp_path / "root" / "bounding_box_train" / f"{NAMES[0]}.jpg"
    assert poses.file_of(first["path"]).resolve() == crop.resolve()
    said = {name: (rows.loc[f"train/{name}"]["status"], rows.loc[f"train/{name}"]["verdict"]) for name in NAMES}
    assert said == {
        NAMES[0]: ("ok", "ok"), NAMES[1]: ("failed", "unreadable"), NAMES[2]: ("ok", "no person found"),
        NAMES[3]: ("ok", "distractor or junk identity"),
    }  # fmt: skip
    failed = rows.loc[f"train/{NAMES[1]}"]
    assert failed["reason"] == "damaged image: truncated" and np.isnan(failed["x"]).all() and failed["people"] == 0


def test_the_file_is_found_by_the_environment_first(images, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    csv(tmp_path / "elsewhere" / "a.csv", {NAMES[0]: (3, 3)})
    csv(tmp_path / "root" / "a.csv", {NAMES[0]: (7, 9)})
    monkeypatch.setenv("MARKET1501_ANNOTATIONS", str(tmp_path / "elsewhere"))
    rows = estimate_poses(section(), images, tmp_path / "poses").frame().set_index("id")
    assert rows.loc[f"train/{NAMES[0]}"]["x"][0] == 3


def test_coco_json_is_read_as_well(images, tmp_path):
    content = {
        "images": [{"id": 1, "file_name": f"{NAMES[0]}.jpg"}],
        "annotations": [{"image_id": 1, "keypoints": [*[4, 6, 2] * 16, 40, 90, 2]}],
    }
    (tmp_path / "root" / "a.json").write_text(json.dumps(content))
    poses = estimate_poses(section(annotations={"train": "a.json"}), images, tmp_path / "poses")
    row = poses.frame().set_index("id").loc[f"train/{NAMES[0]}"]
    assert (row["x"][INDEX["neck"]], row["y"][INDEX["neck"]]) == (4, 6)


def test_a_changed_key_point_file_is_read_again(images, tmp_path):
    csv(tmp_path / "root" / "a.csv", {NAMES[0]: (7, 9)})
    first = estimate_poses(section(), images, tmp_path / "poses").digest
    assert estimate_poses(section(), images, tmp_path / "poses").digest == first
    csv(tmp_path / "root" / "a.csv", {NAMES[0]: (8, 9)})
    assert estimate_poses(section(), images, tmp_path / "poses").digest != first


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"annotations": {}}, UsageError, "pose.annotations names no file for the split train"),
        ({"annotations": {"train": "b.csv"}}, AugmentError, "b.csv: no such file in"),
        ({"splits": ("gallery",), "annotations": {"gallery": "a.csv"}}, AugmentError, "has no image in pose.splits"),
    ],
)
def test_what_is_wrong_is_said(images, tmp_path, changes, error, said):
    csv(tmp_path / "root" / "a.csv", {NAMES[0]: (7, 9)})
    with pytest.raises(error, match=said):
        estimate_poses(section(**changes), images, tmp_path / "poses")


def test_a_file_for_other_images(images, tmp_path):
    csv(tmp_path / "root" / "a.csv", {"fasionWOMEN": (7, 9)})
    with pytest.raises(AugmentError, match=r"lists none of the 4 images \(-1_c1s1_000004_00.*fasionWOMEN"):
        estimate_poses(section(), images, tmp_path / "poses")


def test_key_points_that_are_silently_all_missing_stop_the_run(images, tmp_path):
    csv(tmp_path / "root" / "a.csv", {name: (-1, -1) for name in NAMES})
    with pytest.raises(AugmentError, match=r"found in only 0\.0% of 2 images"):
        estimate_poses(section(), images, tmp_path / "poses")


def test_openpifpaf_does_not_depend_on_shards_and_keeps_failures(images, tmp_path):
    (tmp_path / "root/bounding_box_train" / f"{NAMES[2]}.jpg").write_bytes(b"gone bad")  # after it was scanned
    wanted = PoseConfig(splits=("train",), batch_size=4, minimum_detection_rate=0)
    whole = estimate_poses(wanted, images, tmp_path / "a", shard_size=1000)
    pieces = estimate_poses(wanted, images, tmp_path / "b", shard_size=1)
    assert whole.path.read_bytes() == pieces.path.read_bytes()
    rows = whole.frame().set_index("id")
    assert rows.loc[f"train/{NAMES[2]}"]["status"] == "failed"
    assert rows.loc[f"train/{NAMES[2]}"]["reason"] == "not an image"
    assert rows.loc[f"train/{NAMES[0]}"]["verdict"] == "no person found"  # it is noise
    assert len(rows.loc[f"train/{NAMES[0]}"]["checkpoint"]) == 64


BODY = {0: (30, 10), 1: (30, 25), 2: (20, 26), 5: (41, 26), 8: (24, 60), 11: (37, 61), 9: (25, 88), 12: (36, 89),
        10: (24, 118), 13: (37, 117)}  # fmt: skip


def bodies(path, change):
    lines = []
    for name in NAMES:
        x, y = [-1] * 18, [-1] * 18
        for joint, place in BODY.items():
            x[joint], y[joint] = change(joint, *place)
        lines.append(f"{name}.jpg: {y}: {x}")
    path.write_text("\ufeff" + "\n".join([HEADER, *lines]) + "\n")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda joint, x, y: (10 * x, 10 * y), r"100% of its joints .*: they fit images about 9\.2 times as l"),
        (lambda joint, x, y: (y, x), "of its joints lie outside their images: x and y look exchanged"),
        (lambda joint, x, y: (x, -1000), r"100% of its joints lie outside their images\. Give the key points"),
        (lambda joint, x, y: (1e308, y), "100% of its joints lie outside their images"),
        (lambda joint, x, y: (x / 64, y / 128), r"joints of a person lie within 0\.7% of the image, as if"),
    ],
)  # fmt: skip
def test_key_points_that_cannot_be_stop_the_run_with_the_likely_cause(images, tmp_path, change, said):
    """The largest coordinate, 118 of 128, becomes 9.2 of the image's height. From 10 to 118 of 128 are 0.84 / 128."""
    bodies(tmp_path / "root" / "a.csv", change)
    for call in (lambda: estimate_poses(section(), images, tmp_path / "poses"),
                 lambda: identity(section(), images, tmp_path / "poses")):  # fmt: skip
        with pytest.raises(AugmentError, match=said):
            call()


def test_a_few_joints_a_little_outside_stay_and_far_outside_are_missing(images, tmp_path):
    places = {13: (37, 127 + 12), 10: (-70, 118)}  # 10% below the image; more than its width to the left
    bodies(tmp_path / "root" / "a.csv", lambda joint, x, y: places.get(joint, (x, y)))
    with pytest.raises(AugmentError, match="20% of its joints"):  # a tenth may lie outside, not more
        bodies(tmp_path / "root" / "b.csv", lambda joint, x, y: (x, 500) if joint in (10, 13) else (x, y))
        estimate_poses(section(annotations={"train": "b.csv"}), images, tmp_path / "poses")
    row = estimate_poses(section(), images, tmp_path / "poses").frame().set_index("id").loc[f"train/{NAMES[0]}"]
    assert (row["x"][13], row["y"][13], row["confidence"][13]) == (37, 139, 1)
    assert np.isnan(row["x"][10]) and np.isnan(row["y"][10]) and row["confidence"][10] == 0
    assert (row["x"][0], row["verdict"]) == (30, "ok")


def test_a_file_that_was_used_is_not_parsed_again(images, tmp_path, monkeypatch):
    csv(tmp_path / "root" / "a.csv", {NAMES[0]: (7, 9)})
    first = estimate_poses(section(), images, tmp_path / "poses").digest
    monkeypatch.setattr("augment.pose.lookup.read_annotations", None)
    assert estimate_poses(section(), images, tmp_path / "poses").digest == first


def test_damage_is_told_once(images, tmp_path, capsys):
    csv(tmp_path / "root" / "a.csv", {NAMES[0]: (7, 9)})
    path = estimate_poses(section(), images, tmp_path / "poses").path
    path.write_bytes(path.read_bytes()[:-100])
    capsys.readouterr()
    estimate_poses(section(), images, tmp_path / "poses")
    assert capsys.readouterr().err.count("damaged; its rows are made again") == 1
