"""The random transforms of whole batches, against torchreid's image by image where both decide nothing by chance."""

import numpy as np
import pytest
import torch
from PIL import Image

from augment.base.images import IMAGENET_DEVIATION, IMAGENET_MEAN
from augment.reid.augmentation import augmented_batch, blurred_and_shifted
from augment.reid.features import resized
from augment.reid.images import TrainImages
from augment.retrieval.networks import normalised

CPU = torch.device("cpu")


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 64, height: int = 32, width: int = 16) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=random(99))


def denormalised(images: torch.Tensor) -> torch.Tensor:
    return images * torch.tensor(IMAGENET_DEVIATION).view(3, 1, 1) + torch.tensor(IMAGENET_MEAN).view(3, 1, 1)


def test_without_transforms_a_batch_is_only_normalised():
    images = pictures(2)
    expected = (images[1, 2, 5, 7] - 0.406) / 0.225
    assert normalised(images)[1, 2, 5, 7] == pytest.approx(float(expected), abs=1e-6)
    assert torch.equal(augmented_batch(images, (), random()), normalised(images))


def test_a_flip_turns_about_half_of_the_images_and_nothing_else():
    images = pictures(400)
    out = denormalised(augmented_batch(images, ("random_flip",), random()))
    same, turned = ((out - other).abs().amax((1, 2, 3)) < 1e-6 for other in (images, images.flip(3)))
    assert (same ^ turned).all() and 160 < turned.sum() < 240


def test_a_crop_is_a_window_of_the_image_enlarged_as_torchreid_does_it():
    images = (pictures(40) * 255).byte()
    out = denormalised(augmented_batch(images.float() / 255, ("random_crop",), random()))
    cropped = 0
    for before, after in zip(images, out, strict=True):
        large = np.asarray(Image.fromarray(before.permute(1, 2, 0).numpy()).resize((18, 36), Image.BILINEAR))
        windows = torch.from_numpy(large / 255).permute(2, 0, 1).unfold(1, 32, 1).unfold(2, 16, 1)
        distance = (windows.permute(1, 2, 0, 3, 4) - after).abs().amax((2, 3, 4)).min()
        unchanged = (before / 255 - after).abs().max() < 1e-5
        assert unchanged or distance < 1.01 / 255  # PIL rounds to bytes
        cropped += not unchanged
    assert 10 < cropped < 30


def test_an_erased_rectangle_has_the_size_that_the_paper_gives_and_the_mean_as_its_colour():
    images = torch.zeros(400, 3, 32, 16)
    out = augmented_batch(images, ("random_erase",), random())
    painted = (out[:, 0] - 0.485).abs() < 1e-5
    areas = painted.sum((1, 2))[painted.any(2).any(1)]
    assert 160 < len(areas) < 240
    for image in painted[painted.any(2).any(1)]:
        rows, columns = image.any(1).sum(), image.any(0).sum()
        assert image.sum() == rows * columns  # one rectangle
    assert areas.float().mean() / 512 == pytest.approx(0.21, abs=0.03)  # the middle of .02 and .4, a little clipped


def test_a_jitter_keeps_to_its_bounds():
    out = denormalised(augmented_batch(torch.full((200, 3, 8, 4), 0.5), ("color_jitter",), random()))
    assert out.amin() >= 0.4 - 1e-5 and out.amax() <= 0.6 + 1e-5 and out.std() > 0.03  # grey: brightness alone acts


def test_copies_are_moved_by_a_sixteenth_at_most_and_smoother():
    image = torch.zeros(200, 3, 128, 64)
    image[:, :, 64, 32] = 1
    out = blurred_and_shifted(image, random())
    assert torch.allclose(out.sum((1, 2, 3)), torch.tensor(3.0), atol=1e-4)  # light is kept
    rows, columns = out[:, 0].sum(2).argmax(1) - 64, out[:, 0].sum(1).argmax(1) - 32
    assert rows.abs().max() == 8 and columns.abs().max() == 4
    assert out.amax() < 0.65  # a Gaussian of half a pixel: its middle holds 62 % of the light


def test_bytes_are_resized_as_pil_does_it():
    image = (pictures(1)[0] * 255).byte()
    for size in ((64, 32), (20, 11)):
        expected = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(size[::-1], Image.BILINEAR)
        difference = resized(image, size).int() - torch.from_numpy(np.array(expected)).permute(2, 0, 1)
        assert difference.abs().max() <= 1
    assert resized(image, (32, 16)) is image


def test_a_batch_depends_on_its_seed_and_only_copies_are_blurred(tmp_path):
    files = []
    for k, image in enumerate((pictures(4) * 255).byte()):
        files.append(str(tmp_path / f"{k}.png"))
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(files[-1])
    train = [(file, k // 2, 1, k % 2) for k, file in enumerate(files)]
    plain, copies = (TrainImages(train, (32, 16), copied, CPU, "it") for copied in (False, True))
    images, labels, synthetic = plain.batch([3, 0], ("random_flip", "random_erase"), 5, 1)
    assert labels.tolist() == [1, 0] and synthetic.tolist() == [True, False]
    assert torch.equal(images, plain.batch([3, 0], ("random_flip", "random_erase"), 5, 1)[0])
    assert not torch.equal(images, plain.batch([3, 0], ("random_flip", "random_erase"), 5, 2)[0])
    untouched = [images.batch([3, 0], (), 5, 1)[0] for images in (plain, copies)]
    assert torch.equal(untouched[0][1], untouched[1][1]) and not torch.allclose(untouched[0][0], untouched[1][0])
