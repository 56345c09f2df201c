"""R1: the squared gradient of D at real images is part of its loss (Mescheder et al., ICML 2018).

It costs as much as three passes through D, and its share of the loss changes slowly: it is added in one of
:data:`EVERY` iterations, as many times as strong (Karras et al., CVPR 2020).
"""

import torch
from torch import Tensor

from augment.gan.dataset import Batch
from augment.gan.kernels.layers import twice_differentiable
from augment.gan.networks import Discriminator

EVERY = 16  # iterations


def gradient_penalty(discriminator: Discriminator, real: Batch) -> Tensor:
    """Mean over the samples of ‖∇D‖²/2 at the target image, D the sum of its logits; without autocast."""
    image = real.target.detach().requires_grad_()
    with twice_differentiable(discriminator):
        logits = discriminator(real.source, real.source_joints, image, real.target_joints)
    (slope,) = torch.autograd.grad(logits.sum(), image, create_graph=True)
    return slope.square().sum(dim=(1, 2, 3)).mean() / 2
