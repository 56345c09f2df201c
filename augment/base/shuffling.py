"""An endless shuffled sequence with random access: any position is computed without those before it."""

import numpy as np


class Shuffled:
    """The numbers 0 ... ``count`` - 1, every epoch in a new permutation, a function of its number and the seeds."""

    def __init__(self, count: int, *seed: int) -> None:
        self.count = count
        self._seed = seed
        self._epoch = -1
        self._permutation = np.empty(0, np.int64)

    def epoch(self, number: int) -> np.ndarray:
        """The permutation of an epoch."""
        if number != self._epoch:
            self._permutation = np.random.default_rng([*self._seed, number]).permutation(self.count)
            self._epoch = number
        return self._permutation

    def take(self, start: int, count: int) -> np.ndarray:
        """The numbers at positions ``start`` ... ``start + count - 1``."""
        parts, end = [np.empty(0, np.int64)], start + count
        while start < end:
            number, offset = divmod(start, self.count)
            parts.append(self.epoch(number)[offset : offset + end - start])
            start += len(parts[-1])
        return np.concatenate(parts)
