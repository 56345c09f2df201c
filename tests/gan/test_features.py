import pytest
import torch
from torch.nn import functional

from augment.base.errors import AugmentError, UsageError
from augment.config import GanConfig
from augment.gan import features
from augment.gan.features import CAFFE_MEAN, CAFFE_PROBE, PatchFeatures, VGGFeatures, build_features, probe


def weights(seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"features.0": (64, 3), "features.2": (64, 64), "features.5": (128, 64)}
    result = {}
    for name, (outputs, inputs) in shapes.items():
        result[f"{name}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=generator) * 0.05
        result[f"{name}.bias"] = torch.randn(outputs, generator=generator)
    return result


@pytest.fixture
def caffe_file(tmp_path):
    path = tmp_path / "vgg19_caffe.pth"
    torch.save(weights(), path)
    return str(path)


def pixels():
    return torch.rand(2, 3, 12, 8) * 255


def by_hand(values, mean, layer="conv1_2"):
    w = weights()
    x = values - torch.tensor(mean).view(1, 3, 1, 1)
    x = functional.relu(functional.conv2d(x, w["features.0.weight"], w["features.0.bias"], padding=1))
    x = functional.relu(functional.conv2d(x, w["features.2.weight"], w["features.2.bias"], padding=1))
    if layer == "conv2_1":
        x = functional.max_pool2d(x, 2)
        x = functional.relu(functional.conv2d(x, w["features.5.weight"], w["features.5.bias"], padding=1))
    return x


@pytest.mark.parametrize(
    ("system", "fidelity", "mean", "layer", "shape"),
    [
        ("full", "paper", CAFFE_MEAN, "conv1_2", (2, 64, 12, 8)),
        ("full", "released", CAFFE_MEAN[::-1], "conv1_2", (2, 64, 12, 8)),
        ("percloss", "paper", CAFFE_MEAN, "conv2_1", (2, 128, 6, 4)),
    ],
)
def test_vgg_features_are_the_layer_after_relu(caffe_file, system, fidelity, mean, layer, shape):
    values = pixels()
    extractor = build_features(GanConfig(system=system, fidelity=fidelity, vgg_weights=caffe_file))
    result = extractor(values / 127.5 - 1)
    assert result.shape == shape
    torch.testing.assert_close(result, by_hand(values, mean, layer), rtol=1e-4, atol=1e-2)


def test_the_extractor_is_frozen_but_lets_the_image_learn(caffe_file):
    extractor = build_features(GanConfig(vgg_weights=caffe_file, features="vgg19")).train()
    assert not extractor.training and not any(p.requires_grad for p in extractor.parameters())
    image = torch.zeros(1, 3, 8, 8, requires_grad=True)
    extractor(image).sum().backward()
    assert image.grad.any()


def test_torchvisions_features_are_brought_to_the_size_of_caffes():
    extractor = VGGFeatures("conv1_2", weights(), "torchvision")
    first, second = extractor(probe()).unbind(0)
    assert (first - second).abs().mean().item() == pytest.approx(CAFFE_PROBE["conv1_2"], rel=1e-4)


def test_patches_are_the_pixels_around():
    image = torch.rand(1, 3, 6, 5)
    result = PatchFeatures()(image) / features.PATCH_SCALE
    assert result.shape == (1, 75, 6, 5)
    torch.testing.assert_close(result[0, :, 3, 2], image[0, :, 1:6, 0:5].reshape(75))
    corner = image[0][:, [0, 0, 0, 1, 2]][:, :, [0, 0, 0, 1, 2]]
    torch.testing.assert_close(result[0, :, 0, 0], corner.reshape(75))


def test_systems_without_features_have_none():
    assert build_features(GanConfig(system="baseline")) is None
    assert build_features(GanConfig(system="dsc")) is None
    assert isinstance(build_features(GanConfig(features="patches")), PatchFeatures)


def test_a_failed_download_says_where_to_put_the_file(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    advice = r"no route to host.*Put that file at .*vgg19.*gan\.features=patches"
    with pytest.raises(AugmentError, match=advice) as error:
        build_features(GanConfig())
    assert error.value.exit_code == 3


def test_bad_weight_files_are_named(tmp_path):
    with pytest.raises(AugmentError, match=r"gan\.vgg_weights=.*nowhere\.pth: no such file"):
        build_features(GanConfig(vgg_weights=str(tmp_path / "nowhere.pth")))
    broken = tmp_path / "caffe.pth"
    broken.write_bytes(b"not weights")
    with pytest.raises(AugmentError, match=r"caffe\.pth: not a file of weights"):
        build_features(GanConfig(vgg_weights=str(broken)))
    other = weights()
    del other["features.2.bias"]
    torch.save(other, broken)
    with pytest.raises(AugmentError, match=r"features\.2\.weight and \.bias must be there with 64 channels"):
        build_features(GanConfig(vgg_weights=str(broken)))


def test_unknown_weights_must_be_explained(tmp_path):
    path = tmp_path / "vgg.pth"
    torch.save(weights(), path)
    with pytest.raises(UsageError, match=r"Set gan\.vgg_preprocessing to caffe or torchvision"):
        build_features(GanConfig(vgg_weights=str(path)))
    stated = build_features(GanConfig(vgg_weights=str(path), vgg_preprocessing="caffe", fidelity="paper"))
    values = pixels()
    torch.testing.assert_close(stated(values / 127.5 - 1), by_hand(values, CAFFE_MEAN), rtol=1e-4, atol=1e-2)


def test_colours_are_three_more_channels(caffe_file):
    section = GanConfig(vgg_weights=caffe_file, features="vgg19+rgb")
    image = pixels() / 127.5 - 1
    both = build_features(section)(image)
    torch.testing.assert_close(both[:, :64], build_features(section.model_copy(update={"features": "vgg19"}))(image))
    # a patch's 25 pixels and one pixel's colours are scaled to differ as much
    black, grey = torch.zeros(1, 3, 9, 9), torch.full((1, 3, 9, 9), 0.1)
    patches = (PatchFeatures()(black) - PatchFeatures()(grey)).abs().sum(1)
    colours = (build_features(section)(black) - build_features(section)(grey))[:, 64:].abs().sum(1)
    torch.testing.assert_close(colours, patches)


def test_colours_do_not_go_with_smaller_features(caffe_file):
    with pytest.raises(UsageError, match=r"Set gan\.system=full"):
        build_features(GanConfig(system="percloss", vgg_weights=caffe_file, features="vgg19+rgb"))
