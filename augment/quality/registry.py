"""The metrics of `augment quality`: an entry for each with its requirements, direction and source."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from augment.quality import distances
from augment.quality.inception import SPLITS, inception_score
from augment.quality.observations import Observations
from augment.quality.statistics import Parts, PerPair, Sample


@dataclass(frozen=True)
class Evidence:
    """The observations of all pairs: of the measured images, of their sources and of the targets; and of whom."""

    images: Observations
    sources: Observations
    targets: Observations  # each target once, however many pairs it belongs to
    people: np.ndarray
    people_of_targets: np.ndarray

    def sets(self, observation: str) -> tuple[distances.Features, distances.Features]:
        """The measured images and the targets."""
        ours = distances.Features(self.images[observation], self.people)
        return ours, distances.Features(self.targets[observation], self.people_of_targets)


Measure = Callable[[Evidence], Sample]


@dataclass(frozen=True)
class Metric:
    """A metric. ``name``: ``{osnet}``, say, is replaced by the suffix of that network's weights."""

    name: str
    title: str
    better: Literal["higher", "lower"]
    source: str
    reads: str  # the observation that it requires
    measure: Measure
    needs: str | None = None  # a network of augment.quality.networks
    sets: bool = False  # whether images and targets are compared as two sets, not pair by pair
    biased: bool = False  # whether it depends on the number of images, which is then part of its name

    def full_name(self, suffixes: Mapping[str, str], count: int) -> str:
        """As tables have it. ``suffixes``: as :func:`augment.quality.networks.suffixes` gives them."""
        return self.name.format(**suffixes) + (f"@{count}" if self.biased else "")


def _mean(observation: str) -> Measure:
    return lambda evidence: PerPair(evidence.images[observation], evidence.people)


def _kept(observation: str) -> Measure:
    return lambda evidence: PerPair(evidence.images[observation], evidence.people, evidence.sources[observation])


def _frechet(observation: str) -> Measure:
    return lambda evidence: distances.frechet(*evidence.sets(observation))


def _kernel(observation: str) -> Measure:
    return lambda evidence: distances.kernel(*evidence.sets(observation))


_IMAGES_PER_SPLIT = 10  # with fewer the score says little more than how few they are


def _inception_score(observation: str) -> Measure:
    return lambda evidence: Parts(_of_splits(evidence.images[observation]))


def _of_splits(probabilities: np.ndarray) -> np.ndarray:
    return inception_score(probabilities) if len(probabilities) >= _IMAGES_PER_SPLIT * SPLITS else np.array([])


_RELEASED = "the released code of Siarohin et al., CVPR 2018"
_WANG = "Wang et al., TIP 2004"
_HEUSEL, _BINKOWSKI = "Heusel et al., NeurIPS 2017", "Binkowski et al., ICLR 2018"
_SALIMANS, _ZHANG = "Salimans et al., NeurIPS 2016", "Zhang et al., CVPR 2018"
_IDENTITY, _PCK = "augment/quality/identity.py", "augment/quality/pose_agreement.py"

