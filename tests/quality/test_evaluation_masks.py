import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.morphology import dilation, erosion

from augment.quality.masks import EVALUATION_LIMBS, evaluation_mask

SIZE = (128, 64)
MISSING = np.full((18, 2), np.nan)


def test_one_limb_is_a_rectangle_between_two_discs():
    joints = MISSING.copy()
    joints[2], joints[3] = (30, 40), (30, 60)
    expected = np.zeros(SIZE, bool)
    expected[40:61, 26:35] = True  # half-width 4, borders included
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    for centre in (40, 60):
        expected |= (x - 30) ** 2 + (y - centre) ** 2 < 16  # open disc
    expected = erosion(dilation(expected, np.ones((5, 5))), np.ones((5, 5)))
    np.testing.assert_array_equal(evaluation_mask(joints, SIZE), expected)
    assert expected[50].sum() == 9
    assert expected[37:40].any() and not expected[36].any()


def test_there_are_23_limbs_and_each_is_drawn():
    assert len(set(map(frozenset, EVALUATION_LIMBS))) == 23
    for start, end in EVALUATION_LIMBS:
        joints = MISSING.copy()
        joints[start], joints[end] = (20, 30), (40, 90)
        assert evaluation_mask(joints, SIZE)[60, 30], (start, end)  # the middle


def test_a_limb_that_is_none_leaves_a_gap():
    joints = MISSING.copy()
    joints[4], joints[10] = (20, 30), (40, 90)  # wrist and ankle
    mask = evaluation_mask(joints, SIZE)
    assert mask[30, 20] and mask[90, 40] and not mask[60, 30]


def test_joints_in_one_place_are_a_disc_and_no_joints_nothing():
    joints = MISSING.copy()
    joints[2] = joints[3] = (30, 40)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    disc = (x - 30) ** 2 + (y - 40) ** 2 < 16
    mask = evaluation_mask(joints, SIZE)
    assert mask.sum() == erosion(dilation(disc, np.ones((5, 5))), np.ones((5, 5))).sum()
    assert not evaluation_mask(MISSING, SIZE).any()


def test_closing_fills_a_gap_of_four_pixels_and_no_wider():
    joints = MISSING.copy()
    joints[0], joints[4] = (20, 40), (31, 40)  # discs reach 3 pixels to each side: 24..27 is free
    assert evaluation_mask(joints, SIZE)[40, 17:35].all()
    joints[4] = (32, 40)
    assert not evaluation_mask(joints, SIZE)[40, 25]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.just(float("nan")), st.floats(-300, 300)), min_size=36, max_size=36))
def test_any_pose_gives_a_mask(numbers):
    mask = evaluation_mask(np.reshape(numbers, (18, 2)), SIZE)
    assert mask.shape == SIZE and mask.dtype == bool
