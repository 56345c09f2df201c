"""Verification, triplets with positives only, teachers and own classes: against their formulas."""

import math

import pytest
import torch
import torch.nn.functional as F

from augment.base.errors import UsageError
from augment.config import ArmConfig, ReidConfig
from augment.reid.arms import settings_of_arms
from augment.reid.losses import batch_hard_triplet, build_network, training_loss, verification
from augment.retrieval.torchreid_quiet import torchreid

CPU = torch.device("cpu")


def settled(**arm):
    section = ReidConfig(arms={"it": arm}, label_smoothing=0.25, instances=2, model="osnet_x0_25")
    return section, settings_of_arms(section)["it"]


def test_verification_is_the_cross_entropy_of_the_squared_difference():
    """Zheng et al.: q = softmax(theta (f1 - f2)^2), and -log of the share of the right answer, pair by pair."""
    torch.manual_seed(0)
    features, head = torch.randn(6, 3), torch.nn.Linear(3, 2)  # three people with two images each
    pairs = [(0, 1, 1), (1, 0, 1), (2, 3, 1), (3, 2, 1), (4, 5, 1), (5, 4, 1),
             (0, 2, 0), (1, 3, 0), (2, 4, 0), (3, 5, 0), (4, 0, 0), (5, 1, 0)]  # fmt: skip
    total = 0.0
    for first, second, same in pairs:
        squared = (features[first] - features[second]) ** 2
        scores = [float((head.weight[k] @ squared + head.bias[k]).detach()) for k in (0, 1)]
        total -= scores[same] - math.log(math.exp(scores[0]) + math.exp(scores[1]))
    assert float(verification(head, features, 2).detach()) == pytest.approx(total / len(pairs), abs=1e-6)


def test_triplet_is_torchreids_and_images_that_are_only_positive_never_push():
    torch.manual_seed(0)
    features, labels = torch.randn(8, 4), torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    nobody = torch.zeros(8, dtype=torch.bool)
    expected = torchreid.losses.TripletLoss(margin=0.3)(features, labels)
    assert float(batch_hard_triplet(features, labels, nobody)) == pytest.approx(float(expected), abs=1e-6)
    # one person at 0 and 1, another at 3 and 3.5; those at 1 and 3 are synthetic
    line, labels = torch.tensor([[0.0], [1.0], [3.0], [3.5]]), torch.tensor([0, 0, 1, 1])
    only = torch.tensor([False, True, True, False])
    # anchor 0: positive 1 away, nearest negative 3.5; anchor 3.5: positive .5 away, nearest negative 3.5
    assert float(batch_hard_triplet(line, labels, only)) == 0
    far = torch.tensor([[0.0], [4.0], [3.0], [3.5]])
    assert float(batch_hard_triplet(far, labels, only)) == pytest.approx((0.3 + 4 - 3.5) / 2)


class Outputs(torch.nn.Module):
    """A network whose logits, or logits and features, are given."""

    def __init__(self, *outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, _images):
        return self.outputs[0] if len(self.outputs) == 1 else self.outputs


IMAGES = torch.zeros(3, 3, 2, 2)
LABELS, SYNTHETIC = torch.tensor([0, 1, 1]), torch.tensor([False, False, True])


def test_own_classes_are_those_behind_the_people():
    section, arm = settled(real=2, synthetic=1, label="own")
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    value, _ = training_loss(Outputs(logits), IMAGES, LABELS, SYNTHETIC, section, arm)
    expected = F.cross_entropy(logits, torch.tensor([0, 1, 3]), label_smoothing=0.25)
    assert float(value) == pytest.approx(float(expected))
    assert build_network(section, arm, 5, CPU).classifier.out_features == 10
    assert build_network(*settled(real=2, label="own"), 5, CPU).classifier.out_features == 5  # nothing synthetic


def test_a_teacher_gives_the_divergence_from_its_answer():
    section, arm = settled(real=2, synthetic=1, label="teacher", weight=0.5)
    logits = torch.tensor([[2.0, 0.0], [1.0, 0.5], [0.0, 3.0]])
    teacher = Outputs(torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]]))
    teacher.classifier = torch.nn.Identity()
    value, _ = training_loss(Outputs(logits), IMAGES, LABELS, SYNTHETIC, section, arm, teacher)
    p, q = (torch.tensor(values).softmax(0) for values in ([1.0, 0.0], [0.0, 3.0]))
    real = F.cross_entropy(logits[:2], LABELS[:2], label_smoothing=0.25, reduction="sum")
    assert float(value) == pytest.approx(float(real + 0.5 * (p * (p / q).log()).sum()) / 3, abs=1e-6)
    same = Outputs(logits)
    same.classifier = torch.nn.Identity()
    value, _ = training_loss(Outputs(logits), IMAGES, LABELS, SYNTHETIC, section, arm, same)
    assert float(value) == pytest.approx(float(real) / 3, abs=1e-6)  # who agrees with the teacher has nothing to learn


def test_positives_only_are_identified_by_nobody():
    section, arm = settled(real=2, synthetic=1, label="positive", loss="triplet")
    logits, features = torch.randn(3, 2), torch.tensor([[0.0], [5.0], [6.0]])
    value, _ = training_loss(Outputs(logits, features), IMAGES, LABELS, SYNTHETIC, section, arm)
    identified = F.cross_entropy(logits[:2], LABELS[:2], label_smoothing=0.25)
    assert float(value) == pytest.approx(float(identified))  # margins hold: 0 is its own positive, 5 has 6


def test_what_labels_and_losses_do_not_go_together_is_said():
    for arm, words in [({"loss": "triplet", "label": "own"}, "own_pass, weight and label: own are for the"),
                       ({"loss": "verification", "weight": 0.5}, "are for the softmax loss only"),
                       ({"label": "positive"}, "label: positive is for the triplet loss"),
                       ({"images": "copied", "poses": "nearer"}, "poses select among images in new")]:  # fmt: skip
        with pytest.raises(UsageError, match=words):
            settled(**arm)
    with pytest.raises(ValueError, match=r"mine\.against: there is no arm 'yours'"):
        ReidConfig(arms={"real": ArmConfig(), "mine": ArmConfig(against="yours")})