METRICS = (
    Metric("ssim_released", "SSIM", "higher", _RELEASED, "ssim_released", _mean("ssim_released")),
    Metric("mask_ssim_released", "mask-SSIM", "higher", _RELEASED, "mask_ssim_released",
           _mean("mask_ssim_released")),
    Metric("ssim_255", "SSIM, data range 255", "higher", _WANG, "ssim_255", _mean("ssim_255")),
    Metric("mask_ssim_255", "mask-SSIM, data range 255", "higher", _WANG, "mask_ssim_255",
           _mean("mask_ssim_255")),
    Metric("ssim_skimage", "SSIM, scikit-image's 7x7 window", "higher", "scikit-image's default",
           "ssim_skimage", _mean("ssim_skimage")),
    Metric("psnr", "PSNR, dB", "higher", "10 log10(255^2 / mean squared error), averaged over pairs",
           "psnr", _mean("psnr")),
    Metric("l1_released", "L1, images in [-1, 1]", "lower", _RELEASED, "l1_released", _mean("l1_released")),
    Metric("identity_rank1", "rank-1 of the image as a query", "higher", _IDENTITY, "identity_rank1",
           _mean("identity_rank1"), "osnet"),
    Metric("identity_mAP", "mAP of the image as a query", "higher", _IDENTITY, "identity_average_precision",
           _mean("identity_average_precision"), "osnet"),
    Metric("identity_kept", "identity kept: rank-1 over the source's", "higher", _IDENTITY,
           "identity_rank1", _kept("identity_rank1"), "osnet"),
    Metric("identity_kept_mAP", "identity kept: mAP over the source's", "higher", _IDENTITY,
           "identity_average_precision", _kept("identity_average_precision"), "osnet"),
    Metric("frechet_osnet{osnet}", "Fréchet distance of re-ID features", "lower", _HEUSEL, "osnet",
           _frechet("osnet"), "osnet", sets=True, biased=True),
    Metric("kernel_osnet{osnet}", "kernel distance of re-ID features", "lower", _BINKOWSKI, "osnet",
           _kernel("osnet"), "osnet", sets=True),
    Metric("frechet_vgg19{vgg19}", "Fréchet distance of VGG-19's conv3_1", "lower", _HEUSEL, "vgg19",
           _frechet("vgg19"), "vgg19", sets=True, biased=True),
    Metric("kernel_vgg19{vgg19}", "kernel distance of VGG-19's conv3_1", "lower", _BINKOWSKI, "vgg19",
           _kernel("vgg19"), "vgg19", sets=True),
    Metric("fid{inception}", "FID", "lower", _HEUSEL, "inception", _frechet("inception"), "inception",
           sets=True, biased=True),
    Metric("kid{inception}", "KID", "lower", _BINKOWSKI, "inception", _kernel("inception"),
           "inception", sets=True),
    Metric("inception_score{inception}", "IS", "higher", _SALIMANS, "probabilities",
           _inception_score("probabilities"), "inception"),
    Metric("mask_inception_score{inception}", "mask-IS", "higher", _SALIMANS, "mask_probabilities",
           _inception_score("mask_probabilities"), "inception"),
    Metric("lpips_alex{alexnet}", "LPIPS, AlexNet", "lower", _ZHANG, "lpips", _mean("lpips"), "alexnet"),
    Metric("mask_lpips_alex{alexnet}", "mask-LPIPS, AlexNet", "lower", _ZHANG, "mask_lpips",
           _mean("mask_lpips"), "alexnet"),
    Metric("detection_score_ssd300_coco{ssd300}", "DS, SSD300 trained on COCO", "higher", _RELEASED,
           "detection_score", _mean("detection_score"), "ssd300"),
    Metric("pck_05{pose}", "PCK@.05 of the target pose", "higher", _PCK, "pck_05", _mean("pck_05"), "pose"),
    Metric("pck_10{pose}", "PCK@.1 of the target pose", "higher", _PCK, "pck_10", _mean("pck_10"), "pose"),
    Metric("pckh_50{pose}", "PCKh@.5 of the target pose", "higher", _PCK, "pckh_50", _mean("pckh_50"), "pose"),
)  # fmt: skip


def find_metric(name: str) -> Metric | None:
    """The entry of a metric's name in a table, for any weights and sample size; None for an unknown name."""
    bare = name.partition("@")[0]
    for metric in METRICS:
        stem, placeholder, _ = metric.name.partition("{")
        if bare == stem or (placeholder and re.fullmatch(f"{re.escape(stem)}_[a-z0-9]+", bare)):
            return metric
    return None


def metrics_of(network: str) -> list[str]:
    """Titles of the metrics that need a network."""
    return [metric.title for metric in METRICS if metric.needs == network]
