"""The scores of generated images for the filter: identity, pose, confidence of the person, sharpness."""

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from augment.base.devices import pick_device
from augment.base.errors import UsageError
from augment.base.files import local
from augment.base.images import read_image
from augment.base.progress import progress
from augment.config import FilterConfig, SynthesisConfig
from augment.gan.dataset import fit, scale_joints
from augment.manifest import Manifest, joint_columns
from augment.pose.agreement import share_met
from augment.pose.estimator.checkpoints import SHIPPED, find_checkpoint
from augment.pose.stage import PER_SECOND
from augment.retrieval.embedder import Embedder
from augment.retrieval.networks import SECONDS_PER_IMAGE, check_model
from augment.retrieval.weights import weights_digest
from augment.stage import Share, Spread, begun_shards, digest_of, made_under, provenance, run_shards

FILE = "scores.parquet"
VERSION = 2
_BY_JUDGE, _BY_ESTIMATOR = {"similarity", "margin"}, {"pose", "person"}
_MEASURES = ("similarity", "margin", "pose", "person", "sharpness")
_THRESHOLDS = (*_MEASURES, "share", "by")
_INPUTS = ("images", "poses", "judge", "estimator")  # beside the images to score
_BATCH = 100
_NEAR = 0.1  # of the image's height
_JUDGE = "synthesis.filter.judge"
_SHARPNESS_SECONDS = 0.001  # of an image


def judges(section: FilterConfig) -> dict[str, str]:
    """The networks of the scores, by hash. Raises :class:`UsageError` where the re-ID network is missing."""
    found = {}
    if _BY_JUDGE & set(section.scores):
        if section.judge is None:
            raise UsageError(f"{_JUDGE}: give the weights of a re-ID network to judge similarity and margin: a run's "
                             "reid/real-s0.safetensors of the same training images, or one trained on another data "
                             "set.")  # fmt: skip
        check_model(section.judge_model, "synthesis.filter.judge_model")
        found["judge"] = weights_digest(section.judge, _JUDGE)
    if _BY_ESTIMATOR & set(section.scores):
        found["estimator"] = find_checkpoint(SHIPPED).sha256
    return found


def shares(section: FilterConfig, made: int, known: int) -> tuple[Share, ...]:
    """The time that scoring ``made`` generated images takes, beside ``known`` training images.

    Of a re-ID network whose speed is not known it is left out.
    """
    if not section.scores:
        return ()
    found = [Share("sharpness", made, _SHARPNESS_SECONDS)]
    if _BY_JUDGE & set(section.scores) and section.judge_model in SECONDS_PER_IMAGE:
        height, width = section.judge_size
        each = SECONDS_PER_IMAGE[section.judge_model] / 3 * height * width / (256 * 128)
        found.append(Share("re-ID network of the filter", made + known, each))
    if _BY_ESTIMATOR & set(section.scores):
        found.append(Share("pose estimator of the filter", made, 1 / PER_SECOND["openpifpaf"]))
    return tuple(found)


def score(section: SynthesisConfig, made: Manifest, images: Manifest, poses: Manifest, folder: Path, *,
          spread: Spread, shard_size: int) -> Manifest:  # fmt: skip
    """The table :data:`FILE` of the images that may be kept; scores of networks that are not used are NaN.

    Thresholds are not part of it: after a change no image is scored again.
    """
    asked = section.filter
    if asked.judge is not None:  # a worker of a cluster has another working directory
        asked = asked.model_copy(update={"judge": asked.judge.absolute()})
    inputs = {"synthetic": made, "images": images, "poses": poses, **judges(asked)}
    origin = provenance("scores", VERSION, asked, inputs, without=_THRESHOLDS)
    frame = made.frame()
    work = partial(_score_shard, made=made.path, images=images.path, poses=poses.path, section=asked,
                   device=section.device)  # fmt: skip
    try:
        return run_shards("scores", folder / FILE, origin, frame.loc[frame["kept"], "id"].tolist(), work,
                          spread=spread, shard_size=shard_size)  # fmt: skip
    finally:
        _scorer.cache_clear()


def scored(folder: Path, made: Manifest, origin: Mapping[str, Any]) -> int:
    """How many images of ``made`` have the scores that the filter of a synthetic table's provenance asks for."""
    known = {"synthetic": made.digest, **{name: value for name, value in origin["inputs"].items() if name in _INPUTS}}
    section = {key: value for key, value in origin["section"]["filter"].items() if key not in _THRESHOLDS}
    identity = {"stage": "scores", "version": VERSION, "section": section, "inputs": known}
    under = {"digest": digest_of(identity)}
    table = made_under(folder / FILE, under)
    return begun_shards(folder, under).units if table is None else table.num_rows


def sharpness(images: np.ndarray) -> np.ndarray:
    """Variance of the Laplacian (4 neighbours) of uint8 images (B, H, W, 3), converted to grey: (B,)."""
    grey = images @ np.array([0.299, 0.587, 0.114])
    laplacian = (grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
                 - 4 * grey[:, 1:-1, 1:-1])  # fmt: skip
    return laplacian.var(axis=(1, 2))


