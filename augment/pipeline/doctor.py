"""``augment doctor``: whether all requirements of a configuration are met, and the remedies where they are not."""

import subprocess
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from rich.text import Text

from augment.base.console import PlainConsole
from augment.base.disk import rooms
from augment.base.errors import AugmentError
from augment.base.files import sha256_file
from augment.base.storage import objects
from augment.base.storage.addresses import address_of, is_copy
from augment.base.storage.copies import is_folder
from augment.config import Config
from augment.pipeline.folder import check_folder

_PACKAGES = ("torch", "torchvision", "prefect", "fastapi", "pandas", "pyarrow", "openpifpaf", "torchreid", "click")
_INSTALL = "run `make setup` in the project's folder, or the README's pip commands for a wheel"
_OTHER = "choose another folder: --set output=FOLDER"
PAYS = 1.15  # times as fast, or it is not worth another precision
_DEFAULT_FREE = 2e9  # bytes, where no configuration tells how much is needed


@dataclass(frozen=True)
class Check:
    """The result of a check. ``failed``: a requirement is not met; ``warn``: not needed yet; ``info``: optional."""

    name: str
    status: Literal["ok", "info", "warn", "failed"]
    found: str
    fix: str = ""


def examine(config: Config | None) -> Iterator[Check]:
    """All checks, those of the configuration last; each is made lazily."""
    if config is None:
        config_checks: list[Callable[[Config], Iterator[Check]]] = []
    else:
        config_checks = [_data, _poses, _gan, _filter, _quality, _reid]
    yield Check("python", "ok", ".".join(map(str, sys.version_info[:3])))
    yield from map(_package, _PACKAGES)
    yield _imported("torchvision operators", _NMS, "torchvision loads no operators", _INSTALL)
    yield _imported("prefect with fastapi", "from flows.server import factory; factory(); print('its server loads')",
                    "Prefect's server does not load",
                    "pip install 'prefect>=3.8.8,<3.9' 'fastapi<0.151', or use --engine local")  # fmt: skip
    yield _imported("openpifpaf works", _OPENPIFPAF, "openpifpaf does not load", _INSTALL)
    yield _imported("torchreid works", _TORCHREID, "torchreid does not load", _INSTALL)
    yield _gpu(config)
    yield _bf16(config or Config.model_validate({"gan": {"width": 0.25}}))
    unplanned = yield from _folder(config)
    told = set()
    for config_check in config_checks:
        for check in config_check(config):
            told.add(check.found)
            yield check
    if unplanned and unplanned not in told:
        yield Check("plan", "failed", unplanned)


def show(checks: Iterator[Check]) -> bool:
    """Print each check as it is made; returns False where one failed."""
    console = PlainConsole(soft_wrap=True)
    colours = {"ok": "green", "info": "cyan", "warn": "yellow", "failed": "red"}
    seen: Counter[str] = Counter()
    for check in checks:
        seen[check.status] += 1
        console.print(Text(f"{check.status:<6}", colours[check.status]), f"{check.name:<22} {check.found}")
        if check.fix:
            console.print(f"{'':<30}-> {check.fix}")
    warnings = "1 warning" if seen["warn"] == 1 else f"{seen['warn']} warnings"
    console.print(f"{seen['ok']} ok, {warnings}, {seen['failed']} failed.")
    return not seen["failed"]


def _package(name: str) -> Check:
    try:
        return Check(name, "ok", version(name))
    except PackageNotFoundError:
        return Check(name, "failed", "not installed", _INSTALL)


_NMS = """
import augment.base.torchvision_cpu as repair
import torch, torchvision
boxes = torch.tensor([[0., 0., 10., 10.], [1., 1., 10., 10.], [20., 20., 30., 30.]])
kept = torchvision.ops.nms(boxes, torch.tensor([.9, .8, .7]), .5).tolist()
assert kept == [0, 2], kept
print('repaired for this CPU-only torch' if repair._library else 'compiled operators')
"""
_OPENPIFPAF = """
import augment.base.torchvision_cpu
import openpifpaf
import torch
assert hasattr(torch.classes.openpifpaf_decoder, "CifCaf")
print('its compiled decoder loads')
"""
_TORCHREID = """
import augment.base.torchvision_cpu
import torchreid
assert 'osnet_x0_25' in torchreid.models.__dict__['__model_factory']
print('its models load')
"""


