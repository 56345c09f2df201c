"""The user study's section of the page: R2G, G2R and d' beside Tab. 2, and the images most often misjudged."""

from typing import Any

from augment.base.errors import AugmentError
from augment.base.images import read_image
from augment.config import Config
from augment.manifest import Manifest, read_manifest
from augment.report.data_set import published_layout
from augment.report.pictures import data_uri, shrink
from augment.run import Run
from augment.study.answers import JOURNAL, write_answers
from augment.study.results import PUBLISHED, Results, read_results, result_cells


def study(run: Run, config: Config) -> dict[str, Any] | None:
    """A row of figures, the published ones, and two strips; None where no user has finished a study."""
    folder = run.folder / "study"
    if not (folder / JOURNAL).exists():
        return None
    try:
        write_answers(folder)
        results = read_results(folder)
        strips = _strips(run, results, config.report.examples)
    except AugmentError as error:
        run.problems.append(str(error))
        return None
    if not results.users:
        return None
    published = PUBLISHED.get(published_layout(run, config), {})
    return {
        "cells": result_cells(results),
        "unfinished": results.unfinished,
        "published": [(system, f"{r2g:g}", f"{g2r:g}") for system, (r2g, g2r) in published.items()],
        "strips": strips,
    }


def _strips(run: Run, results: Results, count: int) -> list[tuple[str, list[dict[str, str]]]]:
    """The generated images that were most and least often rated as real; with few images half of them each."""
    stimuli = read_manifest(run.folder / "study" / "stimuli.parquet", "stimuli")
    files = dict(zip(stimuli.table["id"].to_pylist(), stimuli.table["path"].to_pylist(), strict=True))
    rates = results.images[results.images["generated"]].sort_values(["mistaken", "stimulus"], ascending=[False, True])
    count = min(count, len(rates) // 2)
    fooled = rates[rates["mistaken"] > 0].head(count)
    strips = {
        "Generated images that passed for real most often": fooled,
        "Generated images that passed least often": rates.drop(fooled.index).tail(count).iloc[::-1],
    }
    return [
        (title, [shown for row in some.to_dict("records") if (shown := _picture(run, stimuli, files, row))])
        for title, some in strips.items()
        if len(some)
    ]


def _picture(run: Run, stimuli: Manifest, files: dict[str, str], row: dict[str, Any]) -> dict[str, str] | None:
    try:
        image = read_image(stimuli.file_of(files[row["stimulus"]]))
    except AugmentError as error:
        run.problems.append(str(error))
        return None
    return {"src": data_uri(shrink(image)), "rate": f"{row['mistaken']:.0%}"}
