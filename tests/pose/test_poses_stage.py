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
from augment.pose.stage import estimate_poses

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
    lines = [f"{name}.jpg: {[y] * 18}: {[x] * 18}" for name, (x, y) in rows.items()]
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
        NAMES[0]: ("ok", "ok"), NAMES[1]: ("failed", "image failed"), NAMES[2]: ("ok", "no person found"),
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
        "annotations": [{"image_id": 1, "keypoints": [4, 6, 2] * 17}],
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
    with pytest.raises(AugmentError, match=r"names none of the 4 images, not -1_c1s1_000004_00.*fasionWOMEN"):
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
