"""``augment config``: the configurations that come with the package, and whole ones."""

import itertools
import json
import re

import click

from augment.base.terminal import echo
from augment.commands.common import with_config
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
        default = defaults.get(dotted)
        shown = json.dumps(list(default) if isinstance(default, dict) else default)
        echo(line + (f"  # default: {shown}" if colon and dotted in changed else ""))


def _leaves(values: dict, prefix: str = ""):
    for key, value in values.items():
        yield prefix + key, value
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
