import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.report.charts import (
    Interval,
    Lane,
    Series,
    bar_chart,
    dot_chart,
    forest_chart,
    histogram,
    line_chart,
    ticks,
)
from augment.report.outcome import metric_name


@pytest.mark.parametrize(("low", "high", "expected"), [
    (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
    (0, 4, [0, 1, 2, 3, 4]),
    (61, 66, [61, 62, 63, 64, 65, 66]),
    (0.153, 0.31, [0.15, 0.2, 0.25, 0.3, 0.35]),
    (-30, 70, [-40, -20, 0, 20, 40, 60, 80]),
    (5, 5, [5, 6]),
    (0, 0, [0, 0.2]),
])  # fmt: skip
def test_ticks_are_round_and_enclose(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_ticks_enclose_any_range(low, span):
    found = ticks(low, low + span)
    assert 2 <= len(found) <= 8 and found == sorted(set(found))
    assert found[0] <= low + 1e-6 * max(span, abs(low), 1) and found[-1] >= low + span - 1e-6 * max(span, abs(low), 1)


def test_line_runs_from_corner_to_corner():
    svg = line_chart("t", [Series("a", [0, 10], [0, 4])], "iteration")
    points = re.search(r'points="([^"]+)"', svg).group(1)
    # 460 wide: 54 left, 22 right; 230 high: 34 above and below; 4 is the highest tick
    assert points == "54.0,196.0 438.0,34.0"


def test_long_series_are_averaged_and_missing_values_skipped():
    svg = line_chart("t", [Series("a", range(24_000), [1.0] * 24_000)], "x")
    assert re.search(r'points="([^"]+)"', svg).group(1).count(",") == 240
    svg = line_chart("t", [Series("a", [1, 2, 3], [1, float("nan"), 2])], "x")
    assert re.search(r'points="([^"]+)"', svg).group(1).count(",") == 2


def test_intervals_are_bars_beside_each_other_and_in_range():
    lines = [Series("a", [0, 10], [1, 1], [-2, math.nan], [4, math.nan]), Series("b", [0, 10], [0, 1], [0, 1], [0, 2])]
    svg = line_chart("t", lines, "x")
    bars = re.findall(r'class="thin c(\d)" x1="([\d.]+)" x2="([\d.]+)" y1="([\d.]+)" y2="([\d.]+)"', svg)
    # -2 to 4: ticks of 2, so 27 pixels a unit; a's bar at 10 is unknown
    assert bars == [("0", "52.0", "52.0", "196.0", "34.0"), ("1", "56.0", "56.0", "142.0", "142.0"),
                    ("1", "440.0", "440.0", "115.0", "88.0")]  # fmt: skip
    assert svg.count('class="dot') == 4 and svg.count('class="zero"') == 1


def test_nothing_to_show_is_nothing():
    assert line_chart("t", [Series("a", [], [])], "x") == ""
    assert dot_chart("t", [], "%") == ""


def test_names_are_escaped():
    for svg in (
        line_chart("<t>", [Series("<a>", [0, 1], [0, 1])], "<x>"),
        dot_chart("<t>", [("<g>", [Lane("<a>", [1, 2], 0)])], "<u>"),
        bar_chart("<t>", [("<a>", 0.5)]),
    ):
        assert not re.search(r"<[tagxu]>", svg)


def test_dot_chart_marks_the_mean():
    svg = dot_chart("t", [("rank-1", [Lane("real", [60, 62], 0)])], "%")
    assert svg.count("<circle") == 2 and ">61.0<" in svg


def test_words():
    assert metric_name("mAP_trapezoid_xqda") == "mAP (trapezoid), xqda"
    assert metric_name("rank10") == "rank-10" and metric_name("rank1_euclidean") == "rank-1, euclidean"


def test_a_forest_has_zero_a_dot_and_both_intervals_where_they_are_known():
    rows = [
        Interval("augmented", 2.0, (1.0, 3.0), (-1.0, 4.0)),
        Interval("copied <b>", -1.0, (math.nan, math.nan), (math.nan, math.nan)),
    ]
    chart = str(forest_chart("differences", rows))
    ends = r'[^"]*" x1="([\d.]+)" x2="([\d.]+)"'
    x = {kind: [tuple(map(float, found)) for found in re.findall(f'class="{kind}{ends}', chart)]
         for kind in ("zero", "thick", "thin")}  # fmt: skip
    dots = [float(place) for place in re.findall(r'cx="([\d.]+)"', chart)]
    zero, unit = x["zero"][0][0], (dots[0] - x["zero"][0][0]) / 2
    assert x["thick"] == [pytest.approx((zero + unit, zero + 3 * unit), abs=0.11)]
    assert x["thin"] == [pytest.approx((zero - unit, zero + 4 * unit), abs=0.11)]
    assert dots[1] == pytest.approx(zero - unit, abs=0.11)
    assert "copied &lt;b&gt;" in chart and "+2.0" in chart and "-1.0" in chart
    assert forest_chart("nothing", []) == ""


def test_a_histogram_stacks_what_is_left_out_on_what_is_kept():
    drawn = str(histogram("title", [0.9, 0.9, 0.1, np.nan], [0.1], 0.5))
    bars = [tuple(map(float, found)) for found in re.findall(r'<rect class="bar c\d" x="[\d.]+" y="([\d.]+)" '
            r'width="[\d.]+" height="([\d.]+)"/>', drawn)][:3]  # the rest is the legend  # fmt: skip
    (first, low), (second, high), (third, two) = bars
    assert low == high == pytest.approx(two / 2, abs=0.1) and second == pytest.approx(first - high, abs=0.1)
    assert third == pytest.approx(second, abs=0.1)  # two images, in one bin or upon each other
    assert drawn.count('class="zero"') == 1 and 'class="zero"' not in str(histogram("title", [1.0], [], None))
    assert str(histogram("title", [np.nan], [], 0.5)) == ""
