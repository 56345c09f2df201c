"""g of Eq. 7: what image patches are compared by. VGG-19's conv1_2 (Full), its conv2_1 (PercLoss), or raw patches."""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from augment.base.downloads import cached_file, download
from augment.base.errors import AugmentError, UsageError
from augment.base.files import sha256_file
from augment.base.images import IMAGENET_DEVIATION, IMAGENET_MEAN
from augment.base.weights import read_weights
from augment.config import GanConfig
from augment.gan.fidelity import preset

Layer = Literal["conv1_2", "conv2_1"]
Preprocessing = Literal["caffe", "caffe-swapped", "torchvision"]

CAFFE_MEAN = (123.68, 116.779, 103.939)  # of R, G, B in 0..255; no deviation

# Channels of the layers up to each of the two, under torchvision's names for their weights; None is a max pooling.
_LAYERS: dict[Layer, tuple[tuple[str, int] | None, ...]] = {
    "conv1_2": (("features.0", 64), ("features.2", 64)),
    "conv2_1": (("features.0", 64), ("features.2", 64), None, ("features.5", 128)),
}
TORCHVISION_HASH = "dcbb9e9d"  # how the SHA-256 of the file begins
TORCHVISION_URL = f"https://download.pytorch.org/models/vgg19-{TORCHVISION_HASH}.pth"
VGG19_BYTES = 574_673_361

# Measured between 65 Market-1501 images of different people: the mean L1 distance of conv1_2 vectors (Caffe weights) is
# 6,508, that of 75 raw pixel values in [-1, 1] is 33.6. Times this, patches give losses of that size: one λ for both.
PATCH_SCALE = 190.0

# The same for a pixel's own three values, of which a patch has 25.
COLOUR_SCALE = 25 * PATCH_SCALE

# Mean absolute difference of the two probe() images' features under Caffe's weights.
CAFFE_PROBE: dict[Layer, float] = {"conv1_2": 126.58, "conv2_1": 156.73}


def needs_vgg19(config: GanConfig) -> bool:
    """Whether a training of this section reads VGG-19's weights."""
    return config.iterations > 0 and config.system not in ("baseline", "dsc") and config.features != "patches"


def vgg19_to_fetch(config: GanConfig) -> Path | None:
    """Where the file of :data:`VGG19_BYTES` will lie that a training downloads first; None where it needs none."""
    place = cached_file(TORCHVISION_URL)
    return place if needs_vgg19(config) and config.vgg_weights is None and not place.is_file() else None


def check_features(config: GanConfig) -> None:
    """Raise :class:`UsageError` where the settings of the features contradict each other, or leave a question."""
    if not needs_vgg19(config):
        return
    if config.features == "vgg19+rgb" and config.system == "percloss":
        raise UsageError("gan.features=vgg19+rgb: colours go with conv1_2, features of the image's size. "
                         "Set gan.system=full, or gan.features=vgg19.")  # fmt: skip
    known_preprocessing(config.vgg_weights, config.vgg_preprocessing)


def build_features(config: GanConfig) -> nn.Module | None:
    """The frozen feature extractor of a system, or None where images are compared as they are (Baseline, DSC).

    It maps images (B, 3, H, W) in [-1, 1] to (B, C, h, w). Raises as :func:`check_features`, and :class:`AugmentError`
    when weights are not available.
    """
    if config.system in ("baseline", "dsc"):
        return None
    if config.features == "patches":
        return PatchFeatures()
    layer: Layer = "conv2_1" if config.system == "percloss" else "conv1_2"
    weights = load_vgg19(config.vgg_weights)
    check_features(config)
    preprocessing = known_preprocessing(config.vgg_weights, config.vgg_preprocessing)
    if preprocessing == "caffe" and preset(config.fidelity).swapped_channel_means:
        preprocessing = "caffe-swapped"
    network = VGGFeatures(layer, weights, preprocessing)
    return WithColours(network) if config.features == "vgg19+rgb" else network


