import pytest
import torch

from augment.pose.estimator.decoding import TREE, decode
from augment.pose.estimator.targets import ABSENT, LABELLED, FieldLayout, encode

LIMBS = torch.tensor([
    (16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9), (8, 10), (9, 11),
    (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7),
]) - 1  # fmt: skip
# a standing person, in units of its height, in COCO's order
STANDING = torch.tensor([
    (0.0, 0.05), (0.02, 0.04), (-0.02, 0.04), (0.04, 0.05), (-0.04, 0.05), (0.12, 0.2), (-0.12, 0.2), (0.15, 0.35),
    (-0.15, 0.35), (0.14, 0.48), (-0.14, 0.48), (0.08, 0.52), (-0.08, 0.52), (0.08, 0.75), (-0.08, 0.75),
    (0.08, 0.98), (-0.08, 0.98),
])  # fmt: skip
LAYOUT = FieldLayout(8, torch.full((17,), 0.05), LIMBS, STANDING * 10)
SIZE = (161, 81)


def person(x, top, height):
    return STANDING * height + torch.tensor([x, top])


def fields(*people):
    """What a perfect network would put out: vectors to places, nothing elsewhere, the surer person on top."""
    heads = None
    for joints, state, sure in people:
        intensity, association = encode(joints[None], state[None], SIZE, LAYOUT)
        made = []
        for target, vectors in ((intensity, 1), (association, 2)):
            shape = (*target.shape[:2], 3 * vectors + 2, *target.shape[3:])
            out = torch.zeros(shape)
            out[:, :, 1] = target[:, :, 0] * sure
            cells = torch.stack(torch.meshgrid(torch.arange(11), torch.arange(21), indexing="xy")).float()
            for vector in range(vectors):
                at = slice(2 + 2 * vector, 4 + 2 * vector)
                out[:, :, at] = target[:, :, 1 + 2 * vector : 3 + 2 * vector].nan_to_num() + cells
            made.append(out)
        if heads is None:
            heads = made
        else:
            both = zip(heads, made, strict=True)
            heads = [torch.where(new[:, :, 1:2] > old[:, :, 1:2], new, old) for old, new in both]
    return heads


ALL = torch.full((17,), LABELLED)


def test_every_tree_edge_is_a_limb_and_every_joint_is_reached():
    pairs = {tuple(sorted(limb)) for limb in LIMBS.tolist()}
    reached = {TREE[0][0]}
    for parent, child in TREE:
        assert tuple(sorted((parent, child))) in pairs
        assert parent in reached and child not in reached
        reached.add(child)
    assert reached == set(range(17))


def test_one_person_is_found_where_it_is():
    joints = person(40, 8, 140)
    found = decode(*fields((joints, ALL, 0.9)), LIMBS)
    torch.testing.assert_close(found.joints[0, :, :2] * 8, joints, atol=0.5, rtol=0)
    torch.testing.assert_close(found.joints[0, :, 2], torch.full((17,), 0.9))
    assert found.count.tolist() == [1]


def test_an_absent_joint_has_no_confidence_and_harms_no_other():
    joints, state = person(40, 8, 140), ALL.clone()
    state[7], state[9] = ABSENT, ABSENT
    found = decode(*fields((joints, state, 0.9)), LIMBS)
    assert (found.joints[0, [7, 9], 2] == 0).all()
    others = [index for index in range(17) if index not in (7, 9)]
    torch.testing.assert_close(found.joints[0, others, :2] * 8, joints[others], atol=0.5, rtol=0)


def test_of_two_people_the_one_who_fills_the_crop_is_taken_even_if_the_other_is_surer():
    large, small = person(25, 8, 145), person(64, 20, 60)
    found = decode(*fields((large, ALL, 0.7), (small, ALL, 0.95)), LIMBS)
    assert found.count.tolist() == [2]
    torch.testing.assert_close(found.joints[0, 5:, :2] * 8, large[5:], atol=3.0, rtol=0)


def test_the_limbs_keep_two_people_apart():
    """The joints of the other are surer one by one here and there; the limbs say whose they are."""
    left, right = person(20, 8, 140), person(60, 8, 140)
    intensity, association = fields((left, ALL, 0.8), (right, ALL, 0.7))
    for joint in (9, 15):  # wrist and ankle of the person on the right are shown surest
        cell = (right[joint] / 8).round().long()
        intensity[0, joint, 1, cell[1], cell[0]] = 0.99
    found = decode(intensity, association, LIMBS).joints[0]
    torch.testing.assert_close(found[:, :2] * 8, left, atol=4.0, rtol=0)


def test_nothing_there_is_nobody():
    intensity, association = fields((person(40, 8, 140), ALL, 0.9))
    found = decode(torch.zeros_like(intensity), torch.zeros_like(association), LIMBS)
    assert found.count.tolist() == [0]
    assert (found.joints[..., 2] == 0).all()
    assert torch.isfinite(found.joints).all()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_crops_of_a_batch_do_not_touch_each_other(order):
    singles = [fields((person(*where), ALL, 0.9)) for where in ((40, 8, 140), (30, 20, 120), (50, 5, 100))]
    alone = [decode(*single, LIMBS).joints for single in singles]
    batch = [torch.cat([singles[index][head] for index in order]) for head in range(2)]
    together = decode(*batch, LIMBS).joints
    for place, index in enumerate(order):
        torch.testing.assert_close(together[place], alone[index][0], atol=1e-5, rtol=0)
