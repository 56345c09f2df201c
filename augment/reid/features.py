"""Features of the images of a data set."""

import numpy as np
import torch
from torch.utils.data import DataLoader

from augment.base.progress import progress
from augment.reid.dataset import ManifestDataset

_BATCH = 100  # fixed, so that the last bits of a feature depend on nothing one can set


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
