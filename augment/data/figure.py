"""Draws a person: limbs as tapered tubes, trunk and skirt as turned surfaces, far parts first so that near ones hide them.

The canvas is OVERSAMPLE times the picture's size and is averaged down afterwards.
"""

from collections.abc import Callable

import cv2
import numpy as np

from augment.data.body import HEAD, HEAD_RADII, HIP, Figure, View, _about_y, lean_points
from augment.data.people import TEXTURE_COLUMNS, TEXTURE_ROWS, Colour, Person

OVERSAMPLE = 2
_SHIFT, _UNIT = 4, 16  # OpenCV's fixed-point coordinates

# Trunk, from the neck to below the hips: height, half width, half depth.
_TRUNK = np.array([
    [0.855, 0.030, 0.030], [0.838, 0.062, 0.036], [0.818, 0.106, 0.046], [0.780, 0.112, 0.060], [0.720, 0.104, 0.068],
    [0.630, 0.087, 0.060], [0.560, 0.092, 0.064], [0.520, 0.098, 0.068], [0.470, 0.096, 0.066], [0.360, 0.100, 0.075],
])  # fmt: skip
_ARC = np.arcsin(np.linspace(-0.999, 0.999, 64))  # across a turned surface: the angle at which it is seen
_LIGHTS = {}


