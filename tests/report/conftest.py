"""A small run folder with every stage, made of random pictures."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from augment.base.files import sha256_bytes
from augment.base.seals import sealed_json
from augment.config import load_config
from augment.manifest import Manifest, write_manifest
from augment.stage import provenance

HOSTILE = "train/<script>alert(1)<_script>&\"'"
SIZE = (64, 32)


class FakeRun:
    """Builds the folder; ``table`` may be called again to replace a stage."""

    def __init__(self, folder: Path):
        self.folder = folder
        changes = ["name=fake <run>", "gan.system=dsc", "gan.iterations=400", "report.examples=3"]
        self.config = load_config(None, changes)
        self.random = np.random.default_rng(0)
        self.tables: dict[str, Manifest] = {}
        self.train = [f"train/{person:04d}_c{shot}s1_{shot:06d}_01" for person in (2, 7) for shot in (1, 2, 3)]
        self.query = ["query/0001_c1s1_001051_00", "query/0005_c2s1_000001_00"]
        self.gallery = [f"gallery/{person:04d}_c{shot}s1_{shot:06d}_01" for person in (1, 5) for shot in (3, 4, 5, 6)]
        self._make()

    def picture(self, path: str) -> dict:
        """Write a picture; its part of a row."""
        buffer = BytesIO()
        colour = self.random.integers(60, 220, 3)
        noise = self.random.integers(-40, 40, (*SIZE, 3))
        Image.fromarray((colour + noise).clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(buffer.getvalue())
        content = sha256_bytes(buffer.getvalue())
        return {"path": path.partition("/")[2], "sha256": content, "width": SIZE[1], "height": SIZE[0],
                "status": "ok", "reason": None}  # fmt: skip

    def table(self, stage: str, kind: str, rows: list[dict], inputs: tuple[str, ...] = ()) -> None:
        origin = provenance(stage, 1, self.config.data, {self.tables[name].kind: self.tables[name] for name in inputs})
        self.tables[stage] = write_manifest(self.folder / stage / f"{kind}.parquet", kind, rows, origin)

    def _make(self) -> None:
        images, poses = [], []
        for id in [*self.train, *self.query, *self.gallery]:
            split, _, stem = id.partition("/")
            row = {"id": id, **self.picture(f"images/files/{stem}.png")}
            person = {"split": split, "pid": int(stem[:4]), "camid": int(stem[6]), "sequence": 1, "frame": 1}
            images.append(row | person)
            if split != "query":
                x, y = self.random.uniform(0, 1, (2, 18)) * np.array([[SIZE[1]], [SIZE[0]]])
                x[16:] = np.nan  # the ears are never found
                poses.append(row | {"x": x, "y": y, "confidence": np.ones(18), "people": 1, "estimator": "annotations",
                                    "checkpoint": None, "accepted": True, "verdict": "ok"})  # fmt: skip
        poses[1] |= {"accepted": False, "verdict": "torso incomplete: left hip missing"}
        failed = dict.fromkeys(images[0]) | {"id": HOSTILE, "path": "files/x", "split": "train", "status": "failed",
                                             "reason": "the file is <b>empty</b>"}  # fmt: skip
        self.table("images", "images", [*images, failed])
        self.table("poses", "poses", poses, ("images",))
        pairs = [
            {"from": a, "to": b, "split": split}
            for split, ids in (("train", self.train), ("test", self.gallery))
            for a in ids
            for b in ids
            if a != b and a.split("_")[0] == b.split("_")[0]
        ]
        self.table("pairs", "pairs", pairs, ("images", "poses"))
        self._make_gan()
        synthetic = []
        for source in self.train:
            for rank in range(3):
                stem = f"{source.partition('/')[2]}g{rank}"
                synthetic.append({
                    "id": f"synthetic/{stem}", **self.picture(f"synthetic/images/{stem}.png"), "pid": int(stem[:4]),
                    "camid": 1, "source": source, "pose_source": self.train[rank], "pose_pid": 2, "rank": rank,
                    "seed": 0, "checkpoint": "c", "kept": True, "verdict": "ok",
                })  # fmt: skip
        self.table("synthetic", "synthetic", synthetic, ("images", "poses", "gan"))
        self._make_quality()
        self._make_reid()

    def _make_gan(self) -> None:
        row = {"id": "gan/last", "path": "w.safetensors", "sha256": "0" * 64, "status": "ok", "reason": None,
               "role": "last", "iteration": 400, "system": "dsc", "config_digest": "", "losses": "{}",
               "parent": None}  # fmt: skip
        self.table("gan", "checkpoints", [row], ("images", "poses", "pairs"))
        lines = [
            {
                "iteration": i, "discriminator_real": 1 / i, "generator_adversarial": 0.7 + 0.1 * np.sin(i / 20),
                "generator_reconstruction": 30 / (1 + i / 50), "iterations_per_second": i,
            }
            for i in range(1, 401)
        ]  # fmt: skip
        (self.folder / "gan" / "log.jsonl").write_text("\n".join(map(sealed_json, lines)) + '\n{"iterat')
        (self.folder / "gan" / "gallery.html").write_text("<p>")
        (self.folder / "gan" / "samples").mkdir()
        for iteration in (0, 200, 400):
            Image.fromarray(self.random.integers(0, 256, (64, 256, 3), np.uint8)).save(
                self.folder / "gan" / "samples" / f"{iteration:06d}.jpg"
            )

    def _make_quality(self) -> None:
        values = {"dsc": {"ssim_released": 0.231, "mask_ssim_released": 0.79, "pairs": 24},
                  "source copied": {"ssim_released": 0.153, "mask_ssim_released": 0.77, "pairs": 24}}  # fmt: skip
        rows = [{"run": "quality", "arm": arm, "seed": 0, "metric": metric, "value": value}
                for arm, some in values.items() for metric, value in some.items()]  # fmt: skip
        self.table("quality", "metrics", rows, ("images", "poses", "pairs", "gan"))
        columns = ["arm", "metric", "value", "low", "high", "difference", "difference_low", "difference_high",
                   "missing"]  # fmt: skip
        pd.DataFrame([
            ("dsc", "ssim_released", 0.231, 0.22, 0.24, *[np.nan] * 4),
            ("dsc", "mask_ssim_released", 0.79, *[np.nan] * 6),
            ("dsc", "fid@24", *[np.nan] * 6, "quality.inception_weights: a <file>"),
            ("source copied", "ssim_released", 0.153, 0.14, 0.16, -0.078, -0.08, -0.07, np.nan),
            ("source copied", "mask_ssim_released", 0.77, *[np.nan] * 6),
            ("real target", "ssim_released", 1, 1, 1, 0.769, 0.76, 0.78, np.nan),
        ], columns=columns).to_csv(self.folder / "quality" / "table.csv", index=False)  # fmt: skip
        examples = []
        for kind in ("best", "typical", "worst"):
            for number in range(1, 5):
                self.picture(f"quality/examples/{kind}-{number:02d}.png")
                examples.append({"file": f"examples/{kind}-{number:02d}.png", "kind": kind, "from": self.gallery[0],
                                 "to": self.gallery[1], "ssim_released": 0.25})  # fmt: skip
        pd.DataFrame(examples).to_csv(self.folder / "quality" / "examples.csv", index=False)
        scores = pd.DataFrame({"from": "a", "to": "b", "ssim_released": [0.2, 0.3, 0.1, 0.4],
                               "copied_ssim_released": [0.1, 0.1, 0.2, 0.1]})  # fmt: skip
        scores.to_csv(self.folder / "quality" / "per_pair.csv", index=False)

    def _make_reid(self) -> None:
        figures = {"real": {"rank1": (0.60, 0.62), "mAP": (0.40, 0.41)},
                   "augmented": {"rank1": (0.65, 0.66), "mAP": (0.41, 0.40)}}  # fmt: skip
        rows = [{"run": f"{arm}-s{seed}", "arm": arm, "seed": seed, "metric": metric, "value": values[seed]}
                for arm, some in figures.items() for metric, values in some.items() for seed in (0, 1)]  # fmt: skip
        for arm, made in (("real", 0), ("augmented", 18)):
            counts = {"queries": 2, "train_real": 6, "train_synthetic": made, "iterations": 1000}
            rows += [{"run": f"{arm}-s{seed}", "arm": arm, "seed": seed, "metric": metric, "value": value}
                     for metric, value in counts.items() for seed in (0, 1)]  # fmt: skip
        self.table("reid", "metrics", rows, ("images", "synthetic"))
        for arm in figures:
            curve = pd.DataFrame({"iteration": range(1, 301), "loss": np.linspace(6, 1, 300), "accuracy": 50.0})
            curve.to_csv(self.folder / "reid" / f"training-{arm}-s0.csv", index=False)
            hits = [{"query": query, "rank": place, "gallery": id, "right": int(id[8:12] == query[6:10])}
                    for query in self.query for place, id in enumerate(self.gallery, 1)]  # fmt: skip
            pd.DataFrame(hits).to_csv(self.folder / "reid" / f"retrieval-{arm}-s0.csv", index=False)


@pytest.fixture
def fake_run(tmp_path):
    return FakeRun(tmp_path / "run")