class VGGFeatures(nn.Module):
    """VGG-19 up to a layer and its ReLU: conv1_2 at the image's resolution, conv2_1 at half of it. Frozen.

    ``preprocessing`` is what the weights were trained with. ``caffe-swapped`` subtracts blue's mean from red and red's
    from blue, as the released code does.
    """

    def __init__(self, layer: Layer, weights: dict[str, Tensor], preprocessing: Preprocessing) -> None:
        super().__init__()
        mean, deviation = {
            "caffe": (CAFFE_MEAN, (1.0, 1.0, 1.0)),
            "caffe-swapped": (CAFFE_MEAN[::-1], (1.0, 1.0, 1.0)),
            "torchvision": ([255 * m for m in IMAGENET_MEAN], [255 * d for d in IMAGENET_DEVIATION]),
        }[preprocessing]
        # 127.5 (x + 1) is the pixel's value in 0..255; (value - mean) / deviation then takes one product and one sum.
        self.register_buffer("scale", 127.5 / torch.tensor(deviation).view(1, 3, 1, 1))
        self.register_buffer("shift", ((127.5 - torch.tensor(mean)) / torch.tensor(deviation)).view(1, 3, 1, 1))
        modules: list[nn.Module] = []
        channels = 3
        for step in _LAYERS[layer]:
            if step is None:
                modules.append(nn.MaxPool2d(2))
                continue
            name, width = step
            convolution = nn.Conv2d(channels, width, 3, padding=1)
            try:
                convolution.load_state_dict({key: weights[f"{name}.{key}"] for key in ("weight", "bias")})
            except (KeyError, RuntimeError) as error:
                raise AugmentError(
                    f"VGG-19 weights: {name}.weight and .bias must be there with {width} channels ({error}). "
                    "Give a file with torchvision's names in gan.vgg_weights."
                ) from None
            modules += [convolution, nn.ReLU(inplace=True)]
            channels = width
        self.layers = nn.Sequential(*modules)
        self.requires_grad_(False).eval()
        self.to(memory_format=torch.channels_last)  # the layout that the loss reads
        if preprocessing == "torchvision":
            self._match_caffe(layer)

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, 64, H, W) or (B, 128, H/2, W/2) of images (B, 3, H, W) in [-1, 1]."""
        return self.layers(images * self.scale + self.shift)

    def _match_caffe(self, layer: Layer) -> None:
        """Scale the last layer so that features differ as much as Caffe's, which λ = 0.01 was chosen for."""
        first, second = self(probe()).unbind(0)
        gain = CAFFE_PROBE[layer] / (first - second).abs().mean()
        last = self.layers[-2]
        last.weight.mul_(gain)
        last.bias.mul_(gain)

    def train(self, mode: bool = True) -> "VGGFeatures":
        """Stay in evaluation mode, whatever ``mode`` is."""
        return super().train(False)


class WithColours(nn.Module):
    """Features of the image's size, and the pixels' colours as three more channels that differ as much.

    conv1_2 hardly responds to a pattern that alternates from pixel to pixel (docs/fidelity.md), which transposed
    convolutions are prone to: only the discriminator then removes it, and that takes many iterations.
    """

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features

    def forward(self, images: Tensor) -> Tensor:
        """(B, C + 3, H, W) of images (B, 3, H, W) in [-1, 1]."""
        features = self.features(images).float()  # bf16 under autocast; colours keep their precision
        return torch.cat([features, images * COLOUR_SCALE], 1)


class PatchFeatures(nn.Module):
    """The pixels of the 5x5 patch around each pixel, 75 numbers: conv1_2's field of view without any weights."""

    size = 5

    def forward(self, images: Tensor) -> Tensor:
        """(B, 75, H, W) of images (B, 3, H, W) in [-1, 1]; at the border the outermost pixels repeat."""
        margin = self.size // 2
        padded = functional.pad(images, [margin] * 4, mode="replicate")
        patches = functional.unfold(padded, self.size) * PATCH_SCALE
        return patches.view(len(images), -1, *images.shape[2:])


def probe() -> Tensor:
    """Two fixed images (2, 3, 128, 64) of smooth random colours, to measure the magnitude of features with."""
    coarse = torch.rand(2, 3, 16, 8, generator=torch.Generator().manual_seed(0))
    return functional.interpolate(coarse, (128, 64), mode="bilinear", align_corners=False) * 2 - 1


def known_preprocessing(path: str | None, stated: Literal["auto", "caffe", "torchvision"]) -> Preprocessing:
    """What a file of weights was trained with: as stated, else by torchvision's hash or by the file's name."""
    if stated != "auto":
        return stated
    if path is None or sha256_file(Path(path)).startswith(TORCHVISION_HASH):
        return "torchvision"
    if "caffe" in Path(path).name.lower():
        return "caffe"
    raise UsageError(
        f"gan.vgg_weights={path}: is it Caffe's training of VGG-19 or torchvision's? They expect different pixels. "
        "Set gan.vgg_preprocessing to caffe or torchvision."
    )


def load_vgg19(path: str | None) -> dict[str, Tensor]:
    """The weights in a file, or torchvision's, downloaded once. Raises :class:`AugmentError` with the remedy."""
    otherwise = "or set gan.features=patches, which needs no weights"
    file = path or download(TORCHVISION_URL, "VGG-19's weights", f"name a file with gan.vgg_weights, {otherwise}")
    return read_weights(file, "gan.vgg_weights", f"Name a file of VGG-19's weights, {otherwise}.")


def features_digest(section: GanConfig) -> str | None:
    """What identifies the feature network by content; None where none is used.

    Raises :class:`AugmentError` where its file cannot be read.
    """
    if section.system in ("baseline", "dsc") or section.features == "patches":
        return None
    if section.vgg_weights is None:
        return TORCHVISION_URL
    try:
        return sha256_file(Path(section.vgg_weights))
    except OSError as error:
        raise AugmentError(
            f"gan.vgg_weights={section.vgg_weights}: cannot be read ({error.strerror}). Name a file with VGG-19's "
            "weights, or set gan.features=patches, which needs none."
        ) from None
