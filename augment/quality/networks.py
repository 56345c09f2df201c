"""The networks of the metrics, and the weight file that each needs.

Weights are never random and never downloaded: without its file a network is left out, and :func:`missing` describes
the file, where it is published, and its key in the configuration.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from augment.base.errors import AugmentError
from augment.base.files import sha256_file
from augment.config import QualityConfig
from augment.pose.estimator.checkpoints import find_checkpoint
from augment.quality.detection import PersonDetector
from augment.quality.identity import IdentityFeatures
from augment.quality.inception import Inception
from augment.quality.observations import Observe
from augment.quality.perceptual import Lpips, VGGFeatures
from augment.quality.pose_agreement import PoseAgreement

Open = Callable[[Path, torch.device], Observe]


@dataclass(frozen=True)
class Network:
    """A network and its file."""

    name: str
    key: str  # of the configuration's section quality
    holds: str  # what the file holds
    published: str  # where it is published
    sha256: str  # of the published file, or how it begins
    seconds: float  # of an image of 128x64 on one thread of a current server, for the dry run
    open: Open
    trained_on: str = ""  # suffix of the metrics' names with the published file; with another file: its hash

    def file(self, section: QualityConfig) -> Path | None:
        """The file in the configuration."""
        given = getattr(section, self.key)
        if given is None:
            return None
        return find_checkpoint(given).path if self.name == "pose" else Path(given).expanduser()

    def line(self) -> str:
        """A description of the missing file."""
        return f"quality.{self.key}: {self.holds}; {self.published}, sha256 {self.sha256}"

    def suffix(self, digest: str) -> str:
        """The suffix that distinguishes a metric with these weights from the same with others."""
        return self.trained_on if digest.startswith(self.sha256.rstrip(".")) else f"_{digest[:8]}"


_TORCHVISION = "https://download.pytorch.org/models/"

NETWORKS = (
    Network(
        "osnet", "identity_weights", "OSNet x0.25 trained on MSMT17, a state dict without classifier",
        "from torchreid's model zoo", "fe810c7c4960dcece5cdfa3f93eef244b4369f11295450f9830f02a1c94069c9",
        0.009, IdentityFeatures, "_msmt17",
    ),
    Network(
        "vgg19", "vgg_weights", "VGG-19 under torchvision's names, up to conv3_1 at least",
        _TORCHVISION + "vgg19-dcbb9e9d.pth", "dcbb9e9d...", 0.026, VGGFeatures,
    ),
    Network(
        "inception", "inception_weights", "the Inception network of 2015 as torch-fidelity has it",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
        "6726825d...", 0.32, Inception,
    ),
    Network(
        "alexnet", "lpips_weights", "torchvision's AlexNet", _TORCHVISION + "alexnet-owt-7be5be79.pth", "7be5be79...",
        0.009, Lpips,
    ),
    Network(
        "ssd300", "detector_weights", "torchvision's SSD300 trained on COCO",
        _TORCHVISION + "ssd300_vgg16_coco-b556d3b4.pth", "b556d3b4...", 0.9, PersonDetector,
    ),
    Network(
        "pose", "pose_checkpoint", "crops, the pose estimator that comes with the package (runs openpifpaf, AGPL-3.0)",
        "nothing to fetch", find_checkpoint("crops").sha256, 0.0055, PoseAgreement,
    ),
)  # fmt: skip


def open_networks(section: QualityConfig, device: torch.device) -> dict[str, Observe]:
    """The networks with a configured file, by name. Raises :class:`AugmentError` where a file is of another network."""
    return {network.name: network.open(file, device) for network in NETWORKS
            if (file := network.file(section)) is not None}  # fmt: skip


def missing(section: QualityConfig) -> dict[str, str]:
    """Name of each network without a file -> its description."""
    return {network.name: network.line() for network in NETWORKS if network.file(section) is None}


def digests(section: QualityConfig) -> dict[str, str]:
    """Key -> SHA-256 of each configured file. Raises :class:`AugmentError` where one cannot be read."""
    found = {}
    for network in NETWORKS:
        if (file := network.file(section)) is None:
            continue
        try:
            found[network.key] = sha256_file(file)
        except OSError as error:
            raise AugmentError(f"quality.{network.key}: {file} cannot be read ({error.strerror}). Expected: "
                               f"{network.line()}.") from None  # fmt: skip
    return found


def suffixes(section: QualityConfig) -> dict[str, str]:
    """Name of each network -> suffix of its metrics' names; that of the published file where none is configured."""
    found = digests(section)
    return {network.name: network.suffix(found[network.key]) if network.key in found else network.trained_on
            for network in NETWORKS}  # fmt: skip
