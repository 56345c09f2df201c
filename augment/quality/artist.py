"""A generator that draws test pairs."""

from pathlib import Path

import torch

from augment.base.errors import AugmentError
from augment.gan.checkpoints import load_generator
from augment.gan.dataset import to_network, to_uint8
from augment.quality.pictures import PairPictures


class Artist:
    """A generator with what it needs to draw any number of pairs, always in batches of one size."""

    def __init__(self, generator: torch.nn.Module, batch_size: int, device: torch.device) -> None:
        """``generator``: as :func:`augment.gan.checkpoints.load_generator` gives it."""
        self.batch_size = batch_size
        self.device = device
        self._generator = generator

    @torch.inference_mode()
    def draw(self, pictures: PairPictures) -> torch.Tensor:
        """Generated images of B pairs, uint8 (B, 3, H, W), on the CPU.

        The last batch is filled up with the last pair: kernels are chosen by size and round differently.
        """
        count = len(pictures)
        filled = torch.arange(-(-count // self.batch_size) * self.batch_size).clamp(max=count - 1)
        drawn = []
        for index in filled.split(self.batch_size):
            some = pictures.select(index)
            source = to_network(some.source.permute(0, 2, 3, 1).to(self.device))
            poses = (joints.to(self.device) for joints in (some.source_joints, some.target_joints))
            drawn.append(to_uint8(self._generator(source, *poses)).permute(0, 3, 1, 2).cpu())
        return torch.cat(drawn)[:count]


def load_artist(weights: Path, size: tuple[int, int], device: torch.device, batch_size: int = 32) -> Artist:
    """The averaged weights of a file, ready to draw.

    Raises :class:`AugmentError` where the file cannot be used, or its images are not of that size (H, W).
    """
    generator, _ = load_generator(weights, device=device)
    if generator.image_size != size:
        drawn, wanted = ("x".join(map(str, one)) for one in (generator.image_size, size))
        raise AugmentError(f"{weights}: draws images of {drawn}, not of {wanted}.")
    return Artist(generator, batch_size, device)
