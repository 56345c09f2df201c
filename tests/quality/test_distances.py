"""Distances between sets of features: closed forms, torchmetrics, and intervals that cover the truth."""

import numpy as np
import pytest
import torch

import augment.base.torchvision_cpu  # noqa: F401
from augment.quality.distances import Features, frechet, frechet_distance, kernel, kernel_distance


def features(seed, count, dimensions, mean=0.0, deviation=1.0):
    return np.random.default_rng(seed).normal(mean, deviation, (count, dimensions))


def test_frechet_distance_of_gaussians_is_the_closed_form():
    # Axes at right angles with variances a^2 and b^2: |m|^2 + sum (a - b)^2. Points +-a have variance a^2 n / (n - 1).
    ours = np.array([[1, 2], [1, -2], [-1, 2], [-1, -2]], float)
    real = ours * [3, 0.5] + [10, -5]
    expected = 10**2 + 5**2 + 4 / 3 * ((3 - 1) ** 2 + (1 - 2) ** 2)
    assert frechet_distance(ours, real) == pytest.approx(expected)


def test_frechet_distance_is_symmetric_and_nothing_to_itself():
    first, second = features(0, 50, 8), features(1, 40, 8, 0.3)
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first))
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(features(0, 4, 8), features(1, 5, 8)) > 0  # fewer images than dimensions


def test_frechet_distance_equals_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Given(torch.nn.Module):
        num_features = 16

        def forward(self, images):
            return images

    ours, real = features(0, 200, 16, 0.2, 1.5), features(1, 150, 16) @ features(2, 16, 16)
    other = FrechetInceptionDistance(feature=Given()).set_dtype(torch.float64)
    other.update(torch.from_numpy(ours), real=False)
    other.update(torch.from_numpy(real), real=True)
    assert frechet_distance(ours, real) == pytest.approx(other.compute().item(), rel=1e-5)


def test_kernel_distance_equals_torchmetrics():
    from torchmetrics.image.kid import poly_mmd

    ours, real = features(0, 90, 16, 0.2, 1.5), features(1, 90, 16)
    expected = poly_mmd(torch.from_numpy(real), torch.from_numpy(ours)).item()
    assert kernel_distance(ours, real) == pytest.approx(expected, rel=1e-5)


def test_kernel_distance_by_hand():
    # k = (xy + 1)^3 of {0, 1} and {2, 3}: within 1 and 7^3, between the mean of 1, 1, 27, 64.
    ours, real = np.array([[0.0], [1.0]]), np.array([[2.0], [3.0]])
    assert kernel_distance(ours, real) == pytest.approx(1 + 343 - 2 * (1 + 1 + 27 + 64) / 4)


def test_leaving_groups_out_is_measuring_the_rest(monkeypatch):
    ours, real = features(0, 61, 5, 0.3), features(1, 43, 5)
    people = np.arange(61) % 31, np.arange(43) % 31  # two images of a person and more
    monkeypatch.setattr("augment.quality.distances._ROWS", 7)
    for measure, plain in ((frechet, frechet_distance), (kernel, kernel_distance)):
        found = measure(Features(ours, people[0]), Features(real, people[1]))
        assert found.value == pytest.approx(plain(ours, real))
        group = np.random.default_rng(0).permutation(np.arange(31) % 10)
        of_ours, of_real = (group[some] for some in people)
        np.testing.assert_allclose(found.without, [plain(ours[of_ours != g], real[of_real != g]) for g in range(10)])


def test_interval_of_the_kernel_distance_covers_the_truth_in_most_samples():
    # Both sets from one distribution: the truth is 0. Of 60 intervals at 95 %, at least 50 hold it.
    def sample(k: int) -> Features:
        return Features(features(k, 200, 3), np.arange(200) + 200 * k)

    intervals = [kernel(sample(2 * k), sample(2 * k + 1)).estimate() for k in range(60)]
    assert 50 <= sum(interval.low <= 0 <= interval.high for interval in intervals) <= 60


@pytest.mark.parametrize("measure", [frechet, kernel])
def test_few_people_have_no_interval_and_one_image_no_distance(measure):
    few = Features(features(0, 60, 3), np.arange(60) % 19)
    assert np.isfinite(measure(few, few).value) and np.isnan(measure(few, few).estimate().low)
    assert np.isnan(measure(Features(few.values[:1], few.people[:1]), few).value)
