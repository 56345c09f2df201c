"""This run beside the four systems of the paper's Table 4."""

import pandas as pd

from augment.config import load_config
from augment.reid.summary import compare
from augment.report.outcome import _published

ARMS = """reid.arms={ide: {}, ide_augmented: {real: 16, synthetic: 16}, embedding: {loss: verification},
  embedding_augmented: {loss: verification, real: 16, synthetic: 16, against: embedding}}"""


def test_each_system_finds_its_loss_and_its_distance():
    config = load_config(None, [ARMS, "reid.distances=[cosine, xqda]"])
    values = {"ide": (0.7, 0.5), "ide_augmented": (0.8, 0.6), "embedding": (0.71, 0.51),
              "embedding_augmented": (0.81, 0.61)}  # fmt: skip
    rows = [{"run": arm, "arm": arm, "seed": 0, "metric": metric, "value": value + 0.1 * ("xqda" in metric)}
            for arm, (rank1, mean) in values.items()
            for metric, value in (("rank1", rank1), ("mAP", mean), ("rank1_xqda", rank1), ("mAP_xqda", mean))]
    table = compare(pd.DataFrame(rows), list(values))
    ours = {row["system"]: (row["ours_real"], row["ours_augmented"]) for row in _published(table, config, "market1501")}
    assert ours["IDE + Euclidean"] == ("70.0 / 50.0", "80.0 / 60.0")
    assert ours["IDE + XQDA"] == ("80.0 / 60.0", "90.0 / 70.0")
    assert ours["IDE + KISSME"] == ("", "")  # not among the distances
    assert ours["discriminative embedding"] == ("71.0 / 51.0", "81.0 / 61.0")
    assert ours["DG-Net"] == ("", "")  # none of the paper's
