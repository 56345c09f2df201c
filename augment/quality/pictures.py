"""The test pairs that are judged, their pictures and joints."""

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
import torch

from augment.errors import AugmentError
from augment.files import read_image
from augment.manifest import Manifest


@dataclass(frozen=True)
class PairBatch:
    """Some test pairs: pictures uint8 (B, 3, H, W), joints float32 (B, 18, 2) in pixels, NaN where missing."""

    source: torch.Tensor
    target: torch.Tensor
    source_joints: torch.Tensor
    target_joints: torch.Tensor


class Pictures:
    """Pictures and joints by image id, for those images that were opened and have a pose."""

    def __init__(self, images: Manifest, poses: Manifest) -> None:
        """``images``, ``poses``: the manifests of those names."""
        self._images = images
        table = images.table.filter(pc.equal(images.table["status"], "ok"))
        self._paths = dict(zip(table["id"].to_pylist(), table["path"].to_pylist(), strict=True))
        table = poses.table.filter(pc.equal(poses.table["status"], "ok"))
        xy = [np.asarray(table[axis].to_pylist(), np.float32).reshape(-1, 18) for axis in ("x", "y")]
        self._joints = dict(zip(table["id"].to_pylist(), np.stack(xy, axis=-1), strict=True))

    def __contains__(self, id: str) -> bool:
        return id in self._paths and id in self._joints

    def image(self, id: str) -> np.ndarray:
        """uint8 RGB (H, W, 3)."""
        return read_image(self._images.file_of(self._paths[id]))

    def joints(self, id: str) -> np.ndarray:
        """float32 (18, 2), NaN where missing."""
        return self._joints[id]

    def batch(self, pairs: list[tuple[str, str]]) -> PairBatch:
        """The pictures of some pairs. Raises :class:`AugmentError` where they are not all of one size."""
        sources, targets = [[pair[side] for pair in pairs] for side in (0, 1)]
        first = self.image(sources[0]).shape

        def pictures(ids: list[str]) -> torch.Tensor:
            found = [self.image(id) for id in ids]
            for id, picture in zip(ids, found, strict=True):
                if picture.shape != first:
                    raise AugmentError(
                        f"{id}: is {picture.shape[1]}x{picture.shape[0]} pixels, but {sources[0]} is "
                        f"{first[1]}x{first[0]}. Bring the data set's images to one size first."
                    )
            return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).contiguous()

        def joints(ids: list[str]) -> torch.Tensor:
            return torch.from_numpy(np.stack([self.joints(id) for id in ids]))

        return PairBatch(pictures(sources), pictures(targets), joints(sources), joints(targets))


def choose_pairs(pairs: Manifest, pictures: Pictures, count: int) -> tuple[list[tuple[str, str]], int]:
    """At most ``count`` of the test pairs (source id, target id), and how many were left out for want of a pose.

    The table is sorted by source: its first rows are few people. So the chosen ones lie at equal distances.
    """
    table = pairs.table.filter(pc.equal(pairs.table["split"], "test"))
    every = list(zip(table["from"].to_pylist(), table["to"].to_pylist(), strict=True))
    usable = [pair for pair in every if pair[0] in pictures and pair[1] in pictures]
    count = min(count, len(usable))
    return [usable[index * len(usable) // count] for index in range(count)], len(every) - len(usable)
