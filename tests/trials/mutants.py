"""Mutated files of every format that is read: a clear message, or valid content; of our own files, what was written.

A user's file (image, key points, configuration, foreign weights) carries no hash: a mutant that is valid is another
valid file. Of a file that this program wrote nothing but the content that was written is accepted.
"""

import io
import json
import random
import re
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from harness import FAILED, HARMLESS, MESSAGE, OUTPUT, SMALLEST, Golden, Outcome, Tally, in_batches, new_folder, rng

_NUMBERS = ("0", "-1", "1", "65536", "-2147483649", "9999999999999999999", "1e308", "-1e309", "NaN", "Infinity", ".inf",
            "0x7f", "1.5", "null", "true", '""', "[]", "{}")  # fmt: skip
_BYTES = (0, 1, 0x7F, 0x80, 0xFF, 0x0A, 0x22, 0x2C)


def mutate(data: bytes, random: random.Random) -> bytes:
    """One to four changes, from a flipped bit to a number put in another's place."""
    for _ in range(random.randint(1, 4)):
        data = random.choice(_CHANGES)(data, random)
    return data


def _slice(data: bytes, random: random.Random) -> tuple[int, int]:
    start = random.randrange(len(data) + 1)
    return start, min(len(data), start + random.choice((1, 2, 4, 8, 64, 512)))


def _flip(data: bytes, random: random.Random) -> bytes:
    if not data:
        return data
    place = random.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << random.randrange(8)]) + data[place + 1 :]


def _set(data: bytes, random: random.Random) -> bytes:
    place = random.randrange(len(data) + 1)
    return data[:place] + bytes([random.choice(_BYTES)]) + data[place + 1 :]


def _truncate(data: bytes, random: random.Random) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _delete(data: bytes, random: random.Random) -> bytes:
    start, end = _slice(data, random)
    return data[:start] + data[end:]


def _repeat(data: bytes, random: random.Random) -> bytes:
    start, end = _slice(data, random)
    return data[:end] + data[start:end] * random.choice((1, 1, 2, 50)) + data[end:]


def _insert(data: bytes, random: random.Random) -> bytes:
    place = random.randrange(len(data) + 1)
    return data[:place] + random.randbytes(random.choice((1, 4, 64))) + data[place:]


def _blank(data: bytes, random: random.Random) -> bytes:
    start, end = _slice(data, random)
    return data[:start] + bytes(end - start) + data[end:]


def _move(data: bytes, random: random.Random) -> bytes:
    start, end = _slice(data, random)
    rest = data[:start] + data[end:]
    place = random.randrange(len(rest) + 1)
    return rest[:place] + data[start:end] + rest[place:]


def _number(data: bytes, random: random.Random) -> bytes:
    if not (found := list(re.finditer(rb"-?\d+(\.\d+)?", data[:100_000]))):
        return _flip(data, random)
    match = random.choice(found)
    return data[: match.start()] + random.choice(_NUMBERS).encode() + data[match.end() :]


def _line(data: bytes, random: random.Random) -> bytes:
    lines = data.split(b"\n")
    place, other = random.randrange(len(lines)), random.randrange(len(lines))
    lines[place : place + random.randrange(2)] = [lines[other]]
    return b"\n".join(lines)


_CHANGES = (_flip, _flip, _set, _truncate, _delete, _repeat, _insert, _blank, _move, _number, _number, _line)

Read = Callable[[Path], Outcome]


def trial(golden: Golden, folder: Path, tally: Tally, count: int, only: str = "", first: int = 0) -> None:
    """``count`` mutants of every format."""
    new_folder(folder)
    golden.restore(folder / OUTPUT)
    for title, (originals, read) in formats(golden, folder).items():
        if only not in title:
            continue

        def attempt(number: int, title: str = title, originals: list = originals, read: Read = read) -> Outcome:
            name, data = _mutant(originals, tally.seed, title, number)
            path = folder / "mutants" / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
            return _told(read, path)

        for number, outcome, seconds in in_batches(range(first, first + count), attempt, folder, limit=20, size=250):
            name, data = _mutant(originals, tally.seed, title, number)
            if outcome[0] == FAILED:
                (Path("/tmp") / f"mutant-{title.split()[0]}-{number}-{name}").write_bytes(data)
            tally.add(title, outcome, f"mutant {number} of {name}", seconds)


