"""The shapes and types in signatures of retrieval and reid hold for any sizes; a call that violates them raises.

Checked here and not by an import hook, as in tests/gan/test_shapes.py.
"""

import numpy as np
import pytest
import torch
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError, jaxtyped

from augment.config import ArmConfig, ReidConfig
from augment.reid import augmentation, features, metric_learning
from augment.reid.losses import training_loss
from augment.retrieval import evaluation, networks

sizes = st.integers(2, 6)


def checked(function):
    return jaxtyped(function, typechecker=beartype)


class Mean(torch.nn.Module):
    """A network whose features, and logits, are the channels' means."""

    def forward(self, images):
        return images.mean((2, 3))


def people(count):
    return np.arange(count) % 2, np.arange(count) // 2  # pids, camids


@given(queries=sizes, gallery=st.integers(4, 9), dimensions=sizes, dtype=st.sampled_from([np.float32, np.float64]))
@settings(max_examples=20)
def test_distances_and_ranking(queries, gallery, dimensions, dtype):
    random = np.random.default_rng(queries)
    query, found = (random.normal(size=(count, dimensions)).astype(dtype) for count in (queries, gallery))
    (query_pids, query_camids), (pids, camids) = people(queries), people(gallery)
    for distance in (metric_learning.euclidean, metric_learning.cosine):
        distances = checked(distance)(query, found)
        ranking = checked(evaluation.rank)(distances, query_pids, pids, query_camids + 9, camids)
        assert ranking.average_precision.shape == ranking.first_hit.shape == (queries,)
    for learn in metric_learning.LEARNED.values():
        learned = checked(learn)(checked(metric_learning.unit_length)(found), pids, camids)
        checked(metric_learning.Projection.distances)(learned, query, found)


@given(batch=sizes, height=st.integers(16, 24), width=st.integers(16, 24))
@settings(max_examples=10)
def test_images_and_features(batch, height, width):
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8, generator=random)
    checked(networks.embed)(Mean(), pixels, (20, 18))
    checked(features.resized)(pixels[0], (20, 18))
    images = pixels / 255
    checked(networks.normalised)(images)
    checked(augmentation.blurred_and_shifted)(images, random)
    transforms = ("random_flip", "random_crop", "color_jitter", "random_erase")
    checked(augmentation.augmented_batch)(images, transforms, random)
    labels, synthetic = torch.arange(batch) % 3, torch.arange(batch) % 2 == 0
    for label in ("hard", "smooth", "uniform"):
        arm = ArmConfig(label=label, weight=0.5, loss="softmax")
        checked(training_loss)(Mean(), images, labels, synthetic, ReidConfig(), arm)


QUERY, GALLERY = np.zeros((2, 4)), np.zeros((3, 4))
PIDS = np.array([1, 2])


@pytest.mark.parametrize("call", [
    lambda: checked(metric_learning.cosine)(QUERY, np.zeros((3, 5))),
    lambda: checked(metric_learning.xqda)(GALLERY, PIDS, PIDS),
    lambda: checked(evaluation.rank)(np.zeros((2, 3)), PIDS, PIDS, PIDS, PIDS),
    lambda: checked(networks.embed)(Mean(), torch.rand(2, 3, 8, 8), (8, 8)),
    lambda: checked(augmentation.augmented_batch)(torch.rand(2, 1, 8, 8), (), torch.Generator()),
    lambda: checked(training_loss)(Mean(), torch.rand(2, 3, 8, 8), torch.zeros(3).long(), torch.zeros(2).bool(),
                                   ReidConfig(), ArmConfig()),
])  # fmt: skip
def test_a_wrong_shape_or_type_is_seen(call):
    with pytest.raises(TypeCheckError):
        call()
