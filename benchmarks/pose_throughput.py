"""Crops a second: openpifpaf's own Predictor, one crop at a time, and ours, on the same crops with the same weights.

    python benchmarks/pose_throughput.py [FOLDER_OF_CROPS] [--count 300] [--threads 2]

Without a folder it draws the rendered set's crops. The Predictor runs twice: with openpifpaf's default thresholds, and
with low ones, which an undertrained network needs. Each is run three times in turn; the best time counts. CPU time (of
all threads and loader processes) is given as well: on a machine shared with other work it is the steadier measure.
"""

import os

os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"  # the Predictor loads without a word about it; the hash is checked

import augment.base.torchvision_cpu  # noqa: F401, I001  must come before openpifpaf

import argparse
import tempfile
import time
from pathlib import Path

import openpifpaf
import torch

from augment.config import RenderedConfig
from augment.data.rendered.dataset import render_set
from augment.base.images import read_image
from augment.pose.estimator.checkpoints import find_checkpoint
from augment.pose.estimator.predictor import Estimator
from augment.pose.estimator.network_input import LONG_EDGE

LOW = {"seed": 0.05, "instance": 0.01, "keypoint": 0.02, "cif": 0.05, "caf": 0.05}
DEFAULT = {"seed": 0.2, "instance": 0.15, "keypoint": 0.15, "cif": 0.1, "caf": 0.2}


def set_thresholds(values):
    openpifpaf.decoder.utils.CifSeeds.set_threshold(values["seed"])
    openpifpaf.decoder.utils.nms.Keypoints.set_instance_threshold(values["instance"])
    openpifpaf.decoder.utils.nms.Keypoints.set_keypoint_threshold(values["keypoint"])
    torch.classes.openpifpaf_decoder.CifCaf.set_keypoint_threshold(values["keypoint"])
    openpifpaf.decoder.utils.CifHr.set_threshold(values["cif"])
    openpifpaf.decoder.utils.CafScored.set_default_score_th(values["caf"])


def crops_of(folder, count):
    if folder is not None:
        return [read_image(path) for path in sorted(folder.glob("*.jpg"))[:count]]
    with tempfile.TemporaryDirectory() as root:
        render_set(RenderedConfig(train_identities=-(-count // 12), test_identities=1), Path(root))
        return [read_image(path) for path in sorted(Path(root, "bounding_box_train").glob("*.jpg"))[:count]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    crops = crops_of(arguments.folder, arguments.count)
    checkpoint = find_checkpoint("crops")
    ours = Estimator(checkpoint)  # checks the hash before anything is unpickled
    openpifpaf.Predictor.long_edge = LONG_EDGE
    theirs = openpifpaf.Predictor(checkpoint=str(checkpoint.path))

    def predictor(thresholds):
        set_thresholds(thresholds)
        return sum(bool(people) for people, _, _ in theirs.numpy_images(crops))

    def estimator():
        return sum(pose.people > 0 for pose in ours.estimate(crops))

    rows = {
        "openpifpaf Predictor, batch 1, default thresholds": lambda: predictor(DEFAULT),
        "openpifpaf Predictor, batch 1, low thresholds": lambda: predictor(LOW),
        f"ours, batch {ours.batch_size}": estimator,
    }
    ours.estimate(crops[: ours.batch_size])
    best, cpu, found = dict.fromkeys(rows, float("inf")), dict.fromkeys(rows, float("inf")), {}
    for _ in range(3):
        for name, run in rows.items():
            start, start_cpu = time.perf_counter(), sum(os.times()[:4])
            found[name] = run()
            best[name] = min(best[name], time.perf_counter() - start)
            cpu[name] = min(cpu[name], sum(os.times()[:4]) - start_cpu)
    first = next(iter(rows))
    print(f"{len(crops)} crops of {crops[0].shape[0]}x{crops[0].shape[1]}, {arguments.threads} threads, {ours.device}")
    print(f"{'':<52}{'crops/s':>9}{'ratio':>8}{'CPU ms/crop':>13}{'ratio':>8}{'persons':>9}")
    for name in rows:
        print(
            f"{name:<52}{len(crops) / best[name]:>9.1f}{best[first] / best[name]:>8.2f}"
            f"{1000 * cpu[name] / len(crops):>13.1f}{cpu[first] / cpu[name]:>8.2f}{found[name]:>9}"
        )


if __name__ == "__main__":
    main()
