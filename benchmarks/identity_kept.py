"""Identity kept on Market-1501, with the published key points: what a re-ID network finds by generated images.

    python benchmarks/identity_kept.py OSNET.pt market1501                # published test pairs, the whole gallery
    python benchmarks/identity_kept.py OSNET.pt FILE... --people 150      # the first 150 people of the train part

OSNET.pt: OSNet x0.25, trained on another data set. After it generators: a shipped name, a weights file or a run's
folder. Of the pairs some at equal distances are taken, and each source is generated in its own pose, in that of its
target, and in that of a random image of another person, as synthesis does it. How much of the loss is mere blur shows
beside them: the source, blurred; --moved 0.25 blends a quarter of the source's own pixels in, moved part by part.
Intervals are bootstrapped over people.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

import augment.base.torchvision_cpu  # noqa: F401
from augment.base.devices import pick_device
from augment.base.intervals import ratio_over
from augment.base.progress import progress
from augment.config import DataConfig, PairsConfig, PoseConfig
from augment.data.stage import scan_images
from augment.gan.generators import find_generator
from augment.gan.inference import BatchedGenerator
from augment.gan.kernels.gather import plan_deformation
from augment.gan.regions import deformation
from augment.manifest import Manifest
from augment.pairs.stage import make_pairs
from augment.pose.stage import estimate_poses
from augment.quality.identity import open_embedder, read_gallery, retrieve
from augment.quality.pictures import Pair, PairPictures, choose_pairs, generated_targets, load_pairs
from augment.quality.scores import score_images

ANNOTATIONS = {"train": "market-annotation-train.csv", "gallery": "market-annotation-test.csv"}
SIZE = (128, 64)
BLURS = (1.2, 2.0)
SCORES = ("ssim_released", "mask_ssim_released", "psnr")
_AT_ONCE = 96  # pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("osnet", type=Path)
    parser.add_argument("generators", nargs="+")
    parser.add_argument("--people", type=int, help="the first so many people of the train part, and only they")
    parser.add_argument("--pairs", type=int, default=1500)
    parser.add_argument("--moved", type=float, nargs="*", default=[], help="shares of moved source pixels to blend in")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(options, Path(folder))


def measure(options: argparse.Namespace, folder: Path) -> None:
    from torchvision.transforms.functional import gaussian_blur

    part, pairs_of = ("train", "train") if options.people else ("gallery", "test")
    images = scan_images(DataConfig(train_identities=options.people), folder / "images")
    splits = ("train",) if options.people else ("train", "gallery")
    annotations = {split: ANNOTATIONS[split] for split in splits}
    section = PoseConfig(estimator="annotations", splits=splits, annotations=annotations)
    poses = estimate_poses(section, images, folder / "poses")
    table = make_pairs(PairsConfig(), images, poses, folder / "pairs")
    pairs, _ = choose_pairs(images, poses, table, options.pairs, pairs_of)
    others = poses_of_others(pairs, images, poses, part)
    device = pick_device(options.device)
    embedder = open_embedder(options.osnet, device)
    gallery = read_gallery(images, [part], embedder, SIZE)
    place = {id: index for index, id in enumerate(gallery.ids)}
    copied = gallery.features[[place[source] for source, _ in pairs]]
    people = gallery.pids[[place[source] for source, _ in pairs]]
    print(f"{len(pairs)} pairs of {len(set(people))} people; gallery of {len(gallery.ids)} images")
    real = retrieve(copied, *zip(*pairs, strict=True), gallery)

    def tell(what: str, drawn: list[Pair], images_of: Callable[[PairPictures], torch.Tensor]) -> None:
        features, scores = [], []
        with progress(what, total=len(drawn), unit="pairs") as advance:
            for start in range(0, len(drawn), _AT_ONCE):
                pictures = load_pairs(images, poses, drawn[start : start + _AT_ONCE], SIZE)
                made = images_of(pictures)
                features.append(embedder(made))
                scores.append(score_images(made, pictures, device))
                advance(len(pictures))
        found = retrieve(np.concatenate(features), *zip(*pairs, strict=True), gallery)
        for measure, of_found, of_real in zip(("rank-1", "mAP"), found, real, strict=True):
            kept = ratio_over(people, of_found, of_real)
            print(f"{what}: {measure} of the source {100 * np.nanmean(of_real):.1f}, now "
                  f"{100 * np.nanmean(of_found):.1f}, kept {kept.value:.3f} [{kept.low:.3f}, {kept.high:.3f}]",
                  flush=True)  # fmt: skip

        if drawn is pairs:
            means = {name: np.concatenate([some[name] for some in scores]).mean() for name in SCORES}
            print(f"{what}: " + ", ".join(f"{name} {mean:.3f}" for name, mean in means.items()), flush=True)

    for deviation in BLURS:
        tell(f"the source, blurred by {deviation:g} pixels", pairs,
             partial(lambda deviation, pictures: gaussian_blur(pictures.source, 9, deviation), deviation))  # fmt: skip
    for name in options.generators:
        generator = BatchedGenerator.load(find_generator(name), device, size=SIZE)
        own = [(source, source) for source, _ in pairs]
        for what, drawn in (("its own", own), ("the target's", pairs), ("another person's", others)):
            tell(f"{name}, {what} pose", drawn, partial(generated_targets, generator))
            for share in options.moved:
                tell(f"{name}, {what} pose, {share:g} of it the moved source", drawn,
                     partial(blended, partial(generated_targets, generator), share))  # fmt: skip


def blended(generated: Callable[[PairPictures], torch.Tensor], share: float, pictures: PairPictures) -> torch.Tensor:
    """Generated images, blended with the source's pixels moved part by part, limbs in front, where a part reaches."""
    geometry = deformation(pictures.source_joints, pictures.target_joints, SIZE, fidelity="modern")
    plan = plan_deformation(*geometry, SIZE, [SIZE], fidelity="modern")[SIZE]
    origin = plan.sources[0].clone()
    for pixels, sources in zip(plan.pixels, plan.sources[1:], strict=True):
        origin[pixels] = sources
    shares = torch.full((len(origin), 1), share)
    shares[plan.empty] = 0
    images = generated(pictures).permute(0, 2, 3, 1)
    moved = pictures.source.permute(0, 2, 3, 1).flatten(0, 2)[origin].view_as(images)
    mixed = torch.lerp(images.float(), moved.float(), shares.view(*images.shape[:3], 1))
    return mixed.round().byte().permute(0, 3, 1, 2)


def poses_of_others(pairs: list[Pair], images: Manifest, poses: Manifest, part: str) -> list[Pair]:
    """The same sources, each with a random accepted image of another person of that part."""
    accepted = poses.frame().query("accepted")["id"]
    accepted = accepted[accepted.str.startswith(f"{part}/")].to_numpy()
    pids = images.frame().set_index("id")["pid"]
    random = np.random.default_rng(0)
    return [(source, random.choice(accepted[pids[accepted].to_numpy() != pids[source]])) for source, _ in pairs]


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
