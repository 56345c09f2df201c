"""The table of two arms, and how often its verdict is wrong where there is no difference."""

import math

import numpy as np
import pandas as pd
import pytest

from augment.reid.summary import comparison_table, seeds_needed, t_interval, verdict


def rows(**arms) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"run": f"{arm}-s{seed}", "arm": arm, "seed": seed, "metric": metric, "value": value}
            for arm, metrics in arms.items() for metric, values in metrics.items() for seed, value in enumerate(values)
        ]
    )  # fmt: skip


def test_table_pairs_the_seeds():
    table = comparison_table(
        rows(
            real={"mAP": [0.50, 0.60, 0.55], "rank1": [0.7, 0.8, 0.7], "iterations": [5, 5, 5]},
            augmented={"mAP": [0.54, 0.66, 0.60], "rank1": [0.9, 0.95, 0.91], "iterations": [5, 5, 5]},
        )
    ).set_index("metric")
    assert list(table.index) == ["rank1", "mAP"]
    mean_ap = table.loc["mAP"]
    assert (mean_ap["real"], mean_ap["augmented"], mean_ap["difference"]) == pytest.approx((55, 60, 5))
    assert mean_ap["real ±"] == pytest.approx(5) and mean_ap["seeds"] == 3
    # differences 4, 6, 5: deviation 1; t(.975, 2) = 4.3027, over the root of 3: 2.4841
    assert (mean_ap["low"], mean_ap["high"]) == pytest.approx((5 - 2.4841, 5 + 2.4841), abs=1e-4)
    assert mean_ap["verdict"] == "gain"
    assert table.loc["rank1", "verdict"] == ""  # only the primary measure is judged


def test_table_of_one_seed_or_one_arm():
    one_seed = comparison_table(rows(real={"mAP": [0.5]}, augmented={"mAP": [0.6]}))
    assert one_seed["verdict"].tolist() == ["no verdict: 1 seed, at least 3 are needed"]
    assert math.isnan(one_seed["low"][0])
    assert list(comparison_table(rows(real={"mAP": [0.5, 0.6]})).columns) == ["metric", "real", "real ±"]


@pytest.mark.parametrize(("seeds", "ratio"), [(2, 8.98), (3, 2.48), (5, 1.24)])
def test_the_interval_excludes_zero_from_a_ratio_of_mean_to_deviation_on(seeds, ratio):
    """t(.975, n - 1) / √n."""
    spread = np.linspace(-1, 1, seeds)
    spread /= spread.std(ddof=1)
    assert t_interval(spread + 0.99 * ratio)[0] < 0 < t_interval(spread + 1.01 * ratio)[0]


def test_verdicts():
    assert verdict(np.array([9.0, 9.1])) == "no verdict: 2 seeds, at least 3 are needed"
    assert verdict(np.array([-4.0, -6.0, -5.0])) == "loss"
    assert verdict(np.array([1.0, -1.0, 3.0])) == "not shown, needs about 18 seeds"
    assert verdict(np.array([1.0, -1.0, 0.0])) == "not shown, needs more than 1000 seeds"


def test_seeds_needed_is_the_first_that_suffices():
    # mean 1, deviation 2: t(.975, 17) 2 / √18 = 0.9946 is the first below 1, t(.975, 16) 2 / √17 = 1.0283 is not
    assert seeds_needed(1.0, 2.0) == "about 18 seeds"


@pytest.mark.parametrize("seeds", [3, 5])
def test_one_verdict_in_twenty_is_wrong_where_there_is_no_difference(seeds):
    trials = np.random.default_rng(0).normal(size=(2000, seeds))
    wrong = np.mean([verdict(differences) in ("gain", "loss") for differences in trials])
    assert wrong == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / 2000))
