"""The rendered demo set: figures in Market-1501's layout, with their exact joints in the paper's own format.

Every image has a random generator of its own, so the order of rendering does not matter.
"""

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from augment.base.files import atomic_write, remove_leftovers
from augment.base.images import encode_jpeg
from augment.base.progress import progress, say
from augment.config import RenderedConfig
from augment.data.layouts import MARKET_FOLDERS
from augment.data.rendered import sums
from augment.data.rendered.body import Figure, View, pose_figure, sample_limbs
from augment.data.rendered.canvas import OVERSAMPLE
from augment.data.rendered.figure import draw_figure
from augment.data.rendered.folder import ANNOTATIONS, begin, check_root, file_names, held, stands, write_marker
from augment.data.rendered.people import Person, sample_person
from augment.data.rendered.plan import Item, plan
from augment.data.rendered.scenes import Camera, crop_scene, expose, sample_camera, sample_grain

HEIGHT, WIDTH = 128, 64

_PERSON, _CAMERA, _IMAGE, _GRAIN = range(4)  # what a random generator is for


def render_set(section: RenderedConfig, root: Path, *, own: bool = False) -> Path:
    """Render the images of the set that ``root`` lacks or that are damaged there; returns ``root``.

    A set that was interrupted is completed; two processes at once render it once. A set of another configuration is
    replaced only where the folder is the run's ``own``. Raises what :func:`check_root` raises.
    """
    root = Path(root)
    items = plan(section)
    check_root(section, root, own)
    if stands(section, root, items):
        return root
    with held(root):
        if not stands(section, root, items):
            begin(section, root, own)
            if not own:
                say(f"render: {len(items):,} images are rendered into {root}.")
            _render(section, root, items)
    return root


def _render(section: RenderedConfig, root: Path, items: list[Item]) -> None:
    folders = {split: root / folder for split, folder in MARKET_FOLDERS.items()}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
    present = {split: set(os.listdir(folder)) for split, folder in folders.items()}
    names = file_names(items)
    if lost := set(sums.damaged(root, names)):
        say(f"render: {len(lost):,} files in {root} are damaged or gone; they are rendered again.")
    joints: dict[str, list[tuple[str, np.ndarray]]] = {split: [] for split in ANNOTATIONS}
    with progress("render", total=len(items)) as advance:
        for item in items:
            if item.name in present[item.split] and f"{MARKET_FOLDERS[item.split]}/{item.name}" not in lost:
                found = item_joints(section.seed, item)
            else:
                image, found = render_item(section.seed, item)
                with atomic_write(folders[item.split] / item.name, sync=False) as out:
                    out.write(encode_jpeg(image))
            if item.split in joints:
                joints[item.split].append((item.name, found))
            advance()
    for split, file in ANNOTATIONS.items():
        with atomic_write(root / file) as out:
            out.writelines(_annotation_lines(joints[split]))
    sums.write_sums(root, names)
    write_marker(section, root, complete=True)


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
