"""The command ``augment``: its subcommands are defined in ``augment/commands``."""

import click

from augment import __version__
from augment.commands.common import Guarded
from augment.commands.config import config
from augment.commands.data import data
from augment.commands.doctor import doctor
from augment.commands.export import export
from augment.commands.generator import gan
from augment.commands.manifests import manifest
from augment.commands.pose import pose
from augment.commands.quality import quality
from augment.commands.report import report
from augment.commands.run import compare, run, stage_command
from augment.commands.serve import serve
from augment.commands.study import study


@click.group(cls=Guarded, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="augment")
def main() -> None:
    """Pose-guided synthetic images for person re-identification: make them, and measure what they are worth."""


main.add_command(run)
main.add_command(stage_command("images", "images", "Open and hash every input image."))
main.add_command(stage_command("poses", "poses", "Find the 18 joints of every person."))
main.add_command(stage_command("pairs", "pairs", "List training and test pairs."))
main.add_command(gan)
main.add_command(stage_command("synthesize", "synthetic", "Generate every training image in new poses."))
main.add_command(quality)
main.add_command(stage_command("reid", "reid", "Train re-ID with and without the synthetic images."))
for command in (doctor, config, report, compare, data, pose, export, study, manifest, serve):
    main.add_command(command)

if __name__ == "__main__":
    main(prog_name="augment")
