"""Identities of the rendered set: a build, skin, hair, clothes with their patterns, and bags."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from augment.data.rendered.canvas import COLUMNS, FRONT

# Share of a colour's own variation, 0..1. Lower: more people wear exactly the same, and re-identification gets harder.
COLOUR_VARIATION = 0.5

Colour = np.ndarray  # float32 (3,), RGB, 0..255

_TOPS = {  # colour -> how many wear it, as on a street: dark and pale ones are shared by many
    (28, 28, 32): 4, (225, 225, 222): 4, (120, 122, 126): 3, (36, 44, 82): 3, (168, 34, 40): 2, (52, 92, 168): 2,
    (60, 110, 66): 2, (216, 184, 62): 1.5, (222, 140, 160): 1.5, (196, 172, 138): 2, (104, 66, 128): 1,
    (110, 74, 48): 1.5, (230, 120, 48): 1, (120, 186, 204): 1.5,
}  # fmt: skip
_BOTTOMS = {
    (26, 26, 30): 4, (40, 52, 90): 4, (86, 112, 156): 3, (96, 96, 98): 2, (184, 162, 126): 2, (90, 66, 48): 1.5,
    (212, 210, 204): 1, (128, 40, 52): 0.7, (74, 84, 56): 1,
}  # fmt: skip
_SKINS = {(236, 198, 170): 3, (222, 176, 142): 3, (190, 140, 104): 2, (140, 96, 68): 1.5, (92, 62, 46): 1}
_HAIRS = {
    (24, 20, 18): 5,
    (62, 42, 28): 3,
    (112, 76, 44): 2,
    (196, 160, 96): 1.5,
    (150, 146, 142): 1,
    (140, 58, 32): 0.7,
}
_SHOES = {(26, 26, 28): 4, (226, 226, 224): 3, (96, 62, 40): 2, (150, 40, 44): 1, (60, 80, 130): 1}

_ROWS = 48  # of a garment, unrolled: its hem at the bottom


class Build(NamedTuple):
    """Body measures; lengths are fractions of a body of height 1."""

    height: float  # of the body, relative to the average
    girth: float  # of trunk and limbs
    shoulders: float
    hips: float


@dataclass(frozen=True, eq=False)
class Person:
    """One identity. Textures are float32 (rows, COLUMNS, 3), unrolled around the body."""

    build: Build
    skin: Colour
    hair: Colour
    hair_style: str  # bald, short, long, bun, cap
    hair_texture: np.ndarray
    cap: Colour
    top: np.ndarray
    sleeve: Colour
    sleeve_length: float  # 0: none, 0.5: to the elbow, 1: to the wrist
    hem: float  # height of the upper garment's lower edge
    bottom: Colour
    bottom_style: str  # trousers, shorts, skirt
    bottom_length: float  # height of a skirt's lower edge
    skirt: np.ndarray
    shoes: Colour
    backpack: np.ndarray | None
    bag: Colour | None  # in the hand or on the shoulder
    bag_side: int  # 0 right, 1 left


def sample_person(rng: np.random.Generator) -> Person:
    """A random identity."""
    woman = rng.random() < 0.5
    girth = float(np.clip(rng.normal(1.0, 0.13), 0.78, 1.4))
    build = Build(
        height=float(np.clip(rng.normal(0.96 if woman else 1.02, 0.05), 0.84, 1.14)),
        girth=girth,
        shoulders=float(rng.normal(0.93 if woman else 1.04, 0.05)),
        hips=float(rng.normal(1.04 if woman else 0.96, 0.05)),
    )
    colour, second = _pick(_TOPS, rng), _pick(_TOPS, rng)
    hair, bottom = _pick(_HAIRS, rng), _pick(_BOTTOMS, rng)
    length = rng.choice([0.0, 0.5, 1.0], p=[0.06, 0.44, 0.5])
    backpack = _pick(_TOPS, rng) if rng.random() < 0.3 else None
    styles, chances = (("long", "bun", "short", "cap"), (0.55, 0.2, 0.17, 0.08)) if woman else (
        ("short", "bald", "cap", "long"), (0.75, 0.08, 0.12, 0.05))  # fmt: skip
    bottoms, parts = (("trousers", "skirt", "shorts"), (0.5, 0.3, 0.2)) if woman else (
        ("trousers", "shorts"), (0.75, 0.25))  # fmt: skip
    return Person(
        build=build,
        skin=_pick(_SKINS, rng),
        hair=hair,
        hair_texture=_stripes(hair, 8, 5, 0.85),
        cap=_pick(_TOPS, rng),
        hair_style=str(rng.choice(styles, p=chances)),
        top=_texture(colour, second, backpack, rng),
        sleeve=second if length == 1 and rng.random() < 0.1 else colour,
        sleeve_length=float(length),
        hem=float(rng.choice([0.47, 0.44, 0.36], p=[0.6, 0.27, 0.13])),
        bottom=bottom,
        bottom_style=str(rng.choice(bottoms, p=parts)),
        bottom_length=float(rng.uniform(0.2, 0.36)),
        skirt=_stripes(bottom, 8, 9, 0.82),
        shoes=_pick(_SHOES, rng),
        backpack=None if backpack is None else _pocket(backpack),
        bag=_pick(_TOPS, rng) if rng.random() < 0.25 else None,
        bag_side=int(rng.integers(2)),
    )


def _pick(palette: dict[tuple[int, int, int], float], rng: np.random.Generator) -> Colour:
    weights = np.array(list(palette.values()))
    base = np.array(list(palette)[rng.choice(len(palette), p=weights / weights.sum())], np.float32)
    variation = rng.normal(0, 1, 3) * 9 + rng.normal() * 12
    return np.clip(base + COLOUR_VARIATION * variation, 8, 245).astype(np.float32)


def _texture(colour: Colour, second: Colour, backpack: Colour | None, rng: np.random.Generator) -> np.ndarray:
    """The upper garment unrolled around the body: row 0 at the shoulders, the middle column in front."""
    texture = np.tile(colour, (_ROWS, COLUMNS, 1)).astype(np.float32)
    rows, columns = np.mgrid[:_ROWS, :COLUMNS]
    from_front = np.abs(columns - FRONT)
    if np.abs(second - colour).sum() < 90:  # a pattern must be seen
        second = np.where(colour.mean() > 120, colour * 0.35, colour * 0.4 + 140).astype(np.float32)
    pattern = rng.choice(
        ["plain", "stripes", "checks", "logo", "back print", "block", "open"], p=[0.3, 0.14, 0.12, 0.16, 0.08, 0.1, 0.1]
    )
    width = int(rng.integers(4, 8))
    if pattern == "stripes":
        texture[(rows // width) % 2 == 1] = second
    elif pattern == "checks":
        mix = ((rows // width) % 2 + (columns // (width + 1)) % 2) / 2
        texture += mix[..., None] * (second - colour) * 0.9
    elif pattern == "logo":
        height, half = rng.integers(8, 18), rng.integers(6, 12)
        shape = from_front <= half
        if rng.random() < 0.5:
            shape = (from_front / half) ** 2 + ((rows - 10 - height / 2) / (height / 2)) ** 2 <= 1
        texture[shape & (rows >= 10) & (rows < 10 + height)] = second
    elif pattern == "back print":
        texture[(from_front >= FRONT - 14) & (rows > 8) & (rows < 30)] = second
    elif pattern == "block":
        texture[rows < rng.integers(14, 28)] = second
    elif pattern == "open":  # a jacket over a shirt
        texture[from_front <= rng.integers(5, 11)] = second
    else:  # a collar and a row of buttons, hardly seen
        texture[from_front <= 1] *= 0.82
    if backpack is not None:  # its straps, on the chest
        texture[(np.abs(from_front - 15) <= 2) & (rows < 26)] = backpack * 0.9
    return texture


def _stripes(colour: Colour, rows: int, every: int, shade: float) -> np.ndarray:
    """Folds of a skirt, strands of hair."""
    texture = np.tile(colour, (rows, COLUMNS, 1))
    texture[:, ::every] *= shade
    return texture


def _pocket(colour: Colour) -> np.ndarray:
    texture = np.tile(colour, (12, COLUMNS, 1))
    texture[6:8] *= 0.7
    return texture
