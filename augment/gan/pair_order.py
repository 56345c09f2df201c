"""Which pairs an iteration trains on: a function of the seed and the iteration alone."""

import numpy as np

from augment.base.shuffling import Shuffled
from augment.config import GanConfig
from augment.gan.self_pairs import random_maps

_OWN = 1  # another stream of random numbers than that of the order


class PairOrder:
    """Training pairs in random order, a share of them made pairs of an image and itself (``gan.self_pairs``)."""

    def __init__(self, section: GanConfig, pairs: np.ndarray, image_size: tuple[int, int]):
        """``pairs``: (P, 2) numbers of images of ``image_size`` (H, W), source and target."""
        self.section, self.all_pairs, self.image_size = section, pairs, image_size
        self.order = Shuffled(len(pairs), section.seed)

    def pairs(self, iteration: int) -> np.ndarray:
        """Two different sets of pairs, (2, B, 2): for D's real images, and for those that G generates."""
        size = self.section.batch_size
        chosen = self.all_pairs[self.order.take(2 * size * iteration, 2 * size)].reshape(2, size, 2)
        own = self._own(iteration)[0]
        chosen[own, 1] = chosen[own, 0]
        return chosen

    def maps(self, iteration: int) -> np.ndarray:
        """How the target of each is moved, (2, B, 2, 2, 3) float32: see :func:`random_maps`; zeros: not at all."""
        own, random = self._own(iteration)
        maps = random_maps(own.size, self.image_size, random).reshape(*own.shape, 2, 2, 3)
        return np.where(own[..., None, None, None], maps, np.float32(0))

    def _own(self, iteration: int) -> tuple[np.ndarray, np.random.Generator]:
        """Which are pairs of an image and itself (2, B), and the generator for their maps."""
        random = np.random.default_rng([self.section.seed, iteration, _OWN])
        return random.random((2, self.section.batch_size)) < self.section.self_pairs, random
