"""Perceptual metrics: features of VGG-19 for a Fréchet distance, and LPIPS with AlexNet."""

from pathlib import Path

import torch

import augment.base.torchvision_cpu  # noqa: F401
from augment.base.errors import AugmentError, UsageError
from augment.base.images import IMAGENET_DEVIATION, IMAGENET_MEAN
from augment.base.weights import read_weights
from augment.gan.features import CAFFE_MEAN, known_preprocessing
from augment.quality.observations import Batch, Observations
from augment.quality.weights import fill

_UP_TO_CONV3_1 = [64, 64, "M", 128, 128, "M", 256]  # channels; M: max pooling


class VGGFeatures:
    """VGG-19 up to conv3_1 and its ReLU, averaged over the image. Observes "vgg19" (B, 256)."""

    def __init__(self, weights: Path, device: torch.device) -> None:
        """The file's hash or name shows whether the weights are Caffe's or torchvision's, as for ``gan.vgg_weights``.

        Raises :class:`AugmentError` where the file holds no such weights.
        """
        from torchvision.models.vgg import make_layers

        key = "quality.vgg_weights"
        layers = make_layers(_UP_TO_CONV3_1)
        state = {name.removeprefix("features."): tensor for name, tensor in read_weights(weights, key).items()}
        self._layers = fill(layers, {name: state[name] for name in layers.state_dict() if name in state}, weights, key)
        self._layers.to(device)
        try:
            caffe = known_preprocessing(str(weights), "auto") == "caffe"
        except UsageError:
            raise UsageError(f"{key}: {weights}: is it Caffe's training or torchvision's? They expect other pixels. "
                             "Caffe's need 'caffe' in the file's name.") from None  # fmt: skip
        mean = CAFFE_MEAN if caffe else [255 * value for value in IMAGENET_MEAN]
        deviation = (1.0, 1.0, 1.0) if caffe else [255 * value for value in IMAGENET_DEVIATION]
        self._mean, self._deviation = torch.tensor([mean, deviation], device=device)[..., None, None]

    @torch.inference_mode()
    def __call__(self, batch: Batch) -> Observations:
        """See the class."""
        maps = self._layers((batch.images.float() - self._mean) / self._deviation)
        return {"vgg19": maps.mean(dim=(2, 3)).cpu().numpy()}


class Lpips:
    """LPIPS with AlexNet (Zhang et al., CVPR 2018). Observes "lpips" and "mask_lpips" (B,).

    Images go in as they are, not enlarged. AlexNet comes from the file, the linear layers from torchmetrics.
    """

    def __init__(self, weights: Path, device: torch.device) -> None:
        """Raises :class:`AugmentError` where the file holds no such weights."""
        from torchmetrics.functional.image.lpips import _NoTrainLpips

        key = "quality.lpips_weights"
        state = read_weights(weights, key)
        network = _NoTrainLpips(net="alex", pnet_rand=True)  # its layers are slice1.0, ... for torchvision's features.0
        names = {name: "features." + name.partition(".")[2] for name in network.net.state_dict()}
        lacking = [name for name in names.values() if name not in state]
        if lacking:
            raise AugmentError(f"{key}={weights}: not torchvision's AlexNet: it has no {lacking[0]}.")
        fill(network.net, {name: state[there] for name, there in names.items()}, weights, key)
        self._network = network.eval().to(device)

    @torch.inference_mode()
    def __call__(self, batch: Batch) -> Observations:
        """See the class."""
        whole = self._network(batch.images / 127.5 - 1, batch.targets / 127.5 - 1)
        masked = self._network(*(images * batch.masks / 127.5 - 1 for images in (batch.images, batch.targets)))
        return {"lpips": whole.flatten().cpu().numpy(), "mask_lpips": masked.flatten().cpu().numpy()}
