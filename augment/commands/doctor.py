"""``augment doctor``: whether a configuration can run here."""

from pathlib import Path

import click

from augment.commands.common import read_config
from augment.commands.completion import ConfigFile, complete_override


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
