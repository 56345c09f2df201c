"""How a person stands and walks: a 3D stick figure, and its view from a camera.

The body's frame: x to its own left, y up from the ground, z forward; lengths are fractions of a body of height 1.
Seen with turn 0 the person faces the camera, so its left is on the picture's right.
"""

from typing import NamedTuple

import numpy as np

from augment.data.people import Build

HIP, SHOULDER = 0.52, 0.815
THIGH, SHANK, FOOT = 0.245, 0.235, 0.115
UPPER_ARM, FOREARM, HAND = 0.165, 0.145, 0.05
HEAD = np.array([0.0, 0.918, 0.012])  # its middle
HEAD_RADII = np.array([0.056, 0.074, 0.066])


class Limbs(NamedTuple):
    """Angles in radians, (right, left) where there are two; 0 hangs straight down, positive swings forward."""

    hip: tuple[float, float]
    knee: tuple[float, float]  # flexion
    shoulder: tuple[float, float]
    spread: tuple[float, float]  # of the upper arms, sideways
    elbow: tuple[float, float]  # flexion
    inward: tuple[float, float]  # of the forearms, across the body
    lean: float  # of the trunk, forward
    head: float  # turn of the head to its left


class Figure(NamedTuple):
    """Points (3,) in the body's frame, the ground at y = 0."""

    joints: np.ndarray  # (18, 3), in the order of augment.pose.skeleton.JOINTS
    hands: np.ndarray  # (2, 3), right and left finger tips
    toes: np.ndarray  # (2, 3)
    pelvis: np.ndarray  # (3,): what the trunk stands on
    lean: float
    head: float


def draw_limbs(rng: np.random.Generator) -> Limbs:
    """A random moment: mostly of a walk, else standing with the hands anywhere."""
    if rng.random() < 0.7:
        return _walking(rng)
    return _standing(rng)


def _walking(rng: np.random.Generator) -> Limbs:
    phase, stride = rng.uniform(0, 2 * np.pi), rng.uniform(0.32, 0.5)
    hips, knees, shoulders, elbows = [], [], [], []
    for side in (0, 1):
        here = phase + np.pi * side  # 0: this leg is at its foremost
        swing = (here - 1.5 * np.pi + np.pi) % (2 * np.pi) - np.pi  # 0: middle of the swing, where the knee bends most
        hips.append(stride * np.cos(here) + 0.08)
        knees.append(0.1 + 0.95 * stride / 0.42 * np.exp(-((swing / 0.75) ** 2)))
        shoulders.append(-0.9 * stride * np.cos(here))
        elbows.append(0.25 + 0.3 * max(0.0, -np.cos(here)) + rng.uniform(0, 0.2))
    inward = [0.1, 0.1]
    for side in (0, 1):
        if rng.random() < 0.15:  # this hand holds something: a telephone, a strap, a bag
            shoulders[side], elbows[side], inward[side] = rng.uniform(-0.1, 0.5), rng.uniform(1.2, 2.3), 0.5
    spread = rng.uniform(0.04, 0.18, 2)
    return Limbs(tuple(hips), tuple(knees), tuple(shoulders), tuple(spread), tuple(elbows), tuple(inward),
                 rng.uniform(0.0, 0.09), rng.normal(0, 0.25))  # fmt: skip


def _standing(rng: np.random.Generator) -> Limbs:
    hips = rng.normal(0.02, 0.07, 2)
    knees = np.abs(rng.normal(0.05, 0.06, 2)) + np.maximum(hips, 0)
    shoulders, elbows, spread, inward = rng.normal(0.03, 0.1, 2), rng.uniform(0.1, 0.4, 2), rng.uniform(0.05, 0.2, 2), [0.1, 0.1]
    for side in (0, 1):
        gesture = rng.random()
        if gesture < 0.2:  # a hand before the chest or at the ear
            shoulders[side], elbows[side], inward[side] = rng.uniform(0.1, 0.7), rng.uniform(1.3, 2.4), rng.uniform(0.2, 0.8)
        elif gesture < 0.35:  # on the hip
            shoulders[side], elbows[side], spread[side], inward[side] = -0.15, 0.7, 0.55, 1.0
    return Limbs(tuple(hips), tuple(knees), tuple(shoulders), tuple(spread), tuple(elbows), tuple(inward),
                 rng.normal(0.0, 0.04), rng.normal(0, 0.35))  # fmt: skip


