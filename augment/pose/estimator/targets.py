"""Training targets of openpifpaf's network: key points -> fields, for a whole batch at once.

The same values as openpifpaf's own encoders give (a test compares them), for crops of a single person. Its encoders
loop over cells in Python, image by image, and take as long as the network's step. In addition a joint may be
unlabelled; its fields are then NaN, which the losses skip: OpenPose's -1 means "not found", not "not visible".
"""

from dataclasses import dataclass

import torch

ABSENT, LABELLED, UNLABELLED = 0, 1, 2

_CIF_SIDE = 4  # cells around a joint that know of it
_CAF_REACH = 1  # cells on each side of a limb's line
_MIN_SPREAD = 0.1  # openpifpaf's least width of a Laplace distribution, in pixels


@dataclass(frozen=True)
class FieldLayout:
    """The layout of a network's fields.

    stride: pixels per cell; sigmas (J,): relative size of each joint; limbs: pairs of joint indices; reference (J, 2):
    a standing person, from which the scale of a person with only some known joints is estimated.
    """

    stride: int
    sigmas: torch.Tensor
    limbs: torch.Tensor
    reference: torch.Tensor


def encode(
    joints: torch.Tensor, state: torch.Tensor, size: tuple[int, int], layout: FieldLayout
) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets of a batch of single persons.

    joints: (B, J, 2) as (x, y) in pixels of the network's input; state: (B, J) of ABSENT, LABELLED, UNLABELLED;
    size: input's (height, width). Returns intensity fields (B, J, 5, h, w) holding confidence, vector, spread, scale,
    and association fields (B, L, 9, h, w) holding confidence, two vectors, two spreads, two scales.
    """
    height, width = (size[0] - 1) // layout.stride + 1, (size[1] - 1) // layout.stride + 1
    cells = torch.stack(torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy"), dim=-1).float()
    positions = joints / layout.stride
    scales = person_scale(positions, state == LABELLED, layout)
    return _intensity(positions, state, scales, cells, layout), _association(positions, state, scales, cells, layout)


def person_scale(positions: torch.Tensor, visible: torch.Tensor, layout: FieldLayout) -> torch.Tensor:
    """Edge of the square a whole person would cover (B,), from the visible joints (B, J); NaN with fewer than 3."""
    area = _box_area(positions, visible)
    angle = torch.tensor(torch.pi / 4)
    turn = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
    factors = []
    for reference in (layout.reference, layout.reference @ turn.T):
        seen = _box_area(reference.expand_as(positions), visible)
        whole = _box_area(reference[None], torch.ones(1, len(reference), dtype=torch.bool))
        factors.append(torch.where(seen > 0.1, whole / seen, torch.inf))
    factor = torch.minimum(*factors).sqrt()
    scale = area.sqrt() * factor.clamp(max=5.0)
    unknown = (visible.sum(dim=1) < 3) | factor.isinf() | (scale < 0.1)
    return scale.masked_fill(unknown, torch.nan)


def _box_area(points: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    hidden = ~visible[..., None]
    extent = points.masked_fill(hidden, -torch.inf).amax(dim=1) - points.masked_fill(hidden, torch.inf).amin(dim=1)
    return extent.clamp(min=0).prod(dim=1)


def _intensity(positions, state, scales, cells, layout):
    labelled = (state == LABELLED)[..., None, None]
    corner = (torch.nan_to_num(positions) - (_CIF_SIDE - 1) / 2).round()[:, :, None, None]
    inside = ((cells >= corner) & (cells < corner + _CIF_SIDE)).all(dim=-1) & labelled  # (B, J, h, w)
    vector = positions[:, :, None, None] - cells
    scale = scales[:, None] * layout.sigmas
    fields = torch.stack([
        inside.float(), vector[..., 0], vector[..., 1],
        torch.full_like(vector[..., 0], _MIN_SPREAD / layout.stride), scale[..., None, None].expand(inside.shape),
    ], dim=2)  # fmt: skip
    return _blank(fields, inside, state == UNLABELLED)


def _association(positions, state, scales, cells, layout):
    first, second = layout.limbs[:, 0], layout.limbs[:, 1]
    start, end = positions[:, first], positions[:, second]  # (B, L, 2)
    both = (state[:, first] == LABELLED) & (state[:, second] == LABELLED)
    inside = _near_limb(torch.nan_to_num(start), torch.nan_to_num(end), cells) & both[..., None, None]
    to_start, to_end = start[:, :, None, None] - cells, end[:, :, None, None] - cells
    spread = torch.full(inside.shape, _MIN_SPREAD / layout.stride)
    widths = (scales[:, None] * layout.sigmas[joint] for joint in (first, second))
    scale = [width[..., None, None].expand(inside.shape) for width in widths]
    fields = torch.stack([
        inside.float(), to_start[..., 0], to_start[..., 1], to_end[..., 0], to_end[..., 1], spread, spread, *scale,
    ], dim=2)  # fmt: skip
    return _blank(fields, inside, (state[:, first] == UNLABELLED) | (state[:, second] == UNLABELLED))


def _near_limb(start: torch.Tensor, end: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
    """Cells (B, L, h, w) beside the middle part of each limb; its ends belong to other limbs as well."""
    length = (end - start).norm(dim=-1)
    count = length.ceil().clamp(min=2)
    margin = (_CAF_REACH + 0.5) / (length + 1e-12)
    margin = margin.clamp(0.25, 0.4)[..., None]
    steps = torch.arange(int(count.max()))
    share = margin + (1 - 2 * margin) * (steps / (count[..., None] - 1)).clamp(max=1)  # (B, L, steps)
    centres = (start[:, :, None] + share[..., None] * (end - start)[:, :, None]).round().long() + _CAF_REACH
    height, width = cells.shape[0] + 2 * _CAF_REACH, cells.shape[1] + 2 * _CAF_REACH  # a centre outside reaches in
    column, row = centres.unbind(dim=-1)
    reaches = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    flat = torch.where(reaches, row * width + column, height * width)  # an additional cell for what is out of reach
    line = torch.zeros(*flat.shape[:2], height * width + 1).scatter_(2, flat, 1.0)[..., :-1]
    line = line.view(*flat.shape[:2], height, width)
    return torch.nn.functional.max_pool2d(line, 2 * _CAF_REACH + 1, stride=1) > 0


def _blank(fields: torch.Tensor, inside: torch.Tensor, unlabelled: torch.Tensor) -> torch.Tensor:
    """No vectors outside the joint's or limb's own cells, nothing at all where the truth is not known."""
    fields[:, :, 1:] = fields[:, :, 1:].masked_fill(~inside[:, :, None], torch.nan)
    fields[:, :, 0] = fields[:, :, 0].masked_fill(unlabelled[..., None, None], torch.nan)
    return fields
