"""The only module that knows openpifpaf (AGPL-3.0): its network, its losses, its checkpoints."""

import augment.torchvision_cpu  # noqa: F401  must come before openpifpaf

import copy
import zipfile
from io import BytesIO
from pathlib import Path

import openpifpaf
import torch
from openpifpaf.network import losses

from augment.errors import AugmentError
from augment.files import atomic_write, sha256_bytes
from augment.pose.targets import FieldLayout


def load_network(path: Path, sha256: str) -> torch.nn.Module:
    """The network of a checkpoint file. It is a pickle and could run anything, so its hash is checked first."""
    data = Path(path).read_bytes()
    if sha256_bytes(data) != sha256:
        raise AugmentError(f"{path}: SHA-256 is {sha256_bytes(data)}, not the {sha256} it should be.")
    return torch.load(BytesIO(data), map_location="cpu", weights_only=False)["model"]


def field_layout(network: torch.nn.Module) -> FieldLayout:
    """What the fields of a key point network stand for."""
    intensity, association = network.head_metas
    return FieldLayout(
        stride=intensity.stride,
        sigmas=torch.tensor(intensity.sigmas),
        limbs=torch.tensor(association.skeleton) - 1,
        reference=torch.tensor(intensity.pose[:, :2]).float(),
    )


def field_loss(network: torch.nn.Module) -> torch.nn.Module:
    """openpifpaf's losses for a network's fields: (outputs, targets) -> (total, parts)."""
    loss = losses.Factory().factory(network.head_metas)
    for head in loss.losses:
        for components in head.loss_components.values():
            for component in components:
                if isinstance(component, losses.components.Scale):
                    component.b = 5.0  # the scales only matter to a decoder of crowds: keep them from drowning the rest
    return loss


def save_network(network: torch.nn.Module, path: Path, meta: dict) -> None:
    """Write a checkpoint that openpifpaf's own ``Predictor(checkpoint=...)`` loads as well.

    Weights are rounded to half precision but kept as 32 bit numbers, and the file is compressed: 3 MB instead of 6.
    """
    network = copy.deepcopy(network).eval().to(memory_format=torch.contiguous_format)
    for parameter in network.parameters():
        parameter.grad = None
        if parameter.dim() > 1:
            parameter.data = parameter.data.half().float()
    plain = BytesIO()
    torch.save({"model": network, "epoch": 0, "meta": meta}, plain)
    with atomic_write(path) as file, zipfile.ZipFile(plain) as source, zipfile.ZipFile(file, "w") as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry), zipfile.ZIP_DEFLATED, 9)
