"""The report: a section for every finished stage, in a self-contained HTML file; of a single run or of several."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from augment.base.errors import AugmentError, UsageError
from augment.base.files import atomic_write
from augment.config import Config, ReportConfig
from augment.report import generator, inputs, outcome, overview
from augment.report.data_set import title
from augment.report.filter import filtered
from augment.report.study import study
from augment.run import Run

_TITLES = {
    "arms": "Result", "synthetic": "Synthetic images", "filter": "Filter", "quality": "Quality", "study": "User study",
    "training": "Training", "retrieval": "Retrieval", "data": "Images and poses", "failures": "Failures",
    "settings": "Settings", "lineage": "Lineage",
}  # fmt: skip


@dataclass(frozen=True)
class _Shown:
    """A run on the page: its sections and their navigation."""

    id: str
    name: str
    about: str
    contents: list[tuple[str, str]]  # id, title
    body: Markup


def check_tables(configs: list[Config]) -> None:
    """Raise :class:`AugmentError` where a run's folder has no tables, :class:`UsageError` where one is given twice."""
    if len({config.folder.resolve() for config in configs}) < len(configs):
        raise UsageError("the same run is given twice.")
    for config in configs:
        if not Run(config.folder.absolute()).manifests:
            raise AugmentError(f"{config.folder}: no finished stage of a run, so there is nothing to show. "
                               "Name configurations that were run, or folders of runs.")  # fmt: skip


def write_report(section: ReportConfig, config: Config, folder_of_run: Path, path: Path | None = None) -> Path:
    """Write the page ``path``, by default ``report.html`` in the run's folder, from its tables; returns the path.

    Absent stages are left out; unreadable tables and images are listed on the page. The same tables give the same
    bytes. Raises :class:`AugmentError` where the folder is not writable.
    """
    run = Run(folder_of_run)
    path = path or run.folder / "report.html"
    shown = _show(run, run.config_as_made(config), section.examples, path)
    return _write(path, shown.name, shown.about, shown.contents, shown.body)


def write_joint_report(configs: list[Config], path: Path) -> Path:
    """Write a page of several runs: a comparison of their results, then each in full. Returns the path.

    Raises as :func:`check_tables`.
    """
    check_tables(configs)
    runs = [Run(config.folder.absolute()) for config in configs]
    configs = [run.config_as_made(config) for run, config in zip(runs, configs, strict=True)]
    names = overview.names(configs)
    shown = [
        _show(run, config, config.report.examples, path, name=name, prefix=f"run{number}-", level=3)
        for number, (run, config, name) in enumerate(zip(runs, configs, names, strict=True), 1)
    ]
    beside = overview.overview(runs, configs, names)
    body = Markup(template("runs.html").render(runs=shown, **beside))
    contents = [("overview-settings", "Overview"), *((run.id, run.name) for run in shown)]
    if beside["reid"].rows:
        contents[0] = ("overview-reid", "Overview")
    elif beside["quality"].rows:
        contents[0] = ("overview-quality", "Overview")
    return _write(path, ", ".join(names), f"{len(runs)} runs side by side", contents, body)


def _show(run: Run, config: Config, count: int, page: Path, name: str | None = None, prefix: str = "",
          level: int = 2) -> _Shown:  # fmt: skip
    context: dict[str, Any] = {
        "arms": outcome.arms(run, config),
        "synthetic": generator.synthetic(run, count),
        "filtered": filtered(run, config, count),
        "quality": generator.quality(run, config),
        "examples": generator.examples(run, count),
        "study": study(run, config),
        "training": generator.training(run, page),
        "retrieval": outcome.retrieval(run, config, count),
        "images": inputs.images(run),
        "pairs": inputs.pairs(run),
        "poses": inputs.poses(run),
        "failures": inputs.failures(run),
        "settings": inputs.settings(config),
        "lineage": inputs.lineage(run),
    }
    ids = {name for name, value in context.items() if value} | {"settings"}
    ids |= {"filter"} if "filtered" in ids else set()
    ids |= {"quality"} if "examples" in ids else set()
    ids |= {"data"} if ids & {"images", "poses"} else set()
    body = template("sections.html").render(
        prefix=prefix, h=level, commands=inputs.commands(run, config), problems=sorted(set(run.problems)), **context
    )
    contents = [(prefix + id, title) for id, title in _TITLES.items() if id in ids]
    return _Shown(prefix.rstrip("-"), name or config.name, _about(run, config), contents, Markup(body))


def _write(path: Path, title: str, about: str, contents: list[tuple[str, str]], body: Markup) -> Path:
    page = template("page.html").render(title=title, about=about, contents=contents, body=body)
    with atomic_write(path) as file:
        file.write(page.encode(errors="backslashreplace"))  # file names may hold what is no text
    return path


def template(name: str) -> Template:
    """A template beside this file."""
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    """With what is compiled of the templates."""
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip


def _about(run: Run, config: Config) -> str:
    gan, reid = config.gan, config.reid
    width = "" if gan.width == 1 else f", width {gan.width:g}"
    trained = f"{gan.system} ({gan.fidelity}{width}), {gan.iterations:,} iterations"
    if gan.start is not None:
        trained = f"{gan.start}, trained for {gan.iterations:,} more iterations" if gan.iterations else f"{gan.start}"
    return " · ".join([
        title(run, config),
        f"poses from {config.pose.estimator}",
        f"generator {trained}",
        f"re\N{NON-BREAKING HYPHEN}ID {reid.model}, {reid.iterations:,} iterations",
    ])  # fmt: skip
