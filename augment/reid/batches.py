"""The composition of batches; any batch can be computed without those before it.

It is a function of arm, seed and iteration alone, so an interrupted training is resumed exactly.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from augment.base.shuffling import Shuffled
from augment.config import ArmConfig, ReidConfig
from augment.reid.arms import composition
from augment.reid.checks import check_people
from augment.reid.dataset import REAL, SYNTHETIC, Item


def seed_of(*numbers: int) -> int:
    """A well mixed 32-bit seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class Batches:
    """The indices of each batch of an arm's training, start, ..., iterations - 1.

    All fields of ``arm`` are set (:func:`augment.reid.arms.settings_of_arms`). Softmax: each batch takes its real and
    its synthetic images from separate shuffled passes over each. Triplet and verification: a random sample of people,
    ``reid.instances`` images of each. Raises :class:`UsageError` or :class:`AugmentError` where there are too few.
    """

    def __init__(self, train: Sequence[Item], arm: ArmConfig, section: ReidConfig, seed: int, start: int = 0):
        self._arm, self._section, self._seed, self._start = arm, section, seed, start
        dsetids = np.array([item[3] for item in train])
        self._places = self._image_counts()
        if arm.loss != "softmax":
            self._people = _indices_by_person(train)
            check_people(arm, section, len(self._people))
        else:
            kinds = [np.flatnonzero(dsetids == kind) for kind in (REAL, SYNTHETIC)]
            self._passes = [(images, Shuffled(len(images), seed, 1 + kind)) for kind, images in enumerate(kinds)]

    def __len__(self) -> int:
        return self._arm.iterations - self._start

    def __iter__(self) -> Iterator[list[int]]:
        sample = self._triplets if self._arm.loss != "softmax" else self._images
        return map(sample, range(self._start, self._arm.iterations))

    def _image_counts(self) -> np.ndarray:
        """(iterations + 1, 2): the numbers of real and synthetic images before each iteration."""
        counts = [composition(self._arm, iteration) for iteration in range(self._arm.iterations)]
        return np.concatenate([[[0, 0]], np.cumsum(counts, axis=0)])

    def _images(self, iteration: int) -> list[int]:
        before, after = self._places[iteration : iteration + 2]
        return [
            index
            for (images, passes), first, last in zip(self._passes, before, after, strict=True)
            for index in images[passes.take(int(first), int(last - first))].tolist()
        ]

    def _triplets(self, iteration: int) -> list[int]:
        rng = np.random.default_rng([self._seed, 3, iteration])
        real, synthetic = composition(self._arm, iteration)
        count = self._section.instances
        share = count * synthetic // (real + synthetic)
        indices: list[int] = []
        for person in rng.choice(len(self._people), (real + synthetic) // count, replace=False):
            of_real, of_synthetic = self._people[person]
            made = share if len(of_synthetic) else 0
            indices += _choose(rng, of_real, count - made) + _choose(rng, of_synthetic, made)
        return indices


def _choose(rng: np.random.Generator, items: np.ndarray, count: int) -> list[int]:
    """A sample, without replacement where there are enough."""
    return rng.choice(items, count, replace=len(items) < count).tolist() if count else []


def _indices_by_person(train: Sequence[Item]) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each label the indices of its real and of its synthetic images."""
    people: dict[int, tuple[list[int], list[int]]] = {}
    for index, (_path, pid, _camid, dsetid) in enumerate(train):
        people.setdefault(pid, ([], []))[dsetid].append(index)
    return [(np.array(real, int), np.array(synthetic, int)) for _pid, (real, synthetic) in sorted(people.items())]
