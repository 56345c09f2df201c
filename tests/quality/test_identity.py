"""Identity kept: who is found by a query, and whom a pair may find."""

import numpy as np
import pandas as pd
import pytest
import torch

from augment.base.errors import AugmentError
from augment.quality.identity import SIZE, Embedder, Gallery, look_for
from augment.retrieval.networks import IMAGENET_DEVIATION, IMAGENET_MEAN, build_model, embed

AXES = np.eye(4, dtype=np.float32)


def sources(*of_query):
    return pd.DataFrame(of_query, columns=["pid", "camid"])


def test_found_by_hand():
    # Person 1 by axis 0, person 2 by axis 1; the first image of person 1 is from the source's camera: left out.
    gallery = Gallery(AXES[[0, 0, 1, 2]], np.array([1, 1, 2, 2]), np.array([1, 2, 2, 3]))
    leaning = np.array([0.6, 0.8, 0, 0], np.float32)  # nearer to person 2: right answer at place 2 (of 3)
    found = look_for(np.stack([AXES[0], leaning, AXES[1]]), sources((1, 1), (1, 1), (2, 2)), gallery)
    np.testing.assert_array_equal(found.rank1, [1, 0, 0])
    # The third query's own camera is left out; its right answer, orthogonal, ties with person 1's images before it.
    np.testing.assert_allclose(found.average_precision, [1, 1 / 2, 1 / 3])


def test_a_person_of_one_camera_is_no_figure():
    gallery = Gallery(AXES[[0, 1]], np.array([1, 2]), np.array([1, 2]))
    found = look_for(AXES[[0, 1]], sources((1, 1), (2, 1)), gallery)
    np.testing.assert_array_equal(found.rank1, [np.nan, 1])
    with pytest.raises(AugmentError, match="no person of the test pairs is there from another camera"):
        look_for(AXES[[0]], sources((1, 1)), gallery)


def test_queries_in_parts_find_the_same(monkeypatch):
    random = np.random.default_rng(0)
    features = random.normal(size=(50, 4)).astype(np.float32)
    gallery = Gallery(random.normal(size=(80, 4)).astype(np.float32), random.integers(0, 5, 80),
                      random.integers(1, 4, 80))  # fmt: skip
    rows = sources(*random.integers(1, 4, (50, 2)).tolist())
    whole = look_for(features, rows, gallery)
    monkeypatch.setattr("augment.quality.identity._QUERIES", 7)
    for one, other in zip(whole, look_for(features, rows, gallery), strict=True):
        np.testing.assert_array_equal(one, other)


def test_features_are_the_networks_of_normalised_images_at_its_size(tmp_path):
    torch.manual_seed(0)
    model = build_model("osnet_x0_25", 9, "softmax", False, torch.device("cpu")).eval()
    torch.save(model.state_dict(), tmp_path / "w.pt")
    images = torch.randint(0, 256, (2, 3, *SIZE), dtype=torch.uint8)
    mean, deviation = (np.array(one)[:, None, None] for one in (IMAGENET_MEAN, IMAGENET_DEVIATION))
    with torch.inference_mode():
        plain = model(torch.from_numpy((images.numpy() / 255 - mean) / deviation).float()).numpy()
    found = Embedder(tmp_path / "w.pt", torch.device("cpu"))(images)
    np.testing.assert_allclose(found, plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=1e-5)


def test_other_sizes_are_resized_as_pillow_does_it():
    from PIL import Image

    small = np.random.default_rng(0).integers(0, 256, (12, 6, 3), np.uint8)
    large = np.asarray(Image.fromarray(small).resize((18, 36), Image.Resampling.BILINEAR))

    def as_it_is(images):
        return images.flatten(1)

    one, other = (embed(as_it_is, torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None], (36, 18))
                  for pixels in (small, large))  # fmt: skip
    assert (one - other).abs().max() < 1.01 / 255 / min(IMAGENET_DEVIATION)  # a grey level, by rounding
