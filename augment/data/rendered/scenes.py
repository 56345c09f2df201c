"""Where and through what a person is seen: a camera has its own background, light, colours, sharpness and noise."""

from typing import NamedTuple

import cv2
import numpy as np

# How far cameras differ, 0: not at all. The one knob for how hard the rendered set is.
# At 0.3 the demo's OSNet, trained on real images alone, finds half of the queries first; at 1.0 a sixth.
CAMERA_STRENGTH = 0.3

_SCENE = (220, 560)  # height, width of a camera's background, in picture pixels
_FLOORS = [(142, 138, 130), (104, 106, 110), (168, 158, 140), (92, 112, 74), (126, 104, 88), (180, 178, 172)]
_WALLS = [
    (196, 190, 178),
    (150, 108, 88),
    (120, 132, 144),
    (210, 208, 202),
    (86, 104, 72),
    (160, 150, 128),
    (72, 82, 96),
]


class Camera(NamedTuple):
    """One camera."""

    scene: np.ndarray  # (220, 560, 3) uint8
    horizon: int  # row of the scene where the floor begins
    colours: np.ndarray  # (3, 4): linear map of RGB and 1
    curve: np.ndarray  # (256,) uint8: gamma
    blur: float  # standard deviation, pixels
    noise: float  # standard deviation, levels
    light: float
    pitch: float
    zoom: float
    aside: float  # mean shift of the crop, pixels


def sample_camera(rng: np.random.Generator) -> Camera:
    """A random camera."""
    strength = CAMERA_STRENGTH
    gains = 1 + strength * rng.normal(0, 0.12, 3)
    brightness, contrast = strength * rng.normal(0, 14), 1 + strength * rng.uniform(-0.3, 0.15)
    scene, horizon = _scene(rng)
    return Camera(
        scene=scene,
        horizon=horizon,
        colours=_colour_map(
            gains, contrast, brightness, 1 + strength * rng.uniform(-0.45, 0.2), strength * rng.normal(0, 0.12)
        ),
        curve=_curve(float(np.exp(strength * rng.normal(0, 0.22)))),
        blur=float(rng.uniform(0.25, 0.25 + 0.75 * strength)),
        noise=float(rng.uniform(1.5, 2 + 7 * strength)),
        light=float(rng.choice([-1, 1]) * rng.uniform(0.4, 1)),
        pitch=float(rng.uniform(0.05, 0.32)),
        zoom=float(rng.uniform(0.92, 1.04)),
        aside=float(rng.normal(0, 2)),
    )


def _colour_map(gains: np.ndarray, contrast: float, brightness: float, saturation: float, hue: float) -> np.ndarray:
    """The linear map (3, 4) that does all of it: hue as a turn about the grey axis, radians."""
    grey = np.full((3, 3), 1 / 3)
    axis = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = grey + np.cos(hue) * (np.eye(3) - grey) + np.sin(hue) * axis
    matrix = contrast * np.diag(gains) @ (grey + saturation * (np.eye(3) - grey)) @ turn
    return np.hstack([matrix, np.full((3, 1), brightness + 118 * (1 - contrast))])


def _curve(gamma: float) -> np.ndarray:
    return np.clip(255 * (np.arange(256) / 255) ** gamma, 0, 255).astype(np.uint8)


