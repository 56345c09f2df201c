"""Trained generators: those shipped with the package, how they are found by name, and their export.

A shipped generator is ``shipped/<name>.safetensors``: averaged weights in half precision. Its card (training data,
figures, intended use) is in the file's header and beside it as ``<name>.json``.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from augment.base.errors import AugmentError, UsageError
from augment.base.files import atomic_write, is_regular_file, sha256_file
from augment.base.storage.copies import is_folder
from augment.config import Config, GanConfig
from augment.gan.checkpoints import load_generator, read_header, save_weights
from augment.gan.inference import last_weights
from augment.gan.widening import channel_copies, widen
from augment.manifest import read_manifest

SHIPPED = Path(__file__).parent / "shipped"
ARCHITECTURE = ("system", "fidelity", "width")  # settings that gan.start determines
CARD = ("data", "time", "figures", "intended_use", "terms")  # stated by a person; the rest is read from the file


def shipped() -> dict[str, Path]:
    """Shipped generators by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.safetensors"))}


def read_card(path: Path) -> dict[str, Any]:
    """The card of an exported generator. Raises :class:`AugmentError` where the file has none."""
    header = read_header(path)
    if "card" not in header:
        raise AugmentError(f"{path}: has no card. `augment gan export` writes files that do.")
    return header["card"]


def find_generator(name: str | Path) -> Path:
    """The weights file that ``name`` means: a shipped generator, a run's folder (its last iteration) or a file.

    Raises :class:`UsageError` that lists the shipped names, :class:`AugmentError` where a folder holds no finished
    training.
    """
    path = Path(name)
    if is_regular_file(path):
        return path
    table = path / "gan" / "checkpoints.parquet"
    if is_folder(path) and (str(name) not in shipped() or is_regular_file(table)):
        if not is_regular_file(table):
            raise AugmentError(f"{name}: is a folder, but not that of a run with a trained generator "
                               "(gan/checkpoints.parquet is missing).")  # fmt: skip
        return last_weights(read_manifest(table, "checkpoints"))[0]
    if str(name) in shipped():
        return shipped()[str(name)]
    raise UsageError(f"{name}: neither a weights file, nor the folder of a run, nor a shipped generator. "
                     f"Shipped: {', '.join(shipped()) or 'none'}.")  # fmt: skip


def export_generator(sources: Sequence[str | Path], name: str, statements: dict[str, Any], folder: Path) -> Path:
    """Write the averaged weights of a generator (as for :func:`find_generator`) and their card to ``folder``.

    Of several, checkpoints of one training, say, their mean (Izmailov et al., UAI 2018): its images are smoother.
    ``statements`` has the keys of :data:`CARD`. The weights are rounded to half precision. The same content gives the
    same bytes. Raises :class:`UsageError` where a statement is missing or the generators have different architectures,
    :class:`AugmentError` where a weight overflows half precision.
    """
    if set(statements) != set(CARD):
        raise UsageError(f"a card states {', '.join(CARD)}; this one states {', '.join(statements) or 'nothing'}.")
    files = [find_generator(source) for source in sources]
    headers = [read_header(file) for file in files]
    kinds = [[header["image_size"], *(header["config"][key] for key in ARCHITECTURE)] for header in headers]
    if different := [file for file, kind in zip(files, kinds, strict=True) if kind != kinds[0]]:
        raise UsageError(f"{different[0]}: is of another architecture or image size than {files[0]}; there is no mean "
                         "of the two.")  # fmt: skip
    header = headers[-1]
    halves = {key: tensor.half() for key, tensor in _mean_weights(files).items()}
    if not all(bool(tensor.isfinite().all()) for tensor in halves.values()):
        raise AugmentError(f"{files[-1]}: a weight is not finite in half precision; the generator cannot be exported.")
    config = GanConfig.model_validate(header["config"])
    hashes = [sha256_file(file) for file in files]
    card = {
        "name": name, **statements, "settings": config.identity(), "iterations": header["iteration"],
        "image_size": header["image_size"], "inputs": header.get("inputs", {}),
        "exported_from": hashes[0] if len(hashes) == 1 else hashes,
    }  # fmt: skip
    kept = {key: header[key] for key in ("system", "image_size", "iteration", "digest", "inputs") if key in header}
    path = folder / f"{name}.safetensors"
    sha256 = save_weights(path, {}, halves, {**kept, "config": config.identity(), "parent": hashes[-1], "card": card})
    with atomic_write(path.with_suffix(".json")) as file:
        file.write(json.dumps({**card, "sha256": sha256}, indent=1, sort_keys=True).encode() + b"\n")
    return path


def _mean_weights(files: Sequence[Path]) -> dict[str, torch.Tensor]:
    """Mean of the averaged weights, by name."""
    total: dict[str, torch.Tensor] = {}
    for file in files:
        for name, tensor in load_generator(file)[0].state_dict().items():
            total[name] = total[name] + tensor.double() if name in total else tensor.double()
    return {name: (tensor / len(files)).float() for name, tensor in total.items()}


def resolve_start(section: GanConfig) -> GanConfig:
    """The section with the architecture of ``gan.start``; unchanged without one.

    Settings that were not given are the file's; the default of ``features`` follows from them. A training may be
    wider than its start (:mod:`augment.gan.widening`). Raises :class:`UsageError` where a given setting contradicts
    the file.
    """
    if section.start is None:
        return section
    config = read_header(find_generator(section.start))["config"]
    follows = {key: config[key] for key in ARCHITECTURE}
    given = section.model_dump(exclude_unset=True)
    if section.iterations and "width" in given and channel_copies(config["width"], given["width"]):
        follows.pop("width")
    for key, value in follows.items():
        if given.get(key, value) != value:
            wider = ", train with a multiple of it" if key == "width" and section.iterations else ""
            raise UsageError(f"gan.{key}={given[key]} contradicts gan.start={section.start}, a generator of {key} "
                             f"{value}. Leave gan.{key} out{wider}, or start from another generator.")  # fmt: skip
    return GanConfig.model_validate(given | follows)


def with_start(config: Config) -> Config:
    """The configuration with the architecture of ``gan.start`` (:func:`resolve_start`)."""
    return config.model_copy(update={"gan": resolve_start(config.gan)})


def load_start(section: GanConfig, image_size: tuple[int, int]) -> torch.nn.Module:
    """The generator of ``gan.start``, averaged weights on the CPU. ``section`` comes from :func:`resolve_start`: where
    it asks for more width, the generator is widened.

    Raises :class:`UsageError` where it generates images of another size (H, W).
    """
    generator, config = load_generator(find_generator(section.start))
    if generator.image_size != tuple(image_size):
        raise UsageError(f"gan.start={section.start}: that generator makes {_by(generator.image_size)}, this training "
                         f"{_by(image_size)}. Set gan.image_size={list(generator.image_size)}.")  # fmt: skip
    return generator if section.width == config.width else widen(generator, section)


def _by(size: tuple[int, int]) -> str:
    return "x".join(map(str, size))
