"""Read access to the folder of a run: the tables that exist, and the problems of those that cannot be read."""

from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from augment.base.errors import AugmentError
from augment.manifest import Manifest, read_manifest

TABLES = {
    "images": "images", "poses": "poses", "pairs": "pairs", "gan": "checkpoints", "synthetic": "synthetic",
    "quality": "metrics", "reid": "metrics",
}  # fmt: skip


class Run:
    """Tables by stage; those of absent stages are left out, and so are damaged ones, with a line in ``problems``."""

    def __init__(self, folder: Path) -> None:
        """``folder``: of the run, with a folder for each stage."""
        self.folder = Path(folder)
        self.problems: list[str] = []

    @cached_property
    def manifests(self) -> dict[str, Manifest]:
        """Stage -> its table, in the order of the stages."""
        found = {}
        for stage, table in TABLES.items():
            path = self.folder / stage / f"{table}.parquet"
            if not path.exists():
                continue
            try:
                found[stage] = read_manifest(path, table)
            except AugmentError as error:
                self.problems.append(str(error))
        return found

    @cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        """Stage -> its rows."""
        return {stage: manifest.frame() for stage, manifest in self.manifests.items()}

    def picture_file(self, stage: str, id: str) -> Path | None:
        """The file of an image, if the table of that stage has a row for it with status "ok"."""
        path = self._paths.get(stage, {}).get(id)
        return None if path is None else self.manifests[stage].file_of(path)

    def joints(self, id: str) -> np.ndarray | None:
        """(18, 2) of an image in its own pixels, NaN where missing; None without a pose."""
        if "poses" not in self.frames or id not in self._pose_rows:
            return None
        row = self.frames["poses"].iloc[self._pose_rows[id]]
        return np.stack([np.asarray(row["x"], float), np.asarray(row["y"], float)], axis=1)

    @cached_property
    def _paths(self) -> dict[str, dict[str, str]]:
        paths = {}
        for stage in ("images", "synthetic"):
            if stage in self.frames:
                rows = self.frames[stage]
                rows = rows[rows["status"] == "ok"]
                paths[stage] = dict(zip(rows["id"], rows["path"], strict=True))
        return paths

    @cached_property
    def _pose_rows(self) -> dict[str, int]:
        rows = self.frames["poses"]
        return {id: place for place, (id, status) in enumerate(zip(rows["id"], rows["status"], strict=True))
                if status == "ok"}  # fmt: skip
