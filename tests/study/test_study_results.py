"""R2G, G2R, d' and intervals against numbers by hand."""

import math
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest

from augment.study.results import result_cells, sensitivity, summarise


def answers(user: str, real_as_generated: int, generated_as_real: int, of_each: int = 10, training: int = 0):
    """A user's rows: so many mistakes among ``of_each`` images of a kind, every answer of the training wrong."""
    rows = []
    for kind, mistakes in ((False, real_as_generated), (True, generated_as_real)):
        for number in range(training + of_each):
            wrong = number < training + mistakes
            rows.append({"user": user, "stimulus": f"{'generated' if kind else 'real'}{number}", "generated": kind,
                         "training": number < training, "said_generated": kind != wrong,
                         "shown_ms": 1000 if number else 890})  # fmt: skip
    return pd.DataFrame(rows)


def test_rates_are_those_of_table_2():
    # user a: 2 of 10 real as generated, 5 of 10 generated as real; user b: 4 and 3
    table = pd.concat([answers("a", 2, 5), answers("b", 4, 3)])
    results = summarise(table, trials=20)
    assert (results.users, results.unfinished) == (2, 0)
    assert results.on_time == pytest.approx(36 / 40)  # the first image of each kind was shown for 890 ms, of 1000
    assert results.figures["R2G"].value == pytest.approx(6 / 20)
    assert results.figures["G2R"].value == pytest.approx(8 / 20)
    # two users: every resample is aa, ab, ba or bb, so the 2.5th and 97.5th percentiles are the users' own rates
    assert (results.figures["R2G"].low, results.figures["R2G"].high) == pytest.approx((0.2, 0.4))
    assert (results.figures["G2R"].low, results.figures["G2R"].high) == pytest.approx((0.3, 0.5))


def test_training_and_unfinished_rounds_do_not_count():
    whole = answers("a", 1, 1, training=3)
    left = answers("b", 10, 10, training=3).iloc[:-1]
    results = summarise(pd.concat([whole, left]), trials=26)
    assert (results.users, results.unfinished) == (1, 1)
    assert results.figures["R2G"].value == pytest.approx(0.1)
    assert len(results.images) == 20 and (results.images["shown"] == 1).all()


def test_nobody_finished_gives_no_figures():
    results = summarise(answers("a", 1, 1).iloc[:5], trials=20)
    assert (results.users, results.unfinished, dict(results.figures)) == (0, 1, {})
    assert math.isnan(results.on_time)
    assert result_cells(results) == ["0", "–", "–", "–"]


def test_each_image_has_its_own_rate():
    table = pd.concat([answers("a", 1, 0, of_each=2), answers("b", 2, 1, of_each=2)])
    rates = summarise(table, trials=4).images.set_index("stimulus")["mistaken"]
    assert rates.to_dict() == {"real0": 1.0, "real1": 0.5, "generated0": 0.5, "generated1": 0.0}


def test_sensitivity_by_hand():
    # 40 hits and 10 false alarms of 49: (40.5/50, 10.5/50) = (.81, .21)
    z = NormalDist().inv_cdf
    value = sensitivity(*(np.array([number]) for number in (9.0, 49.0, 10.0, 49.0)))
    assert value == pytest.approx(z(0.81) - z(0.21))
    assert value == pytest.approx(0.8779 + 0.8064, abs=1e-4)  # from a table of the normal distribution


def test_guessing_has_no_sensitivity_and_a_perfect_user_a_finite_one():
    guess = sensitivity(*(np.array([number]) for number in (20.0, 55.0, 35.0, 55.0)))
    assert guess == pytest.approx(0)
    perfect = sensitivity(*(np.array([number]) for number in (0.0, 55.0, 0.0, 55.0)))
    assert perfect == pytest.approx(2 * NormalDist().inv_cdf(55.5 / 56))


def test_a_single_user_has_no_interval():
    results = summarise(answers("a", 3, 4), trials=20)
    assert math.isnan(results.figures["R2G"].low)
    assert result_cells(results)[:3] == ["1", "30.0", "40.0"]
    two = summarise(pd.concat([answers("a", 2, 5), answers("b", 4, 3)]), trials=20)
    assert result_cells(two)[1] == "30.0 [20.0, 40.0]"
