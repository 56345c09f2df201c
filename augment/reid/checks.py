"""What would stop the re-ID stage, which comes last, told before the first stage works for hours."""

from pathlib import Path

import pandas as pd

from augment.base.errors import AugmentError, UsageError
from augment.config import ArmConfig, Config, ReidConfig
from augment.data.layouts import JUNK
from augment.data.selection import has_correct_match
from augment.reid.arms import composition, settings_of_arms, uses_synthetic


def check_images(config: Config) -> None:
    """Raise :class:`UsageError` where the other sections do not make the images of an arm."""
    for name, arm in settings_of_arms(config.reid).items():
        if not uses_synthetic(arm):
            continue
        if arm.images == "own_pose" and not config.synthesis.own_pose:
            raise UsageError(f"reid.arms.{name}: images in the source's own pose are not made. Set "
                             "synthesis.own_pose=true.")  # fmt: skip
        if arm.images == "more_real" and config.data.subset.images_per_identity is None:
            raise UsageError(f"reid.arms.{name}: further real images are those that data.subset.images_per_identity "
                             "leaves out. Set it, or leave the arm out.")  # fmt: skip


def check_parts(images: pd.DataFrame, where: Path) -> None:
    """Raise :class:`AugmentError` where re-ID cannot be trained or measured on the images (split, pid, camid).

    ``where`` they are from. Junk does not count.
    """
    images = images[images["pid"] != JUNK]
    train, query, gallery = (images[images["split"] == split] for split in ("train", "query", "gallery"))
    for split, part in (("train", train), ("query", query), ("gallery", gallery)):
        if part.empty:
            raise AugmentError(f"{where}: no usable {split} image. Re-ID needs train, query and gallery.")
    if not has_correct_match(query, gallery):
        raise AugmentError(
            f"{where}: no query has a correct match: the gallery shows no query's person from another camera. "
            "Check that query and gallery have people in common, and that camera numbers differ."
        )
    if (people := train["pid"].nunique()) < 2:
        raise AugmentError(f"{where}: training shows {people} person; re-ID needs at least two.")


def check_people(arm: ArmConfig, section: ReidConfig, people: int) -> None:
    """Raise an error where batches of triplets or pairs cannot be made of so many training people.

    All fields of ``arm`` are set (:func:`augment.reid.arms.settings_of_arms`).
    """
    if arm.loss == "softmax":
        return
    instances = section.instances
    for real, synthetic in sorted({composition(arm, iteration) for iteration in range(arm.iterations)}):
        size = real + synthetic
        if size % instances or size < 2 * instances:
            raise UsageError(
                f"a batch of {size} images cannot hold people with reid.instances={instances} images each: the "
                f"{arm.loss} loss needs a multiple of {instances}, at least {2 * instances}. Change reid.batch_size or "
                "the arm's real, synthetic and alone."
            )
        if instances * synthetic % size:
            raise UsageError(
                f"batches of {real} real and {synthetic} synthetic images with reid.instances={instances} give each "
                f"person a fraction of a synthetic image: with the {arm.loss} loss make synthetic a multiple of "
                f"{size // instances}."
            )
        if arm.label == "positive" and not real:
            raise UsageError("label: positive needs real images in every batch, the anchors.")
        if size // instances > people:
            raise AugmentError(
                f"a batch of {size} images with reid.instances={instances} needs {size // instances} people, training "
                f"has {people}. Lower reid.batch_size to {instances * people} or less."
            )


def check_all(images: pd.DataFrame, where: Path, section: ReidConfig) -> None:
    """Raise what the stage would on these images, as :func:`check_parts` and :func:`check_people` do."""
    try:
        check_parts(images, where)
    except AugmentError as error:
        raise AugmentError(f"{error} For synthetic images alone: augment synthesize.") from None
    people = images.loc[(images["split"] == "train") & (images["pid"] != JUNK), "pid"].nunique()
    for arm in settings_of_arms(section).values():
        check_people(arm, section, people)
