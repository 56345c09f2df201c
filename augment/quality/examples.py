"""Example strips: the best, the typical and the worst images by SSIM."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from augment.base.drawing import draw_pose, image_grid
from augment.base.files import atomic_write, remove_folder
from augment.quality.pictures import Pair, PairPictures

Load = Callable[[list[Pair]], PairPictures]

EACH = 12  # strips per kind


def select_examples(scores: np.ndarray, each: int = EACH) -> dict[str, list[int]]:
    """Kind -> indices of pairs: the highest scores, those around the median, the lowest (the lowest first).

    Ties are in order of the index. With few pairs each kind gets a third of them, but at least one.
    """
    order = np.argsort(-scores, kind="stable")
    each = min(each, max(1, len(order) // 3))
    middle = (len(order) - each) // 2
    worst = np.argsort(scores, kind="stable")
    picked = {"best": order[:each], "typical": order[middle : middle + each], "worst": worst[:each]}
    return {kind: [int(index) for index in indices] for kind, indices in picked.items()}


def write_examples(
    folder: Path,
    pairs: list[Pair],
    scores: np.ndarray,
    load: Load,
    generate: Callable[[PairPictures], torch.Tensor],
) -> list[str]:
    """Write ``examples/<kind>-<number>.png`` and ``examples.csv`` (file, kind, from, to, ssim_released); their names.

    A strip shows source, source pose, target pose, target, generated. ``load`` reads the images of pairs, ``generate``
    generates theirs.
    """
    remove_folder(folder / "examples")
    selected = [(kind, *ranked) for kind, some in select_examples(scores).items() for ranked in enumerate(some, 1)]
    pictures = load([pairs[index] for _, _, index in selected])
    generated = generate(pictures)
    rows = []
    for place, (kind, number, index) in enumerate(selected):
        file = f"examples/{kind}-{number:02d}.png"
        with atomic_write(folder / file) as stream:
            Image.fromarray(_strip(pictures, generated, place)).save(stream, "PNG")
        source, target = pairs[index]
        rows.append({"file": file, "kind": kind, "from": source, "to": target, "ssim_released": scores[index]})
    with atomic_write(folder / "examples.csv") as stream:
        stream.write(pd.DataFrame(rows).to_csv(index=False, float_format="%.6f").encode())
    return ["examples.csv", *(row["file"] for row in rows)]


def _strip(pictures: PairPictures, generated: torch.Tensor, place: int) -> np.ndarray:
    source, target, image = (
        images[place].permute(1, 2, 0).numpy() for images in (pictures.source, pictures.target, generated)
    )
    size = source.shape[:2]
    poses = [draw_pose(joints[place].numpy(), size) for joints in (pictures.source_joints, pictures.target_joints)]
    return image_grid([[source, *poses, target, image]], gap=2)
