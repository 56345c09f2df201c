"""Several trained generators side by side: the same test pairs, their scores, how they came about (Sec. 6.3, Fig. 5).

The runs stay as they are. The comparison's own folder gets ``comparison.html``, ``pairs.png`` (some pairs as every
generator draws them), ``scores.csv`` (a line for each checkpoint) and ``scored/``, from which one that was interrupted
goes on.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from augment.base.devices import pick_device
from augment.base.drawing import draw_pose, image_grid, write_text
from augment.base.errors import AugmentError, UsageError
from augment.base.files import atomic_write, sha256_bytes
from augment.base.progress import progress
from augment.base.terminal import spreadsheet_cell
from augment.config import Config, GanConfig, load_config
from augment.gan.checkpoints import read_header
from augment.gan.inference import BatchedGenerator
from augment.gan.log import read_log
from augment.quality.arms import COPIED, REAL
from augment.quality.pictures import Pair, PairPictures, choose_pairs, generated_targets, load_pairs
from augment.quality.published import figure_of
from augment.quality.scores import PERFECT, score_images
from augment.report.charts import Series, line_chart
from augment.report.page import template
from augment.report.pictures import data_uri
from augment.run import Run

POINTS = 8  # checkpoints of each run on the curves
SIDE_BY_SIDE = 2  # pairs in a row of the picture

_COLUMNS = {"ssim_released": "SSIM", "ssim_255": "SSIM 255", "mask_ssim_released": "mask-SSIM", "l1_released": "L1"}


@dataclass(frozen=True)
class Trained:
    """One run's generator: its checkpoints, and how long they took."""

    name: str
    run: Run
    config: Config

    @cached_property
    def checkpoints(self) -> dict[int, tuple[Path, str]]:
        """Iteration -> weights file and its SHA-256, the earliest first."""
        manifest = self.run.manifests["gan"]
        rows = manifest.frame().sort_values("iteration")
        return {row.iteration: (manifest.file_of(row.path), row.sha256) for row in rows.itertuples()}

    @property
    def last(self) -> int:
        """Iterations of the last checkpoint."""
        return max(self.checkpoints)

    def minutes(self, iteration: int) -> float:
        """How long the training took up to there, by its log; what it stood still for is left out."""
        done, minutes = [0], [0.0]
        for row in read_log(self.run.folder / "gan"):
            minutes.append(minutes[-1] + (row["iteration"] - done[-1]) / row["iterations_per_second"] / 60)
            done.append(row["iteration"])
        return float(np.interp(iteration, done, minutes))

    def test_pairs(self, count: int) -> list[Pair]:
        """At most ``count`` of its test pairs."""
        return choose_pairs(*(self.run.manifests[stage] for stage in ("images", "poses", "pairs")), count)[0]


