"""Which images make which batch: the same number of batches for every arm, and any batch known without those before it.

Both follow from seeds alone, so an interrupted training goes on exactly where it was.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from augment.base.errors import AugmentError, UsageError
from augment.config import ReidConfig
from augment.reid.dataset import REAL, SYNTHETIC, Item

Batch = list[tuple[int, int]]  # (index of the image, seed of its random transforms)


def seed_of(*numbers: int) -> int:
    """A well mixed 32-bit seed from some numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class Passes:
    """Endless passes over some items, each pass in a new random order."""

    def __init__(self, items: Sequence[int], *seed: int):
        self._items = np.asarray(items)
        self._seed = seed
        self._known: tuple[int, np.ndarray] | None = None

    def take(self, start: int, count: int) -> list[int]:
        """The items at places start, ..., start + count - 1 of the endless list."""
        taken: list[int] = []
        while len(taken) < count:
            which, offset = divmod(start + len(taken), len(self._items))
            taken += self._pass(which)[offset : offset + count - len(taken)].tolist()
        return taken

    def _pass(self, which: int) -> np.ndarray:
        if self._known is None or self._known[0] != which:
            self._known = which, np.random.default_rng([*self._seed, which]).permutation(self._items)
        return self._known[1]


class Batches:
    """A batch sampler for torch's DataLoader: batches start, ..., iterations - 1.

    Softmax: passes over all images, or, with a synthetic ratio, passes over the real and passes over the synthetic
    ones that meet in each batch. Triplet: people drawn at random, ``instances`` images of each. Raises UsageError or
    AugmentError where the batch cannot be made up.
    """

    def __init__(self, train: Sequence[Item], section: ReidConfig, seed: int, start: int = 0):
        self._section, self._seed, self._start = section, seed, start
        dsetids = np.array([item[3] for item in train])
        self._ratio = section.synthetic_ratio if (dsetids == SYNTHETIC).any() else None
        if section.loss == "triplet":
            self._people = _indices_by_person(train)
            self._check_triplets()
        elif self._ratio is None:
            self._all = Passes(range(len(train)), seed, 0)
        else:
            self._real = Passes(np.flatnonzero(dsetids == REAL), seed, 1)
            self._synthetic = Passes(np.flatnonzero(dsetids == SYNTHETIC), seed, 2)

    def __len__(self) -> int:
        return self._section.iterations - self._start

    def __iter__(self) -> Iterator[Batch]:
        draw = self._triplets if self._section.loss == "triplet" else self._images
        for iteration in range(self._start, self._section.iterations):
            yield [(index, seed_of(self._seed, iteration, k)) for k, index in enumerate(draw(iteration))]

    def _images(self, iteration: int) -> list[int]:
        size = self._section.batch_size
        if self._ratio is None:
            return self._all.take(iteration * size, size)
        synthetic = _synthetic_share(size, self._ratio)
        real = size - synthetic
        return self._real.take(iteration * real, real) + self._synthetic.take(iteration * synthetic, synthetic)

    def _triplets(self, iteration: int) -> list[int]:
        rng = np.random.default_rng([self._seed, 3, iteration])
        count = self._section.instances
        indices: list[int] = []
        for person in rng.choice(len(self._people), self._section.batch_size // count, replace=False):
            real, synthetic = self._people[person]
            if self._ratio is None or not len(synthetic):
                indices += _draw(rng, np.concatenate([real, synthetic]), count)
            else:
                share = _synthetic_share(count, self._ratio)
                indices += _draw(rng, real, count - share) + _draw(rng, synthetic, share)
        return indices

    def _check_triplets(self) -> None:
        size, instances = self._section.batch_size, self._section.instances
        if size % instances or size < 2 * instances:
            raise UsageError(
                f"reid.batch_size={size} cannot hold people with reid.instances={instances} images each: the triplet "
                f"loss needs a multiple of {instances}, at least {2 * instances}."
            )
        if size // instances > len(self._people):
            raise AugmentError(
                f"reid.batch_size={size} with reid.instances={instances} needs {size // instances} people, training "
                f"has {len(self._people)}. Lower reid.batch_size to {instances * len(self._people)} or less."
            )


def _synthetic_share(size: int, ratio: float) -> int:
    """How many of ``size`` images are synthetic; at least one, and at least one is not."""
    return min(max(round(size * ratio / (1 + ratio)), 1), size - 1)


def _draw(rng: np.random.Generator, items: np.ndarray, count: int) -> list[int]:
    """Without repetition where there are enough."""
    return rng.choice(items, count, replace=len(items) < count).tolist()


def _indices_by_person(train: Sequence[Item]) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each label the indices of its real and of its synthetic images."""
    people: dict[int, tuple[list[int], list[int]]] = {}
    for index, (_path, pid, _camid, dsetid) in enumerate(train):
        people.setdefault(pid, ([], []))[dsetid].append(index)
    return [(np.array(real, int), np.array(synthetic, int)) for _pid, (real, synthetic) in sorted(people.items())]
