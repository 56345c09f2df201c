"""Samples during training: fixed test pairs, a strip of generated images every ``gan.sample_every`` iterations."""

import base64
import threading
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
from torch.utils.tensorboard import SummaryWriter

from augment.base.drawing import draw_pose, image_grid
from augment.base.files import atomic_write, remove
from augment.base.images import encode_jpeg

_plain_hook = threading.excepthook


def _quiet_in_tensorboard(failure: threading.ExceptHookArgs) -> None:
    """TensorBoard's thread hands its error on to the next call of the writer: said there once, without a traceback."""
    if not type(failure.thread).__module__.startswith("tensorboard."):
        _plain_hook(failure)


threading.excepthook = _quiet_in_tensorboard

_PAGE = jinja2.Environment(autoescape=True).from_string("""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{{ title }}</title>
{% if not finished %}<meta http-equiv="refresh" content="30">{% endif %}
<style>
 body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #222 }
 table { border-collapse: collapse } td { padding: 2px 12px 2px 0; vertical-align: middle; white-space: nowrap }
 td:first-child { color: #666; text-align: right } img { display: block; max-width: 100% }
</style>
<h1>{{ title }}</h1>
<p>The same test pairs throughout the training, newest first
{%- if not finished %}; this page reloads itself every 30 seconds{% endif %}.</p>
<table>
{% for name, image in head %}<tr><td>{{ name }}</td><td><img alt="{{ name }}" src="data:image/jpeg;base64,{{ image }}">
{% endfor %}{% for name, image in strips %}<tr><td>iteration {{ name }}</td>
 <td><img alt="generated after {{ name }} iterations" src="data:image/jpeg;base64,{{ image }}">
{% endfor %}</table></html>
""")


@dataclass(frozen=True)
class Examples:
    """Fixed test pairs: uint8 images (K, H, W, 3) and joints (K, J, 2) in their pixels."""

    source: np.ndarray
    source_joints: np.ndarray
    target: np.ndarray
    target_joints: np.ndarray

    def columns(self) -> list[list[np.ndarray]]:
        """Source, source pose, target pose, target: a list of images each."""
        size = self.source.shape[1:3]
        return [
            list(self.source),
            [draw_pose(joints, size) for joints in self.source_joints],
            [draw_pose(joints, size) for joints in self.target_joints],
            list(self.target),
        ]

    def grid(self, generated: np.ndarray) -> np.ndarray:
        """A row per pair: source, source pose, target pose, target, generated."""
        columns = [*self.columns(), list(generated)]
        return image_grid([list(row) for row in zip(*columns, strict=True)])


class Gallery:
    """``samples/<iteration>.jpg``, the page made of them, and the same in TensorBoard."""

    def __init__(self, folder: Path, examples: Examples, title: str, iteration: int):
        """Continue at ``iteration``: samples of later iterations are removed."""
        self.page = folder / "gallery.html"
        self.samples = folder / "samples"
        self.examples = examples
        self.title = title
        self.writer = SummaryWriter(folder / "tensorboard", purge_step=iteration + 1 if iteration else None)
        self.strips: dict[int, str] = {}  # base64 of those on the page, kept so that a new strip does not re-read all
        for strip in self.samples.glob("*.jpg"):
            if int(strip.stem) > iteration:
                remove(strip)
            else:
                self.strips[int(strip.stem)] = _base64(strip.read_bytes())
        names = ["source", "its pose", "target pose", "target"]
        self.head = [
            (name, _base64(encode_jpeg(image_grid([images]), quality=90)))
            for name, images in zip(names, examples.columns(), strict=True)
        ]

    def scalars(self, iteration: int, values: dict[str, float]) -> None:
        """Curves for TensorBoard."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, iteration)

    def add(self, iteration: int, generated: np.ndarray) -> None:
        """``generated`` (K, H, W, 3) uint8 of the examples, after that many iterations."""
        strip = encode_jpeg(image_grid([list(generated)]), quality=90)
        with atomic_write(self.samples / f"{iteration:06d}.jpg") as file:
            file.write(strip)
        self.strips[iteration] = _base64(strip)
        self.writer.add_image("source, its pose, target pose, target, generated", self.examples.grid(generated),
                              iteration, dataformats="HWC")  # fmt: skip
        self.writer.flush()
        self.write(finished=False)

    def write(self, finished: bool) -> None:
        """Write the page with all strips so far; once ``finished`` it no longer reloads itself."""
        strips = sorted(self.strips.items(), reverse=True)
        with atomic_write(self.page) as file:
            file.write(_PAGE.render(title=self.title, head=self.head, strips=strips, finished=finished).encode())

    def close(self) -> None:
        """Close TensorBoard's file."""
        self.writer.close()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
