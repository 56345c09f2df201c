"""Which training the files in a folder belong to.

They all belong to one digest (configuration and inputs). Those of another digest are moved to ``earlier/<digest>`` and
moved back when that digest is run again: a long training is never discarded. If only ``gan.iterations`` or
``gan.decay_iterations`` have changed, a training is resumed where it ended, unless its learning rate has begun to fall.
"""

from pathlib import Path
from typing import Any

from augment.base.files import atomic_write
from augment.base.progress import say
from augment.base.seals import read_sealed_json, sealed_json
from augment.base.storage.copies import move

SCHEDULE = ("iterations", "decay_iterations")  # when the learning rate falls: may change until it does
OWNER = "training.json"


def place_of_training(folder: Path, origin: dict[str, Any]) -> Path | None:
    """The folder with the files that a training of this provenance resumes from: ``folder``, one moved aside, or None.

    The files in ``folder`` may be of another schedule, as long as both schedules agree up to their iteration.
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
    """Prepare the folder for this training: move files of another one aside, and its own back if they were moved."""
    folder.mkdir(parents=True, exist_ok=True)
    owner, place = _owner(folder), place_of_training(folder, origin)
    if owner and (begun := folder / "earlier" / owner["digest"][:16]).exists():  # its move was interrupted
        _move(begun, folder)
        begun.rmdir()
    if owner and place != folder:
        earlier = owner["digest"][:16]
        say(f"gan: the training in {folder} had other settings or inputs; it is kept in earlier/{earlier}.")
        _move(folder, folder / "earlier" / earlier)
    if place not in (None, folder):
        _move(place, folder)
        place.rmdir()
    if _owner(folder).get("digest") != origin["digest"]:
        with atomic_write(folder / OWNER) as file:
            file.write(sealed_json({key: origin[key] for key in ("digest", "section", "inputs")}).encode())


def _owner(folder: Path) -> dict[str, Any]:
    """Provenance of the training whose files are in the folder; empty where there is none, or it is damaged.

    Its states say what they come from, too: nothing resumes from the files of another training.
    """
    try:
        return read_sealed_json((folder / OWNER).read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError:
        say(f"{folder / OWNER}: damaged; it is written again.")
        return {}


def training_identity(origin: dict[str, Any]) -> dict[str, Any]:
    """What a training must have in common with the one it resumes: all but its schedule."""
    settings = {name: value for name, value in origin["section"].items() if name not in SCHEDULE}
    return {"gan": settings, "inputs": origin["inputs"]}


def same_so_far(iteration: int, earlier: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether two schedules have the same learning rates up to an iteration."""
    schedules = [[section[name] for name in SCHEDULE] for section in (earlier, now)]
    return schedules[0] == schedules[1] or iteration <= min(length - decay for length, decay in schedules)


def _move(source: Path, target: Path) -> None:
    """Move a training's files; the file that names their owner is last, so that an interrupted move is completed."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir(), key=lambda path: path.name == OWNER):
        if path.name != "earlier":
            move(path, target / path.name)
