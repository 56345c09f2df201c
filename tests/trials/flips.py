"""One bit flipped in a file of a finished run, and its stage called again: noticed and healed, told, or without effect.

Healed: every file is again as the undisturbed run left it. Harmless: the file stays damaged and nothing that is read,
counted or shown differs; for a file that no table names, the report is made and compared, too.
"""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness import (
    FAILED,
    HARMLESS,
    HEALED,
    MESSAGE,
    OUTPUT,
    SMALLEST,
    Golden,
    Outcome,
    Tally,
    in_batches,
    new_folder,
    rng,
)


@dataclass(frozen=True)
class Kind:
    """Files of a run, the stage whose business they are, and what must be gone for it to read them."""

    files: str
    stage: str
    without: tuple[str, ...] = ()
    shown: str = ""  # a picture that the report shows may differ there, and only there
    format: str = "files"  # synthesis.format of the run


_TESTED = ("reid/metrics.parquet", "reid/real-s0.json", "reid/augmented-s0.json")

KINDS = {
    "rendered images": Kind("rendered/*/*.jpg", "images"),
    "rendered key points": Kind("rendered/*.csv", "images"),
    "rendered set's own files": Kind("rendered/rendered.json rendered/SHA256SUMS", "images"),
    "images.parquet": Kind("images/images.parquet", "images"),
    "poses.parquet": Kind("poses/poses.parquet", "poses"),
    "pairs.parquet": Kind("pairs/pairs.parquet", "pairs"),
    "checkpoints.parquet": Kind("gan/checkpoints.parquet", "gan"),
    "generator's weights": Kind("gan/weights-*.safetensors", "gan"),
    "training state": Kind("gan/state-*.pt", "gan", ("gan/checkpoints.parquet",)),
    "training.json": Kind("gan/training.json", "gan", ("gan/checkpoints.parquet",)),
    "training log": Kind("gan/log.jsonl", "gan"),
    "training samples": Kind("gan/samples/*.jpg", "gan", shown="report.html"),
    "gallery, tensorboard": Kind("gan/gallery.html gan/tensorboard/*", "gan"),
    "synthetic.parquet": Kind("synthetic/synthetic.parquet", "synthetic"),
    "synthetic images": Kind("synthetic/images/*.jpg", "synthetic"),
    "synthetic images (webdataset)": Kind("synthetic/images/*.tar", "synthetic", format="webdataset"),
    "synthetic images (parquet)": Kind("synthetic/images/*.parquet", "synthetic", format="parquet"),
    "quality/metrics.parquet": Kind("quality/metrics.parquet", "quality"),
    "quality's CSV": Kind("quality/*.csv", "quality"),
    "quality's pictures": Kind("quality/examples/*.png", "quality"),
    "reid/metrics.parquet": Kind("reid/metrics.parquet", "reid"),
    "re-ID results (JSON)": Kind("reid/*.json", "reid"),
    "re-ID weights": Kind("reid/*.safetensors", "reid", _TESTED),
    "re-ID CSV": Kind("reid/*.csv", "reid"),
    "config.yaml, timings, marker": Kind("config.yaml timings.json .augment-run", "images"),
    "report.html": Kind("report.html", ""),
}


def flip(data: bytes, bit: int) -> bytes:
    """With one bit turned over."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def trial(golden: Golden, folder: Path, tally: Tally, count: int, only: str = "", first: int = 0) -> None:
    """``count`` flips of every kind; those of another ``synthesis.format`` in a run of their own."""
    for format in sorted({kind.format for kind in KINDS.values()}):
        kinds = [title for title, kind in KINDS.items() if only in title and kind.format == format]
        settings = SMALLEST | {"synthesis": SMALLEST["synthesis"] | {"format": format}}
        if kinds:
            whole = golden if format == "files" else Golden.make(folder.with_name(f"golden-{format}"), settings)
            _flip_all(whole, new_folder(folder, settings), tally, kinds, range(first, first + count))


def _flip_all(golden: Golden, folder: Path, tally: Tally, kinds: list[str], flips: range) -> None:
    """The flips of these numbers of every kind; a child does those of several kinds."""
    names = {title: _names(golden, KINDS[title]) for title in kinds}

    def place(number: int) -> tuple[str, int, str, int]:
        title, flip_number = kinds[number // len(flips)], flips[number % len(flips)]
        return title, flip_number, *_place(golden, names[title], tally.seed, title, flip_number)

    def attempt(number: int) -> Outcome:
        title, _, name, bit = place(number)
        return _attempt(golden, KINDS[title], name, bit)

    for number, outcome, seconds in in_batches(range(len(flips) * len(kinds)), attempt, folder):
        title, flip_number, name, bit = place(number)
        tally.add(title, outcome, f"flip {flip_number} (bit {bit} of {name})", seconds)


def _names(golden: Golden, kind: Kind) -> list[str]:
    return sorted(name for name in golden.files for pattern in kind.files.split() if Path(name).match(pattern)
                  and name.count("/") == pattern.count("/"))  # fmt: skip


def _place(golden: Golden, names: list[str], seed: int, title: str, number: int) -> tuple[str, int]:
    random = rng(seed, "flip", title, number)
    name = random.choice(names)
    return name, random.randrange(8 * len(golden.files[name]))


@cache
def _pristine_table(golden_bytes: bytes):
    import io

    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(golden_bytes))


def _attempt(golden: Golden, kind: Kind, name: str, bit: int) -> Outcome:
    from augment.base.errors import AugmentError
    from augment.config import load_config
    from augment.manifest import read_manifest
    from augment.pipeline.folder import locked_run
    from augment.pipeline.stages import run_local, run_stage, stage_named

    run = OUTPUT.absolute()
    before = os.path.getsize(".said")
    golden.restore(run)
    for other in kind.without:
        (run / other).unlink()
    (run / name).write_bytes(flip(golden.files[name], bit))
    config = load_config(Path("tiny.yaml"))
    try:
        with locked_run(config):
            if kind.stage:
                run_stage(stage_named(kind.stage), config)
            whole = golden.is_whole(run, name)
            if whole and not golden.differing(run):
                return HEALED, ""
            if not whole and name.endswith(".parquet"):  # everybody reads tables through read_manifest
                read = read_manifest(run / name).table
                if read.equals(_pristine_table(golden.files[name]), check_metadata=True):
                    return HARMLESS, ""
            run_local(config)
    except AugmentError as error:
        return (MESSAGE, "") if Path(name).name in str(error) else (FAILED, f"the message does not name it: {error}")
    differing = set(golden.differing(run)) - {name, kind.shown}
    if differing == {"report.html"} and f"{name}: " in Path(".said").read_text(errors="replace")[before:]:
        return MESSAGE, ""
    if differing:
        return FAILED, f"silently different: {', '.join(sorted(differing)[:5])}"
    return (HEALED if golden.is_whole(run, name) else HARMLESS), ""
