"""Published figures, and the tables in which ours stand beside them."""

import numpy as np
import pandas as pd
import pytest

from augment.config import Config
from augment.quality.published import METRICS_IN_TABLES, figure_of, on_published_pairs, published
from augment.quality.registry import METRICS
from augment.quality.tables import beside, by_metric, differences, not_measured

STEMS = {metric.name.partition("{")[0] for metric in METRICS}


@pytest.fixture
def table():
    """Two generators, the copied source and the real target, as ``table.csv`` has them."""
    columns = ["arm", "metric", "value", "low", "high", "difference", "difference_low", "difference_high", "missing"]
    nan = np.nan
    return pd.DataFrame([
        ("full", "ssim_released", 0.29, 0.28, 0.3, nan, nan, nan, nan),
        ("full", "psnr", 15.0, 14, 16, nan, nan, nan, nan),
        ("full", "fid@100", nan, nan, nan, nan, nan, nan, "quality.inception_weights: a file"),
        ("long", "ssim_released", 0.3, 0.29, 0.31, 0.01, 0.004, 0.016, nan),
        ("long", "psnr", 15.5, 15, 16, 0.5, -0.1, 1.1, nan),
        ("source copied", "ssim_released", 0.15, 0.14, 0.16, -0.14, -0.15, -0.13, nan),
        ("real target", "ssim_released", 1, 1, 1, 0.71, 0.7, 0.72, nan),
        ("real target", "psnr", np.inf, nan, nan, np.inf, nan, nan, nan),
    ], columns=columns)  # fmt: skip


@pytest.mark.parametrize("layout", ["market1501", "deepfashion"])
def test_each_line_has_a_source_and_comparable_ones_our_variant(layout):
    lines = published(layout)
    assert len(lines) > 10 and set(lines["metric"]) <= set(METRICS_IN_TABLES)
    assert (lines["source"] != "").all() and (lines["variant"] != "").all()
    assert set(lines[lines["comparable"]]["variant"]) <= STEMS
    assert not lines.duplicated(["system", "source", "metric"]).any()
    assert set(METRICS_IN_TABLES.values()) <= STEMS


def test_figures_are_the_papers():
    lines = published("market1501").query("source == 'Siarohin et al., CVPR 2018'")
    values = lines.pivot(index="system", columns="metric", values="value")
    order = ["SSIM", "IS", "mask-SSIM", "mask-IS", "DS"]
    assert values.loc["the paper's Full", order].tolist() == [0.290, 3.185, 0.805, 3.502, 0.720]
    assert values.loc["the paper's DSC", order].tolist() == [0.272, 3.442, 0.796, 3.666, 0.629]
    assert figure_of("market1501", "percloss", "mask_ssim_released") == 0.788
    assert figure_of("deepfashion", "full", "ssim_released") == 0.756
    assert figure_of("rendered", "full", "ssim_released") is None


def test_all_metrics_with_intervals(table):
    shown = by_metric(table)
    assert shown.columns == ["full", "long", "source copied", "real target"]
    assert shown.rows[0] == ("SSIM ↑", "ssim_released", [
        "0.290 [0.280, 0.300]", "0.300 [0.290, 0.310]", "0.150 [0.140, 0.160]", "1.000",
    ], "the released code of Siarohin et al., CVPR 2018")  # fmt: skip
    assert shown.rows[1].cells == ["15.00 [14.00, 16.00]", "15.50 [15.00, 16.00]", "", "inf"]
    assert len(shown.rows) == 2  # what was not measured has a line of its own
    assert not_measured(table) == {"quality.inception_weights: a file": ["FID"]}


@pytest.mark.parametrize(("figure", "shown"), [
    ((0.29, 0.28, 0.3), "0.290 [0.280, 0.300]"), ((0.0073, -0.0061, 0.09), "0.007 [-0.006, 0.090]"),
    ((2.31e-4, 2.1e-4, 2.5e-4), "0.000231 [0.00021, 0.00025]"),
    ((5.709e5, 5.307e5, 6.11e5), "5.71e+05 [5.31e+05, 6.11e+05]"),
    ((14.807, 14.69, 14.93), "14.81 [14.69, 14.93]"), ((0.0, np.nan, np.nan), "0.000"), ((1.0, 1.0, 1.0), "1.000"),
])  # fmt: skip
def test_figures_of_any_size_can_be_read(table, figure, shown):
    table.loc[0, ["value", "low", "high"]] = figure
    assert by_metric(table).rows[0].cells[0] == shown


def test_differences_are_to_the_first_and_leave_the_targets_out(table):
    shown = differences(table)
    assert shown.columns == ["long", "source copied"]
    assert shown.rows[0].cells == ["+0.010 [0.004, 0.016]", "-0.140 [-0.150, -0.130]"]
    assert shown.rows[1].cells == ["+0.500 [-0.100, 1.100]", ""]


def test_ours_stand_below_the_published_and_other_variants_in_brackets(table):
    shown = beside(table, "market1501", same_pairs=True)
    assert shown.columns == ["SSIM", "mask-SSIM", "IS", "mask-IS", "DS", "LPIPS", "FID"]
    rows = {(row.title, row.name): dict(zip(shown.columns, row.cells, strict=True)) for row in shown.rows}
    full = rows["the paper's Full", "Siarohin et al., CVPR 2018, Tab. 1 and 3"]
    assert full["SSIM"] == "0.290" and full["IS"] == "(3.185)" and full["FID"] == ""
    again = rows["the paper's Full", "re-evaluated by IMAGPose (2024)"]
    assert again["SSIM"] == "(0.268)" and again["FID"] == "(25.4)"
    assert [row.title for row in shown.rows][-4:] == ["ours: full", "ours: long", "source copied", "real target"]
    assert rows["ours: full", "this run"]["SSIM"] == "0.290 [0.280, 0.300]"
    assert rows["Ma et al. (PG2)", "Siarohin et al., CVPR 2018, Tab. 1"]["SSIM"] == "(0.253)"  # of their own pairs
    others = beside(table, "market1501", same_pairs=False)
    assert {cell[:1] for row in others.rows if row.name != "this run" for cell in row.cells if cell} == {"("}


def test_figures_compare_only_on_the_whole_published_list():
    listed = Config(pairs={"test_pairs_file": "market-pairs-test.csv"})
    assert on_published_pairs(listed, 12_000)
    assert not on_published_pairs(listed, 11_999) and not on_published_pairs(Config(), 12_000)
