"""Weights in safetensors files that say where they come from and carry a SHA-256 of themselves."""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from augment.base.errors import AugmentError
from augment.base.files import atomic_write, is_regular_file, sha256_bytes, sha256_file
from augment.base.seals import SEAL


def save_tensors(path: Path, tensors: Mapping[str, Tensor], key: str, header: Mapping[str, Any]) -> str:
    """Write a file, whole or not at all; returns its SHA-256. ``header`` is JSON under the one ``key`` of its metadata.

    The same content gives the same bytes (safetensors writes several keys in an order that changes from run to run).
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps({**header, SEAL: _seal(header, plain)}, sort_keys=True)
    data = safetensors.torch.save(plain, {key: text})
    with atomic_write(path) as file:
        file.write(data)
    return sha256_bytes(data)


def read_header(path: Path, key: str) -> dict[str, Any]:
    """What a file says about itself; the tensors are not read.

    Raises :class:`AugmentError` where it is none of ours.
    """
    header = _header(path, key)
    header.pop(SEAL, None)
    return header


def _header(path: Path, key: str) -> dict[str, Any]:
    if not is_regular_file(path):
        raise AugmentError(f"{path}: no such weights file.")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise AugmentError(f"{path}: not a safetensors file, or damaged ({error}).") from None
    if key not in metadata:
        raise AugmentError(f"{path}: a safetensors file, but none that this program wrote.")
    try:
        header = json.loads(metadata[key])
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise AugmentError(f"{path}: damaged: its header is not what was written.")
    return header


def load_tensors(path: Path, key: str, pinned: Collection[str] = ()) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file, on the CPU, and its header.

    Raises :class:`AugmentError` where it is damaged or has no seal and its own SHA-256 is not a ``pinned`` one.
    """
    header = _header(path, key)
    try:
        tensors = safetensors.torch.load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise AugmentError(f"{path}: damaged ({error}).") from None
    if SEAL not in header:
        if sha256_file(path) not in pinned:
            raise AugmentError(f"{path}: damaged: has no checksum. Restore the file, or train again.")
    elif header.pop(SEAL) != _seal(header, tensors):
        raise AugmentError(f"{path}: damaged: its content is not what was written.")
    return tensors, header


def _seal(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()
