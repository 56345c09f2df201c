"""The table of arms, and how often its conclusion is wrong where there is no difference."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from augment.base.intervals import t_interval
from augment.reid.summary import (
    compare,
    conclude,
    difference_with_interval,
    p_value,
    pooled,
    query_intervals,
    seeds_needed,
    split_measure,
)


def rows(**arms) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"run": f"{arm}-s{seed}", "arm": arm, "seed": seed, "metric": metric, "value": value}
            for arm, metrics in arms.items() for metric, values in metrics.items() for seed, value in enumerate(values)
        ]
    )  # fmt: skip


def test_every_arm_beside_the_first_paired_by_seed():
    table = compare(
        rows(
            real={"mAP": [0.50, 0.60, 0.55], "rank1": [0.7, 0.8, 0.7], "iterations": [5, 5, 5]},
            augmented={"mAP": [0.54, 0.66, 0.60], "rank1": [0.9, 0.95, 0.91], "iterations": [5, 5, 5]},
            copied={"mAP": [0.5, 0.7]},
        ),
        ["real", "augmented", "copied", "not trained yet"],
    )
    assert table["measure"].tolist() == ["rank1"] * 2 + ["mAP"] * 3
    table = table.set_index(["measure", "arm"])
    real, augmented, copied = (table.loc["mAP", arm] for arm in ("real", "augmented", "copied"))
    assert (real["mean"], real["deviation"], real["seeds"]) == pytest.approx((55, 5, 3))
    assert math.isnan(real["difference"]) and real["conclusion"] == ""
    assert (augmented["mean"], augmented["difference"], augmented["paired"]) == pytest.approx((60, 5, 3))
    # differences 4, 6, 5: deviation 1; t(.975, 2) = 4.3027, over the root of 3: 2.4841
    assert (augmented["low"], augmented["high"]) == pytest.approx((5 - 2.4841, 5 + 2.4841), abs=1e-4)
    assert augmented["conclusion"] == "gain"
    assert (copied["difference"], copied["paired"]) == pytest.approx((5, 2))  # of seeds 0 and 1
    assert copied["conclusion"] == "no conclusion: 2 seeds, at least 3 are needed"
    assert set(table.loc["rank1"]["conclusion"]) == {""}  # only the primary measure has a conclusion


def test_one_seed_or_one_arm_has_no_interval():
    one_seed = compare(rows(real={"mAP": [0.5]}, augmented={"mAP": [0.6]}), ["real", "augmented"]).iloc[1]
    assert one_seed["conclusion"] == "no conclusion: 1 seed, at least 3 are needed"
    assert difference_with_interval(*one_seed[["difference", "low", "high"]]) == "+10.0"
    alone = compare(rows(real={"mAP": [0.5, 0.6]}), ["real", "augmented"]).iloc[0]
    assert difference_with_interval(*alone[["difference", "low", "high"]]) == ""


def test_further_distances_follow_the_first():
    names = ["mAP_xqda", "mAP", "mAP_trapezoid_xqda", "rank1_xqda", "mAP_trapezoid", "queries"]
    table = compare(rows(real={name: [0.5] for name in names}), ["real"])
    assert table["measure"].tolist() == ["mAP", "mAP_trapezoid", "rank1_xqda", "mAP_xqda", "mAP_trapezoid_xqda"]
    assert split_measure("mAP_trapezoid_xqda") == ("mAP_trapezoid", "xqda")


def test_holm_asks_more_of_the_more_extreme():
    # Student's p for mean / (deviation / root of 3): 10.0 -> .0099, 6.0 -> .0267, 4.5 -> .0460
    unit = np.array([-1.0, 0.0, 1.0]) * math.sqrt(3)  # deviation root of 3: the error of the mean is 1
    three = {"a": 10 + unit, "b": -6 + unit, "c": 4.5 + unit}
    assert [round(p_value(of_arm), 4) for of_arm in three.values()] == [0.0099, 0.0267, 0.046]
    assert conclude(three) == {
        "a": "gain",  # .0099 x 3 < .05
        "b": "not shown among 3 arms (Holm)",  # .0267 x 2 > .05
        "c": "not shown among 3 arms (Holm)",
    }
    assert conclude({"b": three["b"]}) == {"b": "loss"} and conclude({"c": three["c"]}) == {"c": "gain"}


def test_the_interval_over_queries_resamples_people(tmp_path):
    for run, precision in (("real-s0", [0.5, 0.5]), ("augmented-s0", [0.6, 0.8])):
        queries = {"id": ["a", "b"], "pid": [3, 5], "average_precision": precision}
        (tmp_path / f"{run}.json").write_text(json.dumps({"queries": queries}))
    metrics = rows(real={"mAP": [0.5]}, augmented={"mAP": [0.7]}, copied={"mAP": [0.7]})
    intervals = query_intervals(metrics, {"augmented": "real", "copied": "real"}, tmp_path)
    assert intervals == {"augmented": pytest.approx((10.0, 30.0))}  # copied left no file


@pytest.mark.parametrize(("seeds", "ratio"), [(2, 8.98), (3, 2.48), (5, 1.24)])
def test_the_interval_excludes_zero_from_a_ratio_of_mean_to_deviation_on(seeds, ratio):
    """t(.975, n - 1) / √n."""
    spread = np.linspace(-1, 1, seeds)
    spread /= spread.std(ddof=1)
    assert t_interval(spread + 0.99 * ratio).low < 0 < t_interval(spread + 1.01 * ratio).low


def conclusion(differences: list[float]) -> str:
    return conclude({"it": np.array(differences)})["it"]


def test_conclusions():
    assert conclusion([9.0, 9.1]) == "no conclusion: 2 seeds, at least 3 are needed"
    assert conclusion([-4.0, -6.0, -5.0]) == "loss"
    assert conclusion([1.0, -1.0, 3.0]) == "not shown, needs about 18 seeds"
    assert conclusion([1.0, -1.0, 0.0]) == "not shown, needs more than 1000 seeds"


def test_seeds_needed_is_the_first_that_suffices():
    # mean 1, deviation 2: t(.975, 17) 2 / √18 = 0.9946 is the first below 1, t(.975, 16) 2 / √17 = 1.0283 is not
    assert seeds_needed(1.0, 2.0) == "about 18"


@pytest.mark.parametrize("seeds", [3, 5])
def test_one_conclusion_in_twenty_is_wrong_where_there_is_no_difference(seeds):
    trials = np.random.default_rng(0).normal(size=(2000, seeds))
    wrong = np.mean([conclusion(differences) in ("gain", "loss") for differences in trials])
    assert wrong == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / 2000))


def test_arms_may_have_references_of_their_own():
    metrics = rows(a={"mAP": [0.1] * 3}, b={"mAP": [0.2] * 3}, c={"mAP": [0.5] * 3})
    table = compare(metrics, ["a", "b", "c"], references={"b": "a", "c": "b", "d": "a"}).set_index("arm")
    assert table["reference"].to_dict() == {"a": "", "b": "a", "c": "b"}
    assert table["difference"].tolist()[1:] == pytest.approx([10, 30])


def test_pooled_runs_count_once_each_however_many_seeds_they_have():
    runs = [rows(real={"mAP": [0.1, 0.3]}, augmented={"mAP": [0.4, 0.4]}),
            rows(real={"mAP": [0.2]}, augmented={"mAP": [0.5]}),
            rows(real={"mAP": [0.3]}, augmented={"mAP": [0.4]})]  # fmt: skip
    augmented = compare(pooled(runs), ["real", "augmented"]).iloc[1]
    assert (augmented["difference"], augmented["paired"]) == pytest.approx((100 * (0.2 + 0.3 + 0.1) / 3, 3))
    assert augmented["high"] - augmented["difference"] == pytest.approx(4.3027 * 10 / math.sqrt(3), abs=1e-3)
