import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.base.errors import AugmentError
from augment.pose.annotations import read_coco_json, read_posegan_csv, write_coco_json, write_posegan_csv
from augment.pose.skeleton import COCO_NAMES, INDEX, JOINTS, from_coco, to_coco

HEADER = "name:keypoints_y:keypoints_x"
ROW = "0224_c6s1_055726_02.jpg: [8, 23, -1, 43, 60, 23, 43, 60, 64, 92, 118, 65, 89, 108, 5, 6, 7, 0]: " \
      "[39, 37, -1, 12, 8, 53, 59, 53, 22, 24, 24, 43, 43, 45, 36, 42, 31, 0]"


def write(tmp_path, *lines, name="a.csv"):
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_y_stands_first_in_the_file_and_minus_one_is_missing(tmp_path):
    row = read_posegan_csv(write(tmp_path, HEADER, ROW)).iloc[0]
    assert row["name"] == "0224_c6s1_055726_02.jpg"
    assert (row["x"][0], row["y"][0]) == (39, 8)
    assert np.isnan(row["x"][2]) and np.isnan(row["y"][2]) and row["confidence"][2] == 0
    assert (row["x"][17], row["y"][17], row["confidence"][17]) == (0, 0, 1)  # a joint in the corner is no missing one


def test_written_again_the_file_is_the_same(tmp_path):
    path = write(tmp_path, HEADER, ROW, "-1_c1s1_1_1.jpg: " + ": ".join([str([-1] * 18)] * 2))
    write_posegan_csv(read_posegan_csv(path), tmp_path / "b.csv")
    assert (tmp_path / "b.csv").read_bytes() == path.read_bytes()


@pytest.mark.market
@pytest.mark.parametrize("part", ["train", "test"])
def test_the_published_files_come_out_byte_for_byte(part, published, tmp_path):
    frame = read_posegan_csv(published[part])
    write_posegan_csv(frame, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == published[part].read_bytes()
    without = sum(np.isnan(x).all() for x in frame["x"])
    assert (len(frame), without) == {"train": (12936, 419), "test": (19732, 3445)}[part]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("name:keypoints_x", ROW), f"column keypoints_y is missing. The first line must be {HEADER}"),
        ((HEADER, ROW, "a.jpg: [1, 2]: " + str([1] * 18)), r"row 3: keypoints_y has 2 joints, 18 are needed"),
        ((HEADER, "a.jpg: [1, oops]: [2]"), r"row 2: keypoints_x has 1 joints"),
        ((HEADER, f"a.jpg: [1, oops]: {[1] * 18}"), r"row 2: keypoints_y is no list of numbers: '\[1, oops\]'"),
        ((HEADER, "a.jpg"), r"row 2: 1 fields instead of 3: 'a.jpg'"),
        ((HEADER, ROW, ROW), "0224_c6s1_055726_02.jpg is duplicated"),
        ((), "column name is missing"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_row(tmp_path, lines, said):
    path = write(tmp_path, *lines)
    with pytest.raises(AugmentError, match=said) as error:
        read_posegan_csv(path)
    assert str(path) in str(error.value)


def test_no_such_file(tmp_path):
    with pytest.raises(AugmentError, match=r"gone.csv: no such key point file"):
        read_posegan_csv(tmp_path / "gone.csv")


def test_coco_to_ours_joint_by_joint():
    points = np.stack([np.arange(17.0), np.arange(17.0) * 2, np.linspace(0.1, 0.9, 17)], axis=1)
    joints = from_coco(points)
    for name in JOINTS:
        if name != "neck":
            np.testing.assert_array_equal(joints[INDEX[name]], points[COCO_NAMES.index(name)])
    np.testing.assert_allclose(joints[INDEX["neck"]], [5.5, 11.0, points[5, 2]])  # lower confidence of 5 and 6
    np.testing.assert_array_equal(to_coco(joints), points)


def test_no_neck_without_both_shoulders():
    points = np.ones((17, 3))
    points[6] = np.nan
    assert np.isnan(from_coco(points)[INDEX["neck"], :2]).all()


joint = st.one_of(st.none(), st.tuples(st.floats(0, 500, width=32), st.floats(0, 500, width=32)))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(joint, min_size=18, max_size=18), min_size=1, max_size=4))
def test_both_formats_give_back_what_was_written(tmp_path_factory, people):
    joints = np.array([[p or (np.nan, np.nan) for p in person] for person in people])
    frame = pd.DataFrame({
        "name": [f"{n}.jpg" for n in range(len(people))], "x": list(joints[..., 0]), "y": list(joints[..., 1])
    })  # fmt: skip
    folder = tmp_path_factory.mktemp("formats")
    write_posegan_csv(frame, folder / "a.csv")
    again = read_posegan_csv(folder / "a.csv")
    np.testing.assert_array_equal(np.stack(again["x"]), joints[..., 0])
    np.testing.assert_array_equal(np.stack(again["y"]), joints[..., 1])
    write_coco_json(frame, folder / "a.json")
    back = read_coco_json(folder / "a.json")
    kept = [index for index, name in enumerate(JOINTS) if name != "neck"]
    np.testing.assert_array_equal(np.stack(back["x"])[:, kept], joints[:, kept, 0])
    assert list(back["name"]) == list(frame["name"])


