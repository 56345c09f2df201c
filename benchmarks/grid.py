"""How much of a checkerboard the trained generators of some runs draw, and what it costs.

    python benchmarks/grid.py RUN... [--vgg FILE] [--pairs 200]

For each run's last averaged weights, on test pairs: the share of the images' energy near the checkerboard's frequency
(of targets: first line), SSIM (released code's) as drawn and after a 3x3 binomial blur, which removes just that, and
the nearest-neighbour loss on conv1_2 as drawn, without those frequencies, and with them half as strong again.
"""

import argparse
from pathlib import Path

import torch
from torch.nn import functional

from augment.config import GanConfig
from augment.gan.dataset import to_network, to_uint8
from augment.gan.features import build_features
from augment.gan.inference import BatchedGenerator
from augment.gan.losses import nearest_neighbour_loss
from augment.quality.compare import open_runs
from augment.quality.pictures import generated_targets, load_pairs
from augment.quality.ssim import ssim_scores


def near_checkerboard(images: torch.Tensor) -> torch.Tensor:
    """Of (B, 3, H, W) what lies within an eighth of the spectrum's width of its corner, one period in two pixels."""
    height, width = images.shape[2:]
    rows, columns = (torch.fft.fftfreq(size).abs() > 0.5 - 1 / 16 for size in (height, width))
    return torch.fft.ifft2(torch.fft.fft2(images) * (rows[:, None] & columns)).real


def energy(images: torch.Tensor) -> float:
    """Share of the images' variance that is :func:`near_checkerboard`."""
    deviations = images - images.mean((2, 3), keepdim=True)
    return (near_checkerboard(images).square().sum() / deviations.square().sum()).item()


def blurred(images: torch.Tensor) -> torch.Tensor:
    taps = torch.tensor([1.0, 2, 1]) / 4
    kernel = (taps[:, None] * taps).expand(3, 1, 3, 3)
    return functional.conv2d(functional.pad(images, [1] * 4, mode="replicate"), kernel, groups=3)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--vgg", help="file of VGG-19's weights, its name saying what they were trained with")
    parser.add_argument("--pairs", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    runs = open_runs(options.runs)
    features = build_features(GanConfig(vgg_weights=options.vgg, fidelity="released")) if options.vgg else None
    tables = runs[0].run.manifests
    pictures = load_pairs(tables["images"], tables["poses"], runs[0].test_pairs(options.pairs), (128, 64))
    target = to_network(pictures.target.permute(0, 2, 3, 1))
    print(f"{'':16}{'energy':>12}{'SSIM':>8}{'blurred':>9}{'loss':>10}{'without':>10}{'x 1.5':>10}")
    print(f"{'targets':16}{energy(target):12.6f}")
    for run in runs:
        generator = BatchedGenerator.load(run.checkpoints[run.last][0], torch.device("cpu"), size=(128, 64))
        drawn = generated_targets(generator, pictures)
        images = to_network(drawn.permute(0, 2, 3, 1))
        soft = to_uint8(blurred(images)).permute(0, 3, 1, 2).contiguous()
        ssim, after = (ssim_scores(x, pictures.target)["ssim_released"].mean().item() for x in (drawn, soft))
        line = f"{run.name:16}{energy(images):12.6f}{ssim:8.3f}{after:9.3f}"
        if features is not None:
            grid = near_checkerboard(images)
            for change in (0.0, -1.0, 0.5):
                line += f"{loss(features, images + change * grid, target):10.1f}"
        print(line, flush=True)


def loss(features: torch.nn.Module, images: torch.Tensor, targets: torch.Tensor) -> float:
    """Eq. 8, mean over pixels, n = 3."""
    parts = zip(images.split(20), targets.split(20), strict=True)
    found = [nearest_neighbour_loss(features(fake), features(real), 3) * len(fake) for fake, real in parts]
    return (sum(found) / len(images)).item()


if __name__ == "__main__":
    main()
