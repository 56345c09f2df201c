"""The test pairs of the metrics, their images and joints."""

from dataclasses import dataclass

import pyarrow.compute as pc
import torch

from augment.gan.dataset import load_images
from augment.gan.inference import BatchedGenerator
from augment.manifest import Manifest

Pair = tuple[str, str]  # image ids: source, target


@dataclass(frozen=True)
class PairPictures:
    """A set of pairs: images uint8 (B, 3, H, W), joints float32 (B, 18, 2) in pixels, NaN where missing."""

    source: torch.Tensor
    target: torch.Tensor
    source_joints: torch.Tensor
    target_joints: torch.Tensor

    def __len__(self) -> int:
        return len(self.source)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return tuple(self.source.shape[-2:])

    def select(self, index: slice | torch.Tensor) -> "PairPictures":
        """The pairs at ``index``."""
        return PairPictures(
            self.source[index], self.target[index], self.source_joints[index], self.target_joints[index]
        )


def load_pairs(images: Manifest, poses: Manifest, pairs: list[Pair], size: tuple[int, int]) -> PairPictures:
    """Images and joints of the pairs, resized to the generator's size (H, W)."""
    ids = sorted({id for pair in pairs for id in pair})
    place = {id: index for index, id in enumerate(ids)}
    pixels, joints = map(torch.from_numpy, load_images(images, poses, ids, size))
    pixels = pixels.permute(0, 3, 1, 2)
    source, target = (torch.tensor([place[pair[side]] for pair in pairs]) for side in (0, 1))
    return PairPictures(pixels[source], pixels[target], joints[source], joints[target])


def generated_targets(generator: BatchedGenerator, pictures: PairPictures) -> torch.Tensor:
    """The sources in the targets' poses, uint8 (B, 3, H, W), on the CPU."""
    source = pictures.source.permute(0, 2, 3, 1)
    images = generator.generate(source, pictures.source_joints, pictures.target_joints)
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def choose_pairs(
    images: Manifest, poses: Manifest, pairs: Manifest, count: int, split: str = "test"
) -> tuple[list[Pair], int]:
    """At most ``count`` of the pairs of a split, and how many were left out because an image or a pose is missing.

    The table is sorted by source, so its first rows are few people: the chosen ones are evenly spaced.
    """
    ok = (table.filter(pc.equal(table["status"], "ok")) for table in (images.table, poses.table))
    usable_ids = set.intersection(*(set(table["id"].to_pylist()) for table in ok))
    table = pairs.table.filter(pc.equal(pairs.table["split"], split))
    every = list(zip(table["from"].to_pylist(), table["to"].to_pylist(), strict=True))
    usable = [pair for pair in every if usable_ids.issuperset(pair)]
    count = min(count, len(usable))
    return [usable[index * len(usable) // count] for index in range(count)], len(every) - len(usable)
