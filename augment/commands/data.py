"""``augment data``: render the demo set, import other data sets."""

from pathlib import Path

import click

from augment.base.errors import UsageError
from augment.base.terminal import echo
from augment.commands.common import LocalPath

_path = LocalPath()


@click.group()
def data() -> None:
    """Render and import data sets."""


@data.command()
@click.argument("folder", type=_path)
@click.option("--train-identities", default=40, show_default=True)
@click.option("--test-identities", default=40, show_default=True)
@click.option("--images-per-identity", default=12, show_default=True)
@click.option("--cameras", default=6, show_default=True)
@click.option("--seed", default=0, show_default=True)
def render(folder: Path, **settings: int) -> None:
    """Render a set of people into FOLDER, in Market-1501's layout, with their exact joints."""
    from pydantic import ValidationError

    from augment.config import RenderedConfig
    from augment.data.rendered.dataset import render_set

    try:
        section = RenderedConfig(**settings)
    except ValidationError as error:
        first = error.errors()[0]
        option = f"--{str(first['loc'][0]).replace('_', '-')}: " if first["loc"] else ""  # or it is about all together
        raise UsageError(f"{option}{first['msg']} (got {first['input']}).") from None
    echo(f"{render_set(section, folder)}: bounding_box_train, query, bounding_box_test and annotation-*.csv")


@data.command("import")
@click.argument("folder", type=_path)
@click.argument("destination", metavar="DEST", type=_path)
@click.option("--pattern", metavar="REGEX", help="Pattern of file names (with a slash in it: of paths below FOLDER) "
              "with the groups pid and camid; by default '(?P<pid>-1|\\d+)_c(?P<camid>\\d+)'.")  # fmt: skip
@click.option("--test-people", type=click.IntRange(2), help="For a single folder of crops: how many people, the "
              "last ones, become query and gallery; by default a third.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Write without confirmation.")
def import_(folder: Path, destination: Path, pattern: str | None, test_people: int | None, yes: bool) -> None:
    """Convert FOLDER (CUHK03-np, DukeMTMC-reID, VeRi-776, MSMT17, or a single folder of crops) to Market-1501's layout
    in the new folder DEST. Shows a preview and asks for confirmation before it writes anything."""
    from augment.data.importing import import_images
    from augment.data.patterns import PATTERN, parse_folder

    if destination.exists():
        raise UsageError(f"{destination}: already exists. Name a new folder.")
    parsed = parse_folder(folder, pattern or PATTERN, test_people)
    echo(parsed.preview())
    if not yes:
        click.confirm(f"Write {len(parsed.images):,} images to {destination}?", abort=True)
    import_images(parsed, destination)
    echo(f"{destination}: use it with --set data.root={destination}")
