"""Exports of the finished tiny run, and what they have to hold by the run's own tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from augment.base.files import sha256_bytes
from augment.base.images import encode_jpeg
from augment.config import DataConfig
from augment.export.job import export
from augment.export.selection import Filters
from augment.manifest import Manifest, write_manifest
from augment.stage import provenance


@pytest.fixture(scope="session")
def truth(finished_run) -> dict[str, dict[str, int]]:
    """Split -> images, people and cameras, counted in the tables without any code of the exporter."""
    images = pd.read_parquet(finished_run / "images" / "images.parquet")
    made = pd.read_parquet(finished_run / "synthetic" / "synthetic.parquet").assign(split="train")
    rows = pd.concat([images, made])
    assert (rows["status"] == "ok").all()
    return {
        split: {"images": len(some), "people": len({*some["pid"]} - {0, -1}),
                "cameras": some[some["pid"] > 0]["camid"].nunique()}
        for split, some in rows.groupby("split")
    }  # fmt: skip


@pytest.fixture(scope="session")
def exported(finished_run, tmp_path_factory):
    """``exported(format)``: the whole run in that format, in a folder of that name. Read only."""
    parent, done = tmp_path_factory.mktemp("exports"), {}

    def make(to: str) -> Path:
        if to not in done:
            done[to] = parent / to
            export(finished_run, done[to], to, Filters())
        return done[to]

    return make


class SmallRun:
    """Writes images.parquet and synthetic.parquet for a few people."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.images: list[dict] = []
        self.synthetic: list[dict] = []

    def real(self, split: str, pid: int, camid: int, stem: str, data: bytes | None = None, suffix: str = ".jpg") -> str:
        id = f"{split}/{stem}"
        row = self._file("images", f"{split}-{stem}{suffix}", data or jpeg(len(self.images)))
        self.images.append({"id": id, **row, "split": split, "pid": pid, "camid": camid, "sequence": 1, "frame": 1})
        return id

    def made(self, source: str, rank: int | None, kept: bool = True) -> None:
        of = next(row for row in self.images if row["id"] == source)
        stem = f"{source.partition('/')[2]}g{'own' if rank is None else rank}"
        row = self._file("synthetic", f"{stem}.jpg", jpeg(100 + len(self.synthetic)))
        self.synthetic.append({
            "id": f"synthetic/{stem}", **row, "pid": of["pid"], "camid": of["camid"], "source": source,
            "pose_source": source, "pose_pid": of["pid"], "rank": rank, "seed": 0, "checkpoint": "c", "kept": kept,
            "verdict": "" if kept else "blurred",
        })  # fmt: skip

    def _file(self, stage: str, name: str, data: bytes) -> dict:
        path = self.folder / stage / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return {"path": f"files/{name}", "sha256": sha256_bytes(data), "width": 8, "height": 16, "status": "ok",
                "reason": None}  # fmt: skip

    def write(self) -> Path:
        images = self._table("images", self.images, {})
        self._table("synthetic", self.synthetic, {"images": images})
        return self.folder

    def _table(self, kind: str, rows: list[dict], inputs: dict[str, Manifest]) -> Manifest:
        origin = provenance(kind, 1, DataConfig(), inputs)
        return write_manifest(self.folder / kind / f"{kind}.parquet", kind, rows, origin)


def jpeg(number: int) -> bytes:
    """A picture that no other number has."""
    return encode_jpeg(np.random.default_rng(number).integers(0, 256, (16, 8, 3), np.uint8))


@pytest.fixture
def small_run(tmp_path) -> SmallRun:
    """People 2 and 7 with two images each, three and two synthetic of their first; query, gallery, junk, distractor."""
    run = SmallRun(tmp_path / "small")
    for pid, ranks in ((2, 3), (7, 2)):
        sources = [run.real("train", pid, camid, f"{pid:04d}_c{camid}s1_000001_01") for camid in (1, 2)]
        for rank in range(ranks):
            run.made(sources[0], rank, kept=rank != 0)
    run.real("query", 3, 1, "0003_c1s1_000001_00")
    for pid, stem in ((3, "0003_c2s1_000002_01"), (0, "0000_c1s1_000003_01"), (-1, "-1_c1s1_000004_01")):
        run.real("gallery", pid, int(stem.partition("_c")[2][0]), stem)
    return run
