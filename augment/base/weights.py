"""Files of weights from other programs: safetensors, or PyTorch files of tensors. No code in them is executed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from augment.base.errors import AugmentError
from augment.base.files import local


def read_weights(file: Path | str, key: str, remedy: str = "Name a file of weights.") -> dict[str, torch.Tensor]:
    """The tensors in a file, also those below a key ``state_dict``, by name, on the CPU.

    ``key`` is the configuration's key of the file. Raises :class:`AugmentError` with the ``remedy`` where the file is
    missing, damaged or has no tensors.
    """
    path = local(Path(file).expanduser())
    try:
        content: Any = (safetensors.torch.load_file(path) if path.suffix == ".safetensors"
                        else torch.load(path, map_location="cpu", weights_only=True))  # fmt: skip
    except FileNotFoundError:
        raise AugmentError(f"{key}={file}: no such file. {remedy}") from None
    except Exception as error:  # damage makes torch's reader fail with almost any type
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AugmentError(f"{key}={file}: not a file of weights ({reason}). {remedy}") from None
    content = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    tensors = {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise AugmentError(f"{key}={file}: not a file of weights (it has no tensors). {remedy}")
    return tensors