def _scene(rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """A wall with things before it and a floor: (220, 560, 3) uint8 and the row where they meet."""
    height, width = _SCENE
    horizon = int(rng.uniform(0.3, 0.62) * height)
    floor, wall = (np.array(colours[rng.integers(len(colours))], np.float32) for colours in (_FLOORS, _WALLS))
    image = np.empty((height, width, 3), np.float32)
    image[:horizon] = wall * np.linspace(1.1, 0.85, horizon)[:, None, None]
    image[horizon:] = floor * np.linspace(0.82, 1.1, height - horizon)[:, None, None]
    image *= np.linspace(rng.uniform(0.75, 1.05), rng.uniform(0.85, 1.15), width)[None, :, None]
    kind = rng.choice(["bricks", "windows", "posts", "hedge", "plain"])
    if kind == "bricks":
        for row, y in enumerate(range(0, horizon, 9)):
            cv2.line(image, (0, y), (width, y), (wall * 0.8).tolist(), 1)
            for x in range((row % 2) * 10, width, 20):
                cv2.line(image, (x, y), (x, y + 9), (wall * 0.8).tolist(), 1)
    elif kind == "windows":
        for x in range(int(rng.integers(10, 40)), width, int(rng.integers(50, 80))):
            cv2.rectangle(
                image, (x, 8), (x + 30, horizon - 16), (rng.uniform(50, 110) + rng.uniform(-15, 15, 3)).tolist(), -1
            )
            cv2.rectangle(
                image, (x, 8), (x + 30, horizon - 16), (rng.uniform(150, 220) + rng.uniform(-15, 15, 3)).tolist(), 2
            )
    elif kind == "posts":
        for x in range(int(rng.integers(0, 30)), width, int(rng.integers(34, 60))):
            cv2.line(image, (x, 0), (x, horizon + 12), (wall * 0.5).tolist(), int(rng.integers(3, 8)))
    elif kind == "hedge":
        blobs = cv2.resize(rng.uniform(0.55, 1.25, (horizon // 5 + 1, width // 5)).astype(np.float32), (width, horizon))
        image[:horizon] = np.array([70, 98, 56], np.float32) * blobs[..., None]
    for _ in range(int(rng.integers(5, 12))):  # clutter: boxes, bins, signs, parked things
        x, w, h = int(rng.integers(0, width)), int(rng.integers(10, 60)), int(rng.integers(10, 60))
        y = horizon + int(rng.integers(-10, 30))
        colour = (rng.uniform(50, 190) + rng.uniform(-45, 45, 3)).astype(np.float32)
        cv2.rectangle(image, (x, y - h), (x + w, y), colour.tolist(), -1)
        cv2.rectangle(image, (x, y - h), (x + w, y - h // 2), (colour * 1.15).tolist(), -1)
        cv2.line(image, (x - 4, y), (x + w + 4, y), (floor * 0.55).tolist(), 3)
    if rng.random() < 0.5:  # paving
        for y in np.unique(np.geomspace(horizon + 4, height, 7).astype(int)):
            cv2.line(image, (0, int(y)), (width, int(y)), (floor * 0.82).tolist(), 1)
        for x in range(-width, 2 * width, 42):
            cv2.line(image, (width // 2 + (x - width // 2) // 2, horizon), (x, height), (floor * 0.84).tolist(), 1)
    grain = cv2.resize(rng.normal(1, 0.07, (height // 3, width // 3)).astype(np.float32), (width, height))
    return np.clip(image * grain[..., None], 0, 255).astype(np.uint8), horizon


def crop_scene(camera: Camera, size: tuple[int, int], ground: float, rng: np.random.Generator) -> np.ndarray:
    """A piece of the background, (H, W, 3) uint8 of ``size``; its floor begins above ``ground``, a share of H."""
    zoom = rng.uniform(0.75, 1.1)
    height, width = int(128 * zoom), int(64 * zoom)
    top = int(np.clip(camera.horizon - height * (ground - rng.uniform(0.2, 0.4)), 0, _SCENE[0] - height))
    left = int(rng.integers(0, _SCENE[1] - width))
    return cv2.resize(camera.scene[top : top + height, left : left + width], size[::-1], interpolation=cv2.INTER_LINEAR)


def expose(image: np.ndarray, camera: Camera, grain: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What the camera makes of a clean picture (H, W, 3) uint8; ``grain`` comes from :func:`sample_grain`."""
    colours = camera.colours * (1 + CAMERA_STRENGTH * rng.normal(0, 0.06))
    colours[:, 3] += CAMERA_STRENGTH * rng.normal(0, 5)
    image = cv2.LUT(cv2.transform(image, colours), camera.curve)
    image = cv2.GaussianBlur(image, (0, 0), camera.blur * rng.uniform(0.7, 1.4))
    height, width = image.shape[:2]
    y, x = rng.integers(0, grain.shape[0] - height), rng.integers(0, grain.shape[1] - width)
    return cv2.addWeighted(image, 1, grain[y : y + height, x : x + width], camera.noise, 0, dtype=cv2.CV_8U)


def sample_grain(rng: np.random.Generator) -> np.ndarray:
    """Sensor noise to cut pieces from, (512, 512, 3) float32: partly of each colour, partly of all together."""
    colour, grey = rng.standard_normal((512, 512, 3), np.float32), rng.standard_normal((512, 512, 1), np.float32)
    return 0.6 * colour + 0.7 * grey
