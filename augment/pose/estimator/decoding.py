"""Decoding of fields into the person of a crop, for a whole batch at once, on any device.

openpifpaf's decoder is made for crowds: it grows people from confident seeds, image by image on the CPU, and discards
what is below its thresholds. A crop has one main person. So here every joint has a few candidate places, and the person
is the set of candidates whose confidences and limbs agree best: an exact maximum over a tree of limbs. With these
candidates suppressed, the same maximum is the next person, if there is one.
"""

from typing import NamedTuple

import torch

# Limbs of COCO's skeleton that make a tree rooted at the left shoulder, as (parent, child), parents first.
TREE = (
    (5, 6), (5, 11), (6, 12), (11, 13), (12, 14), (13, 15), (14, 16), (5, 7), (7, 9), (6, 8), (8, 10),
    (5, 3), (3, 1), (1, 0), (1, 2), (2, 4),
)  # fmt: skip
_ROOT = TREE[0][0]

_CANDIDATES = 5  # places a joint may be at
_VOTERS = 24  # cells a joint's places are made of
_LIMB_CELLS = 24  # cells sampled for the connection of two places
_RADIUS = 1.0  # in cells: votes closer than this are for the same place
_LIMB_TOLERANCE = 1.0  # in cells, how far a limb's vector may miss a place and still count
_LEAST = 0.02  # confidence of nothing at all: an absent joint costs this much, no more
_LIMB_WEIGHT = 1.0
_MOST_PEOPLE = 4
_SECOND_PERSON = 0.3  # mean confidence of a further person, to be one


class People(NamedTuple):
    """Joints (B, 17, 3) as x, y in cells and confidence; how many people there are (B,)."""

    joints: torch.Tensor
    count: torch.Tensor


def decode(intensity: torch.Tensor, association: torch.Tensor, limbs: torch.Tensor) -> People:
    """The person who fills each crop.

    intensity (B, 17, 5, h, w), association (B, L, 8, h, w): outputs of openpifpaf's heads in evaluation mode;
    limbs (L, 2): their joints.
    """
    place, confidence = candidates(intensity)
    links = torch.stack([_link(place, association, limbs, *edge) for edge in TREE], dim=1)  # (B, edges, K, K)
    people, means, extents = [], [], []
    for _ in range(_MOST_PEOPLE):
        person = _best(place, confidence, links)
        people.append(person)
        means.append(person[..., 2].mean(dim=1))
        extents.append(_extent(person))
        gap = (place - person[:, :, None, :2]).norm(dim=-1)
        confidence = torch.where(gap < 2 * _RADIUS, 0.0, confidence)  # taken
    means, extents = torch.stack(means, dim=1), torch.stack(extents, dim=1)
    real = means >= _SECOND_PERSON
    chosen = torch.where(real, extents * means, -1.0)
    chosen[:, 0] = chosen[:, 0].clamp(min=0)  # the first candidate where none is confident enough
    index = chosen.argmax(dim=1)
    joints = torch.stack(people, dim=1)[torch.arange(len(index), device=index.device), index]
    return People(joints, real.cumprod(dim=1).sum(dim=1))


def candidates(intensity: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Places (B, J, K, 2) in cells and confidences (B, J, K): where the cells' vectors meet, the strongest first."""
    best = intensity[:, :, 1].flatten(2).topk(_VOTERS, dim=2)
    points = torch.stack([intensity[:, :, axis].flatten(2).gather(2, best.indices) for axis in (2, 3)], dim=-1)
    weight = best.values
    gap2 = (points[:, :, :, None] - points[:, :, None]).square().sum(dim=-1)
    near = torch.exp(-gap2 / (2 * _RADIUS**2))
    support = (near * weight[:, :, None]).sum(dim=-1)
    places, confidences = [], []
    for _ in range(_CANDIDATES):
        top = support.argmax(dim=2, keepdim=True)
        share = near.gather(2, top[..., None].expand(-1, -1, 1, _VOTERS))[:, :, 0] * weight
        places.append((share[..., None] * points).sum(dim=2) / share.sum(dim=2)[..., None].clamp(min=1e-9))
        close = gap2.gather(2, top[..., None].expand(-1, -1, 1, _VOTERS))[:, :, 0] < (2 * _RADIUS) ** 2
        confidences.append(torch.where(close, weight, 0.0).amax(dim=2))
        weight, support = torch.where(close, 0.0, weight), torch.where(close, -1.0, support)
    return torch.stack(places, dim=2), torch.stack(confidences, dim=2)


def _link(place, association, limbs, parent, child):
    """How well the limb's field joins each place of the parent with each of the child (B, K, K), in 0..1."""
    number, forward = _limb(limbs, parent, child)
    field = association[:, number]
    best = field[:, 1].flatten(1).topk(_LIMB_CELLS, dim=1)
    first, second = (
        torch.stack([field[:, axis].flatten(1).gather(1, best.indices) for axis in axes], dim=-1)
        for axes in ((2, 3), (4, 5))
    )
    ends = (first, second) if forward else (second, first)
    at_parent, at_child = (
        torch.exp(-(place[:, joint, :, None] - end[:, None]).square().sum(dim=-1) / (2 * _LIMB_TOLERANCE**2))
        for joint, end in zip((parent, child), ends, strict=True)
    )  # (B, K, cells)
    return (at_parent[:, :, None] * at_child[:, None] * best.values[:, None, None]).amax(dim=-1)


def _limb(limbs: torch.Tensor, parent: int, child: int) -> tuple[int, bool]:
    pairs = [tuple(pair) for pair in limbs.tolist()]
    return (pairs.index((parent, child)), True) if (parent, child) in pairs else (pairs.index((child, parent)), False)


def _best(place: torch.Tensor, confidence: torch.Tensor, links: torch.Tensor) -> torch.Tensor:
    """The most likely person (B, J, 3): max-sum over the tree, leaves first, then back from the root."""
    score = list((confidence + _LEAST).log().unbind(dim=1))
    weighted = _LIMB_WEIGHT * (links + _LEAST).log()
    choices: dict[int, torch.Tensor] = {}
    for edge in range(len(TREE) - 1, -1, -1):
        parent, child = TREE[edge]
        best = (weighted[:, edge] + score[child][:, None]).max(dim=2)
        choices[edge] = best.indices
        score[parent] = score[parent] + best.values
    picked = {_ROOT: score[_ROOT].argmax(dim=1, keepdim=True)}
    for edge, (parent, child) in enumerate(TREE):
        picked[child] = choices[edge].gather(1, picked[parent])
    index = torch.stack([picked[joint] for joint in range(place.shape[1])], dim=1)  # (B, J, 1)
    where = place.gather(2, index[..., None].expand(-1, -1, 1, 2))[:, :, 0]
    return torch.cat([where, confidence.gather(2, index)], dim=2)


def _extent(person: torch.Tensor) -> torch.Tensor:
    """Area of the box around the sure joints (B,)."""
    unsure = (person[..., 2] < 0.2)[..., None]
    places = person[..., :2]
    span = places.masked_fill(unsure, -torch.inf).amax(dim=1) - places.masked_fill(unsure, torch.inf).amin(dim=1)
    return span.clamp(min=0).prod(dim=1)
