import augment.base.torchvision_cpu  # noqa: F401, I001  must come before openpifpaf

import numpy as np
import openpifpaf  # the yardstick: its own encoders, one image at a time
import pytest
import torch

from augment.pose.estimator import openpifpaf_adapter as adapter
from augment.pose.estimator.checkpoints import find_checkpoint
from augment.pose.estimator.targets import ABSENT, LABELLED, UNLABELLED, encode

SIZE = (161, 81)


@pytest.fixture(scope="module")
def network():
    checkpoint = find_checkpoint("crops")
    return adapter.load_network(checkpoint.path, checkpoint.sha256)


@pytest.fixture(scope="module")
def layout(network):
    return adapter.field_layout(network)


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_openpifpafs_own_encoders(network, layout, seed):
    generator = torch.Generator().manual_seed(seed)
    joints = torch.rand(6, 17, 2, generator=generator) * torch.tensor([80.0, 160.0])
    joints[0] *= 0.05  # a tiny person
    state = (torch.rand(6, 17, generator=generator) < (0.1, 0.5, 0.9)[seed]).long() * LABELLED
    state[:, 5] = LABELLED  # without any joint theirs takes the person for a crowd
    intensity, association = encode(joints, state, SIZE, layout)
    encoders = openpifpaf.encoder.Cif(network.head_metas[0]), openpifpaf.encoder.Caf(network.head_metas[1])
    for person in range(6):
        points = torch.cat([joints[person], 2.0 * state[person][:, None]], dim=1).numpy().astype(np.float32)
        annotation = {"keypoints": points, "bbox": np.array([0.0, 0, 80, 160]), "iscrowd": False}
        for ours, encoder in zip((intensity, association), encoders, strict=True):
            theirs = encoder(torch.zeros(3, *SIZE), [annotation], {})
            torch.testing.assert_close(ours[person], theirs.float(), atol=1e-4, rtol=1e-5, equal_nan=True)


def test_an_unlabelled_joint_is_no_target_at_all(layout):
    joints = torch.rand(1, 17, 2) * 80
    state = torch.full((1, 17), LABELLED)
    state[0, 3], state[0, 9] = UNLABELLED, ABSENT
    intensity, association = encode(joints, state, SIZE, layout)
    assert intensity[0, 3, 0].isnan().all()
    assert (intensity[0, 9, 0] == 0).all()
    for limb, (first, second) in enumerate(layout.limbs.tolist()):
        if 3 in (first, second):
            assert association[0, limb, 0].isnan().all()
        elif 9 in (first, second):
            assert (association[0, limb, 0] == 0).all()


def test_losses_skip_what_is_unlabelled(network, layout):
    loss = adapter.field_loss(network)
    network.train()
    outputs = [torch.zeros_like(field) for field in network(torch.zeros(2, 3, *SIZE))]
    network.eval()
    state = torch.full((2, 17), UNLABELLED)
    targets = encode(torch.rand(2, 17, 2) * 80, state, SIZE, layout)
    total, _ = loss(outputs, targets)
    assert total.item() == 0


def test_the_shipped_layout(layout):
    assert layout.stride == 8
    assert layout.limbs.shape == (19, 2)
    assert layout.sigmas.shape == (17,)
    assert layout.reference.shape == (17, 2)
