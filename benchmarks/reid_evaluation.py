"""Our ranking against torchreid's, on made-up features of Market-1501's size.

    python benchmarks/reid_evaluation.py [--queries 3368] [--gallery 15913]
"""

import argparse
import time
import warnings

import numpy as np

import augment.base.torchvision_cpu  # noqa: F401
from augment.retrieval.evaluation import rank


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=3368)
    parser.add_argument("--gallery", type=int, default=15913)
    sizes = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "Cython evaluation is unavailable": the package on the registry has none
        import torchreid

    rng = np.random.default_rng(0)
    query_pids, gallery_pids = rng.integers(1, 751, sizes.queries), rng.integers(0, 751, sizes.gallery)
    people = rng.standard_normal((751, 64), np.float32)
    query = people[query_pids] + rng.standard_normal((sizes.queries, 64), np.float32)
    gallery = people[gallery_pids] + rng.standard_normal((sizes.gallery, 64), np.float32)
    distances = (query**2).sum(1)[:, None] + (gallery**2).sum(1) - 2 * query @ gallery.T
    cameras = rng.integers(1, 7, sizes.queries), rng.integers(1, 7, sizes.gallery)

    start = time.perf_counter()
    ours = rank(distances, query_pids, gallery_pids, *cameras)
    our_time = time.perf_counter() - start
    start = time.perf_counter()
    cmc, mean_precision = torchreid.metrics.evaluate_rank(distances, query_pids, gallery_pids, *cameras)
    their_time = time.perf_counter() - start

    print(f"{sizes.queries} queries, {sizes.gallery} gallery images")
    print(f"{'':<12}{'rank-1':>10}{'mAP':>10}{'seconds':>10}{'ratio':>8}")
    print(f"{'torchreid':<12}{cmc[0]:>10.6f}{mean_precision:>10.6f}{their_time:>10.2f}{1:>8.1f}")
    print(f"{'ours':<12}{ours.cmc[1]:>10.6f}{ours.mAP:>10.6f}{our_time:>10.2f}{their_time / our_time:>8.1f}")


if __name__ == "__main__":
    main()
