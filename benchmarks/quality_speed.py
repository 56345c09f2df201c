"""How fast images are judged: SSIM in all variants beside a loop over scikit-image, and what each network costs.

    python benchmarks/quality_speed.py                  # SSIM beside scikit-image, seconds for 12,000 pairs
    python benchmarks/quality_speed.py --networks       # milliseconds an image of each network, random weights

Random images of 128x64 on one thread, processor time, in turns. The loop calls scikit-image once for each of the five
scores of a pair, which is what the released code did for two of them.
"""

import argparse
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from skimage.metrics import structural_similarity
from timing import ratio, take_turns

import augment.base.torchvision_cpu  # noqa: F401
from augment.pose.estimator.checkpoints import find_checkpoint
from augment.quality.networks import NETWORKS
from augment.quality.observations import Batch
from augment.quality.scores import body_masks, pair_scores
from augment.quality.ssim import ssim_scores

PAIRS, BATCH = 12_000, 32
_GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", action="store_true", help="time the networks instead")
    parser.add_argument("--seconds", type=float, default=60)
    asked = parser.parse_args()
    random = torch.Generator().manual_seed(0)
    images, targets = torch.randint(0, 256, (2, BATCH, 3, 128, 64), dtype=torch.uint8, generator=random)
    joints = torch.rand(BATCH, 18, 2, generator=random) * torch.tensor([64.0, 128.0])
    batch = Batch(images, targets, body_masks(joints, (128, 64)), joints)
    if asked.networks:
        time_networks(batch)
    else:
        time_ssim(batch, asked.seconds)


def time_ssim(batch: Batch, seconds: float) -> None:
    masked = [images * batch.masks for images in (batch.images, batch.targets)]

    def ours() -> None:
        ssim_scores(batch.images, batch.targets)
        ssim_scores(*masked, ("ssim_released", "ssim_255"))

    def loop() -> None:
        for pair in zip(*(images.permute(0, 2, 3, 1).numpy() for images in (batch.images, batch.targets)), strict=True):
            score_by_skimage(*pair, ("released", "255", "default"))
        for pair in zip(*(images.permute(0, 2, 3, 1).numpy() for images in masked), strict=True):
            score_by_skimage(*pair, ("released", "255"))

    def everything() -> None:
        pair_scores(batch.images, batch.targets, body_masks(batch.joints, (128, 64)))

    times = take_turns({"loop": loop, "ours": ours, "everything": everything}, seconds, clock="cpu")
    of_all = {name: PAIRS / BATCH * float(np.median(some)) for name, some in times.items()}
    print(f"five SSIM scores of {PAIRS:,} pairs: {of_all['ours']:.0f} s of one core, a loop over scikit-image "
          f"{of_all['loop']:.0f} s: {ratio(times['loop'], times['ours']):.1f}x")  # fmt: skip
    print(f"with masks, PSNR and L1: {of_all['everything']:.0f} s, {of_all['everything'] / 2:.0f} s on two cores")


def score_by_skimage(image: np.ndarray, target: np.ndarray, variants: tuple[str, ...]) -> list[float]:
    own_range = int(image.max()) - int(image.min())
    settings = {"released": _GAUSSIAN | {"data_range": own_range}, "255": _GAUSSIAN | {"data_range": 255},
                "default": {"data_range": 255}}  # fmt: skip
    return [structural_similarity(image, target, channel_axis=-1, **settings[name]) for name in variants]


def time_networks(batch: Batch) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for network in NETWORKS:
            observe = network.open(random_weights(network.name, Path(folder)), torch.device("cpu"))
            if network.name == "ssd300":  # untrained, it would find hundreds of boxes of each class
                observe._model.score_thresh = 0.9
            count = 4 if network.seconds > 0.1 else BATCH
            some = Batch(*(tensor[:count] for tensor in (batch.images, batch.targets, batch.masks, batch.joints)))
            times = take_turns({"": lambda judge=observe, some=some: judge(some)}, 0, "cpu")[""]
            print(f"{network.name}: {1000 * min(times) / count:.1f} ms an image; the dry run says "
                  f"{1000 * network.seconds:.1f}", flush=True)  # fmt: skip


def random_weights(name: str, folder: Path) -> Path:
    """A file that the network takes: its speed is that of the published one."""
    from torchvision.models import alexnet, vgg19
    from torchvision.models.detection import ssd300_vgg16

    from augment.retrieval.networks import build_model

    if name == "pose":
        return find_checkpoint("crops").path
    makers = {
        "osnet": lambda: build_model("osnet_x0_25", 1, "softmax", False, torch.device("cpu")),
        "vgg19": lambda: vgg19(weights=None),
        "alexnet": lambda: alexnet(weights=None),
        "ssd300": lambda: ssd300_vgg16(weights=None, weights_backbone=None),
        "inception": random_inception,
    }
    path = folder / f"{name}-caffe.pth"
    torch.save(makers[name]().state_dict(), path)
    return path


def random_inception() -> torch.nn.Module:
    import torch_fidelity.feature_extractor_inceptionv3 as published

    network = published.FeatureExtractorInceptionV3
    with (mock.patch.object(published, "load_state_dict_from_url", lambda *_, **__: {}),
          mock.patch.object(network, "load_state_dict", lambda *_: None)):  # fmt: skip
        return network("random", ["2048", "logits_unbiased"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
