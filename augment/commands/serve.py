"""``augment serve``: runs of the pipeline started from Prefect's page."""

import click

from augment.commands.common import with_config
from augment.config import Config


@click.command()
@click.option("--limit", type=click.IntRange(1), default=1, show_default=True, help="Runs at once on this machine.")
@with_config
def serve(config: Config, limit: int) -> None:
    """Execute runs started from the Prefect UI.

    Its server is the one at PREFECT_API_URL. CONFIG gives the defaults of the form for a new run. Ctrl-C stops it.
    """
    from flows.serving import serve_stages

    serve_stages(config, limit)
