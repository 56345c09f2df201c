"""The saved state of a training, to resume from: tensors and plain types in one file, verified when it is read."""

import pickle
from pathlib import Path
from typing import Any

import torch

from augment.base.errors import AugmentError
from augment.base.files import is_regular_file
from augment.base.seals import check_seal, sealed_write

_REMEDY = "Delete it; training then resumes from an earlier state or starts from scratch."


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state atomically."""
    with sealed_write(path) as file:
        torch.save(state, file)


def load_state(path: Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Read a state, its tensors on ``device``; no code in the file is executed.

    Raises :class:`AugmentError` where it is absent or damaged.
    """
    if not is_regular_file(path):
        raise AugmentError(f"{path}: no such training state.")
    try:
        check_seal(path)
        state = torch.load(path, map_location=device, weights_only=True)
    except (AugmentError, RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].removeprefix(f"{path}: ").rstrip(".")
        raise AugmentError(f"{path}: not a training state, or damaged ({reason}). {_REMEDY}") from None
    if not isinstance(state, dict):
        raise AugmentError(f"{path}: holds no training state. {_REMEDY}")
    return state
