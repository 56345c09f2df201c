import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.base.drawing import LEFT, RIGHT, draw_pose, image_grid

MISSING = np.full((18, 2), np.nan)


def test_no_joint_leaves_the_image_as_it_is_and_untouched():
    image = np.random.default_rng(0).integers(0, 256, (128, 64, 3), np.uint8)
    before = image.copy()
    drawn = draw_pose(MISSING, (128, 64), image)
    np.testing.assert_array_equal(drawn, before)
    drawn[:] = 0
    np.testing.assert_array_equal(image, before)


def test_bone_runs_from_joint_to_joint_in_the_colour_of_its_side():
    joints = MISSING.copy()
    joints[2], joints[3] = (10, 20), (10, 60)  # right upper arm, upright
    joints[5], joints[6] = (50, 20), (50, 60)  # left
    drawn = draw_pose(joints, (128, 64))
    assert tuple(drawn[40, 10]) == RIGHT
    assert tuple(drawn[40, 50]) == LEFT
    assert tuple(drawn[20, 10]) == (255, 255, 255)  # the joint itself
    assert tuple(drawn[40, 30]) == (32, 32, 32)
    assert (drawn[80:] == 32).all()


def test_bone_with_one_missing_end_is_not_drawn():
    joints = MISSING.copy()
    joints[2] = (30, 20)
    assert (draw_pose(joints, (128, 64))[30:] == 32).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(width=64), min_size=36, max_size=36))
def test_any_numbers_are_drawn_without_an_error(numbers):
    assert draw_pose(np.reshape(numbers, (18, 2)), (32, 16)).shape == (32, 16, 3)


def test_wrong_image_size_is_told():
    with pytest.raises(ValueError, match=r"the image is \(64, 64, 3\), the pose is for \(128, 64, 3\)"):
        draw_pose(MISSING, (128, 64), np.zeros((64, 64, 3), np.uint8))


def test_grid_places_every_image():
    red, blue = np.zeros((2, 3, 3), np.uint8), np.zeros((4, 1, 3), np.uint8)
    red[..., 0] = blue[..., 2] = 255
    grid = image_grid([[red, blue], [None, red]], gap=1, background=(9, 9, 9))
    # columns 3 and 3 wide, rows 4 and 2 high, three gaps each way
    assert grid.shape == (4 + 2 + 3, 3 + 3 + 3, 3)
    expected = np.full((9, 9, 3), 9, np.uint8)
    expected[2:4, 1:4] = (255, 0, 0)  # two rows high in a row of four: one pixel above, one below
    expected[1:5, 6:7] = (0, 0, 255)  # one wide in a column of three
    expected[6:8, 5:8] = (255, 0, 0)
    np.testing.assert_array_equal(grid, expected)


def test_grid_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="no image"):
        image_grid([[None], []])
