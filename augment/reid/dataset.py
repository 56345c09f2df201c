"""torchreid's data set from manifests: a single set, in which synthetic images are further images of the same people.

Identities and cameras come from the tables, never from file names: torchreid searches them in the whole path, where a
folder named ``exp2_c1`` corrupts labels. A second torchreid data set for the synthetic images would give them new
identities (it offsets pids and camids), so both kinds are in one list, distinguished by ``dsetid``.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from augment.base.errors import AugmentError, UsageError
from augment.base.images import read_image
from augment.data.layouts import JUNK
from augment.data.selection import LEFT_OUT
from augment.manifest import Manifest, read_manifest
from augment.reid.checks import check_parts
from augment.reid.poses import select
from augment.retrieval.torchreid_quiet import torchreid
from augment.synthesis.stage import OWN_POSE

REAL, SYNTHETIC = 0, 1  # torchreid's dsetid
Item = tuple[str, int, int, int]  # path, pid, camid, dsetid, as torchreid has them


@dataclass(frozen=True)
class ReidData:
    """The training set of an arm, and the test set of all arms. Train pids are 0, 1, 2, ... in their order."""

    train: list[Item]
    query: list[Item]
    gallery: list[Item]
    query_ids: list[str]  # image ids, in the order of the lists
    gallery_ids: list[str]
    train_content: list[str]  # the hash of each training image
    test_content: list[str]  # of each query, then of each gallery image

    @property
    def people(self) -> int:
        """Identities in training."""
        return len({item[1] for item in self.train})

    def without_synthetic(self) -> "ReidData":
        """The same without synthetic images."""
        count = self.count(REAL)  # they stand first
        return replace(self, train=self.train[:count], train_content=self.train_content[:count])

    def count(self, dsetid: int) -> int:
        """Training images that are REAL or SYNTHETIC."""
        return sum(item[3] == dsetid for item in self.train)


def read_data(
    images: Manifest, synthetic: Manifest | None = None, kind: str = "synthetic", poses: Manifest | None = None,
    which: str = "any",
) -> ReidData:  # fmt: skip
    """Lists for torchreid of the rows with status "ok"; with ``synthetic``, the synthetic part follows the real one.

    ``kind``: ``images`` of :class:`augment.config.ArmConfig`; ``which``: its ``poses``, which need a poses table.
    Junk (pid -1) is left out. A synthetic image has the identity and the camera of its source, not of its pose. Raises
    :class:`AugmentError` where a part is empty, the training set has fewer than two people, or a source is not a
    training image.
    """
    rows = images.frame()
    rows = rows[(rows["status"] == "ok") & (rows["pid"] != JUNK)]
    check_parts(rows, images.path)
    parts = {split: rows[rows["split"] == split] for split in ("train", "query", "gallery")}
    train = parts["train"]
    labels = {pid: label for label, pid in enumerate(sorted(train["pid"].unique()))}
    items = _items(images, train, train["pid"].map(labels), REAL)
    content = train["sha256"].tolist()
    if synthetic is not None:
        table, added, pids = _synthetic_part(images, synthetic, kind, rows, train)
        if which != "any":
            added = select(added, images, poses, which)
            pids = pids[added.index]
        items += _items(table, added, pids.map(labels), SYNTHETIC)
        content += added["sha256"].tolist()
    return ReidData(
        train=items,
        query=_items(images, parts["query"], parts["query"]["pid"], REAL),
        gallery=_items(images, parts["gallery"], parts["gallery"]["pid"], REAL),
        query_ids=parts["query"]["id"].tolist(),
        gallery_ids=parts["gallery"]["id"].tolist(),
        train_content=content,
        test_content=[*parts["query"]["sha256"], *parts["gallery"]["sha256"]],
    )


def _synthetic_part(
    images: Manifest, synthetic: Manifest, kind: str, rows: pd.DataFrame, train: pd.DataFrame
) -> tuple[Manifest, pd.DataFrame, pd.Series]:
    """Table, rows and pids of an arm's synthetic part."""
    if kind == "copied":
        return images, train, train["pid"]
    if kind == "more_real":
        others = rows[(rows["split"] == LEFT_OUT) & rows["pid"].isin(train["pid"])]
        if others.empty:
            raise AugmentError(
                f"{images.path}: no further real image of the training people, so there is no arm more_real. It "
                "shows the images that data.subset.images_per_identity leaves out."
            )
        return images, others, others["pid"]
    made = _usable_synthetic(synthetic, train, images, own_pose=kind == "own_pose")
    return synthetic, made, shuffled(made["pid"]) if kind == "shuffled" else made["pid"]


