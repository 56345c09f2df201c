"""``augment gan``: train the generator, draw single pictures with it."""

from pathlib import Path

import click

from augment.commands.run import stage_command

_path = click.Path(path_type=Path)


@click.group()
def gan() -> None:
    """Train the generator, draw single pictures with it."""


gan.add_command(stage_command("train", "gan", "Train the generator."))


@gan.command()
@click.argument("weights", metavar="WEIGHTS", type=_path)
@click.option("--source", type=_path, required=True, help="Picture of the person to be drawn.")
@click.option("--pose", "poses", multiple=True, required=True, metavar="IMAGE|FILE.csv:NAME",
              help="Pose to draw: a picture's, or a row of a key point file; may be given often.")  # fmt: skip
@click.option("--source-pose", metavar="IMAGE|FILE.csv:NAME", help="The source's pose; estimated where not given.")
@click.option("--output", type=_path, default="sample.png", show_default=True)
@click.option("--which", type=click.Choice(["average", "raw"]), default="average", show_default=True,
              help="Averaged weights, or those of the last iteration.")  # fmt: skip
@click.option("--device", default="auto", show_default=True)
def sample(weights: Path, source: Path, poses: tuple[str, ...], source_pose: str | None, output: Path, which: str,
           device: str) -> None:  # fmt: skip
    """Draw one person in other poses with WEIGHTS, a weights-*.safetensors file or a run's folder; a grid as PNG."""
    from augment.gan.sample import sample as draw

    draw(_last(weights) if weights.is_dir() else weights, source, poses, output, source_pose=source_pose,
         which=which, device=device)  # fmt: skip
    click.echo(f"{output}: source, its pose, target pose, where it was seen, generated; a row for each pose")


def _last(run: Path) -> Path:
    """The weights file of a run's last iteration."""
    from augment.manifest import read_manifest
    from augment.pipeline import stage_named

    manifest = read_manifest(stage_named("gan").path(run), "checkpoints")
    roles = dict(zip(manifest.table["role"].to_pylist(), manifest.table["path"].to_pylist(), strict=True))
    return manifest.file_of(roles["last"])
