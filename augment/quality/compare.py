"""Scores of the generators of several runs on the same test pairs, over their checkpoints (Sec. 6.3)."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from augment.base.errors import AugmentError, UsageError
from augment.base.files import atomic_write, sha256_bytes
from augment.base.intervals import standard_error
from augment.base.progress import progress
from augment.config import Config, load_config
from augment.gan.inference import BatchedGenerator
from augment.gan.log import read_log
from augment.quality.arms import COPIED, REAL
from augment.quality.pictures import Pair, PairPictures, choose_pairs, generated_targets
from augment.quality.scores import PERFECT, score_images
from augment.run import Run

_FORM = 2  # of the kept scores
POINTS = 8  # checkpoints of each run on the curves


@dataclass(frozen=True)
class Trained:
    """A run's generator: its checkpoints, and their training times."""

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
        """Training time up to an iteration, by the log; interruptions do not count."""
        done, minutes = [0], [0.0]
        for row in read_log(self.run.folder / "gan"):
            minutes.append(minutes[-1] + (row["iteration"] - done[-1]) / row["iterations_per_second"] / 60)
            done.append(row["iteration"])
        return float(np.interp(iteration, done, minutes))

    def test_pairs(self, count: int) -> list[Pair]:
        """At most ``count`` of its test pairs."""
        return choose_pairs(*(self.run.manifests[stage] for stage in ("images", "poses", "pairs")), count)[0]


def open_runs(folders: Sequence[Path]) -> list[Trained]:
    """The runs in these folders, named by the part of their paths that differs."""
    resolved = [Path(folder).resolve() for folder in folders]
    if len(set(resolved)) < len(resolved):
        raise UsageError("the same run is given twice.")
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
        config = run.config_as_made(load_config(folder / "config.yaml"))
        runs.append(Trained(whole.name if name == "." else name, run, config))
    return runs


def at_the_same(scores: pd.DataFrame, what: str) -> pd.DataFrame:
    """Of each run the checkpoint nearest to the ``iteration`` or ``minutes`` that all runs have reached."""
    scores = scores[~scores["run"].isin([COPIED, REAL])]
    limit = scores.groupby("run")[what].max().min()
    return scores.loc[(scores[what] - limit).abs().groupby(scores["run"], sort=False).idxmin()]


def same_pairs(trained: Sequence[Trained], count: int) -> list[Pair]:
    """At most ``count`` test pairs. Raises :class:`AugmentError` where tables differ or there are none."""
    chosen = trained[0].test_pairs(count)
    if not chosen:
        raise AugmentError(f"{trained[0].run.folder}: has no test pairs, so there is nothing to compare on.")
    for other in trained[1:]:
        for stage in ("images", "poses", "pairs"):
            if other.run.manifests[stage].digest != trained[0].run.manifests[stage].digest:
                raise AugmentError(f"{other.run.folder}: its {stage} are not those of {trained[0].run.folder}. Runs "
                                   "are comparable when their data, pose and pairs sections are the same.")  # fmt: skip
    return chosen


def score_all(trained: Sequence[Trained], pairs: Sequence[Pair], pictures: PairPictures, folder: Path,
              device: torch.device) -> pd.DataFrame:  # fmt: skip
    """A row for the unchanged source, for the target, and for every checkpoint on the curves.

    Columns: run, iteration, minutes, and of each metric the mean over pairs and its standard error over people.
    Finished checkpoints are kept in ``folder``, from which an interrupted comparison is resumed.
    """
    digest = sha256_bytes(json.dumps([_FORM, pairs]).encode())[:16]
    pids = trained[0].run.manifests["images"].frame().set_index("id")["pid"]
    people = pids[[source for source, _ in pairs]].to_numpy()
    copied = _means(score_images(pictures.source, pictures, device), people)
    rows = [{"run": COPIED, "iteration": 0, "minutes": 0.0, **copied}]
    rows.append({"run": REAL, "iteration": 0, "minutes": 0.0, **PERFECT, **{f"{metric} ±": 0.0 for metric in PERFECT}})
    wanted = _on_the_curves(trained)
    with progress("compare", total=sum(map(len, wanted)), unit="checkpoints") as advance:
        for run, iterations in zip(trained, wanted, strict=True):
            for iteration in iterations:
                file, content = run.checkpoints[iteration]
                means = _scored(file, folder / f"{content[:16]}-{digest}.json", pictures, people, device)
                rows.append({"run": run.name, "iteration": iteration, "minutes": run.minutes(iteration), **means})
                advance(1, f"{run.name}: SSIM {means['ssim_released']:.3f} after {iteration:,} iterations")
    return pd.DataFrame(rows)


def _on_the_curves(trained: Sequence[Trained]) -> list[list[int]]:
    """Iterations of each run: evenly spaced ones, the last, and those nearest to what all runs have reached."""
    iterations = min(run.last for run in trained)
    minutes = min(run.minutes(run.last) for run in trained)
    wanted = []
    for run in trained:
        every = list(run.checkpoints)
        places = np.linspace(len(every) - 1, -1, POINTS, endpoint=False).round().astype(int)
        same = {min(every, key=lambda n: abs(n - iterations)), min(every, key=lambda n: abs(run.minutes(n) - minutes))}
        wanted.append(sorted({every[place] for place in places} | same))
    return wanted


def _scored(
    weights: Path, kept: Path, pictures: PairPictures, people: np.ndarray, device: torch.device
) -> dict[str, float]:
    if kept.exists():
        return json.loads(kept.read_text())
    means = _means(score_images(generate_targets(weights, pictures, device), pictures, device), people)
    with atomic_write(kept) as file:
        file.write(json.dumps(means).encode())
    return means


def generate_targets(weights: Path, pictures: PairPictures, device: torch.device) -> torch.Tensor:
    """The pairs' images by a weights file, uint8 (N, 3, H, W)."""
    return generated_targets(BatchedGenerator.load(weights, device, size=pictures.size), pictures)


def _means(scores: dict[str, np.ndarray], people: np.ndarray) -> dict[str, float]:
    found = {}
    for metric, values in scores.items():
        found[metric] = float(values.mean())
        found[f"{metric} ±"] = standard_error(people, values)
    return found
