"""The cost of training and running a generator: seconds on two cores of a current server, and bytes on disk."""

import math
import time

import torch

from augment.config import Config, GanConfig
from augment.gan.networks import Discriminator, Generator, build_generator
from augment.gan.skeletons import HUMAN
from augment.stage import Counts

# Seconds for one image of 128x64: constant, by width and by width squared. Half the CPU time measured at widths 0.25
# and 0.5. Training: of one pair in one iteration.
_TRAINING = (0.015, 0.114, 0.232)
_GENERATION = (0.005, 0.034, 0.043)
_MEMORY = (30e6, 100e6)  # bytes for a pair of 128x64 in a batch: constant, by width. 222 MB seen for 4 at width 0.25
_SIZES = {"market1501": (128, 64), "rendered": (128, 64), "deepfashion": (256, 256)}  # before any image is opened


def training_seconds(config: Config) -> float:
    """Of the whole training."""
    return config.gan.iterations * config.gan.batch_size * _scaled(_TRAINING, config)


def generation_seconds(config: Config, width: float | None = None) -> float:
    """Of one image; by a generator of another ``width`` than the run's where one is given."""
    return _scaled(_GENERATION, config, width)


def bf16_gain(config: Config, device: torch.device, seconds: float = 1.0) -> float:
    """Speed-up of the generator's forward and backward passes in bf16 over fp32 on this device.

    Measured for about ``seconds``, alternating, as the ratio of the minima: of processor time, which other processes
    hardly affect; on CUDA of wall time.
    """
    size = image_size(config)
    network = build_generator(config.gan, size).to(device, memory_format=torch.channels_last)
    random = torch.Generator().manual_seed(0)
    source = (torch.rand(config.gan.batch_size, 3, *size, generator=random) * 2 - 1).to(device)
    poses = (torch.rand(2, len(source), len(HUMAN.joints), 2, generator=random) * torch.tensor(size[::-1])).to(device)

    def measured(bf16: bool) -> float:
        start = _clock(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            generated = network(source, *poses)
        network.zero_grad()
        generated.mean().backward()
        return _clock(device) - start

    times: list[tuple[float, float]] = []
    end = time.monotonic() + seconds
    while not times or time.monotonic() < end:
        times.append((measured(False), measured(True)))
    fp32, bf16 = map(min, zip(*times, strict=True))
    return fp32 / bf16


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def _scaled(coefficients: tuple[float, float, float], config: Config, of_width: float | None = None) -> float:
    constant, linear, square = coefficients
    height, width = image_size(config)
    channels = config.gan.width if of_width is None else of_width
    return (constant + linear * channels + square * channels**2) * height * width / (128 * 64)


def image_size(config: Config) -> tuple[int, int]:
    """(H, W) as configured, else of the layout's images."""
    return config.gan.image_size or _SIZES[config.data.layout]


def training_bytes(config: Config) -> float:
    """Weights files hold raw and average; the one state holds both networks, their average and Adam's two moments."""
    generator, discriminator = _network_bytes(config)
    weights = 2 * generator * (_kept_checkpoints(config.gan) + 1)  # one more while it is being written
    return weights + 2 * (4 * generator + 3 * discriminator)  # a state is written before the old one goes


def training_memory(config: Config, counts: Counts) -> float:
    """Bytes at once on the CPU: all images decoded (twice while they are put together), pairs, networks, one batch."""
    height, width = image_size(config)
    generator, discriminator = _network_bytes(config)
    constant, linear = _MEMORY
    batch = config.gan.batch_size * (constant + linear * config.gan.width) * height * width / (128 * 64)
    images = 2 * 3 * height * width * counts.sources
    return images + 32 * counts.train_pairs + 5 * generator + 4 * discriminator + batch


def _network_bytes(config: Config) -> tuple[int, int]:
    """Of the generator's and the discriminator's weights."""
    with torch.device("meta"):
        generator, discriminator = (
            4 * sum(parameter.numel() for parameter in network(config.gan, image_size(config), HUMAN).parameters())
            for network in (Generator, Discriminator)
        )
    return generator, discriminator


def _kept_checkpoints(gan: GanConfig) -> int:
    """Last, best and the kept steps, but no more than are made."""
    return min(gan.keep_checkpoints + 2, max(1, math.ceil(gan.iterations / gan.checkpoint_every)))
