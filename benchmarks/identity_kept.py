"""Identity kept on Market-1501, with the published key points: what a re-ID network finds by generated images.

    python benchmarks/identity_kept.py market1501 OSNET.pt                # published test pairs, the whole gallery
    python benchmarks/identity_kept.py FILE OSNET.pt --people 150         # the first 150 people of the train part

GENERATOR: a shipped name, a weights file or a run's folder. OSNET.pt: OSNet x0.25, trained on another data
set. The pairs lie at equal distances in their list. Intervals are bootstrapped over pairs.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from augment.base.devices import pick_device
from augment.base.progress import progress
from augment.config import DataConfig, PairsConfig, PoseConfig
from augment.data.stage import scan_images
from augment.gan.checkpoints import read_header
from augment.gan.generators import find_generator
from augment.gan.inference import BatchedGenerator
from augment.pairs.stage import make_pairs
from augment.pose.stage import estimate_poses
from augment.quality.identity import Embedder, look_for, read_gallery
from augment.quality.pictures import choose_pairs, generated_targets, load_pairs

ANNOTATIONS = {"train": "market-annotation-train.csv", "gallery": "market-annotation-test.csv"}
_AT_ONCE = 96  # pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("generator")
    parser.add_argument("osnet", type=Path)
    parser.add_argument("--people", type=int, help="the first so many people of the train part, and only they")
    parser.add_argument("--pairs", type=int, default=3000)
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(asked, Path(folder))


def measure(asked: argparse.Namespace, folder: Path) -> None:
    part, split = ("train", "train") if asked.people else ("gallery", "test")
    images = scan_images(DataConfig(train_identities=asked.people), folder / "images")
    section = PoseConfig(estimator="annotations", splits=(part,), annotations={part: ANNOTATIONS[part]})
    poses = estimate_poses(section, images, folder / "poses")
    pairs = make_pairs(PairsConfig(), images, poses, folder / "pairs")
    chosen, _ = choose_pairs(images, poses, pairs, asked.pairs, split)
    weights, device = find_generator(asked.generator), pick_device(asked.device)
    size = tuple(read_header(weights)["image_size"])
    generator, embedder = BatchedGenerator.load(weights, device), Embedder(asked.osnet, device)
    generated, copied = [], []
    with progress("pairs", total=len(chosen), unit="pairs") as advance:
        for start in range(0, len(chosen), _AT_ONCE):
            pictures = load_pairs(images, poses, chosen[start : start + _AT_ONCE], size)
            generated.append(embedder(generated_targets(generator, pictures)))
            copied.append(embedder(pictures.source))
            advance(len(pictures))
    gallery = read_gallery(images, part, embedder, size)
    sources = images.frame().set_index("id").loc[[source for source, _ in chosen]]
    print(f"{len(chosen)} pairs of {sources['pid'].nunique()} people; gallery of {len(gallery.pids)} images")
    ours, real = (look_for(np.concatenate(features), sources, gallery) for features in (generated, copied))
    for name, of_ours, of_real in zip(("rank-1", "mAP"), ours, real, strict=True):
        one, other = 100 * np.nanmean(of_ours), 100 * np.nanmean(of_real)
        low, high = np.percentile(resampled_ratios(of_ours, of_real), [2.5, 97.5])
        print(f"{name}: source {other:.1f}, generated {one:.1f}: kept {one / other:.3f} [{low:.3f}, {high:.3f}]")


def resampled_ratios(ours: np.ndarray, real: np.ndarray, times: int = 1000) -> np.ndarray:
    """Ratio of means over pairs that were drawn with replacement."""
    random = np.random.default_rng(0)
    drawn = [random.integers(0, len(ours), len(ours)) for _ in range(times)]
    return np.array([np.nanmean(ours[index]) / np.nanmean(real[index]) for index in drawn])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
