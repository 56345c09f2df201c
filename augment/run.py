"""Read access to the folder of a run: the tables that exist, and the problems of those that cannot be read."""

from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from augment.base.errors import AugmentError
from augment.config import Config
from augment.manifest import SCHEMAS, Manifest, read_manifest

#: The folder of each stage -> the kind of its table.
TABLES = {
    "images": "images", "poses": "poses", "pairs": "pairs", "gan": "checkpoints", "synthetic": "synthetic",
    "quality": "metrics", "reid": "metrics",
}  # fmt: skip

#: The same -> the section of the configuration with its settings.
SECTIONS = {
    "images": "data", "poses": "pose", "pairs": "pairs", "gan": "gan", "synthetic": "synthesis", "quality": "quality",
    "reid": "reid",
}  # fmt: skip

# Of tables of a million rows; what of it is shown is looked up row by row.
_LEFT_OUT = {"images": ["path", "sha256"], "poses": ["path", "sha256", "checkpoint", "x", "y", "confidence"]}
_LOOKED_UP = {
    "images": ["id", "status", "path"], "synthetic": ["id", "status", "path"], "poses": ["id", "status", "x", "y"],
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

    def config_as_made(self, config: Config) -> Config:
        """``config`` with the settings that the tables were made with, where it has others since."""
        sections = {}
        for stage, manifest in self.manifests.items():
            name = SECTIONS[stage]
            with suppress(ValueError, KeyError):  # a table of another version keeps to the configuration
                sections[name] = getattr(config, name).with_identity(manifest.provenance["section"])
        return config.model_copy(update=sections)

    @cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        """Stage -> its rows, without joints, and of images and poses without the files; not those of pairs."""
        wanted = {stage: [name for name in SCHEMAS[TABLES[stage]].names if name not in _LEFT_OUT.get(stage, ())]
                  for stage in self.manifests if stage != "pairs"}  # fmt: skip
        return {stage: self.manifests[stage].columns(*names).to_pandas() for stage, names in wanted.items()}

    @cached_property
    def _looked_up(self) -> dict[str, pa.Table]:
        return {stage: self.manifests[stage].columns(*names)
                for stage, names in _LOOKED_UP.items() if stage in self.manifests}  # fmt: skip

    @cached_property
    def _places(self) -> dict[str, pd.Index]:
        return {stage: pd.Index(table["id"].to_pandas()) for stage, table in self._looked_up.items()}

    def picture_file(self, stage: str, id: str) -> Path | None:
        """The file of an image, if the table of that stage has a row for it with status "ok"."""
        row = self._row(stage, id)
        return None if row is None else self.manifests[stage].file_of(row["path"])

    def joints(self, id: str) -> np.ndarray | None:
        """(18, 2) of an image in its own pixels, NaN where missing; None without a pose."""
        row = self._row("poses", id)
        return None if row is None else np.array([row["x"], row["y"]], float).T

    def _row(self, stage: str, id: str) -> dict[str, Any] | None:
        if stage not in self._looked_up:
            return None
        table = self._looked_up[stage]
        place = self._places[stage].get_indexer([id])[0]
        row = table.slice(place, 1).to_pylist()[0] if place >= 0 else None
        return row if row is not None and row["status"] == "ok" else None
