"""The page: every section whose stage is there, in one HTML file that needs nothing else."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from augment.base.files import atomic_write
from augment.config import Config, ReportConfig
from augment.report import generator, inputs, outcome
from augment.report.filter import filtered
from augment.report.study import study
from augment.run import Run

_TITLES = {
    "arms": "Result", "synthetic": "Synthetic images", "filter": "Filter", "quality": "Quality", "study": "User study",
    "training": "Training", "retrieval": "Retrieval", "data": "Images and poses", "failures": "Failures",
    "settings": "Settings", "lineage": "Lineage",
}  # fmt: skip


def write_report(section: ReportConfig, config: Config, folder_of_run: Path) -> Path:
    """Write ``report.html`` into the run's folder from the tables that lie there; returns its path.

    Absent stages are left out; unreadable tables and pictures are named on the page. The same tables give the same
    bytes. Raises :class:`AugmentError` where the folder cannot be written to.
    """
    run = Run(folder_of_run)
    context = {
        "arms": outcome.arms(run, config),
        "synthetic": generator.synthetic(run, section.examples),
        "filtered": filtered(run, config, section.examples),
        "quality": generator.quality(run, config),
        "examples": generator.examples(run, section.examples),
        "study": study(run, config),
        "training": generator.training(run),
        "retrieval": outcome.retrieval(run, config, section.examples),
        "images": inputs.images(run),
        "pairs": inputs.pairs(run),
        "poses": inputs.poses(run),
        "failures": inputs.failures(run),
        "settings": inputs.settings(config),
        "lineage": inputs.lineage(run),
    }
    shown = {name for name, value in context.items() if value} | {"settings"}
    shown |= {"filter"} if "filtered" in shown else set()
    shown |= {"quality"} if "examples" in shown else set()
    shown |= {"data"} if shown & {"images", "poses"} else set()
    page = template("page.html").render(
        name=config.name,
        about=_about(config),
        contents=[(id, title) for id, title in _TITLES.items() if id in shown],
        problems=sorted(set(run.problems)),
        **context,
    )
    path = run.folder / "report.html"
    with atomic_write(path) as file:
        file.write(page.encode(errors="backslashreplace"))  # file names may hold what is no text
    return path


def template(name: str) -> Template:
    """One of the templates beside this file."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(name)


def _about(config: Config) -> str:
    gan, reid = config.gan, config.reid
    layout = {"market1501": "Market-1501", "deepfashion": "DeepFashion", "rendered": "Rendered demo set"}
    width = "" if gan.width == 1 else f", width {gan.width:g}"
    return " · ".join([
        layout[config.data.layout],
        f"poses from {config.pose.estimator}",
        f"generator {gan.system} ({gan.fidelity}{width}), {gan.iterations:,} iterations",
        f"re\N{NON-BREAKING HYPHEN}ID {reid.model}, {reid.iterations:,} iterations",
    ])  # fmt: skip