def shuffled(pids: pd.Series) -> pd.Series:
    """The pids of the images exchanged between people: each person gets that of the next in a random cyclic order."""
    ring = np.random.default_rng(0).permutation(np.sort(pids.unique()))
    return pids.map(dict(zip(ring.tolist(), np.roll(ring, -1).tolist(), strict=True)))


def _usable_synthetic(synthetic: Manifest, train: pd.DataFrame, images: Manifest, own_pose: bool) -> pd.DataFrame:
    made = synthetic.frame()
    made = made[made["status"] == "ok"]
    made = made[made["verdict"] == OWN_POSE] if own_pose else made[made["kept"].eq(True)]
    if made.empty and own_pose:
        raise AugmentError(f"{synthetic.path}: no image in its source's own pose. Set synthesis.own_pose=true.")
    if made.empty:
        raise AugmentError(f"{synthetic.path}: no synthetic image is usable, so there is nothing to augment with.")
    of_source = train.set_index("id")
    stray = made[~made["source"].isin(of_source.index)]
    if len(stray):
        row = stray.iloc[0]
        raise AugmentError(
            f"{synthetic.path}: {row['id']} was made from {row['source']}, which is not a usable training image of "
            f"{images.path}. Make the synthetic images from this table."
        )
    source = of_source.loc[made["source"]]
    other = made[(made["pid"].to_numpy() != source["pid"].to_numpy())]
    if len(other):
        row = other.iloc[0]
        raise AugmentError(f"{synthetic.path}: {row['id']} has pid {row['pid']}, its source {row['source']} another.")
    return made


def _items(manifest: Manifest, rows: pd.DataFrame, pids: pd.Series, dsetid: int) -> list[Item]:
    paths = [str(manifest.file_of(path)) for path in rows["path"]]
    return list(zip(paths, map(int, pids), map(int, rows["camid"]), [dsetid] * len(rows), strict=True))


class ManifestDataset(torchreid.data.ImageDataset):
    """torchreid's image data set over :class:`ReidData`.

    Images are read by our own reader: torchreid's retries a truncated file for ever.
    """

    def __init__(self, data: ReidData, mode: str, transform=None, **kwargs):
        super().__init__(data.train, data.query, data.gallery, mode=mode, transform=transform, verbose=False, **kwargs)

    def __getitem__(self, index: int) -> dict:
        path, pid, camid, dsetid = self.data[index]
        image = Image.fromarray(read_image(Path(path)))
        if self.transform is not None:
            image = self._transform_image(self.transform, self.k_tfm, image)
        return {"img": image, "pid": pid, "camid": camid, "impath": path, "dsetid": dsetid}


def register_run(folder: Path, name: str) -> None:
    """Register the real and synthetic images of a run with torchreid as ``name``; see :func:`augment.reid.register`."""
    folder = folder.absolute()
    images, synthetic = (read_manifest(folder / stage / f"{stage}.parquet", stage) for stage in ("images", "synthetic"))

    class OfRun(ManifestDataset):
        run_folder = folder

        def __init__(self, root: str = "", mode: str = "train", transform=None, k_tfm: int = 1, **_unused):
            super().__init__(read_data(images, synthetic), mode, transform, k_tfm=k_tfm)

    known = torchreid.data.datasets.__dict__["__image_datasets"]
    if name not in known:
        torchreid.data.register_image_dataset(name, OfRun)
    elif getattr(known[name], "run_folder", None) != folder:
        raise UsageError(f"{name}: torchreid has another data set of this name. Register the run under another one.")
