"""What torchreid gets to see of the manifests."""

import pytest

from augment.base.errors import AugmentError
from augment.reid.dataset import REAL, SYNTHETIC, ManifestDataset, read_data
from augment.synthesis.stage import OWN_POSE


def test_synthetic_images_are_the_same_people(people):
    data = read_data(*people.manifests())
    assert data.people == 6 and data.count(REAL) == 24 and data.count(SYNTHETIC) == 12
    labels = {3: 0, 7: 1, 11: 2, 20: 3, 21: 4, 40: 5}
    for path, pid, camid, _dsetid in data.train:
        name = path.rpartition("/")[2]
        assert pid == labels[int(name[:4])] and camid == int(name[6])


def test_protocol_of_query_and_gallery(people):
    data = read_data(people.manifests()[0], None)
    assert sorted({item[1] for item in data.gallery}) == [0, 2, 5, 8, 9]  # junk is gone, the distractor stays
    assert data.query_ids[0] == "query/0002_c1s1_000000_00" and data.query[0][1:] == (2, 1, REAL)
    assert len(data.gallery) == len(data.gallery_ids) == 13


def test_only_rows_that_are_ok_and_kept(people):
    people.images[1] |= {"status": "failed", "reason": "truncated"}
    people.synthetic[0] |= {"kept": False, "verdict": "no body"}
    people.synthetic[1] |= {"kept": None, "status": "failed"}
    data = read_data(*people.manifests())
    assert data.count(REAL) == 23 and data.count(SYNTHETIC) == 10


@pytest.mark.parametrize("split", ["train", "query", "gallery"])
def test_an_empty_part_is_named(people, split):
    people.images = [row for row in people.images if row["split"] != split]
    with pytest.raises(AugmentError, match=f"no usable {split} image"):
        read_data(people.manifests()[0], None)


def test_no_synthetic_row_one_person_and_strays_are_named(people):
    for row in people.synthetic[1:]:
        row["kept"] = False
    people.synthetic[0]["source"] = "train/9999_c1s1_000000_00"
    with pytest.raises(AugmentError, match="which is not a usable training image"):
        read_data(*people.manifests())
    people.synthetic[0]["kept"] = False
    with pytest.raises(AugmentError, match="no synthetic image is usable"):
        read_data(*people.manifests())
    people.images = [row for row in people.images if row["split"] != "train" or row["pid"] == 3]
    with pytest.raises(AugmentError, match="training shows 1 person"):
        read_data(people.manifests()[0], None)


def test_a_synthetic_image_of_another_identity_is_refused(people):
    people.synthetic[0]["pid"] = 7
    with pytest.raises(AugmentError, match="has pid 7, its source train/0003_c1s1_000000_00 another"):
        read_data(*people.manifests())


def test_a_truncated_file_ends_in_an_error_not_in_a_loop(people):
    data = read_data(people.manifests()[0], None)
    path = people.folder / "pictures/query/0002_c1s1_000000_00.jpg"
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(AugmentError, match=r"0002_c1s1_000000_00\.jpg: cannot be read as an image"):
        ManifestDataset(data, "query")[0]


def test_what_stands_in_the_synthetic_part_of_each_arm(people):
    extra = [people.add("left_out", pid, 3, 50) for pid in (3, 40)] + [people.add("left_out", 99, 3, 50)]
    people.synthesize("train/0003_c1s1_000000_00", 7, kept=False, verdict=OWN_POSE)
    images, synthetic = people.manifests()

    def part(kind: str) -> list[tuple[str, int]]:
        items = read_data(images, synthetic, kind).train
        assert [item[3] for item in items] == [REAL] * 24 + [SYNTHETIC] * (len(items) - 24)
        return [(item[0].rpartition("/")[2], item[1]) for item in items[24:]]

    assert len(part("synthetic")) == 12 and all("g" in name for name, _pid in part("synthetic"))
    assert part("own_pose") == [("0003_c1s1_000000_00g7.jpg", 0)]
    assert part("copied") == [(item[0].rpartition("/")[2], item[1]) for item in read_data(images).train]
    assert part("more_real") == [(f"{id[9:]}.jpg", label) for id, label in zip(extra[:2], (0, 5), strict=True)]
    ring = dict(sorted({(int(name[:4]), label) for name, label in part("shuffled")}))
    assert sorted(ring.values()) == list(range(6))  # everyone is somebody else, and everybody is someone
    assert all(sorted(ring).index(pid) != label for pid, label in ring.items())


def test_an_arm_without_its_images_says_how_to_get_them(people):
    with pytest.raises(AugmentError, match=r"images that data\.subset\.images_per_identity leaves out"):
        read_data(*people.manifests(), "more_real")
    with pytest.raises(AugmentError, match=r"Set synthesis\.own_pose=true"):
        read_data(*people.manifests(), "own_pose")


def test_queries_without_a_correct_match_are_told_before_anything_is_trained(people):
    for row in people.images:
        if row["split"] == "query":
            row["camid"] = 1
        if row["split"] == "gallery":
            row["camid"] = 1
    with pytest.raises(AugmentError, match=r"images\.parquet: no query has a correct match"):
        read_data(people.manifests()[0])