def _imported(name: str, code: str, problem: str, fix: str) -> Check:
    """Run ``code`` in a process of its own, so that a crash or a side effect does not affect this one."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    if done.returncode == 0:
        return Check(name, "ok", done.stdout.strip().splitlines()[-1])
    reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return Check(name, "failed", f"{problem}: {reason}", fix)


def _gpu(config: Config | None) -> Check:
    try:
        import torch
    except ImportError:
        return Check("gpu", "warn", "torch is missing")
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 1e9
        return Check("gpu", "ok", f"{torch.cuda.get_device_name(0)}, {memory:.0f} GB")
    wanted = [] if config is None else [
        f"{name}.device" for name in ("pose", "gan", "synthesis", "quality", "reid")
        if getattr(config, name).device.startswith("cuda")
    ]  # fmt: skip
    if wanted:
        return Check("gpu", "failed", f"none that this torch {torch.__version__} can use, but {wanted[0]} is cuda",
                     f"set {wanted[0]}=auto, or install the CUDA build of torch")  # fmt: skip
    return Check("gpu", "warn", f"none; everything runs on {torch.get_num_threads()} CPU threads")


def _bf16(config: Config) -> Check:
    try:
        from augment.base.devices import pick_device
        from augment.gan.cost import bf16_gain

        gain = bf16_gain(config, pick_device(config.gan.device))
    except (AugmentError, ImportError, RuntimeError) as error:  # the last where a GPU's memory is full
        return Check("bf16", "warn", f"not measured: {error}")
    found = f"{gain:.1f} times as fast as fp32 here (generator of width {config.gan.width:g})"
    if gain > PAYS and config.gan.precision == "fp32":
        return Check("bf16", "ok", found, "worth it: gan.precision=bf16 to train, synthesis.precision=bf16 to generate")
    if gain < 1 / PAYS and config.gan.precision == "bf16":
        return Check("bf16", "warn", found, "slower: gan.precision=fp32, but not for a training that has begun")
    return Check("bf16", "ok", found)


def _folder(config: Config | None) -> Generator[Check, None, str]:
    """Checks of the run's folder and its disk; returns why there is no plan of the run, "" where there is one."""
    folder = (config.folder if config else Path("outputs")).absolute()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        if config is not None:
            check_folder(config.folder)
        with tempfile.TemporaryFile(dir=existing):
            yield Check("write permission", "ok", str(folder))
    except AugmentError as error:
        yield Check("write permission", "failed", str(error))
    except OSError as error:
        yield Check("write permission", "failed", f"{existing}: {error.strerror}", _OTHER)
    if is_copy(folder):
        yield _asked("object storage", lambda: _storage(address_of(folder)))
    found, problem, unplanned = rooms({folder: _DEFAULT_FREE}), " (a guess)", ""
    if config is not None:
        try:
            from augment.pipeline.plan import make_plan

            plan = make_plan(config)
            found, problem = plan.rooms, ""
            for step in plan.too_large:
                takes = f"{step.stage} takes about {step.estimate.memory / 1e9:.1f} GB"
                yield Check("memory", "warn", takes, "lower its batch_size or the size of the set")
        except AugmentError as error:
            unplanned = str(error)
        except ImportError:
            pass  # the check of its package names it
    for room in found:
        where = "" if room is found[0] else f" at {room.folder}"
        space = f"{room.free / 1e9:.1f} GB free, {room.needed / 1e9:.1f} GB needed{problem}{where}"
        if room.free > 1.1 * room.needed:
            yield Check("disk", "ok", space)
        else:
            yield Check("disk", "failed" if config else "warn", space, f"free some, or {_OTHER}")
    return unplanned


def _storage(address: str) -> str:
    """Whether a run can be kept there: it is held by an object that only one process can create."""
    name = f"{address}/.augment-doctor-{uuid.uuid4().hex}"
    try:
        exclusive = objects.create(name, b"first") and not objects.create(name, b"second")
    finally:
        objects.remove(name)
    if not exclusive:
        raise AugmentError(f"{address}: this storage does not keep two processes from creating the same object, so "
                           "two runs at once would not find each other. Use another storage, or a folder.")  # fmt: skip
    return f"{address} can be written, by one run at a time"


def _asked(name: str, question: Callable[[], str], fix: str = "") -> Check:
    """``question`` returns the finding, or raises the error that the stage itself would raise, with its remedy."""
    try:
        return Check(name, "ok", question())
    except AugmentError as error:
        return Check(name, "failed", str(error), fix)
    except ImportError as error:
        return Check(name, "failed", f"cannot be checked: {error}", _INSTALL)


def _data(config: Config) -> Iterator[Check]:
    def counted() -> str:
        from augment.pipeline.counts import count

        found = count(config, {}).splits
        if not found:
            raise AugmentError("there are no images. Set data.root to the folder of the data set.")
        return ", ".join(f"{number:,} {split}" for split, number in sorted(found.items())) + f" ({config.data.layout})"

    yield _asked("data set", counted)


