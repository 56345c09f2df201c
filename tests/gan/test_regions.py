import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import estimate_transform

from augment.base.errors import UsageError
from augment.gan.affine import fit_affine
from augment.gan.fidelity import RELEASED
from augment.gan.kernels import gather
from augment.gan.regions import body_regions, deformation, part_transforms, region_masks
from augment.gan.skeletons import HUMAN, Region, Skeleton
from augment.pose.skeleton import INDEX

NAMES = [region.name for region in HUMAN.regions]
TORSO, HEAD, RIGHT_THIGH, RIGHT_FOREARM, LEFT_FOREARM = 0, 1, 2, 8, 9
NAN = float("nan")

ANIMAL = Skeleton(
    joints=("muzzle", "withers", "croup", "belly", "forefoot", "hindfoot"),
    regions=(
        Region("trunk", "core", (1, 2, 3)),
        Region("head", "cluster", (0,), anchors=(1, 2)),
        Region("foreleg", "limb", (1, 4), outer=True, twin="hindleg"),
        Region("hindleg", "limb", (2, 5), outer=True, twin="foreleg"),
    ),
    sides=((1, 2),),
    diagonals=((1, 3), (2, 3)),
)


def standing():
    joints = torch.tensor([
        [32, 10], [32, 20], [22, 22], [16, 40], [14, 58], [42, 22], [48, 40], [50, 58], [26, 62], [25, 90], [24, 118],
        [38, 62], [39, 90], [40, 118], [30, 8], [34, 8], [27, 10], [37, 10],
    ], dtype=torch.float64)  # fmt: skip
    return joints[None]


