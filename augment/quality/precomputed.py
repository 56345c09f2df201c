"""Images that another program generated for the test pairs: a folder with a file for each, named by its pair."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from augment.base.errors import AugmentError
from augment.base.files import sha256_bytes, sha256_file
from augment.base.images import read_image
from augment.quality.pictures import Pair

_SUFFIXES = (".png", ".jpg", ".jpeg")
_BETWEEN = "__"


class PrecomputedImages:
    """The images of a folder, ``FROM__TO.png`` or ``.jpg``: the last parts of the ids of source and target."""

    def __init__(self, folder: Path) -> None:
        """Lists the folder. Raises :class:`AugmentError` where no file is named so."""
        self.folder = folder
        self._files = {
            file.stem: file for file in sorted(folder.iterdir()) if file.suffix.lower() in _SUFFIXES
            and _BETWEEN in file.stem
        }  # fmt: skip
        if not self._files:
            raise AugmentError(f"{folder}: is neither the folder of a run with a trained generator nor one of "
                               "generated images, named FROM__TO.png by the ids of source and target.")  # fmt: skip

    def digest(self) -> str:
        """A hash of names and contents."""
        lines = (f"{file.name} {sha256_file(file)}" for file in self._files.values())
        return sha256_bytes("\n".join(lines).encode())

    def check(self, pairs: Sequence[Pair]) -> None:
        """Raise :class:`AugmentError` where a pair has no image."""
        if lacking := [pair for pair in pairs if _name(pair) not in self._files]:
            raise AugmentError(f"{self.folder}: has no image for {len(lacking)} of {len(pairs)} test pairs "
                               f"({_name(lacking[0])}.png, for example). Generate them, or lower quality.pairs.")

    def read(self, pairs: Sequence[Pair], size: tuple[int, int]) -> torch.Tensor:
        """uint8 (B, 3, H, W) of the pairs. Raises :class:`AugmentError` where an image has another ``size`` (H, W)."""
        images = []
        for pair in pairs:
            image = read_image(file := self._files[_name(pair)])
            if image.shape[:2] != size:
                height, width = image.shape[:2]
                raise AugmentError(f"{file}: is {height}x{width}, the generator's images are {size[0]}x{size[1]}.")
            images.append(image)
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def _name(pair: Pair) -> str:
    return _BETWEEN.join(id.rpartition("/")[2] for id in pair)
