"""The remaining commands: configuration, report, doctor."""

import itertools
import re
from pathlib import Path

import click

from augment.commands.common import read_config, with_config
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
        sentence = re.split(r"(?<!Sec)[.:] ", " ".join(line.strip("# ") for line in comment), maxsplit=1)[0]
        click.echo(f"{name:28} {sentence}.")
    click.echo(f"\nTheir files, to begin your own with: {path.parent}")


@config.command("show")
@with_config
def show_config(config: Config) -> None:
    """Print every value of CONFIG; values that differ from the default are marked with it."""
    from augment.config import differences, dump_yaml

    changed = differences(config)
    defaults = dict(_leaves(Config().model_dump(mode="json")))
    path: list[str] = []
    for line in dump_yaml(config).splitlines():
        key, colon, _ = line.strip().partition(":")
        if colon and not line.lstrip().startswith("-"):
            path[(len(line) - len(line.lstrip())) // 2 :] = [key]
        dotted = ".".join(path)
        mark = f"  # default: {defaults.get(dotted)}" if colon and dotted in changed else ""
        click.echo(line + mark)


def _leaves(values: dict, prefix: str = ""):
    for key, value in values.items():
        yield prefix + key, value
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")


@click.command()
@with_config
def report(config: Config) -> None:
    """Write the HTML page of CONFIG's run again, from the existing manifests."""
    from augment.pipeline.stages import locked_run, make_report

    with locked_run(config):
        make_report(config)
    click.echo(f"Report: {config.folder / 'report.html'}")


@click.command()
@click.argument("config_path", metavar="[CONFIG]", required=False, type=ConfigFile(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", shell_complete=complete_override,
              help="Override one value.")  # fmt: skip
def doctor(config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Check that all requirements of CONFIG are met; exit code 3 where one is not."""
    from augment.pipeline.doctor import examine, show

    checks = examine(read_config(config_path, overrides) if config_path else None)
    if not show(checks):
        click.get_current_context().exit(3)