def moved(seed=1, amount=4.0):
    noise = torch.randn(1, 18, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return standing() + amount * noise


def apply(matrix, points):
    return points @ matrix[..., :2].transpose(-1, -2) + matrix[..., 2]


def lstsq(p, q):
    solution, *_ = np.linalg.lstsq(np.c_[p, np.ones(len(p))], q, rcond=None)
    return solution.T


def inverse(matrix):
    square = np.eye(3)
    square[:2] = matrix
    return np.linalg.inv(square)[:2]


def without(joints, *names):
    joints = joints.clone()
    joints[:, [INDEX[name] for name in names]] = NAN
    return joints


def test_regions_come_in_the_released_order():
    assert NAMES == [
        "torso", "head", "right_thigh", "left_thigh", "right_shank", "left_shank",
        "right_upper_arm", "left_upper_arm", "right_forearm", "left_forearm",
    ]  # fmt: skip


def test_released_limb_rectangle_by_hand():
    joints = standing()
    joints[0, INDEX["right_elbow"]] = torch.tensor([10.0, 40.0])
    joints[0, INDEX["right_wrist"]] = torch.tensor([10.0, 60.0])
    side = math.hypot(26 - 22, 62 - 22)  # both sides are as long
    corners, valid = body_regions(joints)
    x, y = corners[0, RIGHT_FOREARM].unbind(-1)
    assert valid.all()
    assert (x.max() - x.min()).item() == pytest.approx(0.4 * side)
    assert y.min().item() == pytest.approx(40 - 0.1 * 20)
    assert y.max().item() == pytest.approx(60 + 0.33 * 20)  # 0.3 of the limb that starts 0.1 earlier
    mask_y = body_regions(joints, outline="mask")[0][0, RIGHT_FOREARM, :, 1]
    assert mask_y.max().item() == pytest.approx(60 + 0.55 * 20)


def test_paper_limb_rectangle_by_hand():
    corners, _ = body_regions(standing(), fidelity="paper")
    diagonal = (math.hypot(22 - 38, 22 - 62) + math.hypot(42 - 26, 22 - 62)) / 2
    edge = corners[0, RIGHT_THIGH]
    assert (edge[0] - edge[1]).norm().item() == pytest.approx(diagonal / 3)
    assert (edge[1] - edge[2]).norm().item() == pytest.approx(math.hypot(26 - 25, 90 - 62))


def test_head_is_a_square_or_the_box_of_its_joints():
    side = math.hypot(26 - 22, 62 - 22)
    released = body_regions(standing())[0][0, HEAD]
    centre = torch.tensor([(32 + 30 + 34 + 27 + 37) / 5, (10 + 8 + 8 + 10 + 10) / 5], dtype=torch.float64)
    torch.testing.assert_close(released.amin(0), centre - 0.4 * side)
    torch.testing.assert_close(released.amax(0), centre + 0.4 * side)
    paper = body_regions(standing(), fidelity="paper")[0][0, HEAD]
    assert paper.amin(0).tolist() == [27, 8] and paper.amax(0).tolist() == [37, 10]


def homogeneous(p, q):
    return estimate_transform("affine", p, q).params[:2]


@pytest.mark.parametrize("fidelity", ["released", "modern", "paper"])
def test_affine_maps_solve_least_squares(fidelity):
    source, target = standing(), moved()
    matrices, valid = part_transforms(source, target, fidelity=fidelity)
    assert valid.all()
    p, q = body_regions(source, fidelity=fidelity)[0][0], body_regions(target, fidelity=fidelity)[0][0]
    for index, name in enumerate(NAMES):
        a, b = p[index].numpy(), q[index].numpy()
        if name == "head" and fidelity != "paper":
            joints = list(HUMAN.regions[HEAD].joints + HUMAN.regions[HEAD].anchors)
            a, b = source[0, joints].numpy(), target[0, joints].numpy()
        fit = homogeneous if fidelity == "released" else lstsq  # skimage's is what the released code calls
        expected = fit(a, b) if fidelity == "paper" else inverse(fit(b, a))
        np.testing.assert_allclose(matrices[0, index].numpy(), expected, rtol=1e-7, atol=1e-7)


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.floats(0.5, 30), st.booleans())
def test_the_homogeneous_fit_is_skimages(seed, noise, forward):
    """Any points, weights that leave some out, either direction."""
    rng = np.random.default_rng(seed)
    p = rng.normal(scale=20, size=(6, 2)) + 50
    q = p @ rng.normal(size=(2, 2)) + rng.normal(scale=noise, size=(6, 2))
    used = np.arange(6) < rng.integers(4, 7)
    preset = replace(RELEASED, fit="source-to-target" if forward else "target-to-source")
    maps, valid = fit_affine(*(torch.tensor(x)[None, None] for x in (p, q, used)), preset)
    p, q = p[used], q[used]
    expected = homogeneous(p, q) if forward else inverse(homogeneous(q, p))
    assert valid.item()
    np.testing.assert_allclose(maps[0, 0].numpy(), expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("fidelity", ["released", "paper"])
def test_limbs_map_joints_to_joints(fidelity):
    source, target = standing(), moved()
    matrices, _ = part_transforms(source, target, fidelity=fidelity)
    for index, region in enumerate(HUMAN.regions):
        if region.rule == "limb":
            for joint in region.joints:
                torch.testing.assert_close(apply(matrices[0, index], source[0, joint]), target[0, joint])


def test_an_unseen_source_limb_takes_its_twins_place():
    source, target = without(standing(), "right_wrist"), moved()
    matrices, valid = part_transforms(source, target)
    assert valid.all()
    place = apply(matrices[0, RIGHT_FOREARM], source[0, INDEX["left_wrist"]])
    torch.testing.assert_close(place, target[0, INDEX["right_wrist"]])
    assert not body_regions(source)[1][0, RIGHT_FOREARM]


def test_an_unseen_target_limb_has_no_map_and_an_empty_mask():
    target = without(moved(), "right_wrist")
    matrices, valid = part_transforms(standing(), target)
    assert valid[0].tolist() == [index != RIGHT_FOREARM for index in range(10)]
    assert torch.equal(matrices[0, RIGHT_FOREARM], torch.eye(2, 3, dtype=torch.float64))
    masks = region_masks(target, (128, 64))
    assert not masks[0, RIGHT_FOREARM].any() and masks[0, LEFT_FOREARM].any()


def test_without_twin_or_head_there_is_no_map():
    _, valid = part_transforms(without(standing(), "right_wrist", "left_wrist"), moved())
    assert not valid[0, [RIGHT_FOREARM, LEFT_FOREARM]].any() and valid[0, :RIGHT_FOREARM].all()
    faceless = without(standing(), "nose", "right_eye", "left_eye", "right_ear", "left_ear")
    assert not part_transforms(faceless, moved())[1][0, HEAD]


def test_head_uses_joints_seen_in_both_poses():
    source, target = without(standing(), "left_ear", "left_eye"), without(moved(), "right_ear", "right_eye")
    matrices, _ = part_transforms(source, target)
    joints = [INDEX[name] for name in ("nose", "right_shoulder", "left_shoulder")]
    torch.testing.assert_close(apply(matrices[0, HEAD], source[0, joints]), target[0, joints])


@pytest.mark.parametrize("fidelity", ["released", "paper"])
@pytest.mark.parametrize("flat", ["line", "point"])
def test_a_flat_torso_gives_no_map(fidelity, flat):
    profile = standing()
    torso = list(HUMAN.regions[TORSO].joints)
    profile[0, torso, 0] = 30.0
    if flat == "point":
        profile[0, torso, 1] = 40.0
    for source, target in ((profile, standing()), (standing(), profile)):
        matrices, valid = part_transforms(source, target, fidelity=fidelity)
        assert not valid[0, TORSO]
        assert matrices.isfinite().all()
    assert not region_masks(profile, (128, 64), fidelity=fidelity)[0, TORSO].any()


def test_crossed_torsos_that_match_no_affine_map():
    """Corners of both are in general position, yet the best map squashes the plane to a line."""
    target = standing()
    a, b = INDEX["right_shoulder"], INDEX["left_shoulder"]
    source = torch.full_like(target, NAN)
    torso = HUMAN.regions[TORSO].joints
    target[0, list(torso)] = torch.tensor([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=torch.float64)
    source[0, list(torso)] = torch.tensor([[0, 0], [1, 1], [1, 0], [0, 1]], dtype=torch.float64)
    assert a in torso and b in torso
    matrices, valid = part_transforms(source, target)
    assert not valid[0, TORSO] and matrices.isfinite().all()


def test_masks_against_a_point_in_rectangle_test():
    target = moved(3)
    masks = region_masks(target, (128, 64))[0].numpy()
    corners, _ = body_regions(target, outline="mask")
    for index in range(1, 10):
        first, along, _, across = corners[0, index].numpy()
        expected = np.zeros((128, 64), bool)
        for y in range(128):
            for x in range(64):
                offset = np.array([x, y]) - first
                shares = [offset @ edge / (edge @ edge) for edge in (along - first, across - first)]
                expected[y, x] = all(0 <= share <= 1 for share in shares)
        assert (masks[index] == expected).all(), NAMES[index]
    assert masks[TORSO].all()


@given(seed=st.integers(0, 2**31), amount=st.sampled_from([0.0, 3.0, 60.0, 1e4, 1e9]), whole=st.booleans())
@settings(max_examples=60, deadline=None)
def test_masks_by_loops_and_by_maps_are_the_same(seed, amount, whole):
    """Integer joints too, so that pixels lie on borders; far joints, so that rectangles reach beyond the image."""
    joints = moved(seed, amount).round() if whole else moved(seed, amount)
    with pytest.MonkeyPatch.context() as patched:
        by_loops = region_masks(joints, (128, 64))
        patched.setattr(gather, "plans_are_tables", lambda device: True)
        by_maps = region_masks(joints, (128, 64))
    assert torch.equal(by_loops, by_maps)


def test_paper_masks_are_the_sources_and_borrow_the_twin():
    source = without(standing(), "right_wrist")
    _, masks, _ = deformation(source, moved(), (128, 64), fidelity="paper")
    assert torch.equal(masks[0, RIGHT_FOREARM], masks[0, LEFT_FOREARM]) and masks[0, LEFT_FOREARM].any()


coordinate = st.one_of(
    st.floats(-300, 300), st.integers(0, 64).map(float), st.sampled_from([NAN, math.inf, -math.inf, 0.0, 1e30, -1e200])
)
poses = st.lists(st.tuples(coordinate, coordinate), min_size=18, max_size=18)


@settings(max_examples=150, deadline=None)
@given(poses, poses, st.sampled_from(["released", "paper"]), st.sampled_from([torch.float32, torch.float64]))
def test_no_input_gives_nan_or_infinity(source, target, fidelity, dtype):
    source, target = (torch.tensor([pose], dtype=torch.float64).to(dtype) for pose in (source, target))
    matrices, masks, valid = deformation(source, target, (16, 8), fidelity=fidelity)
    corners, seen = body_regions(source, fidelity=fidelity)
    assert matrices.isfinite().all() and corners.isfinite().all()
    assert matrices.dtype == dtype and masks.dtype == valid.dtype == seen.dtype == torch.bool
    assert (matrices[~valid] == torch.eye(2, 3, dtype=dtype)).all()
    linear = matrices[valid][:, :, :2].double()
    assert (torch.linalg.det(linear) != 0).all()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 1000), st.floats(-500, 500), st.floats(-500, 500), st.floats(0.05, 20),
    st.sampled_from(["released", "paper"]),
)  # fmt: skip
def test_maps_move_and_scale_with_the_target(seed, x, y, scale, fidelity):
    source, target = standing(), moved(seed)
    shift = torch.tensor([x, y], dtype=torch.float64)
    matrices, valid = part_transforms(source, target, fidelity=fidelity)
    other, other_valid = part_transforms(source, target * scale + shift, fidelity=fidelity)
    assert torch.equal(valid, other_valid)
    expected = matrices * scale
    expected[..., 2] += shift
    torch.testing.assert_close(other[valid], expected[valid], rtol=1e-7, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(["released", "paper"]))
