"""A published network through our whole test path on Market-1501, and torchreid's ranking of the same distances beside.

    python benchmarks/reid_full_protocol.py WEIGHTS.pt                  # all: rank-1 91.48, mAP 77.39 for OSNet x0.25
    python benchmarks/reid_full_protocol.py WEIGHTS.pt --queries 300    # some queries, their people in the gallery
    python benchmarks/reid_full_protocol.py WEIGHTS.pt --precision bf16 # features as with reid.precision: bf16

WEIGHTS.pt is a state dict of torchreid's OSNet x0.25 with 751 classes. Market-1501 is looked for as everywhere.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from augment.base.devices import pick_device
from augment.config import DataConfig
from augment.data.stage import scan_images
from augment.reid.dataset import ReidData, read_data
from augment.reid.features import extract_features
from augment.reid.metric_learning import cosine
from augment.retrieval.evaluation import rank
from augment.retrieval.networks import build_model
from augment.retrieval.torchreid_quiet import torchreid


def some_queries(data: ReidData, count: int) -> ReidData:
    """Every so many-th query, and of the gallery the images of their people and the same share of the others."""
    step = len(data.query) / count
    query = [data.query[int(k * step)] for k in range(count)]
    wanted = {item[1] for item in query}
    others = [k for k, item in enumerate(data.gallery) if item[1] not in wanted]
    kept = set(others[:: max(1, int(step))]) | set(range(len(data.gallery))) - set(others)
    return replace(data, query=query, gallery=[item for k, item in enumerate(data.gallery) if k in kept])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--queries", type=int, help="only so many of the 3,368")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(args, read_data(scan_images(DataConfig(), Path(folder) / "images"), None))


def compare(args: argparse.Namespace, data: ReidData) -> None:
    if args.queries:
        data = some_queries(data, args.queries)
    device = pick_device(args.device)
    model = build_model("osnet_x0_25", data.people, "softmax", False, device)
    model.load_state_dict(torch.load(args.weights, map_location=device, weights_only=True))
    start = time.perf_counter()
    features = {split: extract_features(model, getattr(data, split), (256, 128), device, split, args.precision)
                for split in ("query", "gallery")}  # fmt: skip
    seconds = time.perf_counter() - start
    distances = cosine(features["query"], features["gallery"])
    labels = [np.array([item[column] for item in part]) for column in (1, 2) for part in (data.query, data.gallery)]
    ours = rank(distances, *labels)
    cmc, mean_precision = torchreid.metrics.evaluate_rank(distances, *labels)
    print(f"{len(data.query)} queries, {len(data.gallery)} gallery images, features in {seconds:.0f} s")
    print(f"{'':<10}{'rank-1':>9}{'rank-5':>9}{'mAP':>9}{'trapezoid':>11}{'mINP':>9}")
    print(f"{'ours':<10}" + "".join(f"{100 * value:>{width}.2f}" for value, width in zip(
        (ours.cmc[1], ours.cmc[5], ours.mAP, ours.mAP_trapezoid, ours.mINP), (9, 9, 9, 11, 9), strict=True
    )))  # fmt: skip
    print(f"{'torchreid':<10}{100 * cmc[0]:>9.2f}{100 * cmc[4]:>9.2f}{100 * mean_precision:>9.2f}")


if __name__ == "__main__":
    main()
