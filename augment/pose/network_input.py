"""How a crop becomes the input of openpifpaf's network."""

import torch

# ImageNet's, as openpifpaf normalises
_MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
_DEVIATION = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def normalise(images: torch.Tensor) -> torch.Tensor:
    """RGB in [0, 1], (B, 3, H, W) -> the network's scale."""
    return (images - _MEAN.to(images.device)) / _DEVIATION.to(images.device)
