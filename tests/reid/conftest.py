"""A small set of coloured people as manifests."""

from pathlib import Path

import numpy as np
import pytest
import torch

from augment.base.files import sha256_bytes
from augment.base.images import encode_jpeg
from augment.config import ReidConfig
from augment.manifest import Manifest, relative_path, write_manifest


def draw(pid: int, camid: int, number: int) -> np.ndarray:
    """A person is two colours, one above the other; a camera is how bright they are."""
    rng = np.random.default_rng([pid + 1, camid, number])
    colours = np.random.default_rng([pid + 1, 99]).integers(40, 216, (2, 1, 1, 3))
    picture = np.concatenate([np.broadcast_to(colour, (32, 32, 3)) for colour in colours])
    return np.clip(picture + 6 * camid + rng.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)


class People:
    """Writes pictures and keeps the rows that a stage would have written about them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.images: list[dict] = []
        self.synthetic: list[dict] = []

    def add(self, split: str, pid: int, camid: int, number: int, **changes) -> str:
        stem = f"{pid:04d}_c{camid}s1_{number:06d}_00"
        row = self._file(f"pictures/{split}/{stem}.jpg", draw(pid, camid, number))
        row |= {"id": f"{split}/{stem}", "split": split, "pid": pid, "camid": camid, "sequence": 1, "frame": number}
        self.images.append(row | changes)
        return row["id"]

    def synthesize(self, source: str, k: int, **changes) -> None:
        of = next(row for row in self.images if row["id"] == source)
        stem = f"{source.partition('/')[2]}g{k}"
        row = self._file(f"synthetic/images/{stem}.jpg", draw(of["pid"], of["camid"], 1000 + k))
        row |= {
            "id": f"synthetic/{stem}", "pid": of["pid"], "camid": of["camid"], "source": source, "pose_source": source,
            "pose_pid": of["pid"], "rank": k, "seed": 0, "checkpoint": "", "kept": True, "verdict": "ok",
        }  # fmt: skip
        self.synthetic.append(row | changes)

    def _file(self, path: str, picture: np.ndarray) -> dict:
        data = encode_jpeg(picture)
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return {"path": path, "sha256": sha256_bytes(data), "width": 32, "height": 64, "status": "ok", "reason": ""}

    def manifests(self) -> tuple[Manifest, Manifest]:
        """The tables of images and of synthetic images, as they stand now."""
        tables = []
        for kind, rows in (("images", self.images), ("synthetic", self.synthetic)):
            path = self.folder / kind / f"{kind}.parquet"
            rows = [row | {"path": relative_path(self.folder / row["path"], path.parent)} for row in rows]
            tables.append(write_manifest(path, kind, rows, {"digest": kind}))
        return tables[0], tables[1]

    def tables(self) -> tuple[Manifest, Manifest, Manifest]:
        """The same and that of poses, which nobody has."""
        images, synthetic = self.manifests()
        return images, synthetic, write_manifest(self.folder / "poses" / "poses.parquet", "poses", [], {"digest": "p"})


@pytest.fixture
def people(tmp_path) -> People:
    """Six people to train on (4 images, 2 synthetic each), four others to find; with a junk box and a distractor."""
    people = People(tmp_path / "exp2_c1")  # a folder name that has corrupted labels
    for pid in (3, 7, 11, 20, 21, 40):
        sources = [people.add("train", pid, 1 + number % 2, number) for number in range(4)]
        for k in range(2):
            people.synthesize(sources[0], k)
    for pid in (2, 5, 8, 9):
        people.add("query", pid, 1, 0)
        for number in range(3):
            people.add("gallery", pid, 1 + number, number)
    people.add("gallery", -1, 2, 7)
    people.add("gallery", 0, 2, 8)
    return people


@pytest.fixture(autouse=True)
def one_thread():
    """On a busy machine threads that wait for each other make tiny networks a hundred times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def section() -> ReidConfig:
    """Seconds on a CPU."""
    return ReidConfig(model="osnet_x0_25", height=64, width=32, iterations=6, batch_size=8, seeds=(0,), device="cpu")
