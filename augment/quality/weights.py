"""Weights of the judging networks: from a file, or torchvision's own download."""

import pickle
from pathlib import Path
from typing import Any

import torch

from augment.base.downloads import download
from augment.base.errors import AugmentError
from augment.base.files import sha256_file


def weights_digest(published: Any, file: Path | None, key: str) -> str:
    """What identifies the weights that :func:`load_weights` gives: the file's hash, or the URL, whose name has one."""
    if file is None:
        return published.url
    try:
        return sha256_file(file)
    except OSError:
        raise _missing(published, file, key) from None


def load_weights(published: Any, file: Path | None, key: str) -> dict[str, torch.Tensor]:
    """A state dict: of ``file`` if given, else of ``published``, a member of a torchvision weights enum.

    ``key`` is the configuration's name for the file. Raises :class:`AugmentError` that says what is missing, where it
    comes from and where to put it.
    """
    path = file or download(published.url, "a judge's weights", f"give the file as {key}, or switch the score off")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise _missing(published, path, key) from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise AugmentError(f"{key}: {path} holds no weights ({error}). Expected is {published.url}.") from None


def _missing(published: Any, file: Path, key: str) -> AugmentError:
    return AugmentError(f"{key}: {file} does not exist. It should be a copy of {published.url}.")
