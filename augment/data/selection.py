"""Which of a data set's people and images are used, and as what."""

import numpy as np
import pandas as pd

from augment.base.errors import UsageError
from augment.config import DataConfig, SubsetConfig
from augment.data.layouts import Found

LEFT_OUT = "left_out"  # split of the training people's images that a subset does without


def select(found: list[Found], section: DataConfig) -> list[Found]:
    """The people and images that the section selects.

    A limited split has no junk, distractors or misnamed files. Query and gallery are limited together. Raises
    :class:`UsageError` where nobody would be left to train on.
    """
    people = len({image.name.pid for image in found if image.split == "train" and image.name.pid > 0})
    taken = {key: count for key in ("validation_identities", "skip_identities") if (count := getattr(section, key))}
    if taken and 0 < people <= sum(taken.values()):
        asked = " and ".join(f"data.{key} is {count}" for key, count in taken.items())
        raise UsageError(f"{asked}, but the training set has {people} people: nobody would be left to train on.")
    if section.validation_identities:
        found = hold_out(found, section.validation_identities)
    limits = (
        (("train",), section.skip_identities, section.train_identities),
        (("query", "gallery"), 0, section.test_identities),
    )
    for splits, skipped, count in limits:
        if skipped or count is not None:
            pids = sorted({image.name.pid for image in found if image.split in splits and image.name.pid > 0})
            kept = set(pids[skipped:][:count])
            found = [image for image in found if image.split not in splits or image.name.pid in kept]
    return sample_subset(found, section.subset)


def hold_out(found: list[Found], count: int) -> list[Found]:
    """The last ``count`` training people as query and gallery, in place of the official ones.

    As in Market-1501 a person has one query per camera, here the first by name; the others are the gallery. Where no
    camera has a second image of anyone, a person has one query, and its other images are the gallery.
    """
    people = sorted({image.name.pid for image in found if image.split == "train" and image.name.pid > 0})
    held = set(people[-count:])
    found = sorted((image for image in found if image.split == "train"), key=lambda image: image.id)
    queried: set[tuple[int, int]] = set()
    images = []
    for image in found:
        if image.name.pid in held:
            person_and_camera = image.name.pid, image.name.camid
            split = "gallery" if person_and_camera in queried else "query"
            queried.add(person_and_camera)
            image = image._replace(split=split)
        images.append(image)
    if not any(image.split == "gallery" for image in images):  # one image a camera: that of the first is the query
        first = {image.name.pid: image.id for image in reversed(images)}
        images = [image._replace(split="gallery") if image.split == "query" and first[image.name.pid] != image.id
                  else image for image in images]  # fmt: skip
    return images


def sample_subset(found: list[Found], subset: SubsetConfig) -> list[Found]:
    """A random sample of training people and of images of each; their other images get the split "left_out".

    Samples of the same seed are nested: more identities, or more images of each, only add to a smaller one.
    """
    if subset.identities is None and subset.images_per_identity is None:
        return found
    of_person: dict[int, list[str]] = {}
    for image in found:
        if image.split == "train" and image.name.pid > 0:
            of_person.setdefault(image.name.pid, []).append(image.id)
    people = np.random.default_rng([subset.seed, 0]).permutation(sorted(of_person))[: subset.identities].tolist()
    chosen: set[str] = set()
    for pid in people:
        ids = np.random.default_rng([subset.seed, 1, pid]).permutation(sorted(of_person[pid]))
        chosen.update(ids[: subset.images_per_identity].tolist())
    pids = set(people)
    return [
        image if image.split != "train" or image.id in chosen else image._replace(split=LEFT_OUT)
        for image in found
        if image.split != "train" or image.name.pid in pids
    ]


def has_correct_match(query: pd.DataFrame, gallery: pd.DataFrame) -> bool:
    """Whether any query's person (columns pid, camid) is in the gallery from another camera."""
    both = query[["pid", "camid"]].merge(gallery[["pid", "camid"]].drop_duplicates(), on="pid")
    return bool((both["camid_x"] != both["camid_y"]).any())
