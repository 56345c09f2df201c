"""Body regions, the affine map of each, and their masks (Sec. 3.1, Eq. 2, App. B).

Everything works on a whole batch, on any device, with static shapes and without synchronising with the device.
Computations are in float64. A region that is undefined (a joint is missing, joints coincide or are collinear) is marked
as not valid and has finite values; no input gives NaN or infinity.

``fidelity``, a preset or its name, selects the rule where the paper and the released code differ (docs/fidelity.md).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from augment.gan.affine import fit_affine
from augment.gan.fidelity import Fidelity, Outline, preset
from augment.gan.kernels import gather
from augment.gan.kernels.least_squares import has_area, moments
from augment.gan.kernels.pixels import inside_rectangles
from augment.gan.skeletons import HUMAN, Region, Skeleton

Joints = Float[Tensor, "B J 2"]  # x, y in pixels, NaN where missing
Valid = Bool[Tensor, "B R"]  # whether each region is defined

HEAD_HALF_SIDE = 0.4  # released code, in torso scales


def body_regions(
    joints: Joints, skeleton: Skeleton = HUMAN, *, fidelity: Fidelity | str = "released", outline: Outline = "transform"
) -> tuple[Float[Tensor, "B R 4 2"], Valid]:
    """The quadrilateral of every region of a pose (Sec. 3.1).

    Returns corners, in order around the region and zero where not valid, and which are valid. R is 10 for a human:
    torso, head, right and left thigh, shank, upper arm, forearm. ``outline``: the released code's masks of shanks and
    forearms are longer than the rectangles that it fits.
    The torso's corners are its joints; its mask is nevertheless the whole image.
    """
    corners, valid = _outlines(joints.to(torch.float64), skeleton, preset(fidelity), outline)
    return corners.to(joints.dtype), valid


def part_transforms(
    source: Joints, target: Joints, skeleton: Skeleton = HUMAN, *, fidelity: Fidelity | str = "released"
) -> tuple[Float[Tensor, "B R 2 3"], Valid]:
    """The affine map of every region from source to target pixels, in the original resolution (Eq. 2).

    Returns matrices, the identity where not valid, and which are valid. ``paper`` solves Eq. 2, least squares in the
    target image. ``released`` fits the map that is sampled, least squares in the source image, and this is its inverse;
    the two differ for torso and head only.
    A limb unseen in the source is replaced by its twin (App. B); a limb unseen in the target has no map.
    """
    dtype, fidelity = source.dtype, preset(fidelity)
    source, target = source.to(torch.float64), target.to(torch.float64)
    p, p_valid = _with_twins(*_outlines(source, skeleton, fidelity, "transform"), skeleton)
    q, q_valid = _outlines(target, skeleton, fidelity, "transform")
    maps, valid = fit_affine(p, q, torch.ones_like(p[..., 0], dtype=torch.bool), fidelity)
    valid = valid & p_valid & q_valid
    if fidelity.head == "joints":  # matches the head's joints, not the corners of its box
        for index, region in enumerate(skeleton.regions):
            if region.rule == "cluster":
                maps, valid = _replace(maps, valid, index, _fit_cluster(source, target, region, fidelity))
    identity = torch.eye(2, 3, dtype=torch.float64, device=source.device)
    maps = torch.where(valid[..., None, None], maps, identity).to(dtype)
    finite = maps.isfinite().flatten(2).all(2)  # float32 overflows long before float64 does
    return torch.where(finite[..., None, None], maps, identity.to(dtype)), valid & finite


def region_masks(
    joints: Joints, size: tuple[int, int], skeleton: Skeleton = HUMAN, *, fidelity: Fidelity | str = "released"
) -> Bool[Tensor, "B R H W"]:
    """Which pixels of ``size`` (H, W) belong to each region; none where it is not valid.

    joints: of the target pose for ``released`` (warp, then mask), of the source pose for ``paper`` (mask, then warp:
    Eq. 3), where an unseen limb is replaced by its twin. A pixel belongs to a region when its centre, an integer
    coordinate, is inside or on the border.
    """
    fidelity = preset(fidelity)
    corners, valid = _outlines(joints.to(torch.float64), skeleton, fidelity, "mask")
    if fidelity.mask_order == "mask-then-warp":  # masks of the source: App. B
        corners, valid = _with_twins(corners, valid, skeleton)
    everywhere = torch.stack([torch.full_like(valid[:, 0], r.rule == "core") for r in skeleton.regions], dim=1)
    first, along, across = corners[..., 0, :], corners[..., 1, :], corners[..., 3, :]
    # All masked regions are rectangles: two orthogonal edges suffice.
    edges = [edge / edge.square().sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
             for edge in (along - first, across - first)]  # fmt: skip
    loops = not gather.plans_are_tables(joints.device)
    inside = inside_rectangles(first, *edges, valid & ~everywhere, size, loops=loops)
    return inside | (everywhere & valid)[..., None, None]


def deformation(
    source: Joints,
    target: Joints,
    size: tuple[int, int],
    skeleton: Skeleton = HUMAN,
    *,
    fidelity: Fidelity | str = "released",
) -> tuple[Float[Tensor, "B R 2 3"], Bool[Tensor, "B R H W"], Valid]:
    """The inputs of the deformable skips for pairs of poses: matrices, masks at ``size`` (H, W), valid."""
    fidelity = preset(fidelity)
    matrices, valid = part_transforms(source, target, skeleton, fidelity=fidelity)
    pose = target if fidelity.mask_order == "warp-then-mask" else source
    masks = region_masks(pose, size, skeleton, fidelity=fidelity)
    return matrices, masks, valid


def _outlines(joints: Tensor, skeleton: Skeleton, fidelity: Fidelity, outline: Outline) -> tuple[Tensor, Tensor]:
    seen = joints.isfinite().all(-1)
    scale = _torso_scale(joints, skeleton, fidelity)
    limbs = [region for region in skeleton.regions if region.rule == "limb"]
    rectangles = iter(_limb_corners(joints, limbs, scale, fidelity, outline).unbind(1)) if limbs else iter(())
    corners = []
    for region in skeleton.regions:
        if region.rule == "limb":
            corners.append(next(rectangles))
        elif region.rule == "core":  # a triangle is a quadrilateral that visits its last corner twice
            corners.append(_take(joints, (region.joints + region.joints[-1:])[:4]))
        else:
            corners.append(_cluster_corners(_take(joints, region.joints), _take(seen, region.joints), scale, fidelity))
    stacked = torch.stack(corners, dim=1)
    valid = stacked.isfinite().flatten(2).all(2)
    stacked = torch.where(valid[..., None, None], stacked, 0.0)
    _, scatter = moments(stacked, torch.ones_like(stacked[..., 0]))
    valid = valid & has_area(scatter, stacked)
    return torch.where(valid[..., None, None], stacked, 0.0), valid


def _torso_scale(joints: Tensor, skeleton: Skeleton, fidelity: Fidelity) -> Tensor:
    """(B,) in pixels; NaN where a joint of the trunk is missing, which invalidates all regions of that scale."""
    rms = fidelity.torso_scale == "rms-of-sides"
    lines = skeleton.sides if rms else skeleton.diagonals
    lengths = torch.stack([(joints[:, a] - joints[:, b]).norm(dim=-1) for a, b in lines], dim=1)
    return lengths.square().mean(1).sqrt() if rms else lengths.mean(1)


def _limb_corners(
    joints: Tensor, limbs: list[Region], scale: Tensor, fidelity: Fidelity, outline: Outline
) -> Tensor:
    rule = fidelity.limb
    start = torch.stack([joints[:, limb.joints[0]] for limb in limbs], dim=1)
    end = torch.stack([joints[:, limb.joints[1]] for limb in limbs], dim=1)
    along = end - start
    far_end = [rule.beyond_outer[outline] if limb.outer else rule.beyond for limb in limbs]
    far = torch.stack([end[:, i] + along[:, i] * beyond for i, beyond in enumerate(far_end)], dim=1)
    near = start - along * rule.before
    across = torch.stack((-along[..., 1], along[..., 0]), dim=-1) / along.norm(dim=-1, keepdim=True)
    half = across * (scale * rule.width / 2)[:, None, None]
    return torch.stack((near + half, near - half, far - half, far + half), dim=2)


def _cluster_corners(points: Tensor, seen: Tensor, scale: Tensor, fidelity: Fidelity) -> Tensor:
    """A square around the mean of the joints that are seen, or their upright bounding box."""
    if fidelity.head == "joints":
        count = seen.sum(1, keepdim=True)  # none: 0 / 0 is NaN, hence not valid
        centre = torch.where(seen[..., None], points, 0.0).sum(1) / count
        half = (HEAD_HALF_SIDE * scale)[:, None]
        low, high = centre - half, centre + half
    else:
        low = torch.where(seen[..., None], points, torch.inf).amin(1)
        high = torch.where(seen[..., None], points, -torch.inf).amax(1)
    (left, top), (right, bottom) = low.unbind(-1), high.unbind(-1)
    corners = (left, top, right, top, right, bottom, left, bottom)
    return torch.stack(corners, dim=-1).unflatten(-1, (4, 2))


def _with_twins(corners: Tensor, valid: Tensor, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
    """App. B: R_rua := R_lua where the former is empty."""
    twins = skeleton.twins()
    twin_corners, twin_valid = _take(corners, twins), _take(valid, twins)
    return torch.where(valid[..., None, None], corners, twin_corners), valid | twin_valid


def _fit_cluster(source: Tensor, target: Tensor, region: Region, fidelity: Fidelity) -> tuple[Tensor, Tensor]:
    joints = region.joints + region.anchors
    p, q = _take(source, joints), _take(target, joints)
    common = p.isfinite().all(-1) & q.isfinite().all(-1)
    own, anchors = common[:, : len(region.joints)], common[:, len(region.joints) :]
    p, q = (torch.where(common[..., None], points, 0.0)[:, None] for points in (p, q))
    maps, valid = fit_affine(p, q, common[:, None], fidelity)
    return maps[:, 0], valid[:, 0] & own.any(1) & anchors.all(1)


def _take(tensor: Tensor, indices: tuple[int, ...]) -> Tensor:
    """tensor[:, indices] by views: a list of indices is copied to the device, which a captured graph cannot do."""
    return torch.stack([tensor[:, index] for index in indices], dim=1)


def _replace(maps: Tensor, valid: Tensor, index: int, new: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    new_maps, new_valid = new
    maps = torch.cat((maps[:, :index], new_maps[:, None], maps[:, index + 1 :]), dim=1)
    return maps, torch.cat((valid[:, :index], new_valid[:, None], valid[:, index + 1 :]), dim=1)
