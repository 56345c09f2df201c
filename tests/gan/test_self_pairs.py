import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_run import TINY, make_run

from augment.base.shuffling import Shuffled
from augment.gan.dataset import Batch, _with_share, load_pair_data
from augment.gan.pair_order import PairOrder
from augment.gan.self_pairs import ANGLE, SHEAR, STRETCH, move_targets, random_maps

SIZE = (64, 32)


def dot(place: np.ndarray) -> torch.Tensor:
    """A soft bright dot at (x, y) on black: (1, 3, H, W)."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    image = 2 * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / 8) - 1
    return torch.from_numpy(image).float().expand(1, 3, -1, -1)


def batch_of(place: np.ndarray) -> Batch:
    image, joints = dot(place), torch.tensor(np.array([[place, [np.nan, np.nan]]])).float()
    return Batch(image, joints, image.clone(), joints.clone())


@given(seed=st.integers(0, 2**32), x=st.floats(8, 23), y=st.floats(12, 51))
def test_a_joint_goes_where_its_pixels_go(seed, x, y):
    place = np.array([x, y])
    batch = batch_of(place)
    moved = move_targets(batch, torch.from_numpy(random_maps(1, SIZE, np.random.default_rng(seed))))
    joint = moved.target_joints[0, 0].numpy()
    # Stretched and sheared the dot keeps its centre: the mean of the places of its pixels.
    weight = (moved.target[0, 0].numpy() + 1) / 2
    near = weight * (weight > 0.5)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    centre = np.array([(near * columns).sum(), (near * rows).sum()]) / near.sum()
    if 4 <= joint[0] <= SIZE[1] - 5 and 4 <= joint[1] <= SIZE[0] - 5:  # else the border cuts the dot or mirrors it
        np.testing.assert_allclose(centre, joint, atol=0.6)
    assert torch.equal(moved.source, batch.source) and torch.equal(moved.source_joints[0, 0], batch.source_joints[0, 0])
    assert moved.target_joints[0, 1].isnan().all()  # missing before


def test_how_far_a_map_goes():
    maps = random_maps(2000, SIZE, np.random.default_rng(0))[:, 1].astype(float)  # source to target, in pixels
    linear = np.linalg.inv(maps[:, :, :2])
    middle = np.array([(SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2])
    # The pixel of the source in the middle of the target: off by the shift alone.
    shift = np.abs((linear @ (middle - maps[:, :, 2])[..., None])[..., 0] - middle)
    assert (shift.max(0) <= np.array([5 / 32, 1 / 8]) * middle + 1e-4).all() and (shift.max(0) > [2.3, 3.8]).all()
    # Columns of the map: what becomes of a pixel to the right and of one downwards.
    across, down = linear[:, :, 0], linear[:, :, 1]
    angle = np.arctan2(across[:, 1], across[:, 0])
    assert 0.95 * ANGLE < np.abs(angle).max() <= ANGLE + 1e-6
    length = np.log(np.linalg.norm(across, axis=1))
    assert 0.95 * STRETCH < np.abs(length).max() <= STRETCH + 1e-6
    slant = np.abs(down[:, 0] / down[:, 1])  # by the rotation and by the shear
    assert slant.max() <= np.tan(ANGLE) + SHEAR * np.exp(STRETCH) / np.cos(ANGLE)


def test_without_a_map_nothing_moves():
    batch = batch_of(np.array([20.0, 30.0]))
    moved = move_targets(batch, torch.zeros(1, 2, 2, 3))
    assert torch.equal(moved.target, batch.target)
    assert torch.equal(moved.target_joints[0, 0], batch.target_joints[0, 0])


def test_a_joint_that_leaves_the_image_is_missing():
    to_source = torch.tensor([[1.0, 0, 0.5], [0, 1, 0]])  # a quarter of the width to the left
    to_target = torch.tensor([[1.0, 0, -(SIZE[1] - 1) / 4], [0, 1, 0]])
    maps = torch.stack([to_source, to_target])[None]
    assert move_targets(batch_of(np.array([7.0, 30.0])), maps).target_joints.isnan().all()
    torch.testing.assert_close(move_targets(batch_of(np.array([8.0, 30.0])), maps).target_joints[0, 0],
                               torch.tensor([0.25, 30.0]))  # fmt: skip


PAIRS = np.array([(a, b) for a in range(12) for b in range(12) if a != b])


def test_the_share_of_pairs_of_an_image_and_itself():
    order = PairOrder(TINY.model_copy(update={"self_pairs": 0.3}), PAIRS, SIZE)
    drawn = [(order.pairs(step), order.maps(step)) for step in range(500)]
    own = np.array([pairs[..., 0] == pairs[..., 1] for pairs, _ in drawn])
    assert own.shape == (500, 2, 2)
    assert abs(own.mean() - 0.3) < 4 * (0.3 * 0.7 / own.size) ** 0.5  # four standard deviations
    assert all(((maps != 0).any((2, 3, 4)) == which).all() for (_, maps), which in zip(drawn, own, strict=True))
    again = PairOrder(TINY.model_copy(update={"self_pairs": 0.3}), PAIRS, SIZE)
    np.testing.assert_array_equal(again.pairs(7), drawn[7][0])
    np.testing.assert_array_equal(again.maps(7), drawn[7][1])
    assert not np.array_equal(drawn[7][1], drawn[8][1])


def test_the_other_pairs_stay_those_of_the_order():
    plain, mixed = (PairOrder(TINY.model_copy(update={"self_pairs": share}), PAIRS, SIZE) for share in (0, 0.5))
    order = Shuffled(len(PAIRS), TINY.seed)
    for step in range(20):
        expected = PAIRS[order.take(4 * step, 4)].reshape(2, 2, 2)
        np.testing.assert_array_equal(plain.pairs(step), expected)
        np.testing.assert_array_equal(mixed.pairs(step)[..., 0], expected[..., 0])
        target = mixed.pairs(step)[..., 1]
        assert ((target == expected[..., 1]) | (target == expected[..., 0])).all()
    assert not plain.maps(0).any()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.7, 1.0])
def test_pairs_are_repeated_to_a_share_and_none_is_lost(share):
    chosen = PAIRS[:, 0] % 4 == PAIRS[:, 1] % 4
    found = _with_share(PAIRS, chosen, share)
    of_found = found[:, 0] % 4 == found[:, 1] % 4
    assert of_found.mean() == pytest.approx(share, abs=1 / len(found))
    kept = PAIRS if 0 < share < 1 else PAIRS[chosen == (share == 1)]
    assert {*map(tuple, found)} == {*map(tuple, kept)}
    times = np.unique(found[of_found] @ [100, 1], return_counts=True)[1]
    assert not len(times) or np.ptp(times) <= 1  # none is repeated twice as often as another


def test_where_there_is_one_kind_of_pairs_all_stay():
    assert _with_share(PAIRS, np.zeros(len(PAIRS), bool), 0.7) is PAIRS


def test_the_share_of_pairs_of_one_camera(tmp_path):
    """Seven images a person, of which the first and the last have one camera: 2 of 42 pairs."""
    run = make_run(tmp_path, each=7)
    cameras = run[0].frame().set_index("id")["camid"].sort_index().to_numpy()

    def share(section):
        data = load_pair_data(section, *run, torch.device("cpu"))
        return np.mean(cameras[data.train[:, 0]] == cameras[data.train[:, 1]]), len(data.train)

    as_they_come, count = share(TINY)
    assert as_they_come == pytest.approx(2 / 42)
    assert share(TINY.model_copy(update={"same_camera_pairs": 0.5})) == (0.5, 2 * round(count * 40 / 42))