def test_there_and_back_is_nowhere_for_limbs_and_orientation_is_kept(seed, fidelity):
    source, target = standing(), moved(seed)
    there, valid = part_transforms(source, target, fidelity=fidelity)
    back, _ = part_transforms(target, source, fidelity=fidelity)
    square = torch.eye(3, dtype=torch.float64).repeat(10, 1, 1)
    square_back = square.clone()
    square[:, :2], square_back[:, :2] = there[0], back[0]
    limbs = [i for i, region in enumerate(HUMAN.regions) if region.rule == "limb" and valid[0, i]]
    torch.testing.assert_close((square_back @ square)[limbs], torch.eye(3).double().expand(len(limbs), 3, 3))
    assert (torch.linalg.det(there[0, limbs][:, :, :2]) > 0).all()  # rectangles are never mirrored


def test_a_batch_is_its_rows():
    source, target = torch.cat([standing(), moved(5)]), torch.cat([moved(7), without(moved(8), "left_knee")])
    together = deformation(source, target, (64, 32))
    for row in range(2):
        alone = deformation(source[row : row + 1], target[row : row + 1], (64, 32))
        assert all(torch.equal(a[row : row + 1], b) for a, b in zip(together, alone, strict=True))


def test_a_six_jointed_animal():
    source = torch.tensor([[[0, 10], [20, 10], [60, 12], [40, 30], [22, 50], [58, 50]]], dtype=torch.float64)
    target = source * 0.5 + torch.tensor([3.0, 4.0])
    for fidelity in ("released", "paper"):
        matrices, masks, valid = deformation(source, target, (64, 64), ANIMAL, fidelity=fidelity)
        kept = [True, fidelity == "released", True, True]  # a box around one joint has no area
        assert valid[0].tolist() == kept
        expected = torch.tensor([[0.5, 0, 3], [0, 0.5, 4]], dtype=torch.float64)
        torch.testing.assert_close(matrices[valid], expected.expand(sum(kept), 2, 3))
        assert masks.shape == (1, 4, 64, 64) and masks[0, 0].all()


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ((Region("arm", "limb", (0, 1, 2)),), "limb arm has 3 joints"),
        ((Region("arm", "limb", (0, 9)),), "joint 9 does not exist"),
        ((Region("arm", "limb", (0, 1), twin="leg"),), "arm and its twin leg must both be limbs"),
        ((Region("trunk", "core", (0, 1)),), "core trunk has 2 joints"),
        ((Region("head", "cluster", ()),), "cluster head has no joints"),
        ((Region("arm", "limb", (0, 1)), Region("arm", "limb", (1, 2))), "same name"),
    ],
)
def test_a_wrong_skeleton_is_named(regions, message):
    with pytest.raises(UsageError, match=message):
        Skeleton(("a", "b", "c"), regions, sides=((0, 1),), diagonals=((0, 2),))
