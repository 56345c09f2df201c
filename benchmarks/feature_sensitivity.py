"""What the features of Eq. 7 see of patterns of equal strength: why short trainings of Full leave a grid.

    python benchmarks/feature_sensitivity.py VGG_FILE [IMAGE...]

To every image a pattern of RMS ``--strength`` (images are in [-1, 1]) is added; printed is by how much the features
change, as a share of what white noise of that strength changes. Without images: rendered people.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from augment.base.images import read_image
from augment.config import GanConfig, RenderedConfig
from augment.data.rendered.dataset import plan, render_item
from augment.gan.dataset import to_network
from augment.gan.features import build_features


def patterns(size: tuple[int, int]) -> dict[str, torch.Tensor]:
    """Maps (1, 1, H, W) of RMS 1."""
    height, width = size
    random = torch.Generator().manual_seed(0)
    rows, columns = (-1.0) ** torch.arange(height)[:, None], (-1.0) ** torch.arange(width)
    coarse = torch.randn(1, 1, height // 8, width // 8, generator=random)
    found = {
        "checkerboard, period 2": rows * columns, "rows, period 2": rows.expand(height, width),
        "rows, period 4": torch.cos(torch.arange(height) * torch.pi / 2)[:, None].expand(height, width),
        "smooth": functional.interpolate(coarse, size, mode="bicubic"),
        "white noise": torch.randn(height, width, generator=random),
    }  # fmt: skip
    return {name: values.reshape(1, 1, height, width) / values.square().mean().sqrt() for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vgg", help="file of VGG-19's weights, its name saying what they were trained with")
    parser.add_argument("images", nargs="*", type=Path, help="of one size; none: 32 rendered people")
    parser.add_argument("--strength", type=float, default=0.05)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.images:
        pixels = [read_image(path) for path in options.images]
    else:
        pixels = [render_item(0, item)[0] for item in plan(RenderedConfig())[:32]]
    images = to_network(torch.from_numpy(np.stack(pixels)))
    systems = {
        "conv1_2": GanConfig(vgg_weights=options.vgg, fidelity="released"),
        "conv1_2 and colours": GanConfig(vgg_weights=options.vgg, fidelity="released", features="vgg19+rgb"),
        "conv2_1": GanConfig(vgg_weights=options.vgg, fidelity="released", system="percloss"),
        "raw patches": GanConfig(features="patches"),
    }
    print(f"{len(images)} images, strength {options.strength}\n{'':24}" + "".join(f"{name:>22}" for name in systems))
    changes = {name: _changes(build_features(config), images, options.strength) for name, config in systems.items()}
    for pattern in patterns(images.shape[2:]):
        shares = (change[pattern] / change["white noise"] for change in changes.values())
        print(f"{pattern:24}" + "".join(f"{share:22.2f}" for share in shares))


@torch.no_grad()
def _changes(features: torch.nn.Module, images: torch.Tensor, strength: float) -> dict[str, float]:
    plain = features(images)
    return {
        name: (features(images + strength * pattern) - plain).abs().sum(1).mean().item()
        for name, pattern in patterns(images.shape[2:]).items()
    }


if __name__ == "__main__":
    main()
