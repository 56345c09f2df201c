"""One picture in any number of poses: what ``augment gan sample`` does."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from augment.base.devices import pick_device
from augment.base.drawing import draw_pose, image_grid
from augment.base.errors import AugmentError, UsageError
from augment.base.files import atomic_write
from augment.base.images import read_image
from augment.gan.checkpoints import Weights
from augment.gan.dataset import fit, scale_joints
from augment.gan.inference import BatchedGenerator
from augment.pose.annotations import read_posegan_csv

Estimate = Callable[[np.ndarray], np.ndarray]  # uint8 (H, W, 3) -> joints (18, 2), NaN where missing


@dataclass(frozen=True)
class Posed:
    """A pose, and the image it was estimated from, if any."""

    joints: np.ndarray  # (18, 2) in pixels of a picture of ``size``
    size: tuple[int, int]  # (H, W)
    image: np.ndarray | None = None  # uint8 (H, W, 3)

    def at(self, size: tuple[int, int]) -> "Posed":
        """The same for pictures of another size (H, W)."""
        joints = scale_joints(self.joints, np.array(self.size[::-1], np.float32), size)
        return Posed(joints, size, None if self.image is None else fit(self.image, size))


def sample(weights: Path, source: Path, poses: Sequence[str], output: Path, *, source_pose: str | None = None,
           which: Weights = "average", device: str = "auto") -> None:  # fmt: skip
    """Generate the person of an image in other poses and write a grid as PNG.

    Each of ``poses`` is an image, whose pose is estimated, or ``FILE.csv:NAME``, a row of a file of key points in the
    paper's format; for images that are not of 128x64, ``FILE.csv:NAME@HxW``. ``source_pose`` likewise; None estimates
    it. A row of the grid: source, its pose, target pose, where that was seen (empty for a CSV row), generated. Raises
    :class:`AugmentError` where a file cannot be used or no person is found in a picture.
    """
    if Path(output).suffix.lower() != ".png":
        raise UsageError(f"{output}: the grid is written as PNG: give a name that ends in .png.")
    if not poses:
        raise UsageError("no pose was given: name an image, or FILE.csv:NAME for a row of a file of key points.")
    estimate = cache(lambda: _estimator(device))
    picture = read_image(Path(source))
    joints = _pose(source_pose or str(source), estimate, picture.shape[:2]).at(picture.shape[:2]).joints
    person = Posed(joints, picture.shape[:2], picture)
    targets = [_pose(text, estimate) for text in poses]
    generated = generate(Path(weights), person, targets, which=which, device=device)
    size = generated.shape[1:3]
    person = person.at(size)
    targets = [target.at(size) for target in targets]
    rows = [
        [person.image, draw_pose(person.joints, size), draw_pose(target.joints, size), target.image, result]
        for target, result in zip(targets, generated, strict=True)
    ]
    with atomic_write(Path(output)) as file:
        Image.fromarray(image_grid(rows)).save(file, "PNG")


def generate(weights: Path, person: Posed, targets: Sequence[Posed], *, which: Weights = "average",
             device: str = "auto") -> np.ndarray:  # fmt: skip
    """The person, who has an image, in each pose: uint8 (number of targets, H, W, 3)."""
    generator = BatchedGenerator.load(weights, pick_device(device), batch_size=1, which=which)
    person = person.at(generator.image_size)
    source = torch.from_numpy(np.array(person.image)).expand(len(targets), -1, -1, -1)
    source_joints = torch.from_numpy(person.joints).expand(len(targets), -1, -1)
    joints = np.stack([target.at(generator.image_size).joints for target in targets])
    return generator.generate(source, source_joints, torch.from_numpy(joints))


def _pose(text: str, estimate: Callable[[], Estimate], size: tuple[int, int] | None = None) -> Posed:
    """An image's estimated pose, or a row of a CSV file; ``size`` (H, W) of its image, where that is known."""
    file, marker, name = text.partition(".csv:")
    if marker:
        if stated := re.fullmatch(r"(.+)@(\d{1,4})x(\d{1,4})", name):
            name, size = stated[1], (int(stated[2]), int(stated[3]))
        return _from_csv(Path(file + ".csv"), name, size)
    if text.endswith(".csv"):
        raise UsageError(f"{text}: which row? Write {text}:NAME, NAME being an image's name in that file.")
    image = read_image(Path(text))
    joints = np.asarray(estimate()(image), np.float32)
    if not np.isfinite(joints).all(axis=1).any():
        raise AugmentError(f"{text}: no person was found in it. Give the pose as FILE.csv:NAME instead.")
    return Posed(joints, image.shape[:2], image)


def _from_csv(path: Path, name: str, size: tuple[int, int] | None = None) -> Posed:
    """Such files do not state the images' size: unless it is given, it is that of a Market-1501 crop."""
    frame = read_posegan_csv(path).set_index("name")
    if frame.empty:
        raise AugmentError(f"{path}: holds no row.")
    if name not in frame.index:
        raise AugmentError(f"{path}: no row is named {name!r}. The first of {len(frame)} is {frame.index[0]!r}.")
    row = frame.loc[name]
    joints = np.stack([np.asarray(row["x"], np.float32), np.asarray(row["y"], np.float32)], 1)
    seen = joints[np.isfinite(joints).all(axis=1)]
    if not len(seen):
        raise AugmentError(f"{path}: {name} has no joint.")
    height, width = size or (128, 64)
    if not (seen <= (width, height)).all():
        raise UsageError(f"{path}: the joints of {name} lie outside an image of {height}x{width}. State its size "
                         f"(height x width): {path}:{name}@256x128, say.")  # fmt: skip
    return Posed(joints, (height, width))


def _estimator(device: str) -> Estimate:
    # openpifpaf takes seconds to import and may not be needed
    from augment.pose.estimator.checkpoints import SHIPPED, find_checkpoint
    from augment.pose.estimator.predictor import Estimator

    estimator = Estimator(find_checkpoint(SHIPPED), device=device, batch_size=1)
    return lambda image: estimator.estimate([image])[0].joints[:, :2]
