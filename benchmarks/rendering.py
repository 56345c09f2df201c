"""Images rendered a second on one core, beside a plain drawing of the same figures with Pillow.

The plain one draws less (no patterns, faces, bags or shading): lines and ellipses at four times the size, averaged
down, the same background, blur and noise by Pillow and numpy. Seconds are this process's CPU time, JPEG included.

    python benchmarks/rendering.py [images]
"""

import sys
import time

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from augment.base.images import encode_jpeg
from augment.config import RenderedConfig
from augment.data.rendered import dataset as rendered
from augment.data.rendered.scenes import crop_scene

TARGET = 500  # images a second on one core
SIZE = 4
LIMBS = ((2, 3), (3, 4), (5, 6), (6, 7), (8, 9), (9, 10), (11, 12), (12, 13))


def plain(seed: int, item: rendered.Item) -> np.ndarray:
    rng = np.random.default_rng([seed, 2, item.person, item.index])
    person, camera = rendered._person(seed, item.person), rendered._camera(seed, item.camera)
    figure, view, _ = rendered._stage(person, camera, item, rng)
    background = crop_scene(camera, (rendered.HEIGHT * SIZE, rendered.WIDTH * SIZE), view.y / rendered.HEIGHT, rng)
    image = Image.fromarray(background)
    draw = ImageDraw.Draw(image)
    joints = [tuple(point) for point in (view.project(figure.joints)[:, :2] + 0.5) * SIZE]
    for start, end in LIMBS:
        colour = tuple(int(value) for value in (person.bottom if start >= 8 else person.sleeve))
        width = int(0.08 * view.scale * SIZE)
        draw.line([joints[start], joints[end]], fill=colour, width=width)
        for x, y in (joints[start], joints[end]):
            draw.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], fill=colour)
    draw.polygon([joints[2], joints[5], joints[11], joints[8]], fill=tuple(int(value) for value in person.sleeve))
    x, y = joints[0]
    radius = 0.07 * view.scale * SIZE
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=tuple(int(value) for value in person.skin))
    small = image.resize((rendered.WIDTH, rendered.HEIGHT), Image.Resampling.BOX)
    blurred = np.asarray(small.filter(ImageFilter.GaussianBlur(camera.blur)), np.float32)
    return np.clip(blurred + rng.normal(0, camera.noise, blurred.shape), 0, 255).astype(np.uint8)


def images_per_second(draw, items: list[rendered.Item]) -> float:
    start = time.process_time()
    for item in items:
        encode_jpeg(draw(item))
    return len(items) / (time.process_time() - start)


def main() -> None:
    cv2.setNumThreads(1)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    items = rendered.plan(RenderedConfig(train_identities=max(1, count // 12), test_identities=1))[-count:]
    draws = {"rendered set": lambda item: rendered.render_item(0, item)[0], "plain Pillow": lambda item: plain(0, item)}
    rates: dict[str, list[float]] = {name: [] for name in draws}
    for draw in draws.values():
        images_per_second(draw, items[:24])  # cameras and noise are made once
    for chunk in np.array_split(np.arange(len(items)), 5):  # by turns: another process's load falls on both
        for name, draw in draws.items():
            rates[name].append(images_per_second(draw, [items[number] for number in chunk]))
    best = {name: max(of_name) for name, of_name in rates.items()}
    print(f"{'':<14}{'images/s, best':>16}{'median':>10}{'ratio':>8}")
    for name, of_name in rates.items():
        ratio = np.median(of_name) / np.median(rates["plain Pillow"])
        print(f"{name:<14}{best[name]:>16.0f}{np.median(of_name):>10.0f}{ratio:>8.2f}")
    print(f"target: {TARGET} images/s on one core")


if __name__ == "__main__":
    main()
