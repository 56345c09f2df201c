"""Draws a person: limbs as tapered tubes, trunk and skirt as surfaces of revolution, near parts over far ones."""

from collections.abc import Callable
from math import cos, sin

import cv2
import numpy as np

from augment.data.rendered.body import HEAD, HIP, Figure, View
from augment.data.rendered.canvas import (
    OVERSAMPLE,
    darken_ground,
    fill_ellipse,
    fill_polygon,
    fill_tube,
    fill_turned,
    tube_outlines,
)
from augment.data.rendered.people import Person

HEAD_RADII = (0.056, 0.074, 0.066)  # half width, height, depth

# Trunk, from the neck to a coat's hem: height, half width, half depth.
_TRUNK = np.array([
    [0.852, 0.036, 0.030], [0.838, 0.070, 0.038], [0.822, 0.108, 0.046], [0.785, 0.118, 0.060], [0.720, 0.108, 0.070],
    [0.630, 0.090, 0.062], [0.560, 0.097, 0.068], [0.520, 0.104, 0.074], [0.470, 0.106, 0.076], [0.360, 0.114, 0.086],
])  # fmt: skip
_LONG_HAIR = np.array(
    [[0.955, 0.045, 0.045], [0.91, 0.066, 0.055], [0.86, 0.068, 0.05], [0.81, 0.066, 0.04], [0.755, 0.045, 0.03]]
)
_LONG_HAIR_BACK = np.array([-0.008, -0.02, -0.038, -0.055, -0.066])
_BACKPACK = np.array(
    [[0.82, 0.05, 0.03], [0.79, 0.082, 0.05], [0.72, 0.088, 0.056], [0.65, 0.088, 0.06], [0.6, 0.075, 0.05]]
)
_HAIRLINE = {"bald": -9.0, "short": 0.12, "cap": 0.2, "bun": 0.3, "long": 0.42}  # how far hair reaches to the front
_HEAD_AND_BUN = np.array([[HEAD[1], HEAD[1] + 0.045], [HEAD[2], HEAD[2] - 0.065]])  # heights, then forward
_LEVELS = 16


def draw_figure(canvas: np.ndarray, person: Person, figure: Figure, view: View, light: float) -> None:
    """Draw onto ``canvas``: (H, W, 3) uint8, OVERSAMPLE times the picture's size. light: from -1 left to 1 right."""
    _Body(canvas, person, figure, view, light).draw()


