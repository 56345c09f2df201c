"""Identity kept: retrieval with generated images as queries, by a re-ID network that never saw the data set.

The query is a generated image, or the real source image in its place. The gallery has all real images of the split; the
correct matches are those of the same person from other cameras than the source's. As in the protocol of Market-1501
this person's images from the source's camera are ignored, the source among them; and so is the target, whose pose the
generated image has. Rank-1 and mAP of both queries, and their ratio, 1 for a generator that keeps the identity.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from augment.base.images import read_image
from augment.base.progress import progress
from augment.data.layouts import JUNK
from augment.gan.dataset import fit
from augment.manifest import Manifest
from augment.quality.observations import Batch, Observations
from augment.retrieval.embedder import Embedder
from augment.retrieval.evaluation import NoValidQuery, rank

_BATCH = 100
_QUERIES = 1000  # at a time: 64 MB of distances to Market-1501's gallery


def open_embedder(weights: Path, device: torch.device) -> Embedder:
    """OSNet x0.25 with weights from ``quality.identity_weights``."""
    return Embedder(weights, device, "quality.identity_weights")


class IdentityFeatures:
    """The features as an observation of images."""

    def __init__(self, weights: Path, device: torch.device) -> None:
        """``weights``: see :func:`open_embedder`."""
        self.embedder = open_embedder(weights, device)

    def __call__(self, batch: Batch) -> Observations:
        """"osnet": features of unit length (B, 512)."""
        return {"osnet": self.embedder(batch.images)}


class Gallery(NamedTuple):
    """The gallery of real images: ids (G,), features (G, D) of unit length, pids and camids (G,)."""

    ids: np.ndarray
    features: np.ndarray
    pids: np.ndarray
    camids: np.ndarray


class Found(NamedTuple):
    """The result of each query, (Q,), NaN where no image of its person is from another camera."""

    rank1: np.ndarray  # 1 where the first answer is right, else 0
    average_precision: np.ndarray


def read_gallery(images: Manifest, splits: Sequence[str], embedder: Embedder, size: tuple[int, int]) -> Gallery:
    """All usable real images of some splits but junk, resized to the generator's size (H, W) like the sources."""
    rows = images.frame()
    rows = rows[(rows["status"] == "ok") & rows["split"].isin(splits) & (rows["pid"] != JUNK)]
    features = []
    with progress("gallery", total=len(rows)) as advance:
        for start in range(0, len(rows), _BATCH):
            paths = rows["path"].iloc[start : start + _BATCH]
            pixels = np.stack([fit(read_image(images.file_of(path)), size) for path in paths])
            features.append(embedder(torch.from_numpy(pixels).permute(0, 3, 1, 2)))
            advance(len(paths))
    ids = rows["id"].to_numpy(str)
    return Gallery(ids, np.concatenate(features), rows["pid"].to_numpy(), rows["camid"].to_numpy())


def retrieve(features: np.ndarray, sources: Sequence[str], targets: Sequence[str], gallery: Gallery) -> Found:
    """Retrieve people by query features (Q, D) of unit length, each generated from a source for a target.

    Raises :class:`NoValidQuery` where the gallery has no person from another camera.
    """
    place = {id: index for index, id in enumerate(gallery.ids)}
    source, target = (np.array([place[id] for id in ids]) for ids in (sources, targets))
    found = Found(*np.full((2, len(features)), np.nan))
    for start in range(0, len(features), _QUERIES):
        part = slice(start, start + _QUERIES)
        distances = 1 - features[part] @ gallery.features.T
        try:
            ranking = rank(distances, gallery.pids[source[part]], gallery.pids, gallery.camids[source[part]],
                           gallery.camids, not_for=target[part])  # fmt: skip
        except NoValidQuery:
            continue
        found.rank1[part] = np.where(np.isnan(ranking.first_hit), np.nan, ranking.first_hit == 1)
        found.average_precision[part] = ranking.average_precision
    if np.isnan(found.rank1).all():
        raise NoValidQuery("identity kept: the gallery has no person of the test pairs from another camera.")
    return found
