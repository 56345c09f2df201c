"""The file of an estimator's weights, and the hash that it must have before it is loaded."""

import json
from dataclasses import dataclass
from pathlib import Path

from augment.base.errors import AugmentError, UsageError
from augment.base.files import sha256_file

SHIPPED = "crops"
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file and the hash it must have."""

    path: Path
    sha256: str


def find_checkpoint(name: str, sha256: str | None = None) -> Checkpoint:
    """"crops" (ships with the package), a file, or openpifpaf's name of a published checkpoint.

    The hash of the last two must be given: a published checkpoint is downloaded once, and the cached file could have
    been changed since. Raises :class:`UsageError` for a missing hash or an unknown name.
    """
    if name == SHIPPED:
        return _shipped(sha256)
    path = Path(name).expanduser()
    if not path.is_file():
        path = _published(name)
    if sha256 is None:
        raise UsageError(
            f"{name}: set pose.checkpoint_sha256 as well. openpifpaf's checkpoints are pickles and can run code, "
            f"so only a file that you trust is loaded. The hash of {path} is {sha256_file(path)}."
        )
    return Checkpoint(path.absolute(), sha256)


def _published(name: str) -> Path:
    from augment.pose.estimator import openpifpaf_adapter  # seconds to import: only when needed

    published = openpifpaf_adapter.published_checkpoints()
    if name not in published:
        raise UsageError(
            f"pose.checkpoint: {name} is neither a file nor a checkpoint of openpifpaf's. "
            f"Known names: {', '.join([SHIPPED, *published])}."
        )
    return openpifpaf_adapter.fetch(name)


def _shipped(sha256: str | None) -> Checkpoint:
    path, note = _HERE / "crops.pkl", _HERE / "crops.json"
    if not path.exists():
        raise AugmentError(f"{path}: the package's checkpoint is missing. Install the package again.")
    pinned = json.loads(note.read_text())["sha256"]
    if sha256 is not None and sha256 != pinned:
        raise UsageError(f"pose.checkpoint_sha256 is not that of the checkpoint 'crops' ({pinned}). Leave it out.")
    return Checkpoint(path, pinned)
