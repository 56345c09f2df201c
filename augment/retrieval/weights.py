"""Weights of a re-ID network from a file, whatever identities its classifier has."""

from pathlib import Path

import torch

from augment.base.errors import AugmentError, UsageError
from augment.base.files import sha256_file
from augment.base.weights import read_weights

_HEADS = ("classifier.", "verification.")  # of the people that a network was trained on


def weights_digest(file: str | Path, key: str) -> str:
    """SHA-256 of the file that is the configuration's ``key``; raises :class:`UsageError` where it is unreadable."""
    try:
        return sha256_file(Path(file).expanduser())
    except OSError as error:
        raise UsageError(f"{key}={file}: cannot be read ({error.strerror}). Name a file of weights.") from None


def load_weights(model: torch.nn.Module, file: str | Path, key: str) -> bool:
    """Load all weights, but for a classifier of other identities; returns whether the classifier fits too.

    Raises :class:`AugmentError` where the file is unreadable, has values that are not finite, or is of another network.
    """
    tensors = {name.removeprefix("module."): tensor for name, tensor in read_weights(file, key).items()}
    own = model.state_dict()
    fitting = {name: tensor for name, tensor in tensors.items() if name in own and tensor.shape == own[name].shape}
    lacking = [name for name in own if name not in fitting and not name.startswith(_HEADS)]
    if lacking:
        raise AugmentError(
            f"{key}={file}: belongs to another network: {len(lacking)} of {len(own)} tensors are missing or have "
            f"another shape, for example {lacking[0]}. Name a file of that network, or set the network to the file's."
        )
    for name, tensor in fitting.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise AugmentError(f"{key}={file}: {name} has values that are not finite.")
    model.load_state_dict(fitting, strict=False)
    return len(fitting) == len(own)
