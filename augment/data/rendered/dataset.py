"""The rendered demo set: figures in Market-1501's layout, with their exact joints in the paper's own format.

Every image has a random generator of its own, so the order of rendering does not matter.
"""

import json
import os
import shutil
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from augment.base.errors import AugmentError
from augment.base.files import atomic_write, encode_jpeg
from augment.base.progress import progress, say
from augment.config import RenderedConfig
from augment.data.layouts import MARKET_FOLDERS
from augment.data.rendered.body import Figure, View, pose_figure, sample_limbs
from augment.data.rendered.canvas import OVERSAMPLE
from augment.data.rendered.figure import draw_figure
from augment.data.rendered.people import Person, sample_person
from augment.data.rendered.scenes import Camera, crop_scene, expose, sample_camera, sample_grain

HEIGHT, WIDTH = 128, 64
VERSION = 2  # of the renderer: another version makes other images from the same seed
MARKER = "rendered.json"
ANNOTATIONS = {"train": "annotation-train.csv", "gallery": "annotation-test.csv"}  # as published: none for queries

_PERSON, _CAMERA, _IMAGE, _GRAIN = range(4)  # what a random generator is for


class Item(NamedTuple):
    """An image to render."""

    split: str
    pid: int  # as in the name: 0 for a distractor
    person: int  # whose figure it shows
    camera: int
    index: int  # which image of the person

    @property
    def name(self) -> str:
        """File name in Market-1501's form; the last number is 00 in queries, as there."""
        box = 0 if self.split == "query" else 1 + self.index % 9
        frame = 25 * (self.index + 1) + 1000 * (self.person % 900)
        return f"{self.pid:04d}_c{self.camera}s1_{frame:06d}_{box:02d}.jpg"


