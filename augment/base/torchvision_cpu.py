"""Import this before torchvision: it mends a CUDA build of torchvision on a CPU-only torch.

Where only CUDA wheels of torchvision are to be had, its compiled operators do not load beside a CPU-only torch and
``import torchvision`` dies on the missing ``torchvision::nms``. The pure Python part (models, transforms) is all that
this project and the packages it uses need, so the operator's schema and a CPU implementation are supplied here, and
only where the import fails in that way.
"""

import sys

import torch

_library = None  # the registration lives as long as this object


def _nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Greedy non-maximum suppression: boxes (N, 4) as x1, y1, x2, y2; returns kept indices, best first."""
    order = scores.argsort(descending=True, stable=True)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while order.numel():
        best, rest = order[0], order[1:]
        kept.append(best)
        corner = torch.maximum(boxes[best, :2], boxes[rest, :2])
        opposite = torch.minimum(boxes[best, 2:], boxes[rest, 2:])
        overlap = (opposite - corner).clamp(min=0).prod(dim=1)
        order = rest[overlap / (area[best] + area[rest] - overlap) <= iou_threshold]
    return torch.stack(kept) if kept else order


def ensure_torchvision() -> None:
    """Make ``import torchvision`` work. Raises what the import raised where the cause is another."""
    global _library
    if "torchvision" in sys.modules:
        return
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        _library = torch.library.Library("torchvision", "DEF")
        _library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _library.impl("nms", _nms, "CPU")
        import torchvision

        torchvision.extension._has_ops = lambda: True  # torchvision.ops.nms checks this first


ensure_torchvision()
