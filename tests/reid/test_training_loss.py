"""The loss of a batch of real and synthetic images, by hand."""

import math

import pytest
import torch

from augment.base.errors import UsageError
from augment.config import ArmConfig, ReidConfig
from augment.reid.arms import composition, ready_made, references, settings_of_arms, teacher_of
from augment.reid.losses import training_loss

LABELS = torch.tensor([0, 1, 1])
SYNTHETIC = torch.tensor([False, False, True])


class Logits(torch.nn.Module):
    """A network whose answer is its input."""

    def forward(self, images):
        return images


def loss(logits: list[list[float]], **settings) -> tuple[float, float]:
    arm = {"real": 2, "synthetic": 1, **settings}
    section = ReidConfig(arms={"it": arm}, label_smoothing=0.25)
    settled = settings_of_arms(section)["it"]
    both = training_loss(Logits(), torch.tensor(logits), LABELS, SYNTHETIC, section, settled)
    return tuple(map(float, both))


def cross_entropy(logits: list[float], target: list[float]) -> float:
    total = math.log(sum(map(math.exp, logits)))
    return sum(share * (total - logit) for share, logit in zip(target, logits, strict=True))


A, B, C = [2.0, 0.0], [1.0, 0.5], [0.0, 3.0]
SMOOTH = {0: [0.875, 0.125], 1: [0.125, 0.875]}  # 1 - eps + eps / K and eps / K


def test_labels_and_weights_of_synthetic_images():
    real = cross_entropy(A, SMOOTH[0]) + cross_entropy(B, SMOOTH[1])
    for label, target in (("smooth", SMOOTH[1]), ("hard", [0, 1]), ("uniform", [0.5, 0.5])):
        for weight in (1.0, 0.5):
            expected = (real + weight * cross_entropy(C, target)) / 3
            value, accuracy = loss([A, B, C], label=label, weight=weight)
            assert value == pytest.approx(expected, abs=1e-6)
            assert accuracy == pytest.approx(200 / 3)  # B is taken for 0


def test_a_pass_of_their_own_keeps_synthetic_images_out_of_the_statistics():
    section = ReidConfig(arms={"it": {"real": 2, "synthetic": 2, "own_pass": True}})
    arm = settings_of_arms(section)["it"]
    model = torch.nn.BatchNorm1d(2, affine=False)
    images = torch.tensor([[0.0, 2.0], [4.0, 2.0], [100.0, 50.0], [300.0, 90.0]])
    synthetic = torch.tensor([False, False, True, True])
    mixed = torch.tensor([2, 0, 3, 1])
    value, _ = training_loss(model, images[mixed], torch.tensor([1, 0, 0, 1]), synthetic[mixed], section, arm)
    assert model.running_mean.tolist() == pytest.approx([0.2, 0.2])  # a tenth of the real images' mean
    # alone, both pairs are normalised to -1 and 1 (the constant column of the real ones to 0)
    rows = {"real": [[-1, 0], [1, 0]], "synthetic": [[-1, -1], [1, 1]]}
    expected = [(rows["synthetic"][0], 1), (rows["real"][0], 0), (rows["synthetic"][1], 0), (rows["real"][1], 1)]
    hand = sum(cross_entropy(row, [0.95, 0.05] if label == 0 else [0.05, 0.95]) for row, label in expected) / 4
    assert float(value) == pytest.approx(hand, abs=1e-4)


def test_every_arm_is_trained_at_every_length_and_compared_at_the_same():
    arms = {"real": ArmConfig(), "augmented": ArmConfig(), "longer": ArmConfig(), "mine": ArmConfig(iterations=7),
            "other": ArmConfig(real=8, against="augmented")}  # fmt: skip
    section = ReidConfig(arms=arms, batch_size=32, iterations=100, lengths=(50, 100, 400))
    assert {name: arm.iterations for name, arm in settings_of_arms(section).items()} == {
        "real": 100, "augmented": 100, "longer": 200, "mine": 7, "other": 100,
        "real_50": 50, "augmented_50": 50, "longer_50": 100, "other_50": 50,
        "real_400": 400, "augmented_400": 400, "longer_400": 800, "other_400": 400,
    }  # fmt: skip
    assert [composition(settings_of_arms(section)["augmented_50"], i) for i in (29, 30)] == [(16, 16), (32, 0)]
    assert references(section) == {
        "augmented": "real", "longer": "real", "mine": "real", "other": "augmented",
        "augmented_50": "real_50", "longer_50": "real_50", "other_50": "augmented_50",
        "augmented_400": "real_400", "longer_400": "real_400", "other_400": "augmented_400",
    }  # fmt: skip
    assert teacher_of(section, settings_of_arms(section)["augmented_50"]).iterations == 50
    with pytest.raises(UsageError, match="real_50 is also the name of real at 50 iterations"):
        settings_of_arms(ReidConfig(arms={**arms, "real_50": ArmConfig(real=4)}, lengths=(50,)))


def test_ready_made_arms_divide_the_batch():
    arms = settings_of_arms(ReidConfig(arms=list(ready_made(32, 100)), batch_size=32, iterations=100))
    assert composition(arms["real"], 0) == (32, 0) and composition(arms["real_equal_exposures"], 99) == (16, 0)
    assert [composition(arms["augmented"], i) for i in (0, 59, 60, 99)] == [(16, 16), (16, 16), (32, 0), (32, 0)]
    assert [composition(arms["mixed"], i) for i in (0, 99)] == [(16, 16)] * 2
    assert [composition(arms["pretrained"], i) for i in (0, 60)] == [(0, 32), (32, 0)]
    assert arms["longer"].iterations == 200 and composition(arms["longer"], 199) == (16, 16)
    assert arms["copied"].images == "copied" and arms["more_real"].images == "more_real"
    assert "random_erase" in arms["classic"].transforms
    changed = ReidConfig(arms={"augmented": {"until": 1.0, "synthetic": 8}}, batch_size=32)
    assert settings_of_arms(changed)["augmented"].model_dump(include={"real", "synthetic", "until"}) == {
        "real": 16, "synthetic": 8, "until": 1.0
    }  # fmt: skip


def test_arms_that_cannot_be_trained_are_named():
    def settled(**arm):
        return settings_of_arms(ReidConfig(arms={"mine": ArmConfig(**arm)}))

    with pytest.raises(UsageError, match=r"reid.arms.mine: a batch of 1 images is too small"):
        settled(real=1, synthetic=0)
    for real, synthetic in ((4, 1), (0, 4)):
        with pytest.raises(UsageError, match=r"reid.arms.mine: own_pass needs at least 2 real and 2 synthetic"):
            settled(real=real, synthetic=synthetic, own_pass=True)
    with pytest.raises(UsageError, match=r"reid.arms.mine: own_pass, weight and label: own are for the softmax loss"):
        settings_of_arms(ReidConfig(arms={"mine": ArmConfig(weight=0.5)}, loss="triplet"))
