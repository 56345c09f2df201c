"""The first stage: every image of a data set is found, its name parsed, opened and hashed once."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from augment.base.errors import AugmentError
from augment.base.files import read_file, sha256_bytes
from augment.base.images import decode_image
from augment.base.progress import say
from augment.base.storage import copies
from augment.base.storage.addresses import is_copy
from augment.config import Config, DataConfig, environment_path
from augment.data.layouts import LAYOUTS, MARKET_FOLDERS, Found, parse_name, printable
from augment.data.patterns import parse_folder
from augment.data.rendered.dataset import render_set
from augment.data.rendered.folder import VERSION, check_root
from augment.data.rendered.plan import plan
from augment.data.selection import has_correct_match, select
from augment.manifest import Manifest, relative_path
from augment.stage import (
    Counts,
    Estimate,
    ShardSize,
    Spread,
    begun_shards,
    one_by_one,
    provenance,
    run_shards,
    size_of_shards,
)

_IMAGES_PER_SECOND, _RENDERED_PER_SECOND = 2500.0, 800.0  # two cores
_REASONS = 3  # that are told, why files cannot be used
_NOT_UTF8 = "its path is not valid UTF-8: rename it"
_BYTES_PER_ROW, _BYTES_PER_RENDERED_IMAGE = 120, 4000

_USUAL = {
    "market1501": ("MARKET1501_ROOT", "Market-1501-v15.09.15"),
    "deepfashion": ("DEEPFASHION_ROOT", "DeepFashion-inshop"),
}


def dataset_root(section: DataConfig, folder: Path) -> Path:
    """The data set's folder: ``data.root``, else the layout's environment variable, else ``../data/<usual name>``.

    ``folder`` is the stage's own; a rendered set is beside it. Raises :class:`AugmentError` where none exists.
    """
    if section.layout == "rendered":
        root = section.root or Path(folder).parent / "rendered"
        if section.root is not None and is_copy(root):
            copies.pull(root, lambda name: "/" not in name)
        check_root(section.rendered, root, own=section.root is None)
        return root
    variable, usual = _USUAL[section.layout]
    root = section.root or environment_path(variable) or Path.cwd().parent / "data" / usual
    if not copies.is_folder(root):
        raise AugmentError(
            f"{root}: no such folder. Set data.root or the environment variable {variable} to the folder of the data "
            f"set, or use data.layout=rendered, which needs none."
        )
    return root


def list_images(section: DataConfig, root: Path) -> list[Found]:
    """The images of the set, sorted by id; of a rendered set those that it will have."""
    if section.pattern is not None:
        return select(parse_folder(root, section.pattern).as_market(), section)
    if section.layout != "rendered":
        return select(LAYOUTS[section.layout](root), section)
    items = plan(section.rendered)
    found = [
        Found(f"{item.split}/{Path(item.name).stem}", os.path.join(root, MARKET_FOLDERS[item.split], item.name),
              item.split, name)
        for item in items
        if (name := parse_name(item.name)) is not None
    ]  # fmt: skip
    return select(sorted(found, key=lambda image: image.id), section)


def identity(section: DataConfig, folder: Path) -> dict[str, Any]:
    """See augment/stage.py. Names and sizes show that a file was added, removed or changed; hashes verify contents."""
    return _provenance(section, list_images(section, dataset_root(section, folder)))


def _provenance(section: DataConfig, found: list[Found]) -> dict[str, Any]:
    listing = hashlib.sha256(b"[")  # of the list of all [id, size] as JSON
    of_folder: dict[str, dict[str, int]] = {}
    for number, image in enumerate(found):
        if section.layout == "rendered":
            size = VERSION  # known before it is there
        else:
            size = _size(image.path, of_folder) if image.size is None else image.size
        listing.update(f"{', ' if number else ''}{json.dumps([image.id, size])}".encode())
    listing.update(b"]")
    return provenance("images", 2, section, {"listing": listing.hexdigest()}, () if section.pattern else ("pattern",))


begun = begun_shards


def estimate(config: Config, counts: Counts) -> Estimate:
    """See augment/stage.py."""
    total = sum(counts.splits.values())
    parts = ", ".join(f"{counts.splits.get(split, 0):,} {split}" for split in ("train", "query", "gallery"))
    seconds, size = 1 / _IMAGES_PER_SECOND, _BYTES_PER_ROW
    amount, elsewhere = f"{total:,} images: {parts}", {}
    if config.data.layout == "rendered":
        seconds, size = seconds + 1 / _RENDERED_PER_SECOND, size + _BYTES_PER_RENDERED_IMAGE
        if config.data.root is not None:
            amount += f", rendered into {config.data.root}"
            elsewhere = {config.data.root: float(total * _BYTES_PER_RENDERED_IMAGE)}
    return Estimate(amount, total, total * size, total * seconds, elsewhere=elsewhere)


def scan_images(section: DataConfig, folder: Path, *, spread: Spread = one_by_one,
                shard_size: ShardSize = "auto") -> Manifest:  # fmt: skip
    """Find, open and hash every image; a set of layout "rendered" is rendered first. Returns the table of images.

    A file that cannot be used has a row with status "failed" and the reason. Raises :class:`AugmentError` where a
    folder is missing or a split has no usable image.
    """
    folder = Path(folder)
    root = dataset_root(section, folder)
    say(f"images: {section.layout} in {root}")
    found = list_images(section, root)
    origin = _provenance(section, found)
    if section.layout == "rendered":
        render_set(section.rendered, root, own=section.root is None)
    if section.pattern is not None:
        say(parse_folder(root, section.pattern).preview())
    # A worker of a cluster has another working directory.
    work = partial(examine, section=section, root=root.absolute(), listing=origin["inputs"]["listing"])
    ids = [image.id for image in found]
    del found  # workers list them again; a list of millions is in memory once
    size = size_of_shards(shard_size, len(ids), 1 / _IMAGES_PER_SECOND)
    manifest = run_shards("images", folder / "images.parquet", origin, ids, work, spread=spread, shard_size=size)
    _check(manifest, section, root)
    return manifest


def examine(ids: Sequence[str], *, folder: Path, section: DataConfig, root: Path, listing: str) -> list[dict]:
    """The rows of the images ``ids``, opened and hashed."""
    found = _listed(section, root, listing)
    if lost := [id for id in ids if id not in found]:
        raise AugmentError(f"{root}: {lost[0]} disappeared while the images were scanned. Run the same command again.")
    copies.fetch_all(found[id].path for id in ids)
    return [_examine(found[id], folder) for id in ids]


@lru_cache(maxsize=2)
def _listed(section: DataConfig, root: Path, listing: str) -> dict[str, Found]:
    """The images by id, listed once for all shards of a process: a shard's arguments stay small."""
    return {image.id: image for image in list_images(section, root)}


