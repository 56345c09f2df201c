"""Comparison of trained generators: images and scores of the same test pairs (Sec. 6.3, Fig. 5).

The runs are not changed. The comparison's own folder gets ``comparison.html``, ``pairs.png`` (example pairs by every
generator), ``scores.csv`` (a row per checkpoint) and ``scored/``, from which an interrupted comparison is resumed.
"""

import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from augment.base.devices import pick_device
from augment.base.drawing import draw_pose, image_grid, write_text
from augment.base.files import atomic_write
from augment.base.terminal import spreadsheet_cell
from augment.config import GanConfig
from augment.gan.checkpoints import read_header
from augment.quality.compare import Trained, at_the_same, generate_targets, open_runs, same_pairs, score_all
from augment.quality.pictures import PairPictures, load_pairs
from augment.quality.published import figure_of
from augment.report.charts import Series, line_chart
from augment.report.data_set import published_layout
from augment.report.page import template
from augment.report.pictures import data_uri

SIDE_BY_SIDE = 2  # pairs in a row of the picture

_COLUMNS = {"ssim_released": "SSIM", "ssim_255": "SSIM 255", "mask_ssim_released": "mask-SSIM", "l1_released": "L1"}


def compare_generators(folders: Sequence[Path], output: Path, *, pairs: int = 1000, examples: int = 32,
                       device: str = "auto") -> pd.DataFrame:  # fmt: skip
    """Score the generators of several runs on the same ``pairs`` test pairs and show ``examples`` of them.

    Returns the scores (:func:`augment.quality.compare.score_all`), which are also in ``scores.csv``. Raises
    :class:`AugmentError` where a run has no finished generator, or where their test pairs or the sizes of their images
    differ.
    """
    trained = open_runs(folders)
    chosen = same_pairs(trained, pairs)
    device = pick_device(device)
    first_file, _ = trained[0].checkpoints[trained[0].last]
    size = tuple(read_header(first_file)["image_size"])
    images, poses = (trained[0].run.manifests[stage] for stage in ("images", "poses"))
    pictures = load_pairs(images, poses, chosen, size)
    scores = score_all(trained, chosen, pictures, Path(output) / "scored", device)
    shown = pictures.select(torch.arange(0, len(chosen), max(1, len(chosen) // examples))[:examples])
    generated = {run.name: generate_targets(run.checkpoints[run.last][0], shown, device) for run in trained}
    picture = _strips(shown, generated)
    with atomic_write(Path(output) / "pairs.png") as file:
        Image.fromarray(picture).save(file, "PNG")
    with atomic_write(Path(output) / "scores.csv") as file:
        safe = scores.assign(run=scores["run"].map(spreadsheet_cell))
        file.write(safe.to_csv(index=False, float_format="%.6g").encode())
    with atomic_write(Path(output) / "comparison.html") as file:
        file.write(_page(trained, scores, picture, len(chosen), len(shown)).encode())
    return scores


def _strips(pictures: PairPictures, generated: dict[str, torch.Tensor]) -> np.ndarray:
    """A strip per pair, as in the paper's Fig. 4: source, its pose, target pose, target, and each generator's image."""
    size = tuple(pictures.source.shape[-2:])
    strips = []
    for place in range(len(pictures)):
        poses = [draw_pose(joints[place].numpy(), size) for joints in (pictures.source_joints, pictures.target_joints)]
        shown = [images[place] for images in (pictures.source, pictures.target, *generated.values())]
        source, *others = (image.permute(1, 2, 0).numpy() for image in shown)
        strips.append([source, *poses, *others])
    captions = [write_text(text, size[1]) for text in ("source", "its pose", "new pose", "target", *generated)]
    blocks = [[*captions, None]] * min(SIDE_BY_SIDE, len(strips)) + [[*strip, None] for strip in strips]
    rows = [list(chain(*blocks[first : first + SIDE_BY_SIDE])) for first in range(0, len(blocks), SIDE_BY_SIDE)]
    return image_grid(rows)


def _page(trained: Sequence[Trained], scores: pd.DataFrame, picture: np.ndarray, pairs: int, examples: int) -> str:
    curves = [
        (f"SSIM over {what}", line_chart(
            f"SSIM over {what}",
            [Series(run.name, rows[what], rows["ssim_released"]) for run in trained
             for rows in [scores[scores["run"] == run.name]]], label))
        for what, label in (("iteration", "iterations"), ("minutes", "minutes of training"))
    ]  # fmt: skip
    last = scores.loc[scores.groupby("run", sort=False)["iteration"].idxmax()]
    tables = [("At the end of each training", last)]
    for what, title in (("iteration", "After the same iterations"), ("minutes", "After the same time")):
        same = at_the_same(scores, what)
        if not set(same.index) <= set(last.index):
            tables.append((title, same))
    setting = {f"{run.config.gan.fidelity}, width {run.config.gan.width:g}" for run in trained}
    systems = {run.name: run for run in trained}
    return template("systems.html").render(
        title=", ".join(run.name for run in trained), names=[run.name for run in trained],
        setting=", ".join(setting) if len(setting) == 1 else "",
        pairs=pairs, examples=examples, columns=list(_COLUMNS.values()), curves=curves,
        tables=[(title, [_row(row, systems.get(row["run"]), len(setting) > 1) for row in table.to_dict("records")])
                for title, table in tables],
        picture=data_uri(picture, quality=88),
    )  # fmt: skip


def _row(row: dict, run: Trained | None, in_full: bool) -> dict[str, object]:
    return {
        "run": row["run"], "what": _system(run.config.gan, in_full) if run else "",
        "published": _published(run) if run else "",
        "iterations": f"{row['iteration']:,}" if run else "", "minutes": f"{row['minutes']:.1f}" if run else "",
        "cells": [f"{row[metric]:.3f}" + _error(row[f"{metric} ±"] if metric == "ssim_released" else math.nan)
                  for metric in _COLUMNS],
    }  # fmt: skip


def _error(value: float) -> str:
    return "" if math.isnan(value) else f" ± {value:.3f}"


def _system(gan: GanConfig, in_full: bool) -> str:
    features = f", {gan.features}" if gan.system in ("percloss", "full") else ""
    return gan.system + features + (f", {gan.fidelity}, width {gan.width:g}" if in_full else "")


def _published(trained: Trained) -> str:
    metrics, layout = ("ssim_released", "mask_ssim_released"), published_layout(trained.run, trained.config)
    figures = [figure_of(layout, trained.config.gan.system, metric) for metric in metrics]
    return " / ".join(f"{figure:.3f}" for figure in figures if figure is not None)
