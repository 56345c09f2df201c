"""Which images are exported, under which labels and names."""

import numpy as np
import pandas as pd
import pytest

from augment.base.errors import AugmentError, UsageError
from augment.export.job import export
from augment.export.selection import Filters, select
from augment.run import Run


def ids(small_run, **filters) -> list[str]:
    """Last parts of the ids, of synthetic images with their rank."""
    rows = select(Run(small_run.write()), Filters(**filters)).rows
    return [id.rpartition("/")[2] for id in rows["id"]]


REAL = {"0002_c1s1_000001_01", "0002_c2s1_000001_01", "0007_c1s1_000001_01", "0007_c2s1_000001_01",
        "0003_c1s1_000001_00", "0003_c2s1_000002_01", "0000_c1s1_000003_01", "-1_c1s1_000004_01"}  # fmt: skip
OF_2 = {f"0002_c1s1_000001_01g{rank}" for rank in range(3)}
OF_7 = {f"0007_c1s1_000001_01g{rank}" for rank in range(2)}


@pytest.mark.parametrize(("filters", "expected"), [
    ({}, REAL | OF_2 | OF_7),
    ({"kept_only": True}, REAL | {name for name in OF_2 | OF_7 if not name.endswith("g0")}),
    ({"per_image": 2}, REAL | {name for name in OF_2 if not name.endswith("g2")} | OF_7),
    ({"per_image": 0}, REAL),
    ({"per_image": 1, "kept_only": True}, REAL | {"0002_c1s1_000001_01g1", "0007_c1s1_000001_01g1"}),
    ({"where": "rank < 1"}, REAL | {"0002_c1s1_000001_01g0", "0007_c1s1_000001_01g0"}),
    ({"where": "synthetic"}, OF_2 | OF_7),
    ({"where": "pid = 7 -- a comment"}, {name for name in REAL | OF_7 if name.startswith("0007")}),
    ({"where": "split <> 'train'", }, {name for name in REAL if name[:4] not in ("0002", "0007")}),
    ({"where": "verdict = 'blurred' OR verdict IS NULL", "per_image": 5},
     REAL | {"0002_c1s1_000001_01g0", "0007_c1s1_000001_01g0"}),
])  # fmt: skip
def test_filters(small_run, filters, expected):
    found = ids(small_run, **filters)
    assert len(found) == len(set(found)) and set(found) == expected


@pytest.mark.parametrize("condition", ["ranks < 3", "rank <", "pid", "read_text('/etc/hostname') = ''", "1); DROP x"])
def test_what_is_no_condition_is_told(small_run, condition):
    if condition == "pid":  # SQL takes a number for a condition: all but distractors
        assert "0000_c1s1_000003_01" not in ids(small_run, where=condition)
        return
    with pytest.raises(UsageError, match="It is a condition in SQL over id, split, pid, camid"):
        ids(small_run, where=condition)


def test_nothing_left_and_no_run_are_told(small_run, tmp_path):
    with pytest.raises(AugmentError, match="no image is left after filtering"):
        ids(small_run, where="pid = 99")
    with pytest.raises(AugmentError, match=r"holds no images/images\.parquet"):
        select(Run(tmp_path / "nothing"), Filters())


def test_synthetic_images_of_other_images_are_refused(small_run):
    small_run.write()
    small_run.images = [row for row in small_run.images if row["pid"] != 2]
    small_run._table("images", small_run.images, {})
    with pytest.raises(AugmentError, match=r"synthetic\.parquet: was not made from .*images\.parquet as it is now"):
        select(Run(small_run.folder), Filters())


def test_failed_rows_stay_behind(small_run):
    small_run.images[0] |= {"status": "failed", "reason": "truncated"}
    small_run.synthetic[0] |= {"status": "failed", "kept": None}
    assert set(ids(small_run)) == (REAL | OF_2 | OF_7) - {"0002_c1s1_000001_01", "0002_c1s1_000001_01g0"}


def test_own_classes_take_the_lowest_free_numbers(small_run):
    """Taken: -1, 0, 2, 3, 7. The synthetic images of 2 become 1, those of 7 become 4; real ones stay."""
    rows = select(Run(small_run.write()), Filters(labels="own")).rows
    made = rows[rows["synthetic"]]
    assert dict(zip(made["source"].str[6:10], made["pid"], strict=True)) == {"0002": 1, "0007": 4}
    assert sorted(set(rows[~rows["synthetic"]]["pid"])) == [-1, 0, 2, 3, 7]
    assert [name for name in made["name"]] == [
        *(f"0001_c1s1_000001_01g{rank}.jpg" for rank in range(3)),
        *(f"0004_c1s1_000001_01g{rank}.jpg" for rank in range(2)),
    ]  # fmt: skip


def test_names_of_another_data_set_are_made_of_person_camera_and_number(small_run):
    """Ids 'b_7.g1' and the like say nothing to a reader of Market-1501; people may have more than four digits."""
    small_run.images.clear()
    small_run.synthetic.clear()
    first = small_run.real("train", 70_001, 12, "image-g3")
    small_run.made(first, 4)
    small_run.real("train", -1, 1, "b")
    small_run.real("query", 5, 1, "c")
    rows = select(Run(small_run.write()), Filters()).rows.set_index("id")
    assert rows["name"].to_dict() == {
        "query/c": "0005_c1s1_000001_00.jpg",
        "synthetic/image-g3g4": "70001_c12s1_000001_00g4.jpg",
        "train/b": "-1_c1s1_000002_00.jpg",
        "train/image-g3": "70001_c12s1_000003_00.jpg",
    }


def test_a_source_redrawn_in_its_own_pose_has_a_name_of_its_own(small_run):
    small_run.made("train/0002_c1s1_000001_01", None, kept=False)
    rows = select(Run(small_run.write()), Filters()).rows
    assert rows.set_index("id")["name"]["synthetic/0002_c1s1_000001_01gown"] == "0002_c1s1_000001_01gown.jpg"
    assert not rows.duplicated(["split", "name"]).any()


def test_counts_by_hand(small_run):
    counts = select(Run(small_run.write()), Filters()).counts()
    assert list(counts) == ["train", "query", "gallery"]
    assert counts["train"] == {"images": 9, "real": 4, "synthetic": 5, "people": 2, "cameras": 2,
                               "junk_or_distractors": 0}  # fmt: skip
    assert counts["gallery"] == {"images": 3, "real": 3, "synthetic": 0, "people": 1, "cameras": 1,
                                 "junk_or_distractors": 2}  # fmt: skip


def test_soft_labels_leave_the_rest_to_all_people(small_run, tmp_path):
    rows = select(Run(small_run.write()), Filters(labels="soft", certainty=0.7)).rows
    assert set(rows["certainty"][rows["synthetic"]]) == {0.7} and set(rows["certainty"][~rows["synthetic"]]) == {1.0}
    assert rows["pid"].tolist() == select(Run(small_run.folder), Filters()).rows["pid"].tolist()
    export(small_run.folder, tmp_path / "out", "parquet", Filters(labels="soft", certainty=0.7))
    train = pd.read_parquet(tmp_path / "out" / "data" / "train-00000-of-00001.parquet")
    assert dict(train.groupby("synthetic")["certainty"].unique().map(list)) == {False: [1.0], True: [np.float32(0.7)]}
    card = (tmp_path / "out" / "README.md").read_text()
    assert "certainty: 0.7\n" in card and "any of the 2 training people equally" in card
    with pytest.raises(UsageError, match="file names cannot hold soft labels"):
        export(small_run.folder, tmp_path / "names", "market1501", Filters(labels="soft"))