def _mutant(originals: list[tuple[str, bytes]], seed: int, title: str, number: int) -> tuple[str, bytes]:
    random = rng(seed, "mutant", title, number)
    name, data = random.choice(originals)
    return name, mutate(data, random)


def _told(read: Read, path: Path) -> Outcome:
    from augment.base.errors import AugmentError

    try:
        return read(path)
    except AugmentError as error:
        said = str(error)
        if path.name not in said:
            return FAILED, f"the message does not name the file: {said}"
        if len(said) > 3000:
            return FAILED, f"a message of {len(said)} characters: {said[:300]}"
        return MESSAGE, ""


def formats(golden: Golden, folder: Path) -> dict[str, tuple[list[tuple[str, bytes]], Read]]:
    """Format -> originals (name, bytes), and what reads a mutant and checks what it got."""
    of = partial(_of_run, golden)
    return {
        "images": (_images(golden), _read_image),
        "key points, CSV": ([("keypoints.csv", golden.files["rendered/annotation-train.csv"])],
                            partial(_read_key_points, folder)),
        "key points, COCO JSON": ([("keypoints.json", _coco(golden))], partial(_read_key_points, folder)),
        "tables, parquet": (of(".parquet"), partial(_same, golden, _table)),
        "configuration, YAML": ([("tiny.yaml", (folder / "tiny.yaml").read_bytes()), *_configs()], _read_config),
        "generator, safetensors": (of(".safetensors", "gan/"), partial(_same, golden, _generator)),
        "re-ID weights, safetensors": (of(".safetensors", "reid/"), partial(_same, golden, _reid)),
        "foreign weights, safetensors": (of(".safetensors", "reid/real"), _foreign),
        "foreign weights, PyTorch": ([("weights.pth", _pytorch(golden))], _foreign),
        "training state": (of(".pt", "gan/"), partial(_same, golden, _state)),
        "side files, JSON": ([*of(".json", "gan/"), *of(".json", "reid/"), *of(".json", "timings"), *of("log.jsonl")],
                             partial(_side_file, golden)),
    }  # fmt: skip


def _of_run(golden: Golden, end: str, start: str = "") -> list[tuple[str, bytes]]:
    return [(name.replace("/", "+"), data) for name, data in golden.files.items()
            if name.endswith(end) and name.startswith(start)]  # fmt: skip


def _images(golden: Golden) -> list[tuple[str, bytes]]:
    from PIL import Image

    name = next(name for name in sorted(golden.files) if "bounding_box_train/" in name)
    image = Image.open(io.BytesIO(golden.files[name])).resize((16, 32))
    originals = [("image.jpg", golden.files[name])]
    for kind in ("PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM"):
        data = io.BytesIO()
        image.save(data, kind)
        originals.append((f"image.{kind.lower()}", data.getvalue()))
    return originals


def _read_image(path: Path) -> Outcome:
    import numpy as np

    from augment.base.images import read_image

    pixels = read_image(path)
    good = pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size
    return (HARMLESS, "") if good else (FAILED, f"{pixels.dtype} {pixels.shape}")


def _coco(golden: Golden) -> bytes:
    names = [Path(name).name for name in golden.files if "bounding_box_train/" in name]
    points = [value for joint in range(17) for value in (10 + joint, 20 + 3 * joint, 2)]
    return json.dumps({
        "images": [{"id": number, "file_name": name, "width": 64, "height": 128} for number, name in enumerate(names)],
        "annotations": [{"id": number, "image_id": number, "category_id": 1, "keypoints": points, "num_keypoints": 17,
                         "bbox": [5, 5, 50, 110], "area": 5500, "iscrowd": 0} for number in range(len(names))],
        "categories": [{"id": 1, "name": "person", "keypoints": [], "skeleton": []}],
    }).encode()  # fmt: skip


def _read_key_points(folder: Path, path: Path) -> Outcome:
    """By the stage itself: every joint is absent or a finite number."""
    import numpy as np

    from augment.config import Config
    from augment.manifest import read_manifest
    from augment.pose.stage import estimate_poses

    section = Config.model_validate(SMALLEST).pose.model_copy(
        update={"annotations": {"train": path}, "splits": ("train",)})  # fmt: skip
    images = read_manifest(folder / OUTPUT / "images" / "images.parquet")
    frame = estimate_poses(section, images, path.parent / "poses").frame()
    joints = np.stack([np.stack(frame[axis].to_list()) for axis in ("x", "y")]).astype(float)
    inside = np.isnan(joints) | (np.abs(joints) < 1e6)
    return (HARMLESS, "") if inside.all() else (FAILED, f"accepted: {joints[~inside][:5]}")