def _examine(found: Found, folder: Path) -> dict:
    path = relative_path(found.file, folder)
    problem = found.problem or (None if printable(path) == path else _NOT_UTF8)
    row = {
        "id": found.id, "path": printable(path), "sha256": None, "width": 0, "height": 0,
        "status": "failed", "reason": problem or "", "split": found.split, **found.name._asdict(),
    }  # fmt: skip
    if problem:
        return row
    try:
        data = read_file(found.file)
        row["sha256"] = sha256_bytes(data)
        height, width = decode_image(data).shape[:2]
    except OSError as error:
        return row | {"sha256": "", "reason": error.strerror or str(error)}
    except ValueError as error:
        return row | {"reason": str(error)}
    return row | {"width": width, "height": height, "status": "ok"}


def _size(path: str, of_folder: dict[str, dict[str, int]]) -> int:
    """``of_folder``: what was listed before, of objects, which are not asked for one by one."""
    if is_copy(path):
        folder, name = os.path.split(path)
        if folder not in of_folder:
            of_folder[folder] = copies.sizes(Path(folder))
        return of_folder[folder].get(name, -1)
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def _check(manifest: Manifest, section: DataConfig, root: Path) -> None:
    """Report what was left out; raise :class:`AugmentError` where a split has no usable image."""
    frame = manifest.columns("status", "reason", "split", "pid", "camid").to_pandas()
    failed = frame[frame["status"] == "failed"]
    if len(failed):
        reasons = Counter(failed["reason"])
        told = [f"{count} x {reason}" for reason, count in reasons.most_common(_REASONS)]
        if others := len(failed) - sum(count for _, count in reasons.most_common(_REASONS)):
            told.append(f"{others} x other reasons")
        say(f"images: {len(failed)} of {len(frame)} cannot be used: {'; '.join(told)}. Their rows say why.")
    needed = ("train", "query", "gallery") if section.layout != "deepfashion" else ("train", "gallery")
    usable = frame[(frame["status"] == "ok") & (frame["pid"] > 0)]
    for split in needed:
        if not (usable["split"] == split).any():
            raise AugmentError(f"{root}: no image of the {split} split can be used ({manifest.path} says why).")
    counts = usable[usable["split"] == "train"].groupby("pid").size()
    if (counts == 1).any():
        say(f"images: {(counts == 1).sum()} training identities have one image only: they yield no pair.")
    if len(counts) == 1:
        say("images: training has one identity only: re-ID needs at least two.")
    query, gallery = (usable[usable["split"] == split] for split in ("query", "gallery"))
    if query.empty:
        say("images: there are no query images: synthetic images can be made, re-ID cannot be measured.")
    elif not has_correct_match(query, gallery):
        say("images: no query's person is in the gallery, seen by another camera: re-ID cannot be measured.")
