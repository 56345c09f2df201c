"""Other data sets' names, what is shown of them, and the data set that comes out."""

import csv
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from augment.base.errors import AugmentError, UsageError
from augment.base.files import sha256_file
from augment.base.images import encode_jpeg
from augment.cli import main
from augment.config import DataConfig
from augment.data.importing import import_images
from augment.data.patterns import PATTERN, parse_folder
from augment.data.stage import scan_images


def put(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(len(name) + sum(map(ord, name))).integers(0, 256, (16, 8, 3), np.uint8)
        path.write_bytes(encode_jpeg(noise))


def said(parsed):
    return [(image.split, image.name.pid, image.name.camid, image.file.name) for image in parsed.images]


@pytest.mark.parametrize(("folders", "name", "expected"), [
    (("bounding_box_train", "query", "bounding_box_test"), "0005_c2_f0046985.jpg", (5, 2)),  # DukeMTMC-reID
    (("bounding_box_train", "query", "bounding_box_test"), "0003_c1_2.jpg", (3, 1)),  # CUHK03-np
    (("image_train", "image_query", "image_test"), "0001_c016_00016450_0.jpg", (1, 16)),  # VeRi-776
])  # fmt: skip
def test_names_of_published_sets(tmp_path, folders, name, expected):
    root = tmp_path / "exp2_c9"  # a folder's name says nothing
    put(root, *(f"{folder}/{name}" for folder in folders))
    found = said(parse_folder(root))
    assert found == [(split, *expected, name) for split in ("train", "query", "gallery")]


def test_msmt17_lists_number_test_people_above_the_training_people(tmp_path):
    lists = {"list_train": "0000/0000_000_01_a_0_0.jpg 0", "list_val": "0001/0001_000_15_a_0_0.jpg 1",
             "list_query": "0000/0000_001_02_a_0_0.jpg 0", "list_gallery": "0000/0000_002_03_a_0_0.jpg 0"}  # fmt: skip
    for name, line in lists.items():
        put(tmp_path, f"{'train' if name in ('list_train', 'list_val') else 'test'}/{line.split()[0]}")
        (tmp_path / f"{name}.txt").write_text(line + "\n")
    # people 0 and 1 train, 0 is tested: above them 2; and since 0 means a distractor, all are one higher
    assert [row[:3] for row in said(parse_folder(tmp_path))] == [
        ("train", 1, 1), ("train", 2, 15), ("query", 3, 2), ("gallery", 3, 3)
    ]  # fmt: skip
    (tmp_path / "list_val.txt").write_text("nonsense\n")
    with pytest.raises(AugmentError, match=r"list_val\.txt, line 1: not 'folder/name person'"):
        parse_folder(tmp_path)


def test_one_folder_of_crops_is_split_by_people_and_scanned_as_market1501(tmp_path):
    crops = tmp_path / "crops"
    put(crops, *(f"cam{camera}-person{person}-{shot}.jpg" for person in range(6) for camera in (1, 2) for shot in "ab"),
        "holiday.jpg")  # fmt: skip
    parsed = parse_folder(crops, r"cam(?P<camid>\d+)-person(?P<pid>\d+)")
    # two of six people, a query a camera
    assert Counter(image.split for image in parsed.images) == {"train": 16, "query": 4, "gallery": 4}
    assert {image.name.pid for image in parsed.images} == set(range(1, 7))
    shown = parsed.preview()
    assert "16 images, 4 people, 2 cameras; images a person: 4 to 4, median 4" in shown
    assert "cam1-person0-a.jpg -> train, person 1, camera 1" in shown and "left out: 1 (holiday.jpg" in shown
    import_images(parsed, tmp_path / "mine")
    rows = scan_images(DataConfig(root=tmp_path / "mine"), tmp_path / "images").frame().set_index("id")
    assert len(rows) == 24 and (rows["status"] == "ok").all()
    with open(tmp_path / "mine" / "names.csv") as file:
        origins = list(csv.DictReader(file))
    assert len(origins) == 24
    for row in origins:
        assert sha256_file(tmp_path / "mine" / row["file"]) == sha256_file(Path(row["from"]))
    with pytest.raises(UsageError, match="already exists"):
        import_images(parsed, tmp_path / "mine")


def test_links_are_followed_and_what_is_no_crop_is_told(tmp_path):
    names = [f"{person}_c{camera}_{shot}.jpg" for person in range(1, 5) for camera in (1, 2) for shot in (1, 2)]
    put(tmp_path / "crops", *names)
    linked = tmp_path / "of" / "mine"
    linked.mkdir(parents=True)
    for name in names:
        (linked / name).symlink_to(Path("../../crops") / name)
    (linked / "7_c1.jpg").symlink_to("nowhere.jpg")
    put(linked, "holiday.jpg")
    (linked / "8_c1.jpg").mkdir()
    put(linked, "9_c1.bmp", "9_c2.bmp", "9_c2.webp")
    parsed = parse_folder(linked)
    assert "no match, left out: 1 (holiday.jpg)" in parsed.preview()
    assert "a link that leads nowhere, left out: 1 (7_c1.jpg)" in parsed.preview()
    assert "other formats, left out: 2 .bmp, 1 .webp; convert them" in parsed.preview()
    import_images(parsed, tmp_path / "a" / "place" / "elsewhere")
    found = list((tmp_path / "a").rglob("*.jpg"))
    assert len(found) == 16 and not any(path.is_symlink() for path in found)
    assert {path.read_bytes() for path in found} == {(tmp_path / "crops" / name).read_bytes() for name in names}
    put(tmp_path / "bmp", "1_c1.bmp")
    with pytest.raises(AugmentError, match=r"has no \.jpg or \.png, only 1 \.bmp\. Convert"):
        parse_folder(tmp_path / "bmp")


def test_a_pattern_with_a_slash_reads_folders(tmp_path):
    put(tmp_path / "exp2_c9", *(f"{person:03d}/0{camera}_{view}.png" for person in (4, 5, 7, 9)
                                for camera in (1, 2) for view in (1, 2)))  # fmt: skip
    parsed = parse_folder(tmp_path / "exp2_c9", r"(?P<pid>\d+)/(?P<camid>\d+)_", test_people=2)
    assert {found[1:3] for found in said(parsed)} == {(person, camera) for person in (4, 5, 7, 9)
                                                for camera in (1, 2)}  # fmt: skip
    assert Counter(found[:2] for found in said(parsed)) == {
        ("train", 4): 4, ("train", 5): 4, ("query", 7): 2, ("gallery", 7): 2, ("query", 9): 2, ("gallery", 9): 2,
    }  # fmt: skip
    assert "  004/01_1.png -> train, person 4, camera 1" in parsed.preview()


def test_what_is_wrong_is_told(tmp_path):
    put(tmp_path / "crops", "a.jpg")
    for pattern, message in (("(", "not a regular expression"), (r"(?P<pid>\d+)", "needs the groups pid and camid")):
        with pytest.raises(UsageError, match=message):
            parse_folder(tmp_path / "crops", pattern)
    with pytest.raises(AugmentError, match=r"no file name matches .* found: a\.jpg"):
        parse_folder(tmp_path / "crops")
    with pytest.raises(AugmentError, match="no such folder"):
        parse_folder(tmp_path / "nothing")
    put(tmp_path / "letters", "alice_camA.jpg")
    with pytest.raises(AugmentError, match=r"alice_camA\.jpg: .* pid 'alice' and camid 'A', but both must be"):
        parse_folder(tmp_path / "letters", r"(?P<pid>[a-z]+)_cam(?P<camid>[A-Z])")
    put(tmp_path / "few", *(f"{person}_c{camera}.jpg" for person in range(1, 6) for camera in (1, 2)))
    with pytest.raises(AugmentError, match="shows 5 people; with 4 of them for testing fewer than two are left"):
        parse_folder(tmp_path / "few", test_people=4)
    for part in ("train", "test"):
        put(tmp_path / "parts" / part, "1_c1.jpg")
    with pytest.raises(AugmentError, match="has train and test, but no folder query"):
        parse_folder(tmp_path / "parts")


def test_people_with_one_image_a_camera_are_tested_across_cameras(tmp_path):
    put(tmp_path / "crops", *(f"{person}_c{camera}.jpg" for person in range(1, 7) for camera in (1, 2, 3)))
    parsed = parse_folder(tmp_path / "crops")
    assert Counter(found[:2] for found in said(parsed) if found[0] != "train") == {
        ("query", 5): 1, ("gallery", 5): 2, ("query", 6): 1, ("gallery", 6): 2,
    }  # fmt: skip
    assert {found[2] for found in said(parsed) if found[0] == "query"} == {1}
    assert parsed.preview().startswith("a single folder: the last 2 of 6 people are query and gallery\n")
    assert "WARNING" not in parsed.preview()
    put(tmp_path / "one", *(f"{person}_c1_{shot}.jpg" for person in range(1, 7) for shot in (1, 2)))
    assert "WARNING: re-ID is measured across cameras" in parse_folder(tmp_path / "one").preview()


def test_the_command_asks_before_it_writes(tmp_path):
    put(tmp_path / "crops", *(f"{person}_c{camera}_{shot}.jpg" for person in range(1, 5) for camera in (1, 2)
                              for shot in (1, 2)))  # fmt: skip
    arguments = ["data", "import", str(tmp_path / "crops"), str(tmp_path / "mine")]
    refused = CliRunner().invoke(main, arguments, input="n\n")
    assert "2 people" in refused.output and not (tmp_path / "mine").exists()
    agreed = CliRunner().invoke(main, [*arguments, "--yes"])
    assert agreed.exit_code == 0 and len(list((tmp_path / "mine").rglob("*.jpg"))) == 16


def test_a_run_reads_names_by_a_pattern_as_their_import_would_be_read(tmp_path):
    crops = tmp_path / "crops"
    put(crops, *(f"cam{camera}-person{person}-{shot}.jpg" for person in range(6) for camera in (1, 2) for shot in "ab"))
    pattern = r"cam(?P<camid>\d+)-person(?P<pid>\d+)"
    import_images(parse_folder(crops, pattern), tmp_path / "mine")
    columns = ["id", "sha256", "status", "split", "pid", "camid", "sequence", "frame"]
    imported = scan_images(DataConfig(root=tmp_path / "mine"), tmp_path / "a").frame()[columns]
    put(crops, "cam1-personX.jpg", "cam1-person99999999999.jpg")
    read = scan_images(DataConfig(root=crops, pattern=pattern), tmp_path / "b").frame()
    failed = read[read["status"] == "failed"]
    assert sorted(failed["reason"]) == [
        "its name does not match the pattern",
        "the pattern finds pid '99999999999' and camid '1', but both must be numbers, of at most 9 and 3 digits",
    ]
    assert imported.equals(read[read["status"] == "ok"][columns].reset_index(drop=True))
    assert set(read["path"]) == {f"../crops/{file.name}" for file in crops.iterdir()}


def test_a_pattern_in_the_configuration_is_checked_with_it():
    for settings, message in (
        ({"pattern": "("}, "not a regular expression"), ({"pattern": "a"}, "groups pid and camid"),
        ({"pattern": PATTERN}, "needs data.root"),
        ({"pattern": PATTERN, "root": "x", "layout": "rendered"}, "no other layout"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            DataConfig.model_validate(settings)


def test_msmt17_second_release_and_its_missing_files(tmp_path):
    lines = {"list_train": "0000/0000_000_01_a.jpg 0", "list_val": "0001/0001_000_15_a.jpg 1",
             "list_query": "0000/0000_001_02_a.jpg 0", "list_gallery": "0000/0000_002_03_a.jpg 0"}  # fmt: skip
    for name, line in lines.items():
        (tmp_path / f"{name}.txt").write_text(f"{line}\n")
    with pytest.raises(AugmentError, match=r"none of the 4 images in MSMT17's lists is there"):
        parse_folder(tmp_path)
    put(tmp_path, "mask_train_v2/0000/0000_000_01_a.jpg", "mask_test_v2/0000/0000_001_02_a.jpg",
        "mask_test_v2/0000/0000_002_03_a.jpg")  # fmt: skip
    parsed = parse_folder(tmp_path)
    assert Counter(image.split for image in parsed.images) == {"train": 1, "query": 1, "gallery": 1}
    assert "listed, but there is no such file, left out: 1 (0001_000_15_a.jpg)" in parsed.preview()
    import_images(parsed, tmp_path / "mine")
    assert len(list((tmp_path / "mine").rglob("*.jpg"))) == 3
    with pytest.raises(UsageError, match="split already, by MSMT17's lists"):
        parse_folder(tmp_path, test_people=5)


def test_linked_folders_of_people_count_once_and_loops_end(tmp_path):
    shots = [f"c{camera}_{shot}.jpg" for camera in (1, 2) for shot in "ab"]
    put(tmp_path / "store", *(f"{person}/{shot}" for person in (2, 3) for shot in shots))
    put(tmp_path / "crops", *(f"1/{shot}" for shot in shots))
    for person in (2, 3):
        (tmp_path / "crops" / str(person)).symlink_to(tmp_path / "store" / str(person))
    (tmp_path / "crops" / "3" / "9").symlink_to(tmp_path / "crops")
    parsed = parse_folder(tmp_path / "crops", r"^(?P<pid>\d+)/c(?P<camid>\d+)", test_people=1)
    assert Counter(image.name.pid for image in parsed.images) == {1: 4, 2: 4, 3: 4}


def test_a_split_that_a_folder_has_is_not_made_again(tmp_path):
    put(tmp_path, *(f"{part}/1_c{camera}.jpg" for part in ("train", "query", "gallery") for camera in (1, 2)))
    with pytest.raises(UsageError, match=r"--test-people 3: .* is split already, by the folders train, query, gallery"):
        parse_folder(tmp_path, test_people=3)


def test_person_zero_is_refused_where_it_would_count_as_a_distractor(tmp_path):
    put(tmp_path, *(f"{folder}/000{pid}_c{camera}s1_000001_00.jpg" for pid in (0, 1, 2) for camera in (1, 2)
                    for folder in ("bounding_box_train", "query", "bounding_box_test")))  # fmt: skip
    with pytest.raises(AugmentError, match=r"4 training or query images are of person 0000"):
        scan_images(DataConfig(root=tmp_path), tmp_path / "images")


def test_a_name_that_is_not_utf8_fails_its_own_row(tmp_path):
    put(tmp_path / "crops", *(f"{pid}_c{camera}.jpg" for pid in range(1, 5) for camera in (1, 2)))
    (tmp_path / "crops" / "1_c1.jpg").rename(tmp_path / "crops" / os.fsdecode(b"1_c1\xff.jpg"))
    section = DataConfig(root=tmp_path / "crops", pattern=r"(?P<pid>\d+)_c(?P<camid>\d+)")
    rows = scan_images(section, tmp_path / "images").frame()
    assert len(rows) == 8 and (rows["status"] == "ok").sum() == 7
    assert rows.loc[rows["status"] == "failed", "reason"].tolist() == ["its path is not valid UTF-8: rename it"]
