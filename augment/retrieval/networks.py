"""torchreid's networks, built by name, and their features of images in memory."""

import difflib

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from augment.base.errors import AugmentError, UsageError
from augment.base.images import IMAGENET_DEVIATION, IMAGENET_MEAN
from augment.retrieval.torchreid_quiet import quiet, torchreid

# Of one 256x128 image in a training iteration on two cores, from their arithmetic; a third of it is the forward pass.
SECONDS_PER_IMAGE = {
    "resnet50": 0.12, "resnet50_fc512": 0.12, "osnet_x0_25": 0.03, "osnet_x0_5": 0.05, "osnet_x1_0": 0.12,
}  # fmt: skip


def check_model(name: str, key: str = "reid.model") -> None:
    """Raise :class:`UsageError` with the closest name where torchreid has no such model; ``key`` is the setting."""
    known = sorted(torchreid.models.__dict__["__model_factory"])
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"Did you mean {near[0]}?" if near else f"It has: {', '.join(known)}."
        raise UsageError(f"{key}={name}: torchreid has no such model. {hint}")


def check_network(name: str, size: tuple[int, int]) -> None:
    """As :func:`check_model`, and where it does not train on images of ``size`` (H, W): a few of torchreid's do not."""
    check_model(name)
    model = build_model(name, 2, "softmax", False, torch.device("cpu"))
    try:
        logits = model(torch.zeros(2, 3, *size))
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"reid.model={name}: does not take images of {size[0]}x{size[1]} ({error}). Change "
                         "reid.height and reid.width, or the model.") from None  # fmt: skip
    if not isinstance(logits, Tensor):
        raise UsageError(f"reid.model={name}: has several classifiers, which no loss here trains. Choose another "
                         "model.")  # fmt: skip


def build_model(name: str, people: int, loss: str, pretrained: bool, device: torch.device) -> torch.nn.Module:
    """A torchreid network with a classifier for ``people`` identities, initialised with torch's global generator."""
    try:
        with quiet():
            model = torchreid.models.build_model(name, people, loss=loss, pretrained=pretrained)
    except Exception as error:  # its downloads fail in many ways, with types of several packages
        if not pretrained:
            raise
        raise AugmentError(
            f"The ImageNet weights of {name} are not available ({type(error).__name__}: {error}). Download them on a "
            "machine with access and copy torch's cache folder, or train from scratch with reid.pretrained=false."
        ) from error
    return model.to(device)


@torch.inference_mode()
def embed(
    model: torch.nn.Module, images: UInt8[Tensor, "B 3 h w"], size: tuple[int, int], precision: str = "fp32"
) -> Float[Tensor, "B D"]:
    """Features, float32 on the CPU, of images resized to ``size`` (H, W).

    The model is in evaluation mode. Images are resized as by PIL, with rounding to uint8, as in training.
    """
    if tuple(images.shape[-2:]) != size:
        images = functional.interpolate(images, size, mode="bilinear", antialias=True)
    with autocast(images.device, precision):
        return model(normalised(images.float() / 255)).float().cpu()


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """What a network runs in: bf16 where ``precision`` is "bf16"."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def normalised(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """A network's input: images in 0..1 less ImageNet's mean, over its deviation."""
    mean, deviation = imagenet_statistics(images)
    on_cpu = images.device.type == "cpu"  # OSNet's depthwise convolutions gain a third there; not measured on CUDA
    layout = torch.channels_last if on_cpu else torch.preserve_format
    return ((images - mean) / deviation).contiguous(memory_format=layout)


def imagenet_statistics(like: Tensor) -> tuple[Float[Tensor, "3 1 1"], Float[Tensor, "3 1 1"]]:
    """Mean and deviation of R, G, B in 0..1, with the dtype and device of ``like``."""
    return tuple(like.new_tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_DEVIATION))
