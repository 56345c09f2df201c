"""A made-up run of a few small images: the manifests that training and synthesis read."""

from itertools import permutations
from pathlib import Path

import numpy as np
import torch

from augment.base.files import sha256_bytes
from augment.base.images import encode_jpeg
from augment.config import GanConfig
from augment.manifest import Manifest, write_manifest

torch.set_num_threads(1)  # on tensors this small threads only wait for each other

SIZE = (32, 16)
# A standing person in a frame of height 1 and width 0.5, in the order of augment.pose.skeleton.JOINTS.
STANDING = np.array([
    (.25, .10), (.25, .20), (.17, .22), (.13, .35), (.11, .48), (.33, .22), (.37, .35), (.39, .48), (.19, .50),
    (.19, .70), (.19, .90), (.31, .50), (.31, .70), (.31, .90), (.23, .08), (.27, .08), (.20, .09), (.30, .09),
])  # fmt: skip

TINY = GanConfig(width=1 / 16, features="patches", iterations=6, batch_size=2, checkpoint_every=2, keep_checkpoints=1,
                 sample_every=3, log_every=2, device="cpu")  # fmt: skip


def make_run(folder: Path, identities: int = 3, each: int = 3, size: tuple[int, int] = SIZE) -> list[Manifest]:
    """Images, poses and pairs manifests below ``folder``; the first identity is the test part."""
    rng = np.random.default_rng(0)
    images, poses, pairs = [], [], []
    for pid in range(1, identities + 1):
        colour = rng.integers(0, 255, 3)
        for number in range(each):
            pixels = np.clip(colour + rng.normal(0, 20, (*size, 3)), 0, 255).astype(np.uint8)
            stem = f"{pid:04d}_c{number % 6 + 1}s1_{number:06d}_01"
            row_id = f"train/{stem}"
            data = encode_jpeg(pixels)
            file = folder / "crops" / f"{stem}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
            common = {"id": row_id, "path": f"../crops/{stem}.jpg", "sha256": sha256_bytes(data), "width": size[1],
                      "height": size[0], "status": "ok", "reason": None}  # fmt: skip
            images.append({**common, "split": "train", "pid": pid, "camid": number % 6 + 1, "sequence": 1,
                           "frame": number})  # fmt: skip
            joints = (STANDING + rng.normal(0, 0.02, (18, 2))) * size[0]
            poses.append({
                **common, "x": joints[:, 0].tolist(), "y": joints[:, 1].tolist(), "confidence": [1.0] * 18, "people": 1,
                "estimator": "made up", "checkpoint": "", "accepted": True, "verdict": "",
            })  # fmt: skip
        ids = [row["id"] for row in images if row["pid"] == pid]
        split = "test" if pid == 1 else "train"
        pairs += [{"from": source, "to": target, "split": split} for source, target in permutations(ids, 2)]
    tables = {"images": images, "poses": poses, "pairs": pairs}
    return [
        write_manifest(folder / kind / f"{kind}.parquet", kind, rows, {"digest": kind, "stage": kind})
        for kind, rows in tables.items()
    ]