def coco(tmp_path, annotations, **changes):
    content = {"images": [{"id": 7, "file_name": "folder/a.jpg"}], "annotations": annotations} | changes
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    return path


def test_of_several_people_the_largest_counts_and_scores_become_confidence(tmp_path):
    small = {"image_id": 7, "keypoints": [1, 1, 2] * 17, "bbox": [0, 0, 5, 5]}
    large = {"image_id": 7, "keypoints": [2, 3, 0.4] * 16 + [0, 0, 0], "bbox": [0, 0, 30, 90]}
    row = read_coco_json(coco(tmp_path, [small, large])).iloc[0]
    assert row["name"] == "a.jpg"
    assert (row["x"][0], row["y"][0], row["confidence"][0]) == (2, 3, 0.4)
    assert np.isnan(row["x"][INDEX["right_ankle"]])


@pytest.mark.parametrize(
    ("annotations", "changes", "said"),
    [
        ([{"image_id": 7, "keypoints": [1, 2, 2] * 18}], {}, r"annotation 0: 18 key points .* 17 are needed"),
        ([{"keypoints": []}], {}, "annotation 0: image_id is missing"),
        ([], {"images": None}, "the list 'images' of COCO's format is missing"),
        ([], {"images": [{"id": 1}]}, "image 0: id or file_name is missing"),
    ],
)
def test_what_is_wrong_with_a_coco_file(tmp_path, annotations, changes, said):
    with pytest.raises(AugmentError, match=said):
        read_coco_json(coco(tmp_path, annotations, **changes))


def test_not_json_at_all(tmp_path):
    with pytest.raises(AugmentError, match="not valid JSON"):
        read_coco_json(write(tmp_path, "{", name="a.json"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["annotations"][0].update(image_id=[1]), "annotation 0: image_id is missing"),
        (lambda content: content["images"][0].update(id={}), "image 0: id or file_name is missing"),
        (lambda content: content["images"][0].update(file_name=7), "image 0: id or file_name is missing"),
        (lambda content: content["images"].append({"id": 2, "file_name": "b/a.jpg"}), r"a\.jpg is duplicated"),
        (lambda content: content["annotations"][0].update(keypoints=[10**400] * 51), "annotation 0: 0 key points"),
    ],
)
def test_coco_content_of_other_types_is_named(tmp_path, change, message):
    content = {"images": [{"id": 1, "file_name": "a.jpg"}],
               "annotations": [{"image_id": 1, "keypoints": [4, 6, 2] * 17, "bbox": ["x", None, 1, 1]}]}  # fmt: skip
    file = tmp_path / "a.json"
    file.write_text("\ufeff" + json.dumps(content))
    assert read_coco_json(file)["x"][0][0] == 4
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(AugmentError, match=rf"a\.json: {message}"):
        read_coco_json(file)


def test_coco_points_that_are_no_numbers_are_missing(tmp_path):
    points = [4, 6, 2] * 16 + [float("nan"), float("inf"), 2]
    file = tmp_path / "a.json"
    file.write_text(json.dumps({"images": [{"id": 1, "file_name": "a.jpg"}],
                                "annotations": [{"image_id": 1, "keypoints": points, "bbox": [0, 0, 1e308, 1e308]}]}))
    row = read_coco_json(file).iloc[0]
    assert np.isnan(row["x"][10]) and row["x"][0] == 4  # COCO's last joint is the right ankle
    for text in ("[" * 100_000, '{"images": ' + "9" * 5000 + "}"):
        file.write_text(text)
        with pytest.raises(AugmentError, match=r"a\.json: not valid JSON"):
            read_coco_json(file)