def _configs() -> list[tuple[str, bytes]]:
    folder = Path(__file__).parents[2] / "configs"
    return [(path.name, path.read_bytes()) for path in sorted(folder.glob("*.yaml"))]


def _read_config(path: Path) -> Outcome:
    """What is accepted says the same when it is written down and read again."""
    from augment.config import dump_yaml, load_config

    config = load_config(path)
    path.write_text(dump_yaml(config))
    again = load_config(path)
    return (HARMLESS, "") if again.identity() == config.identity() else (FAILED, f"{again!r} from {config!r}"[:500])


def _same(golden: Golden, read: Callable[[Path], Any], path: Path) -> Outcome:
    """A file of ours: what was written, or told."""
    found = read(path)
    return (HARMLESS, "") if found == _written(golden, read, path.name) else (FAILED, "accepted with other content")


@cache
def _written_once(read: Callable, data: bytes, name: str) -> Any:
    path = Path("whole") / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return read(path)


def _written(golden: Golden, read: Callable, name: str) -> Any:
    return _written_once(read, golden.files[name.replace("+", "/")], name)


def _table(path: Path) -> Any:
    from augment.manifest import read_manifest

    manifest = read_manifest(path)
    return manifest.kind, manifest.provenance, manifest.files, manifest.table.replace_schema_metadata(None)


def _generator(path: Path) -> Any:
    from augment.gan.checkpoints import load_generator

    generator, section = load_generator(path)
    return section, {name: tensor.numpy().tobytes() for name, tensor in generator.state_dict().items()}


def _reid(path: Path) -> Any:
    from augment.base.tensors import load_tensors

    tensors, header = load_tensors(path, "origin")
    return header, {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def _state(path: Path) -> Any:
    from augment.base.state import load_state

    state = load_state(path)
    return {name: repr(value)[:2000] for name, value in state.items()}


def _pytorch(golden: Golden) -> bytes:
    import safetensors.torch
    import torch

    data = io.BytesIO()
    torch.save({"state_dict": safetensors.torch.load(golden.files["reid/real-s0.safetensors"])}, data)
    return data.getvalue()


@cache
def _network() -> Any:
    import torch

    from augment.retrieval.networks import build_model

    return build_model("osnet_x0_25", 2, "softmax", False, torch.device("cpu"))


def _foreign(path: Path) -> Outcome:
    """Weights for ``reid.start``: told, or a network of finite numbers."""
    from augment.retrieval.weights import load_weights

    load_weights(_network(), path, "reid.start")
    finite = all(bool(tensor.isfinite().all()) for tensor in _network().state_dict().values())
    return (HARMLESS, "") if finite else (FAILED, "weights that are not finite were accepted")


def _side_file(golden: Golden, path: Path) -> Outcome:
    """A damaged one counts as absent; what is read is what was written."""
    import shutil

    from augment.gan.folder import OWNER, _owner
    from augment.gan.log import read_log
    from augment.pipeline.times import read_times
    from augment.reid.stage import _known_result

    name = path.name.replace("+", "/")
    place = path.parent / "run" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, place)
    written = golden.files[name]
    if name.endswith(OWNER):
        return _absent_or_same(_owner(place.parent), json.loads(written), {})
    if name.endswith("log.jsonl"):
        lines = [json.loads(line) for line in written.decode().splitlines()]
        fine = all(row in [{key: line[key] for key in row} for line in lines] for row in read_log(place.parent))
        return (HARMLESS, "") if fine else (FAILED, "a line that was not written")
    if name.startswith("timings"):
        times = read_times(place.parent)
        return (HARMLESS, "") if isinstance(times, dict) else (FAILED, repr(times))
    result = json.loads(written)
    for beside in result["files"]:  # a result without its files counts as absent, whatever it says
        (place.parent / beside).write_bytes(golden.files[f"reid/{beside}"])
    return _absent_or_same(_known_result(place.parent, place.stem, "digest", result["digest"]), result, None)


def _absent_or_same(found: Any, written: dict, absent: Any) -> Outcome:
    written = {key: value for key, value in written.items() if key != "seal"}
    return (HARMLESS, "") if found in (absent, written) else (FAILED, f"other content: {found!r}"[:300])