class Canvas:
    """A picture in the making: (H, W, 3) uint8 at OVERSAMPLE times its size; coordinates are the picture's pixels."""

    def __init__(self, pixels: np.ndarray, light: float):
        self.pixels = pixels
        self.light = light  # direction it comes from: -1 left, 1 right

    def _fixed(self, points: np.ndarray) -> np.ndarray:
        return np.round(((points + 0.5) * OVERSAMPLE - 0.5) * _UNIT).astype(np.int32)

    def polygon(self, points: np.ndarray, colour: Colour) -> None:
        """A filled convex outline (N, 2)."""
        cv2.fillConvexPoly(self.pixels, self._fixed(points), colour.tolist(), cv2.LINE_AA, _SHIFT)

    def ellipse(self, centre: np.ndarray, radii: tuple[float, float], colour: Colour) -> None:
        """A filled ellipse with horizontal axis."""
        axes = np.round(np.array(radii) * OVERSAMPLE * _UNIT).astype(int)
        x, y = self._fixed(np.asarray(centre)).tolist()
        cv2.ellipse(self.pixels, (x, y), (int(axes[0]), int(axes[1])), 0, 0, 360, colour.tolist(), -1, cv2.LINE_AA, _SHIFT)

    def tube(self, start: np.ndarray, end: np.ndarray, radius: float, end_radius: float, colour: Colour) -> None:
        """A tapered limb between two points (2,), round at both ends, brighter towards the light."""
        along = end - start
        length = float(np.hypot(*along)) or 1e-6
        normal = np.array([-along[1], along[0]]) / length
        aside = normal * np.sign(normal[0] * self.light or 1)
        for share, shift, shade in ((1.0, 0.0, 0.72), (0.66, 0.28, 1.0)):
            tone = np.minimum(colour * shade, 255)
            a, b = start + aside * radius * shift, end + aside * end_radius * shift
            r, q = radius * share, end_radius * share
            quad = np.array([a + normal * r, b + normal * q, b - normal * q, a - normal * r])
            cv2.fillConvexPoly(self.pixels, self._fixed(quad), tone.tolist(), cv2.LINE_AA, _SHIFT)
            for point, size in ((a, r), (b, q)):
                x, y = self._fixed(point).tolist()
                cv2.circle(self.pixels, (x, y), round(size * OVERSAMPLE * _UNIT), tone.tolist(), -1, cv2.LINE_AA, _SHIFT)

    def turned(self, axis: np.ndarray, half: np.ndarray, texture: np.ndarray, turn: float) -> None:
        """A surface of revolution seen from the side.

        axis: (N, 2) points down its middle, from the top; half: (N,) its half width there; texture: (R, C, 3), the
        front in the middle column; turn: of the body.
        """
        axis, half = (axis + 0.5) * OVERSAMPLE - 0.5, half * OVERSAMPLE
        top, bottom = int(np.ceil(axis[0, 1])), int(np.floor(axis[-1, 1]))
        left, right = int((axis[:, 0] - half).min()), int((axis[:, 0] + half).max()) + 1
        height, width = self.pixels.shape[:2]
        top, bottom, left, right = max(top, 0), min(bottom, height - 1), max(left, 0), min(right, width - 1)
        if bottom <= top or right <= left:
            return
        y = np.arange(top, bottom + 1, dtype=np.float32)
        middle = np.interp(y, axis[:, 1], axis[:, 0]).astype(np.float32)
        reach = np.interp(y, axis[:, 1], half).astype(np.float32)
        row = np.interp(y, axis[:, 1], np.linspace(0, texture.shape[0] - 1, len(axis))).astype(np.float32)
        across = (np.arange(left, right + 1, dtype=np.float32) - middle[:, None]) / reach[:, None]
        # A point at angle a from the side that is seen has the front column shifted by the body's turn.
        angle = _ARC - turn
        columns = np.round((angle / (2 * np.pi) + 0.5) * TEXTURE_COLUMNS).astype(int) % TEXTURE_COLUMNS
        shade = 0.66 + 0.34 * np.cos(_ARC - 0.6 * self.light)
        strip = np.minimum(texture[:, columns] * shade[None, :, None], 255).astype(np.uint8)
        patch = cv2.remap(
            strip, (across * 31.5 + 31.5).astype(np.float32), np.broadcast_to(row[:, None], across.shape).astype(np.float32),
            cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        cover = np.clip((1 - np.abs(across)) * reach[:, None] + 0.5, 0, 1)[..., None]  # one pixel of soft edge
        target = self.pixels[top : bottom + 1, left : right + 1]
        target[:] = target + cover * (patch.astype(np.float32) - target)


def draw_figure(pixels: np.ndarray, person: Person, figure: Figure, view: View, light: float) -> None:
    """Draw onto ``pixels`` (H, W, 3) uint8, which has OVERSAMPLE times the picture's size."""
    canvas = Canvas(pixels, light)
    joints = view.project(figure.joints)
    hands, toes = view.project(figure.hands), view.project(figure.toes)
    body = _Body(canvas, person, figure, view, joints, hands, toes)
    # What is not ordered by depth: the shadow below all, legs before the trunk that covers their upper ends.
    canvas_shadow(canvas, view, person)
    for side in sorted((0, 1), key=lambda side: joints[9 + 3 * side, 2]):
        body.leg(side)
    if person.bottom_style == "skirt":
        body.skirt()
    parts: list[tuple[float, Callable[[], None]]] = [(0.0, body.trunk), (0.001, body.head)]
    facing = np.cos(view.turn)
    for side in (0, 1):
        arm = 2 + 3 * side
        depth = joints[[arm, arm + 1, arm + 2], 2].mean() - view.project(figure.pelvis + [0, 0.2, 0])[2]
        parts.append((depth, lambda side=side: body.arm(side)))
        if person.bag is not None and person.bag_side == 2 * side - 1:
            parts.append((depth + 0.01, lambda side=side: body.bag(side)))
    if person.backpack is not None:
        parts.append((-0.1 * facing, body.backpack))
    if person.hair_style == "long":
        parts.append((-0.03 * facing, body.long_hair))
    for _, draw in sorted(parts, key=lambda part: part[0]):
        draw()


def canvas_shadow(canvas: Canvas, view: View, person: Person) -> None:
    """A dark patch on the ground."""
    overlay = canvas.pixels[int(max((view.y - 8) * OVERSAMPLE, 0)) :]
    if len(overlay) == 0:
        return
    x = int(np.clip((view.x - 4 * canvas.light) * OVERSAMPLE, -200, 400))
    y = 8 * OVERSAMPLE
    dark = overlay.copy()
    cv2.ellipse(dark, (x, y), (int(view.scale * 0.2 * OVERSAMPLE), int(view.scale * 0.04 * OVERSAMPLE)), 0, 0, 360, (20, 20, 22), -1)
    cv2.addWeighted(dark, 0.4, overlay, 0.6, 0, dst=overlay)


class _Body:
    """The parts of one person in one picture."""

    def __init__(self, canvas, person: Person, figure: Figure, view: View, joints, hands, toes):
        self.canvas, self.person, self.figure, self.view = canvas, person, figure, view
        self.joints, self.hands, self.toes = joints, hands, toes
        self.girth = view.scale * person.build.girth

    def leg(self, side: int) -> None:
        person, girth = self.person, self.girth
        hip, knee, ankle = (self.joints[8 + 3 * side + step, :2] for step in range(3))
        toe = self.toes[side, :2]
        heel = ankle + np.array([0, 0.022 * self.view.scale])
        self.canvas.tube(heel, toe, 0.026 * self.view.scale, 0.02 * self.view.scale, person.shoes)
        bare = person.bottom_style != "trousers"
        shank = person.skin if bare else person.bottom
        loose = 0.9 if bare else 1.05
        self.canvas.tube(knee, ankle, 0.041 * girth * loose, (0.026 if bare else 0.034) * girth, shank)
        self.canvas.tube(hip, knee, 0.060 * girth, 0.044 * girth * loose, person.skin if person.bottom_style == "skirt" else person.bottom)
        if person.bottom_style == "shorts":
            self.canvas.tube(hip, hip + 0.95 * (knee - hip), 0.064 * girth, 0.058 * girth, person.bottom)

    def skirt(self) -> None:
        base = self.figure.pelvis[1] - HIP
        heights = np.linspace(HIP + 0.03, self.person.bottom_length, 4)
        stride = np.abs(self.figure.joints[[9, 12], 2]).max()
        swing = np.linspace(0, 1, 4) ** 0.7
        widths = np.stack([heights, 0.092 + 0.035 * swing, 0.064 + (0.02 + 0.55 * stride) * swing], axis=1)
        texture = np.tile(self.person.bottom, (8, TEXTURE_COLUMNS, 1)).astype(np.float32)
        texture[:, ::9] *= 0.82  # folds
        self._lathe(widths, texture, base, lean=0.0)

    def trunk(self) -> None:
        base = self.figure.pelvis[1] - HIP
        neck = self.view.project(lean_points(np.array([[0, 0.82, 0], HEAD - [0, 0.03, 0.01]]), self.figure.lean) + [0, base, 0])
        self.canvas.tube(neck[0, :2], neck[1, :2], 0.034 * self.girth, 0.03 * self.girth, self.person.skin * 0.92)
        rows = _TRUNK[_TRUNK[:, 0] > self.person.hem]
        hem = [self.person.hem] + [float(np.interp(self.person.hem, _TRUNK[::-1, 0], _TRUNK[::-1, k])) for k in (1, 2)]
        rows = np.vstack([rows, hem])
        # Texture rows stand for heights; the trunk's rows are not evenly spaced.
        self._lathe(rows, self.person.top, base, self.figure.lean)

    def _lathe(self, rows: np.ndarray, texture: np.ndarray, base: float, lean: float) -> None:
        build, view = self.person.build, self.view
        points = np.zeros((len(rows), 3))
        points[:, 1] = rows[:, 0]
        middle = view.project(np.where(rows[:, :1] > HIP, lean_points(points, lean), points) + [0, base, 0])[:, :2]
        upper = np.clip((rows[:, 0] - 0.6) / 0.2, 0, 1)
        wide = rows[:, 1] * (upper * build.shoulders + (1 - upper) * build.hips) * (0.6 + 0.4 * build.girth)
        deep = rows[:, 2] * build.girth
        half = view.scale * np.hypot(wide * np.cos(view.turn), deep * np.sin(view.turn))
        heights = np.linspace(middle[0, 1], middle[-1, 1], 16)  # evenly, as the texture's rows are
        axis = np.stack([np.interp(heights, middle[:, 1], middle[:, 0]), heights], axis=1)
        self.canvas.turned(axis, np.interp(heights, middle[:, 1], half), texture, view.turn)

    def arm(self, side: int) -> None:
        person, girth = self.person, self.girth
        shoulder, elbow, wrist = (self.joints[2 + 3 * side + step, :2] for step in range(3))
        hand = self.hands[side, :2]
        self.canvas.tube(wrist, hand, 0.019 * girth, 0.016 * girth, person.skin)
        fore = person.sleeve if person.sleeve_length == 1 else person.skin
        self.canvas.tube(elbow, wrist, 0.028 * girth, 0.021 * girth, fore)
        upper = person.sleeve if person.sleeve_length > 0 else person.skin
        self.canvas.tube(shoulder + [0, 0.012 * girth], elbow, 0.036 * girth, 0.029 * girth, person.skin if person.sleeve_length < 1 else upper)
        if person.sleeve_length == 0.5:
            self.canvas.tube(shoulder + [0, 0.012 * girth], shoulder + 0.75 * (elbow - shoulder), 0.038 * girth, 0.036 * girth, upper)

    def bag(self, side: int) -> None:
        top = self.hands[side, :2]
        size = 0.075 * self.view.scale
        width = size * (0.45 + 0.55 * abs(np.sin(self.view.turn)))
        box = np.array([[-width, 0.3 * size], [width, 0.3 * size], [width * 0.9, 2.1 * size], [-width * 0.9, 2.1 * size]])
        self.canvas.polygon(top + box, self.person.bag * 0.75)
        self.canvas.polygon(top + box * 0.82 + [self.canvas.light, 0.15 * size], self.person.bag)

    def backpack(self) -> None:
        base = self.figure.pelvis[1] - HIP
        heights = np.linspace(0.815, 0.60, 5)
        points = np.stack([np.zeros(5), heights, np.full(5, -0.095)], axis=1)
        middle = self.view.project(lean_points(points, self.figure.lean) + [0, base, 0])[:, :2]
        bulge = np.array([0.6, 0.95, 1, 1, 0.85])
        half = self.view.scale * bulge * np.hypot(0.085 * np.cos(self.view.turn), 0.05 * np.sin(self.view.turn))
        texture = np.tile(self.person.backpack, (12, TEXTURE_COLUMNS, 1)).astype(np.float32)
        texture[6:8] *= 0.7  # its pocket
        self.canvas.turned(middle, half, texture, self.view.turn)

    def head(self) -> None:
        person, view = self.person, self.view
        base = self.figure.pelvis[1] - HIP
        centre = view.project(lean_points(HEAD[None], self.figure.lean)[0] + [0, base, 0])[:2]
        if person.hair_style == "bun":
            bun = view.project(lean_points((HEAD + [0, 0.045, -0.065])[None], self.figure.lean)[0] + [0, base, 0])[:2]
            if np.cos(view.turn) > 0:
                self.canvas.ellipse(bun, (0.03 * view.scale, 0.03 * view.scale), person.hair)
        self._skull(centre)
        if person.hair_style == "bun" and np.cos(view.turn) <= 0:
            self.canvas.ellipse(bun, (0.03 * view.scale, 0.03 * view.scale), person.hair * 1.15)

    def _skull(self, centre: np.ndarray) -> None:
        """An ellipsoid with hair, eyes and mouth painted on it, pixel by pixel."""
        person, view = self.person, self.view
        turn = view.turn + self.figure.head
        cover = 1.1 if person.hair_style in ("long", "bun") else 1.04
        rx = view.scale * cover * float(np.hypot(HEAD_RADII[0] * np.cos(turn), HEAD_RADII[2] * np.sin(turn))) * OVERSAMPLE
        ry = view.scale * HEAD_RADII[1] * 1.03 * OVERSAMPLE
        cx, cy = (centre + 0.5) * OVERSAMPLE - 0.5
        height, width = self.canvas.pixels.shape[:2]
        left, right = max(int(cx - rx), 0), min(int(cx + rx) + 2, width)
        top, bottom = max(int(cy - ry), 0), min(int(cy + ry) + 2, height)
        if right <= left or bottom <= top:
            return
        x = ((np.arange(left, right) - cx) / rx)[None, :]
        up = (-(np.arange(top, bottom) - cy) / ry)[:, None]
        distance = x * x + up * up
        near = np.sqrt(np.maximum(1 - distance, 0))
        cos, sin = np.cos(turn), np.sin(turn)
        aside, front = x * cos - near * sin, x * sin + near * cos  # in the head's own frame: to its left, forward
        skin = person.skin * (1.0 + 0.12 * np.clip(front, -1, 1))[..., None]
        eyes = (np.abs(np.abs(aside) - 0.38) < 0.17) & (np.abs(up - 0.08) < 0.11) & (front > 0.3)
        mouth = (np.abs(aside) < 0.28) & (np.abs(up + 0.5) < 0.07) & (front > 0.3)
        skin[eyes] *= 0.45
        skin[mouth] *= [0.85, 0.6, 0.6]
        line = {"bald": -2.0, "short": 0.12, "cap": 0.2, "bun": 0.3, "long": 0.42}[person.hair_style]
        hair = (front < line - 0.55 * np.clip(-up - 0.1, 0, 1) + 1.6 * np.clip(up - 0.3, 0, 1)) & (person.hair_style != "bald")
        if person.hair_style in ("short", "cap"):
            hair &= up > -0.55
        colours = np.where(hair[..., None], person.hair * (0.85 + 0.3 * np.clip(up, -1, 1))[..., None], skin)
        if person.hair_style == "cap":
            brim = (up > 0.22) & (up < 0.36) & (front > 0.2)
            colours = np.where(((up > 0.3) | brim)[..., None], person.shoes * np.where(brim, 0.6, 1.0)[..., None], colours)
        colours = colours * (0.8 + 0.25 * near + 0.12 * x * self.canvas.light)[..., None]
        cover = np.clip((1 - np.sqrt(distance)) * rx + 0.5, 0, 1)[..., None]
        target = self.canvas.pixels[top:bottom, left:right]
        target[:] = target + cover * (np.clip(colours, 0, 255) - target)

    def long_hair(self) -> None:
        base = self.figure.pelvis[1] - HIP
        heights = np.linspace(0.96, 0.76, 5)
        points = np.stack([np.zeros(5), heights, np.linspace(-0.012, -0.062, 5)], axis=1)
        middle = self.view.project(lean_points(points, self.figure.lean) + [0, base, 0])[:, :2]
        half = self.view.scale * np.array([0.05, 0.068, 0.07, 0.066, 0.045]) * (0.75 + 0.25 * abs(np.cos(self.view.turn)))
        texture = np.tile(self.person.hair, (8, TEXTURE_COLUMNS, 1)).astype(np.float32)
        texture[:, ::5] *= 0.85
        self.canvas.turned(middle, half, texture, self.view.turn)


__all__ = ["OVERSAMPLE", "TEXTURE_ROWS", "Canvas", "_about_y", "draw_figure"]
