"""Whose files lie in the folder of a training.

Everything in it belongs to one digest (configuration and inputs). Another digest's files are put aside in
``earlier/<digest>`` and taken back when that digest is asked for again: a long training is never thrown away. With
``gan.iterations`` or ``gan.decay_iterations`` changed and nothing else, a training goes on from where it ended, unless
its learning rate has begun to fall by then.
"""

import json
from pathlib import Path
from typing import Any

from augment.base.files import atomic_write
from augment.base.progress import say

SCHEDULE = ("iterations", "decay_iterations")  # when the learning rate falls: may change until it does
OWNER = "training.json"


def place_of_training(folder: Path, origin: dict[str, Any]) -> Path | None:
    """Where the files lie that a training of this provenance is to go on from: in its folder, put aside, or nowhere.

    It also goes on from a training that has done nothing yet that this one would do otherwise.
    """
    owner = _owner(folder)
    if owner.get("digest") == origin["digest"]:
        return folder
    aside = folder / "earlier" / origin["digest"][:16]
    if aside.exists():
        return aside
    newest = max((int(state.stem.partition("-")[2]) for state in folder.glob("state-*.pt")), default=0)
    extendable = owner and same_so_far(newest, owner["section"], origin["section"])
    return folder if extendable and training_identity(owner) == training_identity(origin) else None


def take_folder(folder: Path, origin: dict[str, Any]) -> None:
    """Make the folder this training's: put another one's files aside, bring its own back if they were put aside."""
    folder.mkdir(parents=True, exist_ok=True)
    owner, place = _owner(folder), place_of_training(folder, origin)
    if owner and place != folder:
        earlier = owner["digest"][:16]
        say(f"gan: the training in {folder} had other settings or inputs; it is kept in earlier/{earlier}.")
        _move(folder, folder / "earlier" / earlier)
    if place not in (None, folder):
        _move(place, folder)
        place.rmdir()
    if _owner(folder).get("digest") != origin["digest"]:
        with atomic_write(folder / OWNER) as file:
            file.write(json.dumps({key: origin[key] for key in ("digest", "section", "inputs")}, indent=1).encode())


def _owner(folder: Path) -> dict[str, Any]:
    """Provenance of the training whose files lie in the folder; empty where there is none."""
    try:
        return json.loads((folder / OWNER).read_text())
    except FileNotFoundError:
        return {}


def training_identity(origin: dict[str, Any]) -> dict[str, Any]:
    """What a training must have in common with one that it goes on from. How long it takes does not matter."""
    settings = {name: value for name, value in origin["section"].items() if name not in SCHEDULE}
    return {"gan": settings, "inputs": origin["inputs"]}


def same_so_far(iteration: int, earlier: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether two schedules have the same learning rates up to an iteration."""
    schedules = [[section[name] for name in SCHEDULE] for section in (earlier, now)]
    return schedules[0] == schedules[1] or iteration <= min(length - decay for length, decay in schedules)


def _move(source: Path, target: Path) -> None:
    """Move what a training left; the file that names its owner goes last: a move cut short is finished later."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir(), key=lambda path: path.name == OWNER):
        if path.name != "earlier":
            path.replace(target / path.name)
