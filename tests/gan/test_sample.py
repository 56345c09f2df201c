"""One picture in several poses, from CSV rows and from images."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny_run import SIZE, STANDING, TINY, make_run

from augment.base.errors import AugmentError, UsageError
from augment.gan import sample as module
from augment.gan.checkpoints import save_weights
from augment.gan.networks import build_generator
from augment.gan.sample import Posed, generate, sample
from augment.pose.annotations import write_posegan_csv


@pytest.fixture
def place(tmp_path):
    make_run(tmp_path, identities=1, each=2)
    generator = build_generator(TINY, SIZE)
    header = {"config": TINY.identity(), "image_size": list(SIZE)}
    average = build_generator(TINY.model_copy(update={"seed": 1}), SIZE)
    save_weights(tmp_path / "weights.safetensors", generator.state_dict(), average.state_dict(), header)
    rows = pd.DataFrame({"name": ["a.jpg", "b.jpg"], "x": [STANDING[:, 0] * 128] * 2, "y": [STANDING[:, 1] * 128] * 2})
    write_posegan_csv(rows, tmp_path / "poses.csv")
    return tmp_path


def crop(place, number=0):
    return place / "crops" / f"0001_c{number + 1}s1_{number:06d}_01.jpg"


def test_a_grid_has_a_row_for_every_pose(place, monkeypatch):
    monkeypatch.setattr(module, "_estimator", lambda device: lambda image: STANDING * SIZE[0])
    poses = [f"{place}/poses.csv:a.jpg", str(crop(place, 1)), f"{place}/poses.csv:b.jpg"]
    sample(place / "weights.safetensors", crop(place), poses, place / "grid.png", device="cpu")
    grid = np.asarray(Image.open(place / "grid.png"))
    assert grid.shape == (3 * SIZE[0] + 4 * 4, 5 * SIZE[1] + 6 * 4, 3)
    np.testing.assert_array_equal(grid[4 : 4 + SIZE[0], 4 : 4 + SIZE[1]], np.asarray(Image.open(crop(place))))


def test_csv_poses_are_scaled_to_the_generator(place):
    """The same pose given for 128x64 and for 32x16 gives the same image."""
    person = Posed(STANDING.astype(np.float32) * SIZE[0], SIZE, np.asarray(Image.open(crop(place))))
    large = module._from_csv(place / "poses.csv", "a.jpg")
    small = large.at(SIZE)
    np.testing.assert_allclose(small.joints, (np.round(STANDING * 128) + 0.5) / 4 - 0.5, atol=0.26)
    images = generate(place / "weights.safetensors", person, [large, small], device="cpu")
    np.testing.assert_array_equal(images[0], images[1])


def test_key_points_of_other_sizes_are_scaled_by_the_size_given(place, monkeypatch):
    rows = pd.DataFrame({"name": ["l.jpg"], "x": [STANDING[:, 0] * 256], "y": [STANDING[:, 1] * 256]})
    write_posegan_csv(rows, place / "large.csv")
    small = module._pose(f"{place}/poses.csv:a.jpg", None).at(SIZE).joints
    for size, text in ((None, "l.jpg@256x128"), ((256, 128), "l.jpg"), ((9, 9), "l.jpg@256x128")):
        found = module._pose(f"{place}/large.csv:{text}", None, size)
        assert found.size == (256, 128)
        np.testing.assert_allclose(found.at(SIZE).joints, small, atol=0.26)
    with pytest.raises(UsageError, match=r"joints of l\.jpg lie outside an image of 128x64\. State its size"):
        module._pose(f"{place}/large.csv:l.jpg", None)


def test_what_cannot_be_used_is_said(place, monkeypatch):
    weights, output, own = place / "weights.safetensors", place / "grid.png", f"{place}/poses.csv:a.jpg@128x64"
    with pytest.raises(AugmentError, match=r"poses.csv: no row is named 'c.jpg'. The first of 2 is 'a.jpg'"):
        sample(weights, crop(place), [f"{place}/poses.csv:c.jpg"], output, source_pose=own)
    with pytest.raises(UsageError, match=r"poses.csv: which row\?"):
        sample(weights, crop(place), [f"{place}/poses.csv"], output, source_pose=own)
    with pytest.raises(UsageError, match="no pose was given"):
        sample(weights, crop(place), [], output)
    with pytest.raises(UsageError, match=r"grid\.jpg: the grid is written as PNG: give a name that ends in \.png"):
        sample(weights, crop(place), [str(crop(place, 1))], output.with_suffix(".jpg"))
    with pytest.raises(AugmentError, match=r"nobody\.jpg: cannot be read as an image: No such file or directory$"):
        sample(weights, place / "nobody.jpg", [str(crop(place, 1))], output)
    monkeypatch.setattr(module, "_estimator", lambda device: lambda image: np.full((18, 2), np.nan))
    with pytest.raises(AugmentError, match=r"\.jpg: no person was found in it"):
        sample(weights, crop(place), [str(crop(place, 1))], output)
    assert not output.exists()
