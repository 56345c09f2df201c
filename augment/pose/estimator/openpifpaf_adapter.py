"""The only module that knows openpifpaf (AGPL-3.0): its network, its losses, its checkpoints."""

import augment.base.torchvision_cpu  # noqa: F401, I001  must come before openpifpaf

import copy
import zipfile
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import openpifpaf
import torch
from openpifpaf.network import losses

from augment.base.downloads import download
from augment.base.errors import AugmentError
from augment.base.files import atomic_write, sha256_bytes
from augment.pose.skeleton import COCO_NAMES
from augment.pose.estimator.targets import FieldLayout

_VERSION = openpifpaf.__version__
_CHECKPOINTS = openpifpaf.network.factory.CHECKPOINT_URLS


def load_network(path: Path, sha256: str) -> torch.nn.Module:
    """The network of a checkpoint file. It is a pickle and can execute code, so its hash is verified first."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise AugmentError(f"{path}: the checkpoint cannot be read: {error.strerror}.") from None
    if (found := sha256_bytes(data)) != sha256.lower():
        raise AugmentError(
            f"{path}: its SHA-256 is {found}, not {sha256} as expected. It was damaged or replaced; it is not loaded, "
            "for openpifpaf's checkpoints can run code. If you trust the file, set pose.checkpoint_sha256 to its hash."
        )
    try:
        content = torch.load(BytesIO(data), map_location="cpu", weights_only=False)
        network = content["model"]
        openpifpaf.network.model_migration.model_migration(network)
        intensity, association = network.head_metas[:2]
        known = tuple(intensity.keypoints) == COCO_NAMES and association.skeleton
    except Exception as error:  # a pickle of anything may fail in any way
        raise AugmentError(f"{path}: not a checkpoint of openpifpaf {_VERSION}: {error}") from error
    if not known:
        raise AugmentError(f"{path}: finds {', '.join(intensity.keypoints)[:80]}..., not COCO's 17 joints of a person.")
    return network.eval()


def published_checkpoints() -> list[str]:
    """Names of the checkpoints that openpifpaf downloads."""
    poses = (name for name, url in _CHECKPOINTS.items() if isinstance(url, str) and "-" not in name)
    return sorted(name for name in poses if not name.startswith("t"))  # t...: they track people through a video


def fetch(name: str) -> Path:
    """The file of a checkpoint by openpifpaf's own name for it, downloaded once."""
    url = _CHECKPOINTS[name].replace("http://", "https://", 1)  # openpifpaf has the former
    return download(url, f"{name}, openpifpaf's checkpoint",
                    "or use pose.checkpoint=crops, which comes with the package and is for crops of about 128x64, or "
                    "key points that you have (pose.estimator=annotations)")  # fmt: skip


def field_layout(network: torch.nn.Module) -> FieldLayout:
    """The layout of a key point network's fields."""
    intensity, association = network.head_metas
    return FieldLayout(
        stride=intensity.stride,
        sigmas=torch.tensor(intensity.sigmas),
        limbs=torch.tensor(association.skeleton) - 1,
        reference=torch.tensor(intensity.pose[:, :2]).float(),
    )


def for_inference(network: torch.nn.Module) -> torch.nn.Module:
    """The same function with every batch norm fused into the convolution before it."""
    network = copy.deepcopy(network).eval()
    for module in list(network.modules()):
        children = list(module.named_children())
        for (name, first), (other, second) in pairwise(children):
            if isinstance(first, torch.nn.Conv2d) and isinstance(second, torch.nn.BatchNorm2d):
                setattr(module, name, torch.nn.utils.fusion.fuse_conv_bn_eval(first, second))
                setattr(module, other, torch.nn.Identity())
    return network


def field_loss(network: torch.nn.Module) -> torch.nn.Module:
    """openpifpaf's losses for a network's fields: (outputs, targets) -> (total, parts)."""
    loss = losses.Factory().factory(network.head_metas)
    for head in loss.losses:
        for components in head.loss_components.values():
            for component in components:
                if isinstance(component, losses.components.Scale):
                    component.b = 5.0  # only a decoder of crowds needs the scales: down-weight them
    return loss


def save_network(network: torch.nn.Module, path: Path, meta: dict) -> None:
    """Write a checkpoint that openpifpaf's own ``Predictor(checkpoint=...)`` loads as well.

    Weights are rounded to half precision but stored as float32, and the file is compressed: 3 MB instead of 6.
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