def pose_figure(limbs: Limbs, build: Build) -> Figure:
    """Forward kinematics: angles and measures -> points. The lowest toe or heel stands on the ground."""
    shoulder, hip = 0.108 * build.shoulders, 0.062 * build.hips
    joints = np.zeros((18, 3))
    hands, toes = np.zeros((2, 3)), np.zeros((2, 3))
    for side, sign in ((0, -1), (1, 1)):
        arm, leg = 2 + 3 * side, 8 + 3 * side
        forward, spread = limbs.shoulder[side], limbs.spread[side]
        joints[arm] = sign * shoulder, SHOULDER, 0
        upper = np.array([sign * np.sin(spread), -np.cos(forward) * np.cos(spread), np.sin(forward) * np.cos(spread)])
        joints[arm + 1] = joints[arm] + UPPER_ARM * upper
        bent = forward + limbs.elbow[side]
        fore = np.array([-sign * np.sin(limbs.inward[side] * limbs.elbow[side] * 0.8), -np.cos(bent), np.sin(bent)])
        fore += np.array([0.5 * sign * np.sin(spread), 0, 0])
        fore /= np.linalg.norm(fore)
        joints[arm + 2] = joints[arm + 1] + FOREARM * fore
        hands[side] = joints[arm + 2] + HAND * fore

        thigh, shank = limbs.hip[side], limbs.hip[side] - limbs.knee[side]
        joints[leg] = sign * hip, HIP, 0
        joints[leg + 1] = joints[leg] + THIGH * np.array([sign * 0.02, -np.cos(thigh), np.sin(thigh)])
        joints[leg + 2] = joints[leg + 1] + SHANK * np.array([-sign * 0.03, -np.cos(shank), np.sin(shank)])
        foot = shank * 0.7 - 0.22  # the sole is a little below the ankle's height in front
        toes[side] = joints[leg + 2] + FOOT * np.array([sign * 0.15, np.sin(foot), np.cos(foot)])
    joints[1] = (joints[2] + joints[5]) / 2
    turn = _about_y(limbs.head)
    for joint, place in ((0, (0, -0.012, 0.07)), (14, (-0.022, 0.008, 0.058)), (15, (0.022, 0.008, 0.058)),
                         (16, (-0.054, 0, -0.004)), (17, (0.054, 0, -0.004))):  # fmt: skip
        joints[joint] = HEAD + turn @ np.array(place)
    pelvis = np.array([0, HIP, 0.0])
    upper = [0, 1, 2, 3, 4, 5, 6, 7, 14, 15, 16, 17]
    joints[upper] = lean_points(joints[upper], limbs.lean)
    hands = lean_points(hands, limbs.lean)
    lowest = min(joints[[10, 13], 1].min() - 0.035, toes[:, 1].min() - 0.012)
    up = np.array([0, -lowest, 0])
    return Figure(joints + up, hands + up, toes + up, pelvis + up, limbs.lean, limbs.head)


def lean_points(points: np.ndarray, lean: float) -> np.ndarray:
    """Points (..., 3) above the hips after the trunk leans forward."""
    cos, sin = np.cos(lean), np.sin(lean)
    y, z = points[..., 1] - HIP, points[..., 2]
    return np.stack([points[..., 0], HIP + y * cos - z * sin, z * cos + y * sin], axis=-1)


class View(NamedTuple):
    """Where the camera stands and where the figure stands in its picture."""

    turn: float  # of the body about the vertical axis: 0 faces the camera, pi/2 walks to the picture's right
    pitch: float  # of the camera, looking down
    scale: float  # pixels a body length
    x: float  # of the body's axis, pixels
    y: float  # of the ground below it, pixels

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) in the body's frame -> (..., 3): x, y in pixels and nearness to the camera."""
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        x = points[..., 0] * cos + points[..., 2] * sin
        z = points[..., 2] * cos - points[..., 0] * sin
        up, near = np.cos(self.pitch), np.sin(self.pitch)
        vertical = points[..., 1] * up - z * near
        return np.stack(
            [self.x + self.scale * x, self.y - self.scale * vertical, z * up + points[..., 1] * near], axis=-1
        )


def _about_y(angle: float) -> np.ndarray:
    """Rotation that turns forward (z) towards the left (x)."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
