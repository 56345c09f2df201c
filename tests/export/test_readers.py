"""Every format read back by the program that it is for: images, people and cameras are those of the run's tables."""

import json
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from augment.base.files import sha256_bytes, sha256_file
from augment.retrieval.torchreid_quiet import quiet, torchreid


def counted(records) -> dict[str, int]:
    """Images, people, cameras of (pid, camid)."""
    records = list(records)
    people = [(pid, camid) for pid, camid in records if pid > 0]
    return {"images": len(records), "people": len({pid for pid, _ in people}),
            "cameras": len({camid for _, camid in people})}  # fmt: skip


@pytest.fixture
def load_dataset(tmp_path):
    """``datasets.load_dataset`` with a cache of the test's own."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    return lambda *arguments, **more: datasets.load_dataset(*arguments, cache_dir=str(tmp_path), **more)


def test_torchreid_reads_market1501(exported, truth):
    folder = exported("market1501")
    with quiet():
        manager = torchreid.data.ImageDataManager(
            root=str(folder.parent), sources="market1501", height=64, width=32, batch_size_train=4, workers=0
        )
    train = manager.train_loader.dataset
    assert len(train) == truth["train"]["images"]
    assert (manager.num_train_pids, manager.num_train_cams) == (truth["train"]["people"], truth["train"]["cameras"])
    for split in ("query", "gallery"):
        items = manager.test_loader["market1501"][split].dataset.data
        assert counted((item[1], item[2]) for item in items) == truth[split]
    labels = {}
    for path, pid, *_ in train.data:  # a synthetic image has the label of its source's person
        labels.setdefault(path.rpartition("/")[2][:4], set()).add(pid)
    assert len(labels) == truth["train"]["people"] and all(len(found) == 1 for found in labels.values())


def test_datasets_reads_imagefolder(exported, truth, load_dataset):
    folder = exported("imagefolder")
    found = load_dataset(str(folder))
    assert {split: counted(zip(rows["pid"], rows["camid"], strict=True)) for split, rows in found.items()} == truth
    by_format = load_dataset("imagefolder", data_dir=str(folder))
    assert {split: len(rows) for split, rows in by_format.items()} == {
        "train": truth["train"]["images"], "test": truth["query"]["images"] + truth["gallery"]["images"]
    }  # fmt: skip
    row = found["query"][0]
    assert row["image"].size == (row["width"], row["height"]) and row["id"].startswith("query/")
    path = folder / "test" / "query" / f"{row['id'].partition('/')[2]}.jpg"
    assert sha256_file(path) == row["sha256"] and np.array_equal(row["image"], Image.open(path))


def test_datasets_reads_parquet_with_the_bytes_of_the_run(exported, truth, load_dataset):
    folder = exported("parquet")
    found = load_dataset(str(folder))
    assert {split: counted(zip(rows["pid"], rows["camid"], strict=True)) for split, rows in found.items()} == truth
    assert found["train"][0]["image"].size == (64, 128)
    plain = pd.read_parquet(folder / "data")
    assert [sha256_bytes(image["bytes"]) for image in plain["image"]] == plain["sha256"].tolist()


def test_webdataset_reads_its_shards_through_a_loader(exported, truth):
    webdataset = pytest.importorskip("webdataset")
    from torch.utils.data import DataLoader

    for split, expected in truth.items():
        shards = sorted(map(str, exported("webdataset").glob(f"{split}-*.tar")))
        pipeline = webdataset.WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("jpg", "json")
        samples = list(DataLoader(pipeline, batch_size=None, num_workers=0))
        assert counted((known["pid"], known["camid"]) for _, known in samples) == expected
        assert all(image.size == (known["width"], known["height"]) for image, known in samples)


def test_webdataset_mixes_real_and_synthetic_of_all_people(exported):
    webdataset = pytest.importorskip("webdataset")
    shards = str(exported("webdataset") / "train-000000.tar")
    known = [json.loads(sample["json"]) for sample in webdataset.WebDataset(shards, shardshuffle=False)]
    half = known[: len(known) // 2]
    assert {row["pid"] for row in half} == {row["pid"] for row in known}
    assert {row["synthetic"] for row in half} == {True, False}


def test_pycocotools_reads_the_key_points_of_real_and_synthetic_images(exported, truth, finished_run):
    from pycocotools.coco import COCO

    poses = pd.read_parquet(finished_run / "poses" / "poses.parquet").set_index("id")
    for split, expected in truth.items():
        with quiet():
            coco = COCO(str(exported("coco") / "annotations" / f"person_keypoints_{split}.json"))
        images = coco.loadImgs(coco.getImgIds())
        assert counted((image["pid"], image["camid"]) for image in images) == expected
        for image in images:
            with Image.open(exported("coco") / "images" / split / image["file_name"]) as picture:
                assert picture.size == (image["width"], image["height"])
            owner = image["pose_source"] if image["synthetic"] else image["name"]
            found = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
            assert len(found) == (owner in poses.index)
            if found:  # nose is the first in both orders, COCO's 17th is the right ankle, our eleventh
                x, y, seen = np.array(found[0]["keypoints"]).reshape(17, 3).T
                for ours, theirs in ((0, 0), (10, 16)):
                    expected_x, expected_y = poses.loc[owner, "x"][ours], poses.loc[owner, "y"][ours]
                    there = np.isfinite(expected_x)
                    assert seen[theirs] == 2 * there
                    assert not there or (x[theirs], y[theirs]) == pytest.approx((expected_x, expected_y), abs=0.01)
                assert found[0]["num_keypoints"] == (seen > 0).sum()


def test_the_same_images_in_every_format(exported):
    """By content: what one reader gets, all get."""
    plain = {path.name: sha256_file(path) for path in (exported("market1501") / "bounding_box_train").iterdir()}
    folder = {path.name: sha256_file(path) for path in (exported("imagefolder") / "train").glob("*.jpg")}
    coco = {path.name: sha256_file(path) for path in (exported("coco") / "images" / "train").iterdir()}
    rows = pd.read_parquet(exported("parquet") / "data" / "train-00000-of-00001.parquet")["image"]
    parquet = {image["path"]: sha256_bytes(image["bytes"]) for image in rows}
    assert plain == folder == coco == parquet
    assert Image.open(BytesIO(rows[0]["bytes"])).format == "JPEG"
