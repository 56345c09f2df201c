"""Weights of a network that metrics are computed with."""

from collections.abc import Mapping
from pathlib import Path

import torch

from augment.base.errors import AugmentError


def fill(model: torch.nn.Module, state: Mapping[str, torch.Tensor], file: Path, key: str) -> torch.nn.Module:
    """The model with these weights, for inference. Raises :class:`AugmentError` where they are of another network."""
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise AugmentError(f"{key}={file}: is of another network ({reason})") from None
    return model.eval().requires_grad_(False)
