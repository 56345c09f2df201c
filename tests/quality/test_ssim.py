import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from augment.quality.ssim import SSIM_VARIANTS, ssim_scores


def skimage_score(generated: np.ndarray, reference: np.ndarray, data_range: float) -> float:
    """What the released code calls, on images (H, W, 3)."""
    return structural_similarity(
        generated, reference, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=data_range,
        channel_axis=-1,
    )  # fmt: skip


def batch(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


@pytest.mark.parametrize("size", [(128, 64), (20, 31), (11, 11)])
def test_both_variants_equal_skimage(size):
    random = np.random.default_rng(0)
    generated = random.integers(20, 181, (4, *size, 3), np.uint8)
    noisy = generated.astype(int) + random.integers(-30, 31, generated.shape)
    reference = np.clip(noisy, 0, 255).astype(np.uint8)
    generated[1, : size[0] // 2] = 0  # flat areas, as behind a mask
    reference[1, : size[0] // 2] = 0
    scores = ssim_scores(batch(generated), batch(reference))
    for index in range(4):
        own_range = float(generated[index].max()) - float(generated[index].min())
        expected = skimage_score(generated[index], reference[index], own_range)
        assert scores["ssim_released"][index].item() == pytest.approx(expected, abs=1e-9)
        expected = skimage_score(generated[index], reference[index], 255.0)
        assert scores["ssim_255"][index].item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("size", [(128, 64), (12, 31)])
def test_the_7x7_window_equals_skimages_default(size):
    random = np.random.default_rng(3)
    images, targets = random.integers(0, 256, (2, 3, *size, 3), np.uint8)
    targets[0] = images[0] // 2
    scores = ssim_scores(batch(images), batch(targets), ["ssim_skimage"])
    expected = [structural_similarity(*pair, channel_axis=-1) for pair in zip(images, targets, strict=True)]
    np.testing.assert_allclose(scores["ssim_skimage"], expected, atol=1e-9)
    assert set(scores) == {"ssim_skimage"}


def test_constant_images_by_hand():
    # No variance: only the luminance term (2ab + C1) / (a^2 + b^2 + C1) is left.
    a, b = 100, 50
    generated, reference = torch.full((1, 3, 16, 16), a).byte(), torch.full((1, 3, 16, 16), b).byte()
    scores = ssim_scores(generated, reference)
    c1 = (0.01 * 255) ** 2
    assert scores["ssim_255"].item() == pytest.approx((2 * a * b + c1) / (a * a + b * b + c1), abs=1e-12)
    c1 = 0.01**2  # a range of one grey level stands in for none
    assert scores["ssim_released"].item() == pytest.approx((2 * a * b + c1) / (a * a + b * b + c1), abs=1e-12)


def test_an_image_is_wholly_similar_to_itself_and_black_to_black():
    image = torch.randint(0, 256, (2, 3, 40, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    image[1] = 0
    for name in SSIM_VARIANTS:
        np.testing.assert_allclose(ssim_scores(image, image)[name], [1, 1], atol=1e-12)


def test_the_released_range_is_that_of_the_generated_image_alone():
    random = torch.Generator().manual_seed(2)
    low = torch.randint(100, 121, (1, 3, 32, 16), dtype=torch.uint8, generator=random)
    high = torch.randint(0, 256, (1, 3, 32, 16), dtype=torch.uint8, generator=random)
    low_first, high_first = ssim_scores(low, high), ssim_scores(high, low)
    assert low_first["ssim_255"].item() == pytest.approx(high_first["ssim_255"].item(), abs=1e-12)  # symmetric
    assert abs(low_first["ssim_released"].item() - high_first["ssim_released"].item()) > 1e-3  # not so


def test_errors_are_told():
    image = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"uint8 batches of one shape"):
        ssim_scores(image.float(), image)
    with pytest.raises(ValueError, match=r"uint8 batches of one shape"):
        ssim_scores(image, image[..., :12])
    with pytest.raises(ValueError, match=r"\(10, 16\) pixels are smaller than the window of 11 x 11"):
        ssim_scores(image[:, :, :10], image[:, :, :10])
