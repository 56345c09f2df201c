"""Networks of torchreid: built by name, and their features of images."""

import difflib

import numpy as np
import torch
from torch.utils.data import DataLoader

from augment.base.errors import AugmentError, UsageError
from augment.base.progress import progress
from augment.reid.dataset import ManifestDataset
from augment.reid.torchreid_quiet import quiet, torchreid

_BATCH = 100  # fixed, so that the last bits of a feature depend on nothing one can set


def check_model(name: str) -> None:
    """Raise UsageError, with the name that was probably meant, where torchreid has no such model."""
    known = sorted(torchreid.models.__dict__["__model_factory"])
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"Did you mean {near[0]}?" if near else f"It has: {', '.join(known)}."
        raise UsageError(f"reid.model={name}: torchreid has no such model. {hint}")


def build_model(name: str, people: int, loss: str, pretrained: bool, device: torch.device) -> torch.nn.Module:
    """A network of torchreid with a classifier for ``people`` identities; its random weights are torch's next."""
    try:
        with quiet():
            model = torchreid.models.build_model(name, people, loss=loss, pretrained=pretrained)
    except Exception as error:  # its downloads fail in many ways, with types of several packages
        if not pretrained:
            raise
        raise AugmentError(
            f"The ImageNet weights of {name} could not be had ({type(error).__name__}: {error}). Download them on a "
            "machine with access and copy torch's cache folder, or train from scratch with reid.pretrained=false."
        ) from error
    return model.to(device)


@torch.inference_mode()
def extract_features(
    model: torch.nn.Module, dataset: ManifestDataset, device: torch.device, title: str = "features"
) -> np.ndarray:
    """The network's features of all images of a data set in its order: float32 (N, D)."""
    model.eval()
    loader = DataLoader(dataset, batch_size=_BATCH)
    features = []
    with progress(title, total=len(dataset)) as advance:
        for batch in loader:
            features.append(model(batch["img"].to(device)).float().cpu())
            advance(len(batch["img"]))
    return torch.cat(features).numpy()