class _People(NamedTuple):
    """The training images, as the gallery for generated images."""

    features: np.ndarray  # (N, D) of unit length
    pids: np.ndarray  # (N,)
    places: dict[str, int]  # of the ids


class _Scorer:
    """The tables and networks of the scores, opened once for all shards of a process."""

    def __init__(self, made: Path, images: Path, poses: Path, section: FilterConfig, device: str) -> None:
        self._made, self._images = Manifest(made), Manifest(images)
        self._rows = self._made.frame().set_index("id")
        self._files = self._images.frame().set_index("id")["path"]
        first = self._rows[self._rows["status"] == "ok"].iloc[0]
        self._size = int(first["height"]), int(first["width"])
        self._embedder = self._people = self._estimator = None
        if _BY_JUDGE & set(section.scores):
            self._embedder = Embedder(section.judge, pick_device(device), _JUDGE, section.judge_model,
                                      section.judge_size)  # fmt: skip
            self._people = self._known_people()
        if _BY_ESTIMATOR & set(section.scores):
            from augment.pose.estimator.predictor import Estimator  # openpifpaf takes seconds to import

            self._estimator = Estimator(find_checkpoint(SHIPPED), device=device)
            table = Manifest(poses).table
            self._joints = joint_columns(table, "x", "y")
            self._places = pd.Series(range(len(table)), table["id"].to_pandas())
            self._sizes = table.select(["width", "height"]).to_pandas().to_numpy(np.float32)

    def __call__(self, ids: Sequence[str]) -> pd.DataFrame:
        """Rows of the table of scores for the images ``ids``."""
        rows = self._rows.loc[list(ids)]
        pixels = np.stack([read_image(self._made.file_of(path)) for path in rows["path"]])
        scores = pd.DataFrame({"id": list(ids)} | dict.fromkeys(_MEASURES, np.nan))
        if self._embedder is not None:
            scores["similarity"], scores["margin"] = self._who(pixels, rows)
        if self._estimator is not None:
            scores["pose"], scores["person"] = self._posed(pixels, rows)
        sources = {id: self._source(id) for id in rows["source"].unique()}
        of_source = dict(zip(sources, sharpness(np.stack(list(sources.values()))), strict=True))
        scores["sharpness"] = sharpness(pixels) / np.maximum(rows["source"].map(of_source).to_numpy(), 1e-6)
        return scores

    def _source(self, id: str) -> np.ndarray:
        return fit(read_image(self._images.file_of(self._files[id])), self._size)

    def _known_people(self) -> _People:
        frame = self._images.frame()
        frame = frame[(frame["split"] == "train") & (frame["status"] == "ok") & (frame["pid"] > 0)]
        ids, features = frame["id"].tolist(), []
        with progress("training images", total=len(ids)) as advance:
            for start in range(0, len(ids), _BATCH):
                some = ids[start : start + _BATCH]
                features.append(self._features(np.stack([self._source(id) for id in some])))
                advance(len(some))
        return _People(np.concatenate(features), frame["pid"].to_numpy(), {id: place for place, id in enumerate(ids)})

    def _features(self, pixels: np.ndarray) -> np.ndarray:
        return self._embedder(torch.from_numpy(pixels).permute(0, 3, 1, 2))

    def _who(self, pixels: np.ndarray, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        cosines = self._features(pixels) @ self._people.features.T
        own = rows["pid"].to_numpy()[:, None] == self._people.pids
        nearest_own, nearest_other = (np.where(which, cosines, -np.inf).max(axis=1) for which in (own, ~own))
        source = rows["source"].map(self._people.places).to_numpy()
        return cosines[np.arange(len(rows)), source], nearest_own - nearest_other

    def _posed(self, pixels: np.ndarray, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        found = np.stack([pose.joints for pose in self._estimator.estimate(list(pixels))])
        place = self._places[rows["pose_source"]].to_numpy()
        wanted = scale_joints(self._joints[place], self._sizes[place][:, None], self._size)
        near = np.full(len(rows), _NEAR * self._size[0])
        return share_met(found[:, :, :2], wanted, near), found[:, :, 2].mean(axis=1)


@lru_cache(maxsize=1)
def _scorer(_times: tuple[int, ...], *arguments: Any) -> _Scorer:
    """``_times`` distinguish these tables from earlier ones at the same paths."""
    return _Scorer(*arguments)


def _score_shard(ids: Sequence[str], *, folder: Path, made: Path, images: Path, poses: Path, section: FilterConfig,
                 device: str) -> pd.DataFrame:  # fmt: skip
    times = tuple(local(table).stat().st_mtime_ns for table in (made, images, poses))
    scorer = _scorer(times, made, images, poses, section, device)
    return pd.concat([scorer(ids[start : start + _BATCH]) for start in range(0, len(ids), _BATCH)])