def compare_generators(folders: Sequence[Path], output: Path, *, pairs: int = 1000, drawn: int = 32,
                       device: str = "auto") -> pd.DataFrame:  # fmt: skip
    """Score the generators of several runs on the same ``pairs`` test pairs and draw ``drawn`` of them.

    Returns what ``scores.csv`` holds, a line for each checkpoint: run, iteration, minutes, and of each metric the mean
    and its standard error over pairs. The run "source copied" hands back the source, "real target" is the target.
    Raises :class:`AugmentError` where a run has no finished generator, or where their test pairs or the sizes of their
    images differ.
    """
    trained = open_runs(folders)
    chosen = _same_pairs(trained, pairs)
    place = pick_device(device)
    first_file, _ = trained[0].checkpoints[trained[0].last]
    size = tuple(read_header(first_file)["image_size"])
    images, poses = (trained[0].run.manifests[stage] for stage in ("images", "poses"))
    pictures = load_pairs(images, poses, chosen, size)
    scores = _score_all(trained, pictures, Path(output) / "scored", _digest(chosen), place)
    shown = pictures.select(torch.arange(0, len(chosen), max(1, len(chosen) // drawn))[:drawn])
    generated = {one.name: _generated(one.checkpoints[one.last][0], shown, place) for one in trained}
    picture = _draw(shown, generated)
    with atomic_write(Path(output) / "pairs.png") as file:
        Image.fromarray(picture).save(file, "PNG")
    with atomic_write(Path(output) / "scores.csv") as file:
        safe = scores.assign(run=scores["run"].map(spreadsheet_cell))
        file.write(safe.to_csv(index=False, float_format="%.6g").encode())
    with atomic_write(Path(output) / "comparison.html") as file:
        file.write(_page(trained, scores, picture, len(chosen), len(shown)).encode())
    return scores


def open_runs(folders: Sequence[Path]) -> list[Trained]:
    """The runs in these folders, named by what their paths do not share."""
    if len(set(folders)) < len(folders):
        raise UsageError("a run was named twice; name each once.")
    resolved = [Path(folder).resolve() for folder in folders]
    common = os.path.commonpath(resolved) if len(resolved) > 1 else resolved[0].parent
    runs = []
    for folder, whole in zip(folders, resolved, strict=True):
        run = Run(folder)
        missing = [stage for stage in ("images", "poses", "pairs", "gan") if stage not in run.manifests]
        if missing:
            detail = f" ({'; '.join(run.problems)})" if run.problems else ""
            raise AugmentError(f"{folder}: no finished {missing[0]} stage there{detail}. Name the folder of a run; "
                               "`augment gan train CONFIG` makes all that is needed.")  # fmt: skip
        name = whole.relative_to(common).as_posix()
        runs.append(Trained(whole.name if name == "." else name, run, load_config(folder / "config.yaml")))
    return runs


def at_the_same(scores: pd.DataFrame, what: str) -> pd.DataFrame:
    """Of each run the checkpoint nearest to the ``iteration`` or ``minutes`` that all runs have reached."""
    scores = scores[~scores["run"].isin([COPIED, REAL])]
    limit = scores.groupby("run")[what].max().min()
    return scores.loc[(scores[what] - limit).abs().groupby(scores["run"], sort=False).idxmin()]


def _same_pairs(trained: Sequence[Trained], count: int) -> list[Pair]:
    chosen = trained[0].test_pairs(count)
    if not chosen:
        raise AugmentError(f"{trained[0].run.folder}: has no test pairs, so there is nothing to compare on.")
    for other in trained[1:]:
        if other.test_pairs(count) != chosen:
            raise AugmentError(f"{other.run.folder}: its test pairs are not those of {trained[0].run.folder}. Runs are "
                               "comparable when their data, pose and pairs sections are the same.")  # fmt: skip
    return chosen


def _digest(pairs: Sequence[Pair]) -> str:
    return sha256_bytes(json.dumps(pairs).encode())[:16]


def _score_all(trained: Sequence[Trained], pictures: PairPictures, folder: Path, digest: str,
               device: torch.device) -> pd.DataFrame:  # fmt: skip
    """A line for the source handed back and for every checkpoint on the curves."""
    rows = [{"run": COPIED, "iteration": 0, "minutes": 0.0, **_means(score_images(pictures.source, pictures, device))}]
    rows.append({"run": REAL, "iteration": 0, "minutes": 0.0, **PERFECT, **{f"{metric} ±": 0.0 for metric in PERFECT}})
    wanted = _on_the_curves(trained)
    with progress("compare", total=sum(map(len, wanted)), unit="checkpoints") as advance:
        for one, iterations in zip(trained, wanted, strict=True):
            for iteration in iterations:
                file, content = one.checkpoints[iteration]
                means = _scored(file, folder / f"{content[:16]}-{digest}.json", pictures, device)
                rows.append({"run": one.name, "iteration": iteration, "minutes": one.minutes(iteration), **means})
                advance(1, f"{one.name}: SSIM {means['ssim_released']:.3f} after {iteration:,} iterations")
    return pd.DataFrame(rows)


def _on_the_curves(trained: Sequence[Trained]) -> list[list[int]]:
    """Iterations of each run: some at equal distances, the last, and those nearest to what all runs have reached."""
    iterations = min(one.last for one in trained)
    minutes = min(one.minutes(one.last) for one in trained)
    wanted = []
    for one in trained:
        every = list(one.checkpoints)
        places = np.linspace(len(every) - 1, -1, POINTS, endpoint=False).round().astype(int)
        same = {min(every, key=lambda n: abs(n - iterations)), min(every, key=lambda n: abs(one.minutes(n) - minutes))}
        wanted.append(sorted({every[place] for place in places} | same))
    return wanted


def _scored(weights: Path, kept: Path, pictures: PairPictures, device: torch.device) -> dict[str, float]:
    if kept.exists():
        return json.loads(kept.read_text())
    means = _means(score_images(_generated(weights, pictures, device), pictures, device))
    with atomic_write(kept) as file:
        file.write(json.dumps(means).encode())
    return means


def _generated(weights: Path, pictures: PairPictures, device: torch.device) -> torch.Tensor:
    return generated_targets(BatchedGenerator.load(weights, device, size=pictures.size), pictures)


def _means(scores: dict[str, np.ndarray]) -> dict[str, float]:
    found = {}
    for metric, values in scores.items():
        found[metric] = float(values.mean())
        found[f"{metric} ±"] = float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else float("nan")
    return found


def _draw(pictures: PairPictures, generated: dict[str, torch.Tensor]) -> np.ndarray:
    """A strip for each pair: source, target pose, target, and what each generator made of it; captions on top."""
    size = tuple(pictures.source.shape[-2:])
    strips = []
    for place in range(len(pictures)):
        pose = draw_pose(pictures.target_joints[place].numpy(), size)
        drawn = [one[place] for one in (pictures.source, pictures.target, *generated.values())]
        source, *others = (image.permute(1, 2, 0).numpy() for image in drawn)
        strips.append([source, pose, *others])
    captions = [write_text(text, size[1]) for text in ("source", "pose", "target", *generated)]
    blocks = [[*captions, None]] * min(SIDE_BY_SIDE, len(strips)) + [[*strip, None] for strip in strips]
    rows = [list(chain(*blocks[first : first + SIDE_BY_SIDE])) for first in range(0, len(blocks), SIDE_BY_SIDE)]
    return image_grid(rows)


def _page(trained: Sequence[Trained], scores: pd.DataFrame, picture: np.ndarray, pairs: int, drawn: int) -> str:
    curves = [
        (f"SSIM over {what}", line_chart(
            f"SSIM over {what}",
            [Series(one.name, rows[what], rows["ssim_released"]) for one in trained
             for rows in [scores[scores["run"] == one.name]]], label))
        for what, label in (("iteration", "iterations"), ("minutes", "minutes of training"))
    ]  # fmt: skip
    last = scores.loc[scores.groupby("run", sort=False)["iteration"].idxmax()]
    tables = [("At the end of each training", last)]
    for what, title in (("iteration", "After the same iterations"), ("minutes", "After the same time")):
        same = at_the_same(scores, what)
        if not set(same.index) <= set(last.index):
            tables.append((title, same))
    setting = {f"{one.config.gan.fidelity}, width {one.config.gan.width:g}" for one in trained}
    systems = {one.name: one for one in trained}
    return template("systems.html").render(
        title=", ".join(one.name for one in trained), names=[one.name for one in trained],
        setting=", ".join(setting) if len(setting) == 1 else "",
        pairs=pairs, drawn=drawn, columns=list(_COLUMNS.values()), curves=curves,
        tables=[(title, [_row(row, systems.get(row["run"]), len(setting) > 1) for row in table.to_dict("records")])
                for title, table in tables],
        picture=data_uri(picture, quality=88),
    )  # fmt: skip


def _row(row: dict, one: Trained | None, in_full: bool) -> dict[str, object]:
    return {
        "run": row["run"], "what": _system(one.config.gan, in_full) if one else "",
        "published": _published(one.config) if one else "",
        "iterations": f"{row['iteration']:,}" if one else "", "minutes": f"{row['minutes']:.1f}" if one else "",
        "cells": [f"{row[metric]:.3f}" + f" ± {row[f'{metric} ±']:.3f}" * (metric == "ssim_released")
                  for metric in _COLUMNS],
    }  # fmt: skip


def _system(gan: GanConfig, in_full: bool) -> str:
    features = f", {gan.features}" if gan.system in ("percloss", "full") else ""
    return gan.system + features + (f", {gan.fidelity}, width {gan.width:g}" if in_full else "")


def _published(config: Config) -> str:
    metrics = ("ssim_released", "mask_ssim_released")
    figures = [figure_of(config.data.layout, config.gan.system, metric) for metric in metrics]
    return " / ".join(f"{figure:.3f}" for figure in figures if figure is not None)
