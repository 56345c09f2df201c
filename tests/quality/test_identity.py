"""Identity kept: who is found by a query, and whom a pair may find."""

import numpy as np
import pytest
import torch

from augment.base.errors import AugmentError
from augment.base.images import IMAGENET_DEVIATION, IMAGENET_MEAN
from augment.quality.identity import Gallery, open_embedder, retrieve
from augment.retrieval.networks import build_model, embed

AXES = np.eye(4, dtype=np.float32)


def gallery_of(features, pids, camids):
    return Gallery(np.array([str(place) for place in range(len(pids))]), features, np.array(pids), np.array(camids))


def test_found_by_hand():
    # Person 1 by axis 0 in cameras 1, 2 and 3; person 2 by axis 1. Queries are made from image 0, of camera 1.
    gallery = gallery_of(AXES[[0, 0, 1, 2, 2]], [1, 1, 2, 2, 1], [1, 2, 2, 3, 3])
    leaning = np.array([0.6, 0.8, 0, 0], np.float32)  # nearer to person 2
    found = retrieve(np.stack([AXES[0], leaning, AXES[0]]), ["0"] * 3, ["4", "4", "1"], gallery)
    np.testing.assert_array_equal(found.rank1, [1, 0, 0])
    # The third has image 1 for its target, which is left out; image 4, as far away as 2 and 3, comes after them.
    np.testing.assert_allclose(found.average_precision, [1, 1 / 2, 1 / 3])


def test_a_person_of_one_other_image_is_no_figure_where_that_is_the_target():
    gallery = gallery_of(AXES[[0, 0, 1, 1, 1]], [1, 1, 2, 2, 2], [1, 2, 1, 2, 3])
    found = retrieve(AXES[[0, 1]], ["0", "2"], ["1", "3"], gallery)
    np.testing.assert_array_equal(found.rank1, [np.nan, 1])
    with pytest.raises(AugmentError, match="the gallery has no person of the test pairs from another camera"):
        retrieve(AXES[[0]], ["0"], ["1"], gallery)


def test_queries_in_parts_find_the_same(monkeypatch):
    random = np.random.default_rng(0)
    features = random.normal(size=(50, 4)).astype(np.float32)
    gallery = gallery_of(random.normal(size=(80, 4)).astype(np.float32), random.integers(0, 5, 80),
                         random.integers(1, 4, 80))  # fmt: skip
    ends = random.integers(0, 80, (2, 50)).astype(str)
    whole = retrieve(features, *ends, gallery)
    monkeypatch.setattr("augment.quality.identity._QUERIES", 7)
    for expected, value in zip(whole, retrieve(features, *ends, gallery), strict=True):
        np.testing.assert_array_equal(expected, value)


def test_features_are_the_networks_of_normalised_images_at_its_size(tmp_path):
    torch.manual_seed(0)
    model = build_model("osnet_x0_25", 9, "softmax", False, torch.device("cpu")).eval()
    torch.save(model.state_dict(), tmp_path / "w.pt")
    images = torch.randint(0, 256, (2, 3, 256, 128), dtype=torch.uint8)
    mean, deviation = (np.array(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_DEVIATION))
    with torch.inference_mode():
        plain = model(torch.from_numpy((images.numpy() / 255 - mean) / deviation).float()).numpy()
    found = open_embedder(tmp_path / "w.pt", torch.device("cpu"))(images)
    np.testing.assert_allclose(found, plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=1e-5)


def test_other_sizes_are_resized_as_pillow_does_it():
    from PIL import Image

    small = np.random.default_rng(0).integers(0, 256, (12, 6, 3), np.uint8)
    large = np.asarray(Image.fromarray(small).resize((18, 36), Image.Resampling.BILINEAR))

    def as_it_is(images):
        return images.flatten(1)

    direct, resized = (embed(as_it_is, torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None], (36, 18))
                  for pixels in (small, large))  # fmt: skip
    assert (direct - resized).abs().max() < 1.01 / 255 / min(IMAGENET_DEVIATION)  # a grey level, by rounding
