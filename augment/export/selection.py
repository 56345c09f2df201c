"""The images to export: the usable images of a run, real and synthetic, in a table, filtered and labelled."""

from dataclasses import dataclass
from typing import Literal

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from augment.base.errors import AugmentError, UsageError
from augment.data.layouts import JUNK, SPLITS, parse_market
from augment.manifest import Manifest
from augment.run import Run

# The columns of --where and of the metadata of exported images. For real images the last six are null.
COLUMNS = ("id", "split", "pid", "camid", "width", "height", "sha256", "synthetic",
           "source", "pose_source", "pose_pid", "rank", "kept", "verdict")  # fmt: skip
_FILE = ["file", "sequence", "frame"]


@dataclass(frozen=True)
class Filters:
    """The selection of a run's images, and their labels."""

    kept_only: bool = False  # of the synthetic images only those that re-ID trains on
    per_image: int | None = None  # at most so many synthetic images of a source, those of lowest rank
    where: str | None = None  # SQL condition over COLUMNS
    # own: the synthetic images of a person are a class of their own. soft: with ``certainty`` they are their source's
    # person, with the rest any of the training people alike; 0.9 is usual label smoothing, 0 LSRO (Zheng et al. 2017)
    labels: Literal["hard", "own", "soft"] = "hard"
    certainty: float = 0.9


@dataclass(frozen=True)
class Selection:
    """The images to export."""

    run: Run
    rows: pd.DataFrame
    """COLUMNS, ``certainty`` of the label, ``file`` (absolute path) and ``name`` (file name in Market-1501's form,
    unique in a split); sorted by split and id."""

    def of(self, split: str) -> pd.DataFrame:
        """The images of a split."""
        return self.rows[self.rows["split"] == split]

    @property
    def splits(self) -> list[str]:
        """The splits with images, in the usual order."""
        return [split for split in SPLITS if (self.rows["split"] == split).any()]

    def counts(self) -> dict[str, dict[str, int]]:
        """Split -> images, real and synthetic; people and cameras without junk and distractors (pid -1 and 0)."""
        return {split: count(self.of(split)) for split in self.splits}


def count(rows: pd.DataFrame) -> dict[str, int]:
    """Images, real and synthetic, people, cameras."""
    people = rows[rows["pid"] > 0]
    return {
        "images": len(rows), "real": int((~rows["synthetic"]).sum()), "synthetic": int(rows["synthetic"].sum()),
        "people": people["pid"].nunique(), "cameras": people["camid"].nunique(),
        "junk_or_distractors": len(rows) - len(people),
    }  # fmt: skip


def select(run: Run, filters: Filters) -> Selection:
    """The images of a run that pass the filters. Raises :class:`UsageError` where ``where`` is not an SQL condition,
    :class:`AugmentError` where no image is left, or the synthetic ones were made from other images."""
    if "images" not in run.manifests:
        problem = run.problems[0] if run.problems else f"{run.folder}: holds no images/images.parquet."
        raise AugmentError(f"{problem} An export needs the folder of a run, like outputs/demo.")
    tables = [_real(run.manifests["images"])]
    if (made := run.manifests.get("synthetic")) is not None:
        if made.provenance["inputs"]["images"] != run.manifests["images"].digest:
            raise AugmentError(f"{made.path}: was not made from {run.manifests['images'].path} as it is now, so people "
                               "of the test could be in the training set. Bring the run up to date first: augment "
                               f"synthesize {run.folder / 'config.yaml'}.")  # fmt: skip
        tables.append(_synthetic(made))
    rows = pd.concat(tables, ignore_index=True)
    rows = rows.astype({"pose_pid": "Int32", "rank": "Int8", "kept": "boolean", "sequence": "Int16", "frame": "Int32"})
    if filters.kept_only:
        rows = rows[~rows["synthetic"] | rows["kept"].fillna(False)]
    if filters.where:
        rows = rows[_matches(rows, filters.where)]
    if filters.per_image is not None:
        order = rows.sort_values("rank").groupby("source", dropna=True).cumcount().reindex(rows.index)
        rows = rows[~rows["synthetic"] | (order < filters.per_image)]
    if rows.empty:
        raise AugmentError(f"{run.folder}: no image is left after filtering. Loosen --where." if filters.where else
                           f"{run.folder}: has no usable image.")  # fmt: skip
    rows = rows.sort_values(["split", "id"], ignore_index=True)
    if filters.labels == "own":
        rows["pid"] = _own_classes(rows)
    rows["certainty"] = np.where(rows["synthetic"] & (filters.labels == "soft"), filters.certainty, 1.0)
    return Selection(run, rows.assign(name=_names(rows)).drop(columns=["sequence", "frame"]))


