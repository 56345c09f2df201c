"""The data card: README.md with a YAML header that states the contents of an export, their origin and their terms."""

from dataclasses import asdict
from typing import Any

import yaml

from augment.base.files import sha256_file
from augment.export.folders import IMAGEFOLDER
from augment.export.selection import Filters, Selection
from augment.gan.generators import read_card, shipped

# Of the data set that a layout usually means; the run does not know the owner of the images.
_TERMS = {
    "market1501": "if these are Market-1501's images: research only, not to be redistributed, nor images made of them",
    "deepfashion": "if these are DeepFashion's images: research only, not to be redistributed, nor images made of them",
    "rendered": "rendered by reid-augment: MIT",
}
_LABELLING = ("labels", "certainty")
_NOT_STATED = "not stated; ask the publisher of the source images (augment export --terms)"

# Split -> files, as ``datasets`` is to read them.
_DATA_FILES = {
    "imagefolder": lambda split: f"{IMAGEFOLDER[split]}/**",
    "webdataset": lambda split: f"{split}-*.tar",
    "parquet": lambda split: f"data/{split}-*.parquet",
}
_HOW_TO_READ = {
    "market1501": 'torchreid: name this folder "market1501", then `torchreid.data.ImageDataManager(root=PARENT, '
                  'sources="market1501")`. Synthetic images are `...g0.jpg` to `...g9.jpg` in `bounding_box_train`.',
    "imagefolder": '`datasets.load_dataset(FOLDER)` has the splits below; '
                   '`datasets.load_dataset("imagefolder", data_dir=FOLDER)` has query and gallery together as test.',
    "webdataset": '`webdataset.WebDataset(sorted(glob("FOLDER/train-*.tar")), shardshuffle=False).decode("pil")'
                  '.to_tuple("jpg", "json")`. The images of a shard are in random order.',
    "coco": '`pycocotools.coco.COCO("FOLDER/annotations/person_keypoints_train.json")`; `file_name` is in '
            '`images/<split>/`. Person, camera and origin stand with each image.',
    "parquet": "`datasets.load_dataset(FOLDER)`, or any reader of parquet: the column `image` has the bytes.",
}  # fmt: skip


def facts(selection: Selection, filters: Filters, to: str, terms: str | None, command: str) -> dict[str, Any]:
    """The card's header."""
    layout = selection.run.manifests["images"].provenance["section"].get("layout", "unknown")
    generator = _generator(selection)
    header: dict[str, Any] = {
        "pretty_name": f"{selection.run.folder.resolve().name}, exported by reid-augment",
        "license": "mit" if layout == "rendered" and terms is None and _is_free(generator) else "other",
        "tags": ["person-re-identification", "synthetic"],
        "format": to,
        "counts": selection.counts(),
        "labels": filters.labels,
        **({"certainty": filters.certainty} if filters.labels == "soft" else {}),
        "filters": {name: value for name, value in asdict(filters).items() if value and name not in _LABELLING},
        "source": {"layout": layout, "terms": terms or _TERMS.get(layout, _NOT_STATED)},
        "generator": generator,
        "command": command,
    }
    if to in _DATA_FILES:
        files = [{"split": split, "path": _DATA_FILES[to](split)} for split in selection.splits]
        header["configs"] = [{"config_name": "default", "data_files": files}]
    return header


def write_card(header: dict[str, Any]) -> str:
    """README.md: the header as YAML between dashes, then the same as text."""
    generator, source = header["generator"], header["source"]
    lines = ["---", yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=120).rstrip(), "---", "",
             f"# {header['pretty_name']}", "", _HOW_TO_READ[header["format"]], ""]  # fmt: skip
    lines += ["| split | images | real | synthetic | people | cameras | junk or distractors |", "|---" * 7 + "|"]
    lines += [f"| {split} | " + " | ".join(f"{value:,}" for value in count.values()) + " |"
              for split, count in header["counts"].items()]  # fmt: skip
    lines += ["", "Labels: " + {
        "hard": "a synthetic image has the person (`pid`) and camera of its source.",
        "own": "the synthetic images of a person are a class of their own; `source` leads to the person.",
        "soft": "a synthetic image is its source's person (`pid`) with the probability `certainty`, otherwise any "
                f"of the {header['counts'].get('train', {}).get('people', 0):,} training people equally: the target is "
                "certainty * [k = pid] + (1 - certainty) / people.",
    }[header["labels"]], "", f"Source images: {source['terms']}."]  # fmt: skip
    if generator:
        lines += [f"Generator: {', '.join(f'{name} {value}' for name, value in generator.items())}."]
    lines += ["", "Made by", "", f"    {header['command']}", "",
              "`sha256sum --check SHA256SUMS` checks every file.", ""]  # fmt: skip
    return "\n".join(lines)


def _generator(selection: Selection) -> dict[str, Any] | None:
    """The generator of the synthetic images: hash of its weights, system, iterations, and the shipped start, if any."""
    if not selection.rows["synthetic"].any():
        return None
    hashes = sorted(set(selection.run.frames["synthetic"]["checkpoint"]))
    found: dict[str, Any] = {"sha256": ", ".join(hashes)}
    manifest = selection.run.manifests.get("gan")
    if manifest is None:
        return found
    rows = [row for row in manifest.table.to_pylist() if row["sha256"] in hashes]
    if rows:
        found |= {"system": rows[0]["system"], "iterations": rows[0]["iteration"]}
    start = manifest.provenance["inputs"].get("start")
    if start is not None:
        found |= {"start": start, "terms": "not stated"}
    for name, path in shipped().items():
        if start == sha256_file(path):
            found |= {"start": name, "terms": read_card(path)["terms"]}
    return found


def _is_free(generator: dict[str, Any] | None) -> bool:
    """Whether it has seen nothing but the source images, or began with weights that are free."""
    return generator is None or "start" not in generator or generator["terms"].startswith("MIT")
