"""Weights of the judging networks, from files."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from augment.base.errors import AugmentError


def load_state(file: Path, key: str) -> dict[str, torch.Tensor]:
    """A state dict of tensors; nothing in the file is run. Raises :class:`AugmentError` where it is none.

    ``key`` is the configuration's name for the file.
    """
    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise AugmentError(f"{key}: {file} does not exist.") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AugmentError(f"{key}: {file} holds no weights ({reason}).") from None
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise AugmentError(f"{key}: {file} holds no weights (it is no table of tensors).")
    return dict(content)


def fill(model: torch.nn.Module, state: Mapping[str, torch.Tensor], file: Path, key: str) -> torch.nn.Module:
    """The model with these weights, for inference. Raises :class:`AugmentError` where they are another network's."""
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise AugmentError(f"{key}: {file} holds the weights of another network ({reason})") from None
    return model.eval().requires_grad_(False)
