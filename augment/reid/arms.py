"""The arms of the comparison: the composition of their batches over the training, and the ready-made arms by name.

Every use of synthetic images needs two controls: ``real`` trains on as many images (equal computing),
``real_equal_exposures`` on as many real images per batch (equal exposures).
"""

import difflib

from augment.base.errors import UsageError
from augment.config import ArmConfig, ReidConfig

UNTIL = 0.6  # weak images help at first and harm at the end


def ready_made(batch_size: int, iterations: int) -> dict[str, ArmConfig]:
    """The ready-made arms, for batches of ``batch_size`` images and trainings of ``iterations``."""
    half, part = batch_size // 2, max(1, round(batch_size / 11))
    first = ArmConfig(real=batch_size - half, synthetic=half, until=UNTIL)

    def instead(images: str) -> ArmConfig:
        return first.model_copy(update={"images": images})

    return {
        "real": ArmConfig(real=batch_size),
        "real_equal_exposures": ArmConfig(real=batch_size - half),
        "augmented": first,  # synthetic images first, real ones alone at the end
        "mixed": first.model_copy(update={"until": 1.0}),  # synthetic images to the end
        "longer": first.model_copy(update={"until": 1.0, "iterations": 2 * iterations}),  # the paper's, with IDE
        "union": ArmConfig(real=part, synthetic=batch_size - part),  # App. C: T and ten images for each as one set
        "pretrained": ArmConfig(real=0, synthetic=batch_size, until=UNTIL),  # synthetic ones only, then real ones only
        "synthetic_only": ArmConfig(real=0, synthetic=batch_size),
        "own_pose": instead("own_pose"),  # is it the generator or the new pose that helps?
        "copied": instead("copied"),  # or any blurred, shifted picture?
        "classic": ArmConfig(
            real=batch_size, transforms=("random_flip", "random_crop", "color_jitter", "random_erase")
        ),
        "shuffled": instead("shuffled"),  # must hurt
        "more_real": instead("more_real"),  # the ceiling
    }


def settings_of_arms(section: ReidConfig) -> dict[str, ArmConfig]:
    """Every arm of the section with all fields set, those of further lengths (:func:`at_length`) after the others.

    Raises :class:`UsageError` where a batch would be too small, or a name without settings is unknown.
    """
    _check_names(section)
    found = {}
    for length in (section.iterations, *section.lengths):
        known, of_length = ready_made(section.batch_size, length), section.model_copy(update={"iterations": length})
        for name, arm in section.arms.items():
            settled = _settled(name, arm, known.get(name, ArmConfig()), of_length)
            found.setdefault(at_length(section, name, length), settled)
    return found


def at_length(section: ReidConfig, name: str, length: int) -> str:
    """The name of an arm trained for one of ``reid.lengths``: ``augmented_500``.

    At ``reid.iterations`` it is the arm's own, as it is of an arm that sets its iterations.
    """
    own = length == section.iterations or section.arms[name].iterations is not None
    return name if own else f"{name}_{length}"


def _check_names(section: ReidConfig) -> None:
    known = ready_made(section.batch_size, section.iterations)
    first, *others = section.arms
    for name in others:
        if name not in known and section.arms[name] == ArmConfig(against=section.arms[name].against):
            near = difflib.get_close_matches(name, known, 1)
            hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(known)}."
            raise UsageError(f"reid.arms: {name} is no ready-made arm, and without settings it would train as {first}. "
                             f"{hint} Or give it settings, like {{real: 16, synthetic: 16}}.")  # fmt: skip
    for length in section.lengths:
        for name in section.arms:
            other = at_length(section, name, length)
            if other != name and other in section.arms:
                raise UsageError(f"reid.arms: {other} is also the name of {name} at {length} iterations "
                                 "(reid.lengths). Rename it.")  # fmt: skip


def _settled(name: str, arm: ArmConfig, ready: ArmConfig, section: ReidConfig) -> ArmConfig:
    values = {
        "real": section.batch_size, "synthetic": 0, "images": "synthetic", "start": 0.0, "until": 1.0,
        "poses": "any", "label": "smooth", "weight": 1.0, "own_pass": False, "loss": section.loss,
        "transforms": section.transforms, "iterations": section.iterations,
    }  # fmt: skip
    values |= ready.model_dump(exclude_none=True) | arm.model_dump(exclude_none=True)
    size = values["real"] + values["synthetic"]
    values.setdefault("alone", max(size, 2))
    if size < 2:
        raise UsageError(f"reid.arms.{name}: a batch of {size} images is too small; real and synthetic must be at "
                         "least 2 together.")  # fmt: skip
    if values["own_pass"] and values["synthetic"] and min(values["real"], values["synthetic"]) < 2:
        raise UsageError(f"reid.arms.{name}: own_pass needs at least 2 real and 2 synthetic images a batch, since a "
                         "batch norm cannot learn from one.")  # fmt: skip
    if values["loss"] != "softmax" and (values["own_pass"] or values["weight"] != 1 or values["label"] == "own"):
        raise UsageError(f"reid.arms.{name}: own_pass, weight and label: own are for the softmax loss only.")
    if values["label"] == "positive" and values["loss"] != "triplet":
        raise UsageError(f"reid.arms.{name}: label: positive is for the triplet loss.")
    if values["poses"] != "any" and values["images"] not in ("synthetic", "shuffled"):
        raise UsageError(f"reid.arms.{name}: poses select among images in new poses, not among {values['images']}.")
    return ArmConfig(**values)


def references(section: ReidConfig) -> dict[str, str]:
    """Each arm but the first -> the arm that it is compared with; at a further length, the one of the same length."""
    first, *others = section.arms
    found = {}
    for length in (section.iterations, *section.lengths):
        for name in others:
            other = at_length(section, section.arms[name].against or first, length)
            found.setdefault(at_length(section, name, length), other)
    return found


def teacher_of(section: ReidConfig, arm: ArmConfig) -> ArmConfig:
    """The arm that trains the teacher of ``arm``: real images alone, with the same loss, for as long."""
    teacher = ArmConfig(real=section.batch_size, loss=arm.loss, iterations=arm.iterations)
    return _settled("teacher", teacher, ArmConfig(), section)


def composition(arm: ArmConfig, iteration: int) -> tuple[int, int]:
    """The numbers of real and synthetic images in the batch of an iteration; all fields of ``arm`` are set."""
    if arm.synthetic == 0:
        return arm.real, 0
    if arm.start * arm.iterations <= iteration < arm.until * arm.iterations:
        return arm.real, arm.synthetic
    return arm.alone, 0


def uses_synthetic(arm: ArmConfig) -> bool:
    """Whether any batch has synthetic images."""
    return arm.synthetic > 0 and arm.until > arm.start
