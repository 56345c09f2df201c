"""``augment report``: the pages of runs, again."""

from contextlib import nullcontext
from pathlib import Path

import click

from augment.base.terminal import echo
from augment.commands.common import LocalPath, RunFolder, read_config, remember_folder
from augment.config import Config


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
