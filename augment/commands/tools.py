"""The remaining commands: configuration, report, doctor."""

import itertools
import json
import re
from contextlib import nullcontext
from pathlib import Path

import click

from augment.base.terminal import echo
from augment.commands.common import LocalPath, RunFolder, read_config, remember_folder, with_config
from augment.commands.completion import ConfigFile, complete_override
from augment.config import Config, shipped_configs


@click.group()
def config() -> None:
    """Show configurations."""


@config.command("list")
def list_configs() -> None:
    """Name the configurations that come with the package; each can stand where a command asks for CONFIG."""
    shipped = shipped_configs()
    for name, path in shipped.items():
        comment = itertools.takewhile(lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines())
        text = " ".join(line.strip("# ") for line in comment)
        sentence = re.split(r"(?<!Sec)(?<!App)(?<!Tab)[.:] ", text, maxsplit=1)[0]
        echo(f"{name:28} {sentence}.")
    echo(f"\nTheir files, to begin your own with: {path.parent}")


@config.command("show")
@with_config
def show_config(config: Config) -> None:
    """Print every value of CONFIG; values that differ from the default show it in a comment."""
    from augment.config import differences, dump_yaml

    changed = differences(config)
    defaults = dict(_leaves(Config().model_dump(mode="json")))
    path: list[str] = []
    for line in dump_yaml(config).splitlines():
        key, colon, _ = line.strip().partition(":")
        if colon and not line.lstrip().startswith("-"):
            path[(len(line) - len(line.lstrip())) // 2 :] = [key]
        dotted = ".".join(path)
        mark = f"  # default: {json.dumps(defaults.get(dotted))}" if colon and dotted in changed else ""
        echo(line + mark)


def _leaves(values: dict, prefix: str = ""):
    for key, value in values.items():
        yield prefix + key, value
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")


@click.command()
@click.argument("runs", metavar="CONFIG|RUN...", nargs=-1, required=True, type=RunFolder())
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Override one value, of each.")
@click.option("--output", type=LocalPath(), help="The page; by default report.html in the folder of a "
              "single run, outputs/report.html for several.")  # fmt: skip
def report(runs: tuple[Path, ...], overrides: tuple[str, ...], output: Path | None) -> None:
    """Write the HTML page again.

    From the existing manifests. Each run is named by its CONFIG or its folder; several come on one page: their results
    side by side, then each in full."""
    from augment.config import differences
    from augment.pipeline.folder import locked_run
    from augment.report.page import check_tables, write_joint_report, write_report
    from augment.run import Run

    configs = [_config_of(run, overrides) for run in runs]
    if len(configs) == 1:
        check_tables(configs)  # before a folder is made for what never ran
        (config,) = configs
        remember_folder(config)
        with nullcontext() if output else locked_run(config, keep_config=True):
            page = write_report(config.report, config, config.folder.absolute(), output)
    else:
        page = write_joint_report(configs, output or Path("outputs/report.html"))
    for config in configs:
        if changed := differences(config, Run(config.folder.absolute()).config_as_made(config)):
            echo(f"{config.folder}: results are shown with the settings that made them; the configuration has others: "
                 f"{', '.join(sorted(changed))}.")  # fmt: skip
    echo(f"Report: {page}")


def _config_of(run: Path, overrides: tuple[str, ...]) -> Config:
    """Of a configuration, or the last one that a run's folder was asked for."""
    if not run.is_dir():
        return read_config(run, overrides)
    from augment.base.errors import AugmentError
    from augment.config import load_config

    if not (run / "config.yaml").is_file():
        raise AugmentError(f"{run}: is not the folder of a run.")
    return load_config(run / "config.yaml", overrides).model_copy(update={"output": run})


@click.command()
@click.argument("config_path", metavar="[CONFIG]", required=False, type=ConfigFile(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", shell_complete=complete_override,
              help="Override one value.")  # fmt: skip
@click.option("--with", "other_paths", multiple=True, metavar="FILE", type=click.Path(path_type=Path),
              help="A file whose values override CONFIG's.")  # fmt: skip
def doctor(config_path: Path | None, overrides: tuple[str, ...], other_paths: tuple[Path, ...]) -> None:
    """Check that all requirements of CONFIG are met.

    The exit code is 3 if any is not met.
    """
    from augment.pipeline.doctor import examine, show

    checks = examine(read_config(config_path, overrides, other_paths) if config_path else None)
    if not show(checks):
        click.get_current_context().exit(3)
