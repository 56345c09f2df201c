"""Saved generators: weights as safetensors with all that is needed to rebuild the network, and state to resume from.

``weights-<iteration>.safetensors`` holds the generator's raw weights (``raw.*``) and their exponential average
(``average.*``); an exported one holds the average alone, in half precision. Its header's ``augment`` key is JSON:
system, iteration, image size, configuration, digests, parent.
``state-<iteration>.pt`` holds everything a training needs to resume, plain types only.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from augment.base import tensors
from augment.base.errors import AugmentError
from augment.base.state import load_state
from augment.config import GanConfig
from augment.gan.networks import Generator, build_generator

_KEY = "augment"
_SHIPPED = {  # of the shipped generators, which were written before weights carried a seal
    "2601d2369aefcd5b94573519b2bb1a85a55c63613ea286553d4ab0adc935126b",
    "95df94860c2e769e93595c519c5fdc3c1c06296fa2aa84b3ed625b53de05b33b",
    "6c621c6d6a1a99368d7daa9a77241b440417ed8a6a62481c3904fe7028a02df4",
}
Weights = Literal["raw", "average"]


def save_weights(path: Path, raw: Mapping[str, Tensor], average: Mapping[str, Tensor], header: dict[str, Any]) -> str:
    """Write a weights file, whole or not at all; returns its SHA-256. The same content gives the same bytes."""
    stored = {f"raw.{name}": tensor for name, tensor in raw.items()}
    stored |= {f"average.{name}": tensor for name, tensor in average.items()}
    return tensors.save_tensors(path, stored, _KEY, header)


def read_header(path: Path) -> dict[str, Any]:
    """What a weights file says about itself. Raises :class:`AugmentError` where it is none of ours."""
    return tensors.read_header(path, _KEY)


def load_generator(path: Path, *, weights: Weights = "average",
                   device: str | torch.device = "cpu") -> tuple[Generator, GanConfig]:  # fmt: skip
    """The generator of a weights file, in eval mode on ``device``, and the configuration it was trained with.

    Raises :class:`AugmentError` where the file is damaged, not written by this program or of another architecture.
    """
    path = Path(path)
    stored, header = tensors.load_tensors(path, _KEY, _SHIPPED)
    try:
        config = GanConfig.model_validate(header["config"])
        height, width = header["image_size"]
        generator = build_generator(config, (int(height), int(width)))
    except (KeyError, TypeError, ValueError) as error:
        raise AugmentError(f"{path}: its header does not fit this version of reid-augment ({error}). "
                           "Train again, or use the version that wrote it.") from None  # fmt: skip
    prefix = f"{weights}."
    chosen = {name.removeprefix(prefix): tensor for name, tensor in stored.items() if name.startswith(prefix)}
    if not chosen and stored:
        raise AugmentError(f"{path}: has no {weights} weights, only the average. Use the averaged ones.")
    _check_fit(path, generator, chosen, config)
    generator.load_state_dict(chosen)
    generator.eval().requires_grad_(False)
    return generator.to(device, memory_format=torch.channels_last), config


def _check_fit(path: Path, generator: nn.Module, given: Mapping[str, Tensor], config: GanConfig) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in generator.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in given.items()}
    if expected != found:
        wrong = next(name for name in sorted(expected | found) if expected.get(name) != found.get(name))
        raise AugmentError(
            f"{path}: its tensors are not those of the generator '{config.system}' (fidelity {config.fidelity}, width "
            f"{config.width:g}) that its header names: {wrong} is {found.get(wrong, 'absent')} instead of "
            f"{expected.get(wrong, 'absent')}. It comes from another architecture; use a file of this version."
        )
    for name, tensor in given.items():
        if not tensor.isfinite().all():
            raise AugmentError(f"{path}: {name} holds values that are not finite. Train again or restore "
                               "the file.")  # fmt: skip
    if not any(tensor.any() for tensor in given.values()):
        raise AugmentError(f"{path}: all its weights are zero. Train again or restore the file.")


def load_own_state(path: Path, identity: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """The saved state of a generator's training. ``identity``: what it must have been made from, nested JSON types.

    Raises :class:`AugmentError` where it is damaged, or comes from another configuration or input; the message names
    the keys that differ.
    """
    state = load_state(path, device)
    try:
        found = json.loads(state["identity"])
    except (KeyError, TypeError, ValueError):
        raise AugmentError(f"{path}: is not the state of a generator's training.") from None
    differing = differing_keys(found, identity)
    if differing:
        raise AugmentError(
            f"{path}: was saved under another configuration: {'; '.join(differing)}. Set these back to resume from it, "
            "or train in another folder."
        )
    return state


def differing_keys(found: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys at which two nested mappings differ, with both values: ``section.width is 1.0 there, 0.5 here``."""
    lines = []
    for key in sorted({*found, *wanted}):
        there, here = found.get(key), wanted.get(key)
        if isinstance(there, Mapping) and isinstance(here, Mapping):
            lines += differing_keys(there, here, f"{prefix}{key}.")
        elif there != here:
            lines.append(f"{prefix}{key} is {there!r} there, {here!r} here")
    return lines
