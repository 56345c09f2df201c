"""Posture and gait of a person: a 3D stick figure, and its view from a camera.

The body's frame: x to its own left, y up from the ground, z forward; lengths are fractions of a body of height 1.
Seen with turn 0 the person faces the camera, so its left is on the picture's right.
"""

from math import cos, hypot, sin
from typing import NamedTuple

import numpy as np

from augment.data.rendered.people import Build

HIP, SHOULDER = 0.52, 0.815
THIGH, SHANK, FOOT = 0.245, 0.235, 0.115
UPPER_ARM, FOREARM, HAND = 0.165, 0.145, 0.05
HEAD = np.array([0.0, 0.918, 0.012])  # its middle
# Nose, eyes and ears from there: to the left, up, forward.
_FACE = {0: (0, -0.012, 0.07), 14: (-0.022, 0.008, 0.058), 15: (0.022, 0.008, 0.058), 16: (-0.054, 0, -0.004),
         17: (0.054, 0, -0.004)}  # fmt: skip
_UPPER_BODY = [0, 1, 2, 3, 4, 5, 6, 7, 14, 15, 16, 17, 18, 19]  # of joints, hands and toes together


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
    hips: float  # their height above the ground
    lean: float
    head: float


def sample_limbs(rng: np.random.Generator) -> Limbs:
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
    shoulders, elbows, spread, inward = (
        rng.normal(0.03, 0.1, 2),
        rng.uniform(0.1, 0.4, 2),
        rng.uniform(0.05, 0.2, 2),
        [0.1, 0.1],
    )
    for side in (0, 1):
        gesture = rng.random()
        if gesture < 0.2:  # a hand before the chest or at the ear
            shoulders[side], elbows[side], inward[side] = (
                rng.uniform(0.1, 0.7),
                rng.uniform(1.3, 2.4),
                rng.uniform(0.2, 0.8),
            )
        elif gesture < 0.35:  # on the hip
            shoulders[side], elbows[side], spread[side], inward[side] = -0.15, 0.7, 0.55, 1.0
    return Limbs(tuple(hips), tuple(knees), tuple(shoulders), tuple(spread), tuple(elbows), tuple(inward),
                 rng.normal(0.0, 0.04), rng.normal(0, 0.35))  # fmt: skip


def pose_figure(limbs: Limbs, build: Build) -> Figure:
    """Forward kinematics: angles and measures -> points. The lowest toe or heel touches the ground."""
    shoulder, hip = 0.104 * build.shoulders, 0.056 * build.hips
    joints: list[tuple[float, float, float]] = [(0.0, 0.0, 0.0)] * 18
    hands, toes = [], []
    for side, sign in ((0, -1.0), (1, 1.0)):
        arm, leg = 2 + 3 * side, 8 + 3 * side
        forward, spread = limbs.shoulder[side], limbs.spread[side]
        bent = forward + limbs.elbow[side]
        upper = (sign * sin(spread), -cos(forward) * cos(spread), sin(forward) * cos(spread))
        across = sign * (0.5 * sin(spread) - sin(0.8 * limbs.inward[side] * limbs.elbow[side]))
        length = hypot(across, 1.0)
        fore = (across / length, -cos(bent) / length, sin(bent) / length)
        joints[arm] = (sign * shoulder, SHOULDER, 0.0)
        joints[arm + 1] = _step(joints[arm], upper, UPPER_ARM)
        joints[arm + 2] = _step(joints[arm + 1], fore, FOREARM)
        hands.append(_step(joints[arm + 2], fore, HAND))

        thigh, shank = limbs.hip[side], limbs.hip[side] - limbs.knee[side]
        foot = 0.7 * shank - 0.22  # in front the sole is a little below the ankle
        joints[leg] = (sign * hip, HIP, 0.0)
        joints[leg + 1] = _step(joints[leg], (0.02 * sign, -cos(thigh), sin(thigh)), THIGH)
        joints[leg + 2] = _step(joints[leg + 1], (-0.03 * sign, -cos(shank), sin(shank)), SHANK)
        toes.append(_step(joints[leg + 2], (0.15 * sign, sin(foot), cos(foot)), FOOT))
    joints[1] = (0.0, SHOULDER, 0.0)
    for joint, (left, up, front) in _FACE.items():
        turned = (
            left * cos(limbs.head) + front * sin(limbs.head),
            up,
            front * cos(limbs.head) - left * sin(limbs.head),
        )
        joints[joint] = _step(tuple(HEAD), turned, 1.0)

    points = np.array([*joints, *hands, *toes])
    points[_UPPER_BODY] = lean_points(points[_UPPER_BODY], limbs.lean)
    lowest = min(points[[10, 13], 1].min() - 0.035, points[20:, 1].min() - 0.012)
    points[:, 1] -= lowest
    return Figure(points[:18], points[18:20], points[20:], HIP - lowest, limbs.lean, limbs.head)


def _step(start: tuple[float, ...], direction: tuple[float, ...], length: float) -> tuple[float, float, float]:
    return tuple(a + length * b for a, b in zip(start, direction, strict=True))


def lean_points(points: np.ndarray, lean: float) -> np.ndarray:
    """Points (..., 3) above the hips after the trunk leans forward."""
    cos, sin = np.cos(lean), np.sin(lean)
    y, z = points[..., 1] - HIP, points[..., 2]
    return np.stack([points[..., 0], HIP + y * cos - z * sin, z * cos + y * sin], axis=-1)


class View(NamedTuple):
    """The camera's direction and the figure's place in its image."""

    turn: float  # of the body about the vertical axis: 0 faces the camera, pi/2 walks to the picture's right
    pitch: float  # of the camera, looking down
    scale: float  # pixels a body length
    x: float  # of the body's axis, pixels
    y: float  # of the ground below it, pixels

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) in the body's frame -> (..., 3): x, y in pixels and nearness to the camera."""
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        level, down = np.cos(self.pitch), np.sin(self.pitch)
        matrix = np.array([
            [self.scale * cos, 0, self.scale * sin],
            [-self.scale * down * sin, -self.scale * level, self.scale * down * cos],
            [-level * sin, down, level * cos],
        ])  # fmt: skip
        return points @ matrix.T + np.array([self.x, self.y, 0])
