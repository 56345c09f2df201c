"""Weights of the judging networks: from a file, or torchvision's own download."""

import pickle
from pathlib import Path
from typing import Any

import torch

from augment.base.errors import AugmentError

_CONNECT_TIMEOUT_S = 30.0


def load_weights(published: Any, file: Path | None, key: str) -> dict[str, torch.Tensor]:
    """A state dict: of ``file`` if given, else of ``published``, a member of a torchvision weights enum.

    ``key`` is the configuration's name for the file. Raises :class:`AugmentError` that says what is missing, where it
    comes from and where to put it.
    """
    if file is None:
        return _download(published.url, key)
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise AugmentError(f"{key}: {file} does not exist. It should be a copy of {published.url}.") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise AugmentError(f"{key}: {file} holds no weights ({error}). Expected is {published.url}.") from None


def _download(url: str, key: str) -> dict[str, torch.Tensor]:
    import socket

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_CONNECT_TIMEOUT_S)  # torch.hub waits for ever for a server that does not answer
    try:
        return torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:  # no network, no such file, another hash
        raise AugmentError(
            f"{url} cannot be downloaded ({error}). Fetch it on another machine and give the file as {key}, "
            "or switch the score off."
        ) from None
    finally:
        socket.setdefaulttimeout(before)
