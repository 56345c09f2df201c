"""One run exported to every format and counted by the readers of each: images, people and cameras a split.

    python benchmarks/export_readers.py RUN FOLDER [--fast-reid CHECKOUT] [--layumi CHECKOUT] [--where SQL]

FOLDER takes the exports. The two checkouts are of JDAI-CV/fast-reid and layumi/Person_reID_baseline_pytorch; their own
code reads the export for Market-1501's names. Junk and distractors (pid -1 and 0) are no people and give no camera.
"""

import argparse
import ast
import collections
import collections.abc
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import augment.base.torchvision_cpu  # noqa: F401  the readers import torchvision
from augment.export.job import FORMATS, export
from augment.export.selection import Filters
from augment.retrieval.torchreid_quiet import quiet, torchreid

SPLITS = ("train", "query", "gallery")
Records = Iterable[tuple[int, int]]  # (pid, camid) of each image


def torchreid_reads(folder: Path) -> dict[str, Records]:
    """``torchreid.data.ImageDataManager``; in training it numbers people and cameras from 0."""
    with quiet():
        manager = torchreid.data.ImageDataManager(
            root=str(folder.parent), sources="market1501", height=64, width=32, workers=0
        )
    train = [(pid + 1, camid) for _, pid, camid, *_ in manager.train_loader.dataset.data]
    tested = manager.test_loader["market1501"]
    return {"train": train} | {split: [image[1:3] for image in tested[split].dataset.data] for split in SPLITS[1:]}


def fast_reid_reads(folder: Path, checkout: Path) -> dict[str, Records]:
    """Its ``Market1501``; in training people are strings, 'market1501_7'."""
    collections.Mapping = collections.abc.Mapping  # its code is of Python 3.9 and before
    sys.path.insert(0, str(checkout))
    from fastreid.data.datasets import DATASET_REGISTRY

    found = DATASET_REGISTRY.get("Market1501")(root=str(folder))
    train = [(int(pid.rpartition("_")[2]), int(camid.rpartition("_")[2])) for _, pid, camid in found.train]
    return {"train": train, "query": [image[1:3] for image in found.query],
            "gallery": [image[1:3] for image in found.gallery]}  # fmt: skip


def layumi_reads(folder: Path, checkout: Path) -> dict[str, Records]:
    """``prepare.py`` makes a folder of each person, ``torchvision``'s ImageFolder lists them, ``get_id`` of ``test.py``
    says person and camera."""
    from torchvision.datasets import ImageFolder

    place = folder.parent / "layumi"
    shutil.copytree(folder, place / "Market-1501-v15.09.15", copy_function=os.link)
    (place / "code").mkdir()
    subprocess.run([sys.executable, checkout.resolve() / "prepare.py"], cwd=place / "code", check=True)
    tree = ast.parse((checkout / "test.py").read_text())
    names = {"os": os}
    exec(ast.unparse(next(node for node in tree.body if getattr(node, "name", "") == "get_id")), names)
    parts = {"train": "train_all", "query": "query", "gallery": "gallery"}
    read = {}
    for split, part in parts.items():
        cameras, labels = names["get_id"](ImageFolder(str(place / "Market" / "pytorch" / part)).imgs)
        read[split] = list(zip(labels, cameras, strict=True))
    return read


def datasets_reads(folder: Path) -> dict[str, Records]:
    """``datasets.load_dataset``."""
    import datasets

    datasets.disable_progress_bars()
    found = datasets.load_dataset(str(folder), cache_dir=str(folder.parent / ".cache"))
    return {split: list(zip(rows["pid"], rows["camid"], strict=True)) for split, rows in found.items()}


def webdataset_reads(folder: Path) -> dict[str, Records]:
    """``webdataset.WebDataset``, every picture decoded."""
    import webdataset

    read = {}
    for split in SPLITS:
        shards = sorted(map(str, folder.glob(f"{split}-*.tar")))
        samples = webdataset.WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("jpg", "json")
        read[split] = [(known["pid"], known["camid"]) for _, known in samples]
    return read


def pycocotools_reads(folder: Path) -> dict[str, Records]:
    """``pycocotools.coco.COCO``."""
    from pycocotools.coco import COCO

    read = {}
    for split in SPLITS:
        with quiet():
            coco = COCO(str(folder / "annotations" / f"person_keypoints_{split}.json"))
        read[split] = [(image["pid"], image["camid"]) for image in coco.loadImgs(coco.getImgIds())]
    return read


def counted(records: Records) -> str:
    """Images of people or distractors (torchreid and fast-reid drop junk), people, cameras."""
    records = [(pid, camid) for pid, camid in records if pid >= 0]
    people = [(pid, camid) for pid, camid in records if pid > 0]
    return f"{len(records):,} / {len({pid for pid, _ in people})} / {len({camid for _, camid in people})}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fast-reid", type=Path)
    parser.add_argument("--layumi", type=Path)
    parser.add_argument("--where")
    arguments = parser.parse_args()
    made = {}
    for to in FORMATS:
        made[to] = arguments.folder / to
        selection = export(arguments.run, made[to], to, Filters(where=arguments.where))
        subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=made[to], check=True)
    rows = selection.rows
    read = {
        "the run's tables": {split: zip(of["pid"], of["camid"], strict=True) for split, of in rows.groupby("split")},
        "torchreid": torchreid_reads(made["market1501"]),
        "datasets, imagefolder": datasets_reads(made["imagefolder"]),
        "datasets, parquet": datasets_reads(made["parquet"]),
        "webdataset": webdataset_reads(made["webdataset"]),
        "pycocotools": pycocotools_reads(made["coco"]),
    }
    if arguments.fast_reid:
        read["fast-reid"] = fast_reid_reads(made["market1501"], arguments.fast_reid)
    if arguments.layumi:
        read["layumi's baseline"] = layumi_reads(made["market1501"], arguments.layumi)
    print("\nimages / people / cameras   " + "".join(f"{split:>20}" for split in SPLITS))
    tables = {name: [counted(found[split]) for split in SPLITS] for name, found in read.items()}
    for name, cells in tables.items():
        print(f"{name:28}" + "".join(f"{cell:>20}" for cell in cells))
    if len({tuple(cells) for cells in tables.values()}) > 1:
        sys.exit("the readers disagree")


if __name__ == "__main__":
    main()
