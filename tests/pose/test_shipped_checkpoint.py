"""What is promised of the checkpoint that comes with the package, on a small draw; docs give the full figures."""

import numpy as np
import pytest

from augment.config import RenderedConfig
from augment.data.rendered.dataset import render_set
from augment.pose.estimator.checkpoints import find_checkpoint
from augment.pose.estimator.evaluation import evaluate_estimator
from augment.pose.estimator.predictor import Estimator


@pytest.mark.market
def test_joints_of_market_test_crops(market_root, published):
    table, averages = evaluate_estimator(market_root / "bounding_box_test", published["test"], count=96, seed=3)
    assert averages["crops"] == 96
    assert averages["pck@0.1"] >= 0.85
    assert (table["pck@0.1"] >= 0.7).all()


def test_rendered_crops_have_a_torso(tmp_path):
    render_set(RenderedConfig(train_identities=1, test_identities=8, seed=77), tmp_path)
    _, averages = evaluate_estimator(tmp_path / "bounding_box_test", tmp_path / "annotation-test.csv", count=64)
    assert averages["torso"] >= 0.9
    assert averages["pck@0.1"] >= 0.85


def test_nobody_is_in_plain_colours_and_stripes():
    random = np.random.default_rng(0)
    pictures = [np.full((128, 64, 3), random.integers(0, 255, 3), np.uint8) for _ in range(8)]
    rows, columns = np.mgrid[:128, :64]
    for period in (3, 7, 16, 30):
        for axis in (rows, columns):
            grey = (127 + 100 * np.sin(axis * 2 * np.pi / period)).astype(np.uint8)
            pictures.append(np.repeat(grey[..., None], 3, axis=2))
    found = Estimator(find_checkpoint("crops"), device="cpu", batch_size=16).estimate(pictures)
    assert sum(pose.people for pose in found) <= 1


def test_published_checkpoints_come_over_https(monkeypatch):
    from augment.pose.estimator import openpifpaf_adapter as adapter

    asked = []
    monkeypatch.setattr(adapter, "download", lambda url, *_: asked.append(url))
    for name in adapter.published_checkpoints():
        adapter.fetch(name)
    assert len(asked) > 5 and all(url.startswith("https://") for url in asked)
