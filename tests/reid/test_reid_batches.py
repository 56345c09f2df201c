"""The composition of batches, which is where a comparison of arms is won or lost."""

from collections import Counter

import pytest

from augment.base.errors import AugmentError, UsageError
from augment.config import ReidConfig
from augment.reid.arms import settings_of_arms
from augment.reid.batches import Batches

# 4 people with 5 real and 10 synthetic images each, but the last has one real image only
TRAIN = [("", pid, 1, dsetid) for pid in range(4) for dsetid in [0] * 5 + [1] * 10 if pid < 3] + [("", 3, 1, 0)]


def batches(train=TRAIN, seed=0, start=0, arm=None, **changes) -> Batches:
    section = ReidConfig(**{"iterations": 40, "batch_size": 8, "arms": {"it": arm or {}}, **changes})
    return Batches(train, settings_of_arms(section)["it"], section, seed, start)


HALF = {"real": 4, "synthetic": 4}


@pytest.mark.parametrize(
    "changes",
    [{}, {"arm": HALF}, {"arm": {**HALF, "start": 0.2, "until": 0.6, "alone": 5}},
     {"arm": HALF, "loss": "triplet", "instances": 2}],
)  # fmt: skip
def test_a_resumed_training_goes_on_with_the_same_batches(changes):
    whole = list(batches(seed=5, **changes))
    assert len(whole) == len(batches(seed=5, **changes)) == 40
    assert list(batches(seed=5, start=17, **changes)) == whole[17:]
    assert list(batches(seed=6, **changes)) != whole


def kinds(batch: list[int]) -> tuple[int, int]:
    """How many real and synthetic images."""
    synthetic = sum(TRAIN[index][3] for index in batch)
    return len(batch) - synthetic, synthetic


@pytest.mark.parametrize(("real", "synthetic"), [(8, 0), (4, 4), (8, 4), (0, 8), (1, 7)])
def test_a_batch_holds_what_the_arm_says_however_many_images_there_are(real, synthetic):
    held = {kinds(batch) for batch in batches(arm={"real": real, "synthetic": synthetic})}
    assert held == {(real, synthetic)}


def test_synthetic_images_from_one_iteration_to_another_and_real_ones_alone_around_them():
    held = [kinds(batch) for batch in batches(arm={**HALF, "start": 0.2, "until": 0.6, "alone": 5})]
    assert held == [(5, 0)] * 8 + [(4, 4)] * 16 + [(5, 0)] * 16
    assert [sum(kinds(batch)) for batch in batches(arm={**HALF, "until": 0.5})] == [8] * 40  # equal computing


def test_every_image_is_shown_equally_often_across_a_change_of_the_mixture():
    shown = Counter(index for batch in batches(arm={**HALF, "until": 0.5, "alone": 4}) for index in batch)
    of_real = [shown[index] for index, item in enumerate(TRAIN) if item[3] == 0]
    of_synthetic = [shown[index] for index, item in enumerate(TRAIN) if item[3] == 1]
    assert set(of_real) == {10}  # 40 x 4 real images are 10 passes over 16
    assert set(of_synthetic) <= {2, 3} and sum(of_synthetic) == 80


@pytest.mark.parametrize("arm", [{}, HALF])
def test_triplet_batches_hold_so_many_images_of_so_many_people(arm):
    for batch in batches(arm=arm, loss="triplet", instances=4):
        assert sorted(Counter(TRAIN[index][1] for index in batch).values()) == [4, 4]
        for pid in {0, 1, 2} & {TRAIN[index][1] for index in batch}:
            of_person = [index for index in batch if TRAIN[index][1] == pid]
            assert len(set(of_person)) == 4  # enough of them: none twice
            assert kinds(of_person) == ((2, 2) if arm else (4, 0))


def test_batches_that_cannot_be_made_up_say_why():
    with pytest.raises(UsageError, match=r"a batch of 6 images cannot hold people with reid.instances=4 images each"):
        batches(loss="triplet", batch_size=6)
    with pytest.raises(UsageError, match="at least 8"):
        batches(loss="triplet", batch_size=4)
    with pytest.raises(AugmentError, match=r"needs 8 people, training has 4. Lower reid.batch_size to 16 or less"):
        batches(loss="triplet", batch_size=32)
