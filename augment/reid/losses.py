"""The loss of a batch: identification, and on top of it the triplet loss or the verification of pairs.

Verification: the discriminative embedding of Zheng et al., "A Discriminatively Learned CNN Embedding for Person
Re-identification", which is the fourth system of the paper's Tab. 4.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from augment.base.errors import UsageError
from augment.config import ArmConfig, ReidConfig
from augment.reid.arms import uses_synthetic
from augment.retrieval.networks import build_model

_MARGIN = 0.3  # of the triplet loss, torchreid's


def build_network(section: ReidConfig, arm: ArmConfig, people: int, device: torch.device) -> torch.nn.Module:
    """The network that an arm trains, with a classifier for ``people`` identities and what its loss needs besides."""
    classes = 2 * people if arm.label == "own" and uses_synthetic(arm) else people
    kind = "softmax" if arm.loss == "softmax" else "triplet"  # torchreid's name for logits and features
    network = build_model(section.model, classes, kind, section.pretrained, device)
    if arm.loss == "verification":
        classifier = getattr(network, "classifier", None)
        if not isinstance(classifier, torch.nn.Linear):
            raise UsageError(f"reid.model={section.model}: has no single classifier, which loss: verification needs.")
        network.verification = torch.nn.Linear(classifier.in_features, 2).to(device)
    return network


def training_loss(
    model: torch.nn.Module, images: Float[Tensor, "B 3 H W"], labels: Int[Tensor, " B"], synthetic: Bool[Tensor, " B"],
    section: ReidConfig, arm: ArmConfig, teacher: torch.nn.Module | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:  # fmt: skip
    """The loss of a batch, and its accuracy in percent; both stay on the device.

    ``arm`` with no field left open; ``teacher`` for its label "teacher", in batches with synthetic images.
    """
    outputs = _two_passes(model, images, synthetic) if arm.own_pass else model(images)
    logits, features = (outputs, None) if arm.loss == "softmax" else outputs
    logits = logits.float()
    if arm.label == "own":
        labels = torch.where(synthetic, labels + logits.shape[1] // 2, labels)
    soft = None if teacher is None else _soft_labels(teacher, images)
    loss = identification(logits, labels, synthetic, section, arm, soft)
    if arm.loss == "triplet":
        loss = loss + batch_hard_triplet(features.float(), labels, synthetic & (arm.label == "positive"))
    elif arm.loss == "verification":
        loss = loss + verification(model.verification, features.float(), section.instances)
    return loss, 100 * (logits.detach().argmax(1) == labels).float().mean()


def identification(
    logits: Float[Tensor, "B K"], labels: Int[Tensor, " B"], synthetic: Bool[Tensor, " B"], section: ReidConfig,
    arm: ArmConfig, soft: Float[Tensor, "B K"] | None = None,
) -> Float[Tensor, ""]:  # fmt: skip
    """Mean over images of the cross-entropy with smoothed labels; of synthetic images weighted by ``arm.weight``.

    Their targets follow ``arm.label``: hard; uniform (LSRO: Zheng et al., ICCV 2017); teacher (the Kullback-Leibler
    divergence from ``soft``, log probabilities, as in DG-Net); positive: they do not take part.
    """
    per_image = F.cross_entropy(logits, labels, label_smoothing=section.label_smoothing, reduction="none")
    other = None
    if arm.label == "hard":
        other = F.cross_entropy(logits, labels, reduction="none")
    elif arm.label == "uniform":
        other = -F.log_softmax(logits, 1).mean(1)
    elif arm.label == "teacher" and soft is not None:
        other = F.kl_div(F.log_softmax(logits, 1), soft, reduction="none", log_target=True).sum(1)
    if other is not None:
        per_image = torch.where(synthetic, other, per_image)
    if arm.label == "positive":
        return (per_image * ~synthetic).sum() / (~synthetic).sum().clamp(min=1)
    weights = torch.where(synthetic, arm.weight, 1.0)
    return (weights * per_image).sum() / len(logits)


def batch_hard_triplet(
    features: Float[Tensor, "B D"], labels: Int[Tensor, " B"], only_positive: Bool[Tensor, " B"]
) -> Float[Tensor, ""]:
    """Mean over anchors of max(0, margin + farthest positive - nearest negative) (Hermans et al., 2017).

    Images that are ``only_positive`` are neither anchors nor negatives.
    """
    squares = features.square().sum(1)
    distance = (squares[:, None] + squares - 2 * features @ features.T).clamp(min=1e-12).sqrt()
    same = labels[:, None] == labels
    positive = distance.masked_fill(~same, -torch.inf).amax(1)
    negative = distance.masked_fill(same | only_positive, torch.inf).amin(1)
    return F.relu(_MARGIN + positive - negative)[~only_positive].mean()


def verification(
    head: torch.nn.Module, features: Float[Tensor, "B D"], instances: int
) -> Float[Tensor, ""]:
    """Mean cross-entropy of "the same person or not" over 2 B pairs, from the squared differences of their features.

    A batch has ``instances`` images of a person one after the other. Every image makes a positive pair with the next of
    its person and a negative one with the image at its place of the next person: one to one, as the authors begin.
    """
    place = torch.arange(len(features), device=features.device)
    within = place % instances
    partners = torch.cat([place - within + (within + 1) % instances, (place + instances) % len(features)])
    squared = (features.repeat(2, 1) - features[partners]).square()
    same = torch.cat([torch.ones_like(place), torch.zeros_like(place)])
    return F.cross_entropy(head(squared), same)


@torch.no_grad()
def _soft_labels(teacher: torch.nn.Module, images: Tensor) -> Tensor:
    """Log probabilities by the teacher, which is in evaluation mode, where torchreid's networks give features."""
    return F.log_softmax(teacher.classifier(teacher(images)).float(), 1)


def _two_passes(model: torch.nn.Module, images: Tensor, synthetic: Tensor) -> Tensor:
    """Real and synthetic images each with batch statistics of their own; the running ones are of the real images."""
    if not synthetic.any():
        return model(images)
    if synthetic.all():
        raise ValueError("own_pass is for batches of both kinds")
    norms = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    of_synthetic = model(images[synthetic])
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    of_real = model(images[~synthetic])
    logits = of_real.new_empty(len(images), of_real.shape[1])
    logits[synthetic], logits[~synthetic] = of_synthetic, of_real
    return logits
