"""The arms of the quality table: images of one or more generators, those of other programs, the sources unchanged, the
targets themselves."""

from collections import Counter
from pathlib import Path

from augment.base.errors import UsageError
from augment.base.files import sha256_file
from augment.config import QualityConfig
from augment.gan.generators import find_generator, shipped
from augment.quality.observations import Observations
from augment.quality.precomputed import PrecomputedImages

COPIED = "source copied"  # a generator that is not better has learned nothing
REAL = "real target"

Arms = dict[str, Observations]  # what was observed of the images of each arm


def other_generators(section: QualityConfig, own: str = "") -> dict[str, Path | PrecomputedImages]:
    """Name -> weights file, or precomputed images, of each of ``section.generators``, compared with the run's ``own``.

    Named by the shipped name, the folder or the file's stem; where that is taken, by what was given. Raises
    :class:`UsageError` for duplicates, :class:`AugmentError` as :func:`find_generator` and
    :class:`PrecomputedImages` do.
    """
    short = [_name(given) for given in section.generators]
    taken = Counter([*short, own, COPIED, REAL])
    names = [given if taken[name] > 1 else name for given, name in zip(section.generators, short, strict=True)]
    if twice := [name for name, count in Counter([*names, own]).items() if count > 1]:
        raise UsageError(f"quality.generators: {twice[0]} is duplicated. Name each generator once.")
    return dict(zip(names, map(_find, section.generators), strict=True))


def generator_digests(section: QualityConfig) -> dict[str, str]:
    """"generator NAME" -> SHA-256 of its weights, or of its images."""
    return {f"generator {name}": found.digest() if isinstance(found, PrecomputedImages) else sha256_file(found)
            for name, found in other_generators(section).items()}  # fmt: skip


def _find(given: str) -> Path | PrecomputedImages:
    path = Path(given)
    of_images = path.is_dir() and given not in shipped() and not (path / "gan" / "checkpoints.parquet").is_file()
    return PrecomputedImages(path) if of_images else find_generator(given)


def _name(given: str) -> str:
    path = Path(given)
    return path.resolve().name if path.is_dir() else path.stem if path.is_file() else given
