import math

import numpy as np
import pytest
import torch

import augment.base.torchvision_cpu  # noqa: F401
from augment.base.errors import AugmentError, UsageError
from augment.config import QualityConfig
from augment.pose.agreement import share_met
from augment.quality.detection import PersonDetector, person_score
from augment.quality.inception import Inception, inception_score
from augment.quality.networks import NETWORKS, digests, missing, suffixes
from augment.quality.observations import Batch
from augment.quality.perceptual import Lpips, VGGFeatures
from augment.quality.registry import METRICS

CPU = torch.device("cpu")


def batch_of(images, targets=None, masks=None):
    masks = torch.ones(len(images), 1, *images.shape[2:], dtype=torch.uint8) if masks is None else masks
    return Batch(images, images if targets is None else targets, masks, torch.full((len(images), 18, 2), torch.nan))


def random_images(seed, *shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_inception_score_of_sure_and_different_answers_is_the_number_of_classes():
    assert inception_score(np.tile(np.eye(4), (5, 1)), splits=1).mean() == pytest.approx(4)
    assert inception_score(np.tile(np.eye(4), (5, 1)), splits=5).mean() == pytest.approx(4)


def test_inception_score_of_equal_answers_is_one():
    assert inception_score(np.tile([[0.7, 0.2, 0.1]], (20, 1))).mean() == pytest.approx(1)


def test_inception_score_by_hand():
    # Marginal (1/2, 1/2); each row's KL is .9 ln(.9 / .5) + .1 ln(.1 / .5).
    probabilities = np.array([[0.9, 0.1], [0.1, 0.9]])
    expected = math.exp(0.9 * math.log(1.8) + 0.1 * math.log(0.2))
    assert inception_score(probabilities, splits=1).mean() == pytest.approx(expected)


def test_inception_score_depends_on_the_order_of_images():
    pure, mixed = np.array([[1, 0], [1, 0], [0, 1], [0, 1]]), np.array([[1, 0], [0, 1], [1, 0], [0, 1]])
    assert inception_score(pure, splits=2).mean() == pytest.approx(1)
    assert inception_score(mixed, splits=2).mean() == pytest.approx(2)


def test_inception_score_splits_as_the_released_code_does():
    # 5 images in 2 parts: 2 and 3. Part one is uniform over 2 classes (score 2), part two constant (score 1).
    probabilities = np.array([[1, 0], [0, 1], [1, 0], [1, 0], [1, 0]])
    assert inception_score(probabilities, splits=2).mean() == pytest.approx(1.5)
    with pytest.raises(ValueError, match="5 images cannot be split into 10 parts"):
        inception_score(probabilities)


def test_person_score_is_the_best_person_box_or_zero():
    labels, scores = torch.tensor([3, 1, 1]), torch.tensor([0.9, 0.25, 0.5])
    assert person_score({"labels": labels, "scores": scores}) == 0.5
    assert person_score({"labels": labels[:1], "scores": scores[:1]}) == 0
    assert person_score({"labels": labels[:0], "scores": scores[:0]}) == 0


def test_inception_score_of_one_part_equals_torchmetrics():
    from torchmetrics.image.inception import InceptionScore

    class Logits(torch.nn.Module):
        def forward(self, images):
            return images

    logits = torch.randn(64, 7, generator=torch.Generator().manual_seed(0))
    other = InceptionScore(feature=Logits(), splits=1)
    other.update(logits)
    ours = inception_score(logits.softmax(dim=1).numpy(), splits=1)[0]
    assert ours == pytest.approx(other.compute()[0].item(), abs=1e-5)


def test_lpips_equals_torchmetrics_with_the_same_random_alexnet(tmp_path):
    from torchmetrics.functional.image.lpips import _lpips_update, _NoTrainLpips
    from torchvision.models import alexnet

    torch.manual_seed(0)
    model = alexnet(weights=None)
    torch.save(model.state_dict(), tmp_path / "alexnet.pth")
    network = _NoTrainLpips(net="alex", pnet_rand=True)
    own = {name: model.features.get_parameter(name.partition(".")[2]) for name in network.net.state_dict()}
    network.net.load_state_dict(own)
    images, targets = random_images(1, 3, 3, 128, 64), random_images(2, 3, 3, 128, 64)
    masks = torch.zeros(3, 1, 128, 64, dtype=torch.uint8)
    masks[..., 40:100, 10:50] = 1
    found = Lpips(tmp_path / "alexnet.pth", CPU)(batch_of(images, targets, masks))
    with torch.inference_mode():
        for name, factor in (("lpips", 1), ("mask_lpips", masks)):
            expected = _lpips_update(*(pixels * factor / 255 for pixels in (images, targets)), network, normalize=True)
            np.testing.assert_allclose(found[name], expected, atol=1e-5)
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(AugmentError, match=r"quality\.lpips_weights=.*: not torchvision.s AlexNet: .* features\.0\.w"):
        Lpips(tmp_path / "other.pth", CPU)


def test_vgg_features_are_the_mean_of_conv3_1_for_the_pixels_its_training_had(tmp_path):
    from torchvision.models.vgg import cfgs, make_layers

    torch.manual_seed(0)
    layers = make_layers(cfgs["E"])[:12].eval()
    torch.save({f"features.{name}": tensor for name, tensor in layers.state_dict().items()}, tmp_path / "caffe.pth")
    images = random_images(0, 2, 3, 16, 8)
    with torch.inference_mode():
        pixels = images.float() - torch.tensor([123.68, 116.779, 103.939]).view(3, 1, 1)
        expected = layers(pixels).mean(dim=(2, 3))
    np.testing.assert_allclose(VGGFeatures(tmp_path / "caffe.pth", CPU)(batch_of(images))["vgg19"], expected, atol=1e-4)
    (tmp_path / "some.pth").write_bytes((tmp_path / "caffe.pth").read_bytes())
    with pytest.raises(UsageError, match=r"quality\.vgg_weights: .*some\.pth: is it Caffe's training or torchvision's"):
        VGGFeatures(tmp_path / "some.pth", CPU)


def test_inception_takes_its_file_and_refuses_others(tmp_path, monkeypatch):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3 as Network

    with monkeypatch.context() as patch:
        patch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(Network, "load_state_dict", lambda self, state: None)
        torch.manual_seed(0)
        network = Network("random", ["2048", "logits_unbiased"])
    torch.save(network.state_dict(), tmp_path / "w.pth")
    images, masks = random_images(0, 1, 3, 32, 16), torch.zeros(1, 1, 32, 16, dtype=torch.uint8)
    found = Inception(tmp_path / "w.pth", CPU)(batch_of(images, masks=masks))
    features, logits = network(images)
    np.testing.assert_allclose(found["inception"], features, atol=1e-5)
    np.testing.assert_allclose(found["probabilities"], logits.softmax(dim=1), atol=1e-5)
    np.testing.assert_allclose(found["mask_probabilities"], network(images * 0)[1].softmax(dim=1), atol=1e-5)
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(AugmentError, match=r"quality\.inception_weights=.*other\.pth: is of another network"):
        Inception(tmp_path / "other.pth", CPU)


@pytest.mark.parametrize("network", [Inception, PersonDetector, Lpips, VGGFeatures])
def test_a_file_that_is_no_weights_is_refused(network, tmp_path):
    (tmp_path / "w.pth").write_bytes(b"not weights")
    with pytest.raises(AugmentError, match=r"quality\.\w+_weights=.*w\.pth: not a file of weights"):
        network(tmp_path / "w.pth", CPU)
    with pytest.raises(AugmentError, match=r"quality\.\w+_weights=.*gone\.pth: no such file"):
        network(tmp_path / "gone.pth", CPU)


def test_every_network_has_a_key_and_every_metric_a_network_or_none():
    names = {network.name for network in NETWORKS}
    assert {network.key for network in NETWORKS} <= set(QualityConfig.model_fields)
    assert {metric.needs for metric in METRICS} == names | {None}
    assert set(missing(QualityConfig())) == names and digests(QualityConfig()) == {}
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_files_count_by_content_and_other_files_give_metrics_another_name(tmp_path):
    for name in ("one", "copy"):
        (tmp_path / name).write_bytes(b"some weights")
    original, copy = (QualityConfig(lpips_weights=tmp_path / name) for name in ("one", "copy"))
    assert digests(original) == digests(copy) and "alexnet" not in missing(original)
    assert suffixes(original)["alexnet"] == "_" + digests(original)["lpips_weights"][:8]
    assert suffixes(QualityConfig())["osnet"] == "_msmt17"
    with pytest.raises(AugmentError, match=r"quality\.lpips_weights: .*gone cannot be read .* Expected: .*AlexNet"):
        digests(QualityConfig(lpips_weights=tmp_path / "gone"))


def test_share_of_joints_met_by_hand():
    wanted = np.full((4, 18, 2), np.nan)
    wanted[:3, :4] = [[10, 10], [20, 20], [30, 30], [40, 40]]
    found = wanted.copy()
    found[0, 0] += [3, 4]  # 5 pixels away: just near enough
    found[0, 1] += [3, 4.1]
    found[1, :] = np.nan  # nobody was found
    within = np.array([5.0, 5.0, np.nan, 5.0])  # the third has no head, the fourth no joints
    np.testing.assert_array_equal(share_met(found, wanted, within), [3 / 4, 0, np.nan, np.nan])
