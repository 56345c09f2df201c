"""Weights to begin with: of the same network trained on other people."""

import pickle
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from augment.base.errors import AugmentError, UsageError
from augment.base.files import sha256_file
from augment.base.progress import say


def start_digest(file: str | None) -> str | None:
    """SHA-256 of the file; None for none. Raises :class:`UsageError` where it cannot be read."""
    if file is None:
        return None
    try:
        return sha256_file(Path(file).expanduser())
    except OSError as error:
        raise UsageError(f"reid.start={file}: cannot be read ({error.strerror}). Name a file of weights.") from None


def load_start(model: torch.nn.Module, file: str) -> None:
    """Copy the weights that fit: all but a classifier of other people.

    A safetensors file, or a PyTorch file of tensors (also below a key ``state_dict``); nothing in it is run. Raises
    :class:`AugmentError` where it is none, holds values that are no numbers, or is of another network.
    """
    path = Path(file).expanduser()
    try:
        tensors = safetensors.torch.load_file(path) if path.suffix == ".safetensors" else _torch_file(path)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AugmentError(f"reid.start={file}: not a file of weights ({reason}).") from None
    tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    own = model.state_dict()
    fitting = {name: tensor for name, tensor in tensors.items() if name in own and tensor.shape == own[name].shape}
    lacking = [name for name in own if name not in fitting and not name.startswith("classifier.")]
    if lacking:
        raise AugmentError(
            f"reid.start={file}: is of another network: {len(lacking)} of {len(own)} tensors are missing or of another "
            f"shape, for example {lacking[0]}. Set reid.model to the network that it holds."
        )
    for name, tensor in fitting.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise AugmentError(f"reid.start={file}: {name} holds values that are no numbers.")
    model.load_state_dict(fitting, strict=False)
    if len(fitting) < len(own):
        say("reid: the classifier of reid.start is of other people; this one's begins anew.")


def _torch_file(path: Path) -> dict[str, torch.Tensor]:
    content = torch.load(path, map_location="cpu", weights_only=True)
    content = content.get("state_dict", content) if isinstance(content, dict) else {}
    return {name: tensor for name, tensor in content.items() if isinstance(tensor, torch.Tensor)}
