"""Training data in memory: every image decoded once to uint8, joints as one tensor, pairs as index arrays."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from augment.base.errors import AugmentError
from augment.base.images import read_image
from augment.base.progress import say
from augment.config import GanConfig
from augment.gan.networks import channels_of
from augment.manifest import Manifest

DEFAULT_SIZE = (128, 64)  # Market-1501
TEST_PAIRS = 64  # by which the best checkpoint is chosen


@dataclass(frozen=True)
class Batch:
    """A batch of pairs: images (B, 3, H, W) in [-1, 1], joints (B, J, 2) in pixels of the image, NaN where missing."""

    source: Tensor
    source_joints: Tensor
    target: Tensor
    target_joints: Tensor

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True)
class PairData:
    """All images that occur in pairs, on the training device: 318 MB for Market-1501's training set."""

    images: Tensor  # (N, H, W, 3) uint8
    joints: Tensor  # (N, J, 2) float32
    train: np.ndarray  # (P, 2) indices: source, target
    test: np.ndarray  # (T, 2)

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) of all images."""
        return tuple(self.images.shape[1:3])

    def batch(self, pairs: np.ndarray | Tensor) -> Batch:
        """The batch of pairs (B, 2), indices, gathered and scaled on the device."""
        pairs = torch.as_tensor(pairs).to(self.images.device, non_blocking=True)
        source, target = pairs.unbind(1)
        return Batch(to_network(self.images[source]), self.joints[source],
                     to_network(self.images[target]), self.joints[target])  # fmt: skip


def to_network(images: Tensor) -> Tensor:
    """uint8 (B, H, W, 3) -> float (B, 3, H, W) in [-1, 1], channels last in memory."""
    return images.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """(B, 3, H, W) in [-1, 1] -> uint8 (B, H, W, 3), rounded."""
    return images.float().add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def load_pair_data(
    section: GanConfig, images: Manifest, poses: Manifest, pairs: Manifest, device: torch.device
) -> PairData:
    """Decode every image of a training pair and of :data:`TEST_PAIRS` test pairs, spread evenly over all of them.

    Raises :class:`AugmentError` where there is no pair, an image cannot be read or has no row or pose.
    """
    frame = pairs.frame()
    train = frame[frame["split"] == "train"]
    test = frame[frame["split"] == "test"]
    if not len(train):
        raise AugmentError(f"{pairs.path}: holds no training pair, so there is nothing to train on. At least one "
                           "identity needs two images with an accepted pose.")  # fmt: skip
    if not len(test):
        say("gan: there are no test pairs; samples and the best checkpoint are chosen on training pairs.")
        test = train
    test = test.iloc[np.unique(np.linspace(0, len(test) - 1, min(TEST_PAIRS, len(test))).round().astype(int))]
    ids = sorted({*train["from"], *train["to"], *test["from"], *test["to"]})
    index = pd.Series(np.arange(len(ids)), ids)
    size = choose_size(section, images, ids)
    pixels, joints = load_images(images, poses, ids, size)
    train, test = (
        np.stack([index[frame["from"]].to_numpy(), index[frame["to"]].to_numpy()], 1) for frame in (train, test)
    )
    if section.same_camera_pairs is not None:
        cameras = images.frame().set_index("id").loc[ids, "camid"].to_numpy()
        train = _with_share(train, cameras[train[:, 0]] == cameras[train[:, 1]], section.same_camera_pairs)
    return PairData(torch.from_numpy(pixels).to(device), torch.from_numpy(joints).to(device), train, test)


def _with_share(pairs: np.ndarray, chosen: np.ndarray, share: float) -> np.ndarray:
    """Pairs (P, 2), repeated so that the ``chosen`` ones (P,) are the given share; all as they are where there is only
    one kind."""
    kinds = pairs[chosen], pairs[~chosen]
    if not all(map(len, kinds)):
        return pairs
    shares = share, 1 - share
    total = max(len(kind) / part for kind, part in zip(kinds, shares, strict=True) if part)
    return np.concatenate([np.resize(kind, (round(total * part), 2)) for kind, part in zip(kinds, shares, strict=True)])


def choose_size(section: GanConfig, images: Manifest, ids: Sequence[str]) -> tuple[int, int]:
    """The size (H, W) to train at: the configured one, else that of most images if the networks can take it."""
    if section.image_size is not None:
        channels_of(section.image_size, section.width)
        return section.image_size
    frame = images.frame().set_index("id").reindex(ids)
    (height, width), _ = Counter(zip(frame["height"], frame["width"], strict=True)).most_common(1)[0]
    size = (int(height), int(width))
    try:
        channels_of(size, section.width)
    except AugmentError:
        say(f"gan: images of {size[0]}x{size[1]} do not fit the generator; they are resized to 128x64 for it.")
        return DEFAULT_SIZE
    return size


def load_images(images: Manifest, poses: Manifest, ids: Sequence[str],
                size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Pixels (N, H, W, 3) uint8 and joints (N, 18, 2) float32 of the images ``ids``, resized to ``size`` (H, W)."""
    rows = images.frame().set_index("id").reindex(ids)
    if rows["path"].isna().any():
        raise AugmentError(f"{images.path}: has no row for {rows.index[rows['path'].isna()][0]}, which a pair names.")
    with ThreadPoolExecutor(4) as pool:
        decoded = list(pool.map(lambda path: fit(read_image(images.file_of(path)), size), rows["path"]))
    return np.stack(decoded), load_joints(images, poses, ids, size)


def load_joints(images: Manifest, poses: Manifest, ids: Sequence[str], size: tuple[int, int]) -> np.ndarray:
    """Joints (N, 18, 2) float32 of the images ``ids``, in pixels of the images resized to ``size`` (H, W)."""
    rows = poses.frame().set_index("id").reindex(ids)
    if rows["x"].isna().any():
        raise AugmentError(f"{poses.path}: has no pose for {rows.index[rows['x'].isna()][0]}, which a pair names.")
    sizes = images.frame().set_index("id").loc[list(ids), ["width", "height"]].to_numpy(np.float32)
    return scale_joints(joints_of(rows), sizes[:, None, :], size)


def joints_of(rows: pd.DataFrame) -> np.ndarray:
    """Columns ``x`` and ``y`` of a poses table -> (N, 18, 2) float32."""
    return np.stack([np.stack(rows["x"].to_list()), np.stack(rows["y"].to_list())], 2).astype(np.float32)


def fit(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image (h, w, 3) resized to ``size`` (H, W); itself if it has that size."""
    if image.shape[:2] == tuple(size):
        return image
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def scale_joints(joints: np.ndarray, sizes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Joints (..., 2) in an image of ``sizes`` (..., 2: width, height) -> in that image at ``size`` (H, W)."""
    factor = np.array([size[1], size[0]], np.float32) / sizes
    return np.where(factor == 1, joints, (joints + 0.5) * factor - 0.5).astype(np.float32)  # pixel centres are integers
