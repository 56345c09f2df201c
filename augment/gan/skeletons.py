"""Which joints there are, which of them make a rigid part, and which parts are twins (Sec. 3.1).

The paper's only knowledge of people is this table: "similar regions can be easily defined using the joints of other
articulated objects". :data:`HUMAN` is the paper's; another animal is another :class:`Skeleton`.
"""

from dataclasses import dataclass
from typing import Literal

from augment.base.errors import UsageError
from augment.pose.skeleton import INDEX, JOINTS

MINIMUM_CORE, MAXIMUM_CORE = 3, 4  # an affine map needs three points; a region has four corners


@dataclass(frozen=True)
class Region:
    """A rigid part of the body.

    rule ``core``: the trunk, three or four joints in order around it; its mask is the whole image, so that the
    background travels with it. ``cluster``: an upright box around some joints (a head). ``limb``: two joints, from the
    trunk outwards, and a rotated rectangle along the line between them.
    """

    name: str
    rule: Literal["core", "cluster", "limb"]
    joints: tuple[int, ...]
    anchors: tuple[int, ...] = ()  # cluster: joints of the trunk that fix its transform when few of its own are seen
    outer: bool = False  # limb: nothing joins on to its far end, so its rectangle reaches beyond (hand, foot)
    twin: str | None = None  # the mirror-image limb whose texture is used where this limb is not seen (App. B)


@dataclass(frozen=True)
class Skeleton:
    """Joints, rigid parts, and the lines across the trunk that define the body's scale.

    Raises :class:`UsageError` that names the region and the problem.
    """

    joints: tuple[str, ...]
    regions: tuple[Region, ...]
    sides: tuple[tuple[int, int], ...]  # released code: the scale is the root mean square of these lengths
    diagonals: tuple[tuple[int, int], ...]  # paper: the mean of these

    def __post_init__(self) -> None:
        names = [region.name for region in self.regions]
        limbs = {region.name for region in self.regions if region.rule == "limb"}
        if len(set(names)) != len(names):
            raise UsageError(f"skeleton: two regions have the same name among {', '.join(names)}.")
        if not self.sides or not self.diagonals:
            raise UsageError("skeleton: give at least one side and one diagonal of the trunk; they set the scale.")
        used = [j for region in self.regions for j in region.joints + region.anchors]
        used += [j for pair in self.sides + self.diagonals for j in pair]
        if wrong := [j for j in used if not 0 <= j < len(self.joints)]:
            raise UsageError(f"skeleton: joint {wrong[0]} does not exist, there are {len(self.joints)} joints.")
        for region in self.regions:
            count = len(region.joints)
            if region.rule == "limb" and count != 2:
                raise UsageError(f"skeleton: limb {region.name} has {count} joints, a limb has 2.")
            if region.rule == "core" and not MINIMUM_CORE <= count <= MAXIMUM_CORE:
                raise UsageError(f"skeleton: core {region.name} has {count} joints, a core has 3 or 4.")
            if region.rule == "cluster" and not count:
                raise UsageError(f"skeleton: cluster {region.name} has no joints.")
            if region.twin is not None and (region.name not in limbs or region.twin not in limbs):
                raise UsageError(f"skeleton: {region.name} and its twin {region.twin} must both be limbs.")

    def twins(self) -> tuple[int, ...]:
        """For every region the index of its twin; its own index where it has none."""
        where = {region.name: index for index, region in enumerate(self.regions)}
        return tuple(where[region.twin or region.name] for region in self.regions)


def _joints(*names: str) -> tuple[int, ...]:
    return tuple(INDEX[name] for name in names)


def _limb_pair(name: str, start: str, end: str, outer: bool) -> tuple[Region, Region]:
    right, left = (
        Region(
            f"{side}_{name}", "limb", _joints(f"{side}_{start}", f"{side}_{end}"), outer=outer, twin=f"{other}_{name}"
        )
        for side, other in (("right", "left"), ("left", "right"))
    )
    return right, left


HUMAN = Skeleton(
    joints=JOINTS,
    regions=(
        Region("torso", "core", _joints("right_hip", "left_hip", "left_shoulder", "right_shoulder")),
        Region(
            "head",
            "cluster",
            _joints("nose", "right_eye", "left_eye", "right_ear", "left_ear"),
            anchors=_joints("right_shoulder", "left_shoulder"),
        ),
        *_limb_pair("thigh", "hip", "knee", outer=False),
        *_limb_pair("shank", "knee", "ankle", outer=True),
        *_limb_pair("upper_arm", "shoulder", "elbow", outer=False),
        *_limb_pair("forearm", "elbow", "wrist", outer=True),
    ),
    sides=(_joints("right_hip", "right_shoulder"), _joints("left_hip", "left_shoulder")),
    diagonals=(_joints("right_shoulder", "left_hip"), _joints("left_shoulder", "right_hip")),
)
