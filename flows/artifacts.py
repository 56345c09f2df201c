"""Artifacts of a run on Prefect's pages. Errors here never fail a run."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect import get_run_logger
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)

from augment.base.terminal import shown
from augment.config import Config
from augment.pipeline.arms import arms_cells
from augment.report.generator import contact_sheet
from augment.report.pictures import data_uri
from augment.run import Run

_INTERVAL_S = 2.0  # an update is a request to the server


@contextmanager
def _courtesy(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        get_run_logger().warning("%s did not become an artifact: %r", what, error)


def show_progress(stage: str, shards: int) -> Callable[[], None]:
    """A progress bar of the stage's shards; returns a function to call after each."""
    artifact, done, updated = None, 0, time.monotonic()
    with _courtesy("progress"):
        artifact = create_progress_artifact(progress=0.0, key=stage, description=f"{stage}: {shards} shards")

    def advance() -> None:
        nonlocal done, updated
        done += 1
        if artifact is not None and (done == shards or time.monotonic() - updated > _INTERVAL_S):
            updated = time.monotonic()
            with _courtesy("progress"):
                update_progress_artifact(artifact, progress=100.0 * done / shards)

    return advance


def show_arms(config: Config) -> None:
    """The comparison of arms as a table."""
    with _courtesy("the table of the arms"):
        header, *lines = arms_cells(config)
        rows = [header, ["---"] * len(header), *lines]
        markdown = "\n".join("| " + " | ".join(row) + " |" for row in rows)
        create_markdown_artifact(key="arms", markdown=markdown, description=f"Re-ID of {config.name}, in percent")


def show_samples(config: Config) -> None:
    """Synthetic images of some sources; in the artifact itself, since the page has no access to the run's folder."""
    with _courtesy("the contact sheet"):
        sheet = contact_sheet(Run(config.folder))
        if sheet is not None:
            create_image_artifact(key="samples", image_url=data_uri(sheet),
                                  description=f"{config.name}: sources, and images generated from each")  # fmt: skip


def show_report(config: Config, page: Path) -> None:
    """The report's path: Prefect's server has no access to the run's folder."""
    with _courtesy("the report's path"):
        create_markdown_artifact(key="report", markdown=f"`{shown(page)}`", description=f"Report of {config.name}")