def plan(section: RenderedConfig) -> list[Item]:
    """All images of the set, in order of split and name.

    A person's images go round the cameras. Of a test person the first image of each camera is a query, as in
    Market-1501, but never more than half of the images; the others are the gallery, with one distractor for ten.
    """
    items = []
    people = section.train_identities + section.test_identities
    for pid in range(1, people + 1):
        for index in range(section.images_per_identity):
            camera = 1 + (pid + index) % section.cameras
            query = index < min(section.cameras, section.images_per_identity // 2)
            split = "train" if pid <= section.train_identities else "query" if query else "gallery"
            items.append(Item(split, pid, pid, camera, index))
    gallery = sum(item.split == "gallery" for item in items)
    for extra in range(max(1, gallery // 10)):
        items.append(Item("gallery", 0, people + 1 + extra, 1 + extra % section.cameras, extra))
    return sorted(items, key=lambda item: (item.split, item.name))


def render_set(section: RenderedConfig, root: Path) -> Path:
    """Render the images of the set that ``root`` lacks; returns ``root``.

    A set that was interrupted is completed. A set of another configuration is replaced. Raises :class:`AugmentError`
    where the folder has other content.
    """
    root = Path(root)
    state = {"version": VERSION, "section": section.identity()}
    items = plan(section)
    complete = _begin(root, state)
    folders = {split: root / folder for split, folder in MARKET_FOLDERS.items()}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    present = {split: set(os.listdir(folder)) for split, folder in folders.items()}
    if complete and all(item.name in present[item.split] for item in items):
        return root
    joints: dict[str, list[tuple[str, np.ndarray]]] = {split: [] for split in ANNOTATIONS}
    with progress("render", total=len(items)) as advance:
        for item in items:
            if item.name in present[item.split]:
                found = item_joints(section.seed, item)
            else:
                image, found = render_item(section.seed, item)
                _write(folders[item.split] / item.name, encode_jpeg(image))
            if item.split in joints:
                joints[item.split].append((item.name, found))
            advance()
    for split, file in ANNOTATIONS.items():
        with atomic_write(root / file) as out:
            out.writelines(_annotation_lines(joints[split]))
    with atomic_write(root / MARKER) as out:
        out.write(json.dumps(state | {"complete": True}, sort_keys=True, indent=1).encode())
    return root


def _begin(root: Path, state: dict) -> bool:
    """Prepare the folder; returns whether its marker states that the set is complete."""
    marker = root / MARKER
    if not marker.exists():
        if root.is_dir() and any(root.iterdir()):
            raise AugmentError(
                f"{root}: is not empty, and not a rendered set. Set data.root to another folder, or data.layout to the "
                f"layout of the images in it."
            )
    else:
        try:
            known = json.loads(marker.read_text(encoding="utf-8"))
        except ValueError:
            known = {}
        if known == state | {"complete": True}:
            return True
        if {key: known.get(key) for key in state} != state:
            say(f"render: {root} holds a set of another configuration; it is rendered again.")
            for folder in MARKET_FOLDERS.values():
                shutil.rmtree(root / folder, ignore_errors=True)
    with atomic_write(marker) as out:
        out.write(json.dumps(state | {"complete": False}, sort_keys=True, indent=1).encode())
    return False


def _write(file: Path, data: bytes) -> None:
    """Atomic, but not synced: an image lost in a power failure is rendered again."""
    partial = file.with_name(f".{file.name}.partial")
    partial.write_bytes(data)
    os.replace(partial, file)


def render_item(seed: int, item: Item) -> tuple[np.ndarray, np.ndarray]:
    """The image (128, 64, 3) uint8 and its joints (18, 2), x and y in pixels, NaN where missing."""
    rng = np.random.default_rng([seed, _IMAGE, item.person, item.index])
    person, camera = _person(seed, item.person), _camera(seed, item.camera)
    figure, view, joints = _stage(person, camera, item, rng)
    size = (HEIGHT * OVERSAMPLE, WIDTH * OVERSAMPLE)
    clean = np.ascontiguousarray(crop_scene(camera, size, view.y / HEIGHT, rng))
    draw_figure(clean, person, figure, view, camera.light)
    small = cv2.resize(clean, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return expose(small, camera, _grain(seed), rng), joints


def item_joints(seed: int, item: Item) -> np.ndarray:
    """The joints alone, as :func:`render_item` returns them."""
    rng = np.random.default_rng([seed, _IMAGE, item.person, item.index])
    return _stage(_person(seed, item.person), _camera(seed, item.camera), item, rng)[2]


def _stage(person: Person, camera: Camera, item: Item, rng: np.random.Generator) -> tuple[Figure, View, np.ndarray]:
    """The figure, its place in the image, and its visible joints (18, 2)."""
    figure = pose_figure(sample_limbs(rng), person.build)
    scale = HEIGHT * 0.87 * camera.zoom * person.build.height**0.5 * rng.uniform(0.9, 1.07)
    loose = 2.5 if item.pid == 0 else 1.0  # a distractor is a badly cut crop
    view = View(
        turn=float(rng.uniform(0, 2 * np.pi)),
        pitch=camera.pitch,
        scale=float(scale),
        x=WIDTH / 2 + camera.aside + loose * float(rng.normal(0, 2.2)),
        y=HEIGHT * 0.965 + loose * float(rng.normal(0, 2.5)),
    )
    return figure, view, visible_joints(figure, view, rng.random(18))


def visible_joints(figure: Figure, view: View, chance: np.ndarray) -> np.ndarray:
    """Projected joints (18, 2), NaN where an estimator would miss them: outside, on the far side of head or trunk."""
    places = view.project(figure.joints)
    joints = places[:, :2].copy()
    turn = view.turn + figure.head
    toward = {0: np.cos(turn), 14: np.cos(turn - 0.36), 15: np.cos(turn + 0.36), 16: np.sin(turn), 17: -np.sin(turn)}
    hidden = np.zeros(18, bool)
    for joint, facing in toward.items():
        hidden[joint] = facing < (0.05 if joint < 16 else -0.35)
    # Behind the trunk: inside its outline and farther than its middle.
    left, right = np.sort(places[[2, 5, 8, 11], 0])[[0, 3]]
    middle = places[[2, 5, 8, 11], 2].mean()
    top, bottom = places[[2, 5], 1].min(), places[[8, 11], 1].max()
    for joint in (3, 4, 6, 7):
        x, y, near = places[joint]
        hidden[joint] = left - 3 < x < right + 3 and top < y < bottom and near < middle - 0.03 and chance[joint] < 0.6
    profile = abs(np.sin(view.turn))
    far = (2, 8) if np.sin(view.turn) < 0 else (5, 11)
    for joint in far:
        hidden[joint] = profile > 0.9 and chance[joint] < 0.15
    x, y = joints[:, 0], joints[:, 1]
    outside = (x < 0) | (x > WIDTH - 1) | (y < 0) | (y > HEIGHT - 1)
    joints[hidden | outside] = np.nan
    return joints


def _annotation_lines(rows: list[tuple[str, np.ndarray]]) -> Iterator[bytes]:
    yield b"name:keypoints_y:keypoints_x\n"
    for name, joints in rows:
        whole = np.where(np.isnan(joints), -1, np.round(joints)).astype(int)
        yield f"{name}: {whole[:, 1].tolist()}: {whole[:, 0].tolist()}\n".encode()


@lru_cache(maxsize=64)
def _person(seed: int, number: int) -> Person:
    return sample_person(np.random.default_rng([seed, _PERSON, number]))


@lru_cache(maxsize=64)
def _camera(seed: int, number: int) -> Camera:
    return sample_camera(np.random.default_rng([seed, _CAMERA, number]))


@lru_cache(maxsize=2)
def _grain(seed: int) -> np.ndarray:
    return sample_grain(np.random.default_rng([seed, _GRAIN]))