def _poses(config: Config) -> Iterator[Check]:
    if config.pose.estimator == "annotations":
        for split in config.pose.splits:
            yield _asked(f"key points of {split}", lambda split=split: _annotation(config, split))
        return

    def checkpoint() -> str:
        from augment.pose.estimator.checkpoints import find_checkpoint

        found = find_checkpoint(config.pose.checkpoint, config.pose.checkpoint_sha256)
        actual = sha256_file(found.path)
        if actual != found.sha256:
            raise AugmentError(f"{found.path}: its SHA-256 is {actual}, not {found.sha256}. Get the file again.")
        return f"{found.path.name}, sha256 {actual[:16]} as expected"

    yield _asked("pose checkpoint", checkpoint)


def _annotation(config: Config, split: str) -> str:
    from augment.data.published import find_published
    from augment.data.stage import dataset_root

    name = config.pose.annotations.get(split)
    if name is None:
        raise AugmentError(f"pose.annotations names no file for {split}. Set pose.annotations.{split}, or leave the "
                           "split out of pose.splits.")  # fmt: skip
    root = dataset_root(config.data, config.folder.absolute() / "images")
    if config.data.layout == "rendered" and not is_folder(root):
        return f"{name} will be rendered with the set"
    return str(find_published(name, [root, root.parent], f"pose.annotations.{split}"))


def _gan(config: Config) -> Iterator[Check]:
    from augment.base.downloads import cached_file
    from augment.gan.features import TORCHVISION_URL, needs_vgg19

    gan = config.gan
    if not needs_vgg19(gan):
        return
    cached = cached_file(TORCHVISION_URL)
    file = Path(gan.vgg_weights) if gan.vgg_weights else cached
    if file.is_file():
        yield Check("VGG-19 weights", "ok", f"{file}, sha256 {sha256_file(file)[:16]}")
    elif gan.vgg_weights:
        yield Check("VGG-19 weights", "failed", f"gan.vgg_weights={file}: no such file",
                    "give the file, or set gan.features=patches, which needs no weights")  # fmt: skip
    else:
        yield Check("VGG-19 weights", "warn", "not here yet; they are downloaded (548 MB) when the training begins",
                    f"offline: put {TORCHVISION_URL} at {cached}, name a file with gan.vgg_weights, or set "
                    "gan.features=patches, which needs no weights")  # fmt: skip


def _filter(config: Config) -> Iterator[Check]:
    from augment.synthesis.scoring import judges

    if config.synthesis.filter.scores:
        yield _asked("judges of the filter", lambda: _listed(judges(config.synthesis.filter)))


def _listed(digests: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {digest[:16]}" for name, digest in digests.items()) or "none"


def _quality(config: Config) -> Iterator[Check]:
    from augment.quality.arms import generator_digests
    from augment.quality.networks import digests, missing
    from augment.quality.registry import metrics_of

    yield _asked("metric weights", lambda: _listed(digests(config.quality)))
    if config.quality.generators:
        yield _asked("other generators", lambda: _listed(generator_digests(config.quality)))
    for network, line in missing(config.quality).items():
        unmeasured = f"no file, so not measured: {', '.join(metrics_of(network))}"
        yield Check(f"metrics by {network}", "info", unmeasured, line)


def _reid(config: Config) -> Iterator[Check]:
    def model() -> str:
        from augment.retrieval.networks import check_network

        check_network(config.reid.model, (config.reid.height, config.reid.width))
        return config.reid.model + (", ImageNet weights downloaded by torchreid" if config.reid.pretrained else "")

    def arms() -> str:
        from augment.reid.arms import settings_of_arms
        from augment.reid.stage import named_files

        files = named_files(config.reid)
        return ", ".join(settings_of_arms(config.reid)) + "".join(f"; {key} {files[key][:16]}" for key in files)

    def people() -> str:
        from augment.pipeline.counts import list_of_images
        from augment.reid.checks import check_all

        images = list_of_images(config, {})
        check_all(images, config.data.root or config.folder, config.reid)
        train = images.loc[(images["split"] == "train") & (images["pid"] >= 0), "pid"]
        return f"{train.nunique():,} to train on, others to search for in other cameras"

    yield _asked("re-ID model", model)
    yield _asked("re-ID arms", arms)
    asked = _asked("re-ID people", people)
    yield asked if asked.status == "ok" else replace(asked, status="warn")  # images can be generated all the same
