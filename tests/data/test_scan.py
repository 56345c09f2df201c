import os
import struct
import zlib
from pathlib import Path

import pytest
from tiny_market import NAMES, jpeg

from augment.base.errors import AugmentError
from augment.base.files import sha256_bytes
from augment.config import DataConfig, RenderedConfig, SubsetConfig
from augment.data.stage import dataset_root, list_images, scan_images
from augment.manifest import verify


def scan(root, folder, **options):
    return scan_images(DataConfig(layout="market1501", root=root, **options), folder)


def png_header(width: int, height: int) -> bytes:
    """A PNG of any size in a few bytes: the picture itself is missing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def test_rows_say_what_names_say(market, tmp_path):
    frame = scan(market, tmp_path / "run" / "images").frame().set_index("id")
    assert len(frame) == 9
    row = frame.loc["train/0002_c1s1_000451_03"]
    assert (row["pid"], row["camid"], row["sequence"], row["frame"]) == (2, 1, 1, 451)
    assert (row["width"], row["height"], row["status"], row["split"]) == (8, 16, "ok", "train")
    junk = frame.loc["gallery/-1_c1s1_000401_03"]
    assert (junk["pid"], junk["status"]) == (-1, "ok")
    assert frame.loc["gallery/0000_c1s1_000002_01", "pid"] == 0
    assert (tmp_path / "run" / "images" / row["path"]).samefile(market / "bounding_box_train" / NAMES["train"][0])


def test_broken_files_are_rows_and_the_rest_goes_on(market, tmp_path):
    train = market / "bounding_box_train"
    good = jpeg(90, 128, 64)
    (train / "0011_c1s1_000001_01.jpg").write_bytes(good[: len(good) // 2])
    (train / "0011_c1s1_000002_01.jpg").write_bytes(b"")
    (train / "0011_c1s1_000003_01.jpg").write_text("not a picture")
    (train / "0011_c1s1_000004_01.png").write_bytes(png_header(30_000, 30_000))
    (train / "holiday picture.jpg").write_bytes(good)
    (train / "0011_c1s1_000006_01.jpg").symlink_to(train / "nowhere.jpg")
    os.mkfifo(train / "0011_c1s1_000007_01.jpg")
    (train / "0011_c1s1_000008_01.jpg").mkdir()
    (train / "0011_c1s1_000009_01.jpg").symlink_to("0011_c1s1_000009_01.jpg")
    (train / "0011_c1s1_000010_01.jpg").write_bytes(jpeg(90, 1, 1))
    (train / "0011_c1s1_000011_01.jpg").write_bytes(jpeg(90, 5, 2000))
    frame = scan(market, tmp_path / "images").frame().set_index("id")
    failed = frame[frame["status"] == "failed"]
    reasons = {id.rpartition("/")[2]: reason for id, reason in failed["reason"].items()}
    assert reasons.pop("0011_c1s1_000001_01").startswith("damaged image")
    assert reasons == {
        "0011_c1s1_000002_01": "the file is empty",
        "0011_c1s1_000003_01": "not an image",
        "0011_c1s1_000004_01": "too large: more pixels than any person crop has",
        "holiday picture.jpg": "name is not like 0002_c1s1_000451_03.jpg",
        "0011_c1s1_000006_01": "No such file or directory",
        "0011_c1s1_000007_01": "not a regular file",
        "0011_c1s1_000009_01": "Too many levels of symbolic links",
        "0011_c1s1_000010_01": "1x1 pixels is too small (at least 4 each way)",
        "0011_c1s1_000011_01": "2000x5 pixels is too narrow (one side at most 32 times the other)",
    }
    assert (frame["status"] == "ok").sum() == 9
    assert failed.loc["train/holiday picture.jpg", "pid"] == -1


def test_a_file_that_can_be_used_again_is_used_again(market, tmp_path):
    """Its size is the same, so the listing does not tell."""
    first, other = (market / "bounding_box_train" / name for name in NAMES["train"][:2])
    good, away = first.read_bytes(), other.with_suffix(".away")
    whole = scan(market, tmp_path / "images")
    before = whole.path.read_bytes()
    first.write_bytes(b"x" * len(good))
    other.rename(away)
    other.symlink_to(other)  # cannot be read
    failed = scan(market, tmp_path / "images")
    rows = failed.frame().query("status == 'failed'")
    assert len(rows) == 2 and sorted(rows["sha256"]) == sorted(["", sha256_bytes(first.read_bytes())])
    assert verify(failed).empty and scan(market, tmp_path / "images").digest == failed.digest
    first.write_bytes(good)
    assert verify(failed)["problem"].str.endswith("its content has changed").tolist() == [True]
    other.unlink()
    away.rename(other)
    assert verify(failed)["problem"].str.endswith("can be read now").sum() == 1
    assert scan(market, tmp_path / "images").path.read_bytes() == before


def test_hostile_names_do_not_crash(market, tmp_path):
    train = os.fsencode(market / "bounding_box_train")
    for name in ("snow ☃ man.jpg".encode(), b"new\nline.jpg", b"\xff\xfe.jpg", b"'; drop table--.jpg", b" .jpg"):
        with open(train + b"/" + name, "wb") as file:
            file.write(jpeg(1))
    frame = scan(market, tmp_path / "images").frame()
    failed = frame.loc[frame["status"] == "failed", "id"]
    assert set(failed) == {
        "train/snow ☃ man.jpg", "train/new\nline.jpg", "train/\\xff\\xfe.jpg", "train/'; drop table--.jpg",
        "train/ .jpg",
    }  # fmt: skip


def test_limits_take_the_first_identities(market, tmp_path):
    frame = scan(market, tmp_path / "images", train_identities=1, test_identities=1).frame()
    assert sorted(frame["id"]) == [
        "gallery/0003_c2s1_000001_01", "query/0003_c1s1_000001_00", "train/0002_c1s1_000451_03",
        "train/0002_c2s1_000476_01",
    ]  # fmt: skip


def test_a_subset_is_random_and_nested_and_leaves_the_test_part_alone():
    section = DataConfig(layout="rendered", rendered=RenderedConfig(train_identities=8, images_per_identity=6))

    def ids(split="train", **subset):
        changed = section.model_copy(update={"subset": SubsetConfig(**subset)})
        return {image.id for image in list_images(changed, Path("set")) if image.split == split}

    few, more = ids(identities=4, images_per_identity=2), ids(identities=4, images_per_identity=3)
    assert (len(few), len(more)) == (8, 12) and few < more < ids(identities=4) < ids()
    assert len({id.split("/")[1][:4] for id in few}) == 4
    assert ids(identities=4, images_per_identity=2, seed=1) != few
    assert ids("query", identities=2) == ids("query") and ids("gallery", identities=2) == ids("gallery")


def test_a_second_scan_notices_change_removal_and_addition(market, tmp_path):
    folder = tmp_path / "images"
    first = scan(market, folder)
    before = folder.joinpath("images.parquet").read_bytes()
    assert scan(market, folder).digest == first.digest
    assert folder.joinpath("images.parquet").read_bytes() == before

    changed = market / "bounding_box_train" / NAMES["train"][0]
    flipped = bytearray(changed.read_bytes())
    flipped[-10] ^= 1  # same size
    changed.write_bytes(bytes(flipped))
    second = scan(market, folder)
    assert second.digest != first.digest

    changed.unlink()
    third = scan(market, folder)
    assert len(third.frame()) == 8

    (market / "query" / "0003_c3s1_000009_00.jpg").write_bytes(jpeg(7))
    assert "query/0003_c3s1_000009_00" in set(scan(market, folder).frame()["id"])


def test_shards_do_not_matter(market, tmp_path):
    section = DataConfig(root=market)
    whole = scan_images(section, tmp_path / "images")
    pieces = scan_images(section, tmp_path / "again" / "images", shard_size=2)
    moved = scan_images(section, tmp_path / "images2", shard_size=4)
    assert whole.digest == pieces.digest
    assert whole.path.read_bytes() == moved.path.read_bytes()


def test_no_usable_image_in_a_split_is_an_error(market, tmp_path):
    for name in NAMES["query"]:
        (market / "query" / name).write_bytes(b"")
    with pytest.raises(AugmentError, match="data: no image of the query split can be used"):
        scan(market, tmp_path / "images")


def test_one_image_of_an_identity_is_told(market, tmp_path, capsys):
    scan(market, tmp_path / "images")
    assert "1 training identities have one image only: they yield no pair." in capsys.readouterr().err


def test_root_comes_from_config_then_environment(market, tmp_path, monkeypatch):
    monkeypatch.setenv("MARKET1501_ROOT", str(market))
    assert dataset_root(DataConfig(), tmp_path) == market
    with pytest.raises(AugmentError, match=r"nowhere: no such folder\. Set data\.root or .* MARKET1501_ROOT"):
        dataset_root(DataConfig(root=tmp_path / "nowhere"), tmp_path)
    assert dataset_root(DataConfig(layout="rendered"), tmp_path / "run" / "images") == tmp_path / "run" / "rendered"


@pytest.mark.market
def test_market1501_counts(tmp_path):
    try:
        root = dataset_root(DataConfig(), tmp_path)
    except AugmentError as error:
        pytest.skip(str(error))
    frame = scan_images(DataConfig(train_identities=5, test_identities=5), tmp_path / "images").frame()
    assert (frame["status"] == "ok").all() and set(zip(frame["width"], frame["height"], strict=True)) == {(64, 128)}
    from augment.data.layouts import list_market

    found = list_market(root)
    counts = {split: sum(image.split == split for image in found) for split in ("train", "query", "gallery")}
    assert counts == {"train": 12_936, "query": 3_368, "gallery": 19_732}
    assert sum(image.split == "gallery" and image.name.pid != -1 for image in found) == 15_913
    assert len({image.name.pid for image in found if image.split == "train"}) == 751
    assert not any(image.problem for image in found)


def test_what_reid_lacks_is_said_with_the_first_stage(market, tmp_path, capfd):
    scan(market, tmp_path / "a")
    assert "re-ID" not in capfd.readouterr().err
    for part, name in (("bounding_box_train", "0007_c3s2_000001_01.jpg"), ("query", "0003_c1s1_000001_00.jpg"),
                       ("bounding_box_test", "0005_c1s1_000001_01.jpg")):  # fmt: skip
        (market / part / name).unlink()
    (market / "bounding_box_test" / "0005_c2s1_000007_01.jpg").write_bytes(jpeg(9))  # the query's own camera
    scan(market, tmp_path / "b")
    said = capfd.readouterr().err
    assert "training has one identity only: re-ID needs at least two" in said
    assert "no query's person is in the gallery, seen by another camera: re-ID cannot be measured" in said