class _Body:
    """One person in one picture."""

    def __init__(self, canvas: np.ndarray, person: Person, figure: Figure, view: View, light: float):
        self.canvas, self.person, self.figure, self.view, self.light = canvas, person, figure, view, light
        self.scale = view.scale
        points = view.project(np.vstack([figure.joints, figure.hands, figure.toes]))
        self.joints, self.hands, self.toes = points[:18], points[18:20], points[20:]
        # The outlines of all tubes are computed at once: a call for each would cost more than drawing them.
        limbs = (("leg", self._leg), ("arm", self._arm))
        tubes = {(part, side): list(of(side)) for part, of in limbs for side in (0, 1)}
        tubes["neck", 0] = list(self._neck())
        starts, ends, radii, colours = zip(*(tube for limb in tubes.values() for tube in limb), strict=True)
        outlines = iter(
            zip(tube_outlines(np.array(starts), np.array(ends), np.array(radii), light), colours, strict=True)
        )
        self.limbs = {key: [next(outlines) for _ in limb] for key, limb in tubes.items()}

    def draw(self) -> None:
        """All parts, the far ones first; legs before the trunk, whose clothes cover their upper ends."""
        person, facing = self.person, np.cos(self.view.turn)
        darken_ground(self.canvas, self.view.x - 3 * self.light, self.view.y - 1, 0.24 * self.scale, 0.05 * self.scale)
        for side in sorted((0, 1), key=lambda side: self.joints[9 + 3 * side, 2]):
            self.limb("leg", side)
        if person.bottom_style == "skirt":
            self.skirt()
        trunk = self.joints[[2, 5, 8, 11], 2].mean()
        parts: list[tuple[float, Callable[[], None]]] = [(0.0, self.trunk), (0.001, self.head)]
        for side in (0, 1):
            depth = self.joints[2 + 3 * side : 5 + 3 * side, 2].mean() - trunk
            parts.append((depth, lambda side=side: self.limb("arm", side)))
            if person.bag is not None and person.bag_side == side:
                parts.append((depth + 0.01, lambda side=side: self.bag(side)))
        if person.backpack is not None:
            parts.append((-0.1 * facing, self.backpack))
        if person.hair_style == "long":
            parts.append((-0.03 * facing, self.long_hair))
        for _, part in sorted(parts, key=lambda part: part[0]):
            part()

    def limb(self, part: str, side: int) -> None:
        for outlines, colour in self.limbs[part, side]:
            fill_tube(self.canvas, outlines, colour)

    def _leg(self, side: int):
        """(start, end, radii, colour) of its tubes, in drawing order."""
        person, scale, girth = self.person, self.scale, self.scale * self.person.build.girth
        hip, knee, ankle = self.joints[8 + 3 * side : 11 + 3 * side, :2]
        yield ankle + np.array([0, 0.022 * scale]), self.toes[side, :2], (0.026 * scale, 0.02 * scale), person.shoes
        if person.bottom_style == "trousers":
            yield knee, ankle, (0.043 * girth, 0.034 * girth), person.bottom
            yield hip, knee, (0.056 * girth, 0.045 * girth), person.bottom
            return
        yield knee, ankle, (0.037 * girth, 0.025 * girth), person.skin
        yield hip, knee, (0.054 * girth, 0.040 * girth), person.skin
        if person.bottom_style == "shorts":
            yield hip, hip + 0.9 * (knee - hip), (0.056 * girth, 0.056 * girth), person.bottom

    def _arm(self, side: int):
        person, girth = self.person, self.scale * self.person.build.girth
        shoulder, elbow, wrist = self.joints[2 + 3 * side : 5 + 3 * side, :2]
        shoulder = shoulder + np.array([0, 0.014 * girth])
        fore = person.sleeve if person.sleeve_length == 1 else person.skin
        yield wrist, self.hands[side, :2], (0.019 * girth, 0.016 * girth), person.skin
        yield elbow, wrist, (0.027 * girth, 0.021 * girth), fore
        yield shoulder, elbow, (0.033 * girth, 0.028 * girth), fore
        if person.sleeve_length == 0.5:
            yield shoulder, shoulder + 0.7 * (elbow - shoulder), (0.035 * girth, 0.035 * girth), person.sleeve

    def _neck(self):
        girth = self.scale * self.person.build.girth
        low, high = self._place(np.array([0.82, HEAD[1] - 0.03]), np.array([0, HEAD[2] - 0.01]))
        yield low, high, (0.034 * girth, 0.03 * girth), self.person.skin * 0.92

    def trunk(self) -> None:
        self.limb("neck", 0)
        hem = self.person.hem
        edge = [hem, *(np.interp(hem, _TRUNK[::-1, 0], _TRUNK[::-1, column]) for column in (1, 2))]
        self._lathe(np.vstack([_TRUNK[_TRUNK[:, 0] > hem], edge]), self.person.top)

    def skirt(self) -> None:
        down = np.linspace(0, 1, 4)
        stride = np.abs(self.figure.joints[[9, 12], 2]).max()
        heights = HIP + 0.03 + down * (self.person.bottom_length - HIP - 0.03)
        self._lathe(
            np.stack([heights, 0.096 + 0.035 * down, 0.07 + (0.02 + 0.5 * stride) * down], axis=1), self.person.skirt
        )

    def backpack(self) -> None:
        self._lathe(_BACKPACK, self.person.backpack, -0.1)

    def long_hair(self) -> None:
        self._lathe(_LONG_HAIR, self.person.hair_texture, _LONG_HAIR_BACK)

    def _lathe(self, rows: np.ndarray, texture: np.ndarray, behind: np.ndarray | float = 0.0) -> None:
        """Draw a turned surface; rows: (N, 3) height, half width, half depth from the top; behind: z of its axis."""
        build, view = self.person.build, self.view
        middle = self._place(rows[:, 0], behind)
        upper = np.clip((rows[:, 0] - 0.6) * 5, 0, 1)  # wide as the shoulders above, as the hips below
        wide = rows[:, 1] * (upper * build.shoulders + (1 - upper) * build.hips) * (0.6 + 0.4 * build.girth)
        half = view.scale * np.hypot(wide * np.cos(view.turn), rows[:, 2] * build.girth * np.sin(view.turn))
        levels = np.linspace(middle[0, 1], middle[-1, 1], _LEVELS)
        axis = np.stack([np.interp(levels, middle[:, 1], middle[:, 0]), levels], axis=1)
        fill_turned(self.canvas, axis, np.interp(levels, middle[:, 1], half), texture, view.turn, self.light)

    def _place(self, height: np.ndarray, forward: np.ndarray | float) -> np.ndarray:
        """Where points (N,) on the middle plane of an upright body are in the picture after the trunk's lean: (N, 2).

        The same as leaning and projecting them one after the other, in a fraction of the time.
        """
        view, lean = self.view, self.figure.lean
        above = height - HIP
        y = np.where(above > 0, above * cos(lean) - forward * sin(lean), above) + self.figure.hips
        z = np.where(above > 0, above * sin(lean) + forward * cos(lean), forward)
        x = view.x + view.scale * sin(view.turn) * z
        return np.stack([x, view.y - view.scale * (cos(view.pitch) * y - sin(view.pitch) * cos(view.turn) * z)], axis=1)

    def bag(self, side: int) -> None:
        size = 0.075 * self.scale
        width = size * (0.45 + 0.55 * abs(np.sin(self.view.turn)))
        box = np.array(
            [[-width, 0.3 * size], [width, 0.3 * size], [width * 0.9, 2.1 * size], [-width * 0.9, 2.1 * size]]
        )
        fill_polygon(self.canvas, self.hands[side, :2] + box, self.person.bag * 0.75)
        fill_polygon(self.canvas, self.hands[side, :2] + box * 0.82 + [self.light, 0.15 * size], self.person.bag)

    def head(self) -> None:
        centre, bun = self._place(*_HEAD_AND_BUN)
        bun_in_front = np.cos(self.view.turn) <= 0
        size = 0.032 * self.scale
        if bun_in_front or self.person.hair_style != "bun":
            self._skull(centre)
        if self.person.hair_style == "bun":
            fill_ellipse(self.canvas, bun, (size, size), self.person.hair * 1.1)
            if not bun_in_front:
                self._skull(centre)

    def _skull(self, centre: np.ndarray) -> None:
        """An ellipsoid with hair, eyes and mouth painted on it, pixel by pixel."""
        person, turn = self.person, self.view.turn + self.figure.head
        towards, sideways = np.float32(cos(turn)), np.float32(sin(turn))
        fuller = 1.1 if person.hair_style in ("long", "bun") else 1.03
        rx = self.scale * OVERSAMPLE * fuller * float(np.hypot(HEAD_RADII[0] * towards, HEAD_RADII[2] * sideways))
        ry = self.scale * OVERSAMPLE * 1.03 * HEAD_RADII[1]
        cx, cy = (centre + 0.5) * OVERSAMPLE - 0.5
        left, right = max(int(cx - rx), 0), min(int(cx + rx) + 2, self.canvas.shape[1])
        top, bottom = max(int(cy - ry), 0), min(int(cy + ry) + 2, self.canvas.shape[0])
        if right <= left or bottom <= top:
            return
        x = ((np.arange(left, right, dtype=np.float32) - np.float32(cx)) / np.float32(rx))[None, :]
        up = ((np.float32(cy) - np.arange(top, bottom, dtype=np.float32)) / np.float32(ry))[:, None]
        distance = x * x + up * up
        near = np.sqrt(np.maximum(1 - distance, 0))
        # In the head's own frame: to its left, forward.
        aside, front = x * towards - near * sideways, x * sideways + near * towards
        colours = np.empty((*distance.shape, 3), np.float32)
        colours[:] = person.skin
        face = front > 0.3
        colours[face & (np.abs(np.abs(aside) - 0.38) < 0.17) & (np.abs(up - 0.08) < 0.11)] *= 0.45  # eyes
        colours[face & (np.abs(aside) < 0.28) & (np.abs(up + 0.5) < 0.07)] *= np.array([0.85, 0.6, 0.6], np.float32)
        hair = front < _HAIRLINE[person.hair_style] - 0.55 * np.clip(-up - 0.1, 0, 1) + 1.6 * np.clip(up - 0.3, 0, 1)
        if person.hair_style in ("short", "cap"):
            hair &= up > -0.55
        colours[hair] = person.hair
        if person.hair_style == "cap":
            colours[np.broadcast_to(up > 0.3, hair.shape)] = person.cap
            colours[(np.abs(up - 0.29) < 0.08) & (front > 0.2)] = person.cap * 0.6  # the brim
        colours *= (0.82 + 0.22 * near + 0.12 * self.light * x)[..., None]
        patch = np.minimum(colours, 255).astype(np.uint8)
        cv2.copyTo(patch, (distance <= 1).view(np.uint8), self.canvas[top:bottom, left:right])