def _real(manifest: Manifest) -> pd.DataFrame:
    rows = manifest.frame()
    rows = rows[rows["status"] == "ok"]
    return rows.assign(
        file=[str(manifest.file_of(path)) for path in rows["path"]], synthetic=False, source=None, pose_source=None,
        pose_pid=pd.NA, rank=pd.NA, kept=pd.NA, verdict=None,
    )[[*COLUMNS, *_FILE]]  # fmt: skip


def _synthetic(manifest: Manifest) -> pd.DataFrame:
    rows = manifest.frame()
    rows = rows[rows["status"] == "ok"]
    return rows.assign(
        file=[str(manifest.file_of(path)) for path in rows["path"]], synthetic=True, split="train",
        sequence=pd.NA, frame=pd.NA,
    )[[*COLUMNS, *_FILE]]  # fmt: skip


def _matches(rows: pd.DataFrame, condition: str) -> np.ndarray:
    """For each row whether the condition is true or NULL: columns without a value for real images are NULL, so
    ``rank < 3`` filters the synthetic images only."""
    with duckdb.connect(config={"enable_external_access": "false"}) as database:
        numbered = rows[list(COLUMNS)].assign(row=np.arange(len(rows)))
        database.register("images", pa.Table.from_pandas(numbered, preserve_index=False))
        try:
            found = database.sql(f"SELECT row FROM images WHERE ({condition}\n) IS NOT FALSE").fetchall()
        except duckdb.Error as error:
            reason = str(error).partition("\n\nLINE")[0].replace("\n", " ")
            raise UsageError(f"--where {condition!r}: {reason}. It is a condition in SQL over {', '.join(COLUMNS)}; "
                             "for example: synthetic AND rank < 3.") from None  # fmt: skip
    matches = np.zeros(len(rows), bool)
    matches[[row for (row,) in found]] = True
    return matches


def _own_classes(rows: pd.DataFrame) -> pd.Series:
    """The synthetic images of a person become a class of their own, with the lowest unused numbers."""
    made = rows["synthetic"]
    taken = set(rows["pid"])
    people = sorted(rows.loc[made, "pid"].unique())
    free = (number for number in range(1, len(taken) + len(people) + 1) if number not in taken)
    own = dict(zip(people, free, strict=False))
    return rows["pid"].where(~made, rows["pid"].map(own)).astype("int32")


def _names(rows: pd.DataFrame) -> list[str]:
    """File names for readers of Market-1501: person, camera, and the rest of the image's name where it has that form,
    else the image's number."""
    parts = [_of_source(id, synthetic) for id, synthetic in zip(rows["id"], rows["synthetic"], strict=True)]
    stems, endings = zip(*parts, strict=True)
    if all(parse_market(f"{stem}.jpg") for stem in stems):
        rests = [stem.partition("_c")[2].lstrip("0123456789") for stem in stems]
    else:
        rests = [f"s1_{number:06d}_00" for number in rows.groupby("split").cumcount() + 1]
    people = ["-1" if pid == JUNK else f"{pid:04d}" for pid in rows["pid"]]
    return [
        f"{person}_c{camid}{rest}{ending}.jpg"
        for person, camid, rest, ending in zip(people, rows["camid"], rests, endings, strict=True)
    ]


def _of_source(id: str, synthetic: bool) -> tuple[str, str]:
    """The source's name and the suffix of a synthetic image: ``g7``, or ``gown`` in the source's own pose."""
    stem = id.rpartition("/")[2]
    if not synthetic:
        return stem, ""
    source, _, ending = stem.rpartition("g")
    return source, f"g{ending}"
