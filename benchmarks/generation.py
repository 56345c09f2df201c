"""One generated image against the plain form of the same network, then bulk generation with JPEG writing.

    python benchmarks/generation.py [--width 1.0] [--batch 16] [--rounds 3]

Times as in training_step.py: processor seconds on one thread, in turns, the least of each.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from plain_gan import PlainGenerator, plain_layers
from torch.utils.flop_counter import FlopCounterMode
from training_step import made_up_data, matrix_rate, plain_batch, seconds

from augment.base.images import encode_jpeg
from augment.config import GanConfig
from augment.gan.dataset import to_uint8
from augment.gan.networks import build_generator
from augment.gan.skeletons import HUMAN


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    config = GanConfig(fidelity="released", width=options.width)
    data = made_up_data(device)
    ours = build_generator(config).eval().to(device, memory_format=torch.channels_last)
    batch = data.batch(data.train[: options.batch])

    def draw() -> torch.Tensor:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16"):
            return ours(batch.source, batch.source_joints, batch.target_joints)

    def draw_and_write() -> None:
        with tempfile.TemporaryDirectory() as folder:
            for number, image in enumerate(to_uint8(draw()).cpu().numpy()):
                (Path(folder) / f"{number}.jpg").write_bytes(encode_jpeg(image))

    times: dict[str, list[float]] = {"plain": [], "ours": [], "ours, written as JPEG": []}
    plain = None
    with FlopCounterMode(display=False) as counter:
        drawn = draw()
    if device.type == "cpu":
        plain = PlainGenerator(config, data.image_size, HUMAN).eval()
        plain_layers(plain)
        plain.load_state_dict(ours.state_dict())
        one_by_one = plain_batch(data, torch.arange(options.batch).numpy())

        def draw_plain() -> torch.Tensor:
            """Without batches, as one would at first."""
            with torch.no_grad():
                return torch.cat([plain(*(part[n : n + 1] for part in (one_by_one.source, one_by_one.source_joints,
                                        one_by_one.target_joints))) for n in range(options.batch)])  # fmt: skip

        difference = (draw_plain() - drawn).abs().max()
        print(f"largest difference between the two's images: {difference:.1e}")
    for _ in range(options.rounds):
        if plain is not None:
            times["plain"].append(seconds(draw_plain, device))
        times["ours"].append(seconds(draw, device))
        times["ours, written as JPEG"].append(seconds(draw_and_write, device))
    rate = matrix_rate(device)
    base = min(times["plain"] or times["ours"])
    print(f"{'':24}{'ms/image':>12}{'images/s':>12}{'ratio':>9}")
    for name, taken in times.items():
        if taken:
            print(f"{name:24}{min(taken) / options.batch * 1e3:12.1f}{options.batch / min(taken):12.1f}"
                  f"{base / min(taken):9.2f}")  # fmt: skip
    limit = counter.get_total_flops() / rate
    print(f"{'limit: products alone':24}{limit / options.batch * 1e3:12.1f}{options.batch / limit:12.1f}")
    per_image = counter.get_total_flops() / options.batch
    print(f"\n{per_image / 1e9:.2f} GFLOP an image, {rate / 1e9:.1f} GFLOP/s measured on "
          f"products of 1024x1024: ours reaches {limit / min(times['ours']):.0%} of the limit.")  # fmt: skip


if __name__ == "__main__":
    main()
