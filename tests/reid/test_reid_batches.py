"""The composition of batches, which is where a comparison of arms is won or lost."""

from collections import Counter

import pytest

from augment.base.errors import AugmentError, UsageError
from augment.config import ReidConfig
from augment.reid.batches import Batches, Passes

# 4 people with 5 real and 10 synthetic images each, but the last has one real image only
TRAIN = [("", pid, 1, dsetid) for pid in range(4) for dsetid in [0] * 5 + [1] * 10 if pid < 3] + [("", 3, 1, 0)]


def section(**changes) -> ReidConfig:
    return ReidConfig(**{"iterations": 40, "batch_size": 8, **changes})


def test_a_pass_shows_every_item_once_and_any_stretch_is_known_alone():
    whole = Passes([4, 5, 6, 7, 8], 0).take(0, 20)
    assert [sorted(whole[start : start + 5]) for start in range(0, 20, 5)] == [[4, 5, 6, 7, 8]] * 4
    assert whole[:5] != whole[5:10]
    assert Passes([4, 5, 6, 7, 8], 0).take(3, 11) == whole[3:14]


@pytest.mark.parametrize("changes", [{}, {"synthetic_ratio": 1.0}, {"loss": "triplet", "instances": 2}])
def test_a_resumed_sampler_goes_on_with_the_same_batches_and_seeds(changes):
    whole = list(Batches(TRAIN, section(**changes), seed=5))
    assert len(whole) == 40 and all(len(batch) == 8 for batch in whole)
    assert list(Batches(TRAIN, section(**changes), seed=5, start=17)) == whole[17:]
    assert list(Batches(TRAIN, section(**changes), seed=6)) != whole
    seeds = [seed for batch in whole for _index, seed in batch]
    assert len(set(seeds)) == len(seeds)


def test_every_arm_has_the_same_number_of_batches():
    real = [item for item in TRAIN if item[3] == 0]
    assert len(list(Batches(real, section(), 0))) == len(list(Batches(TRAIN, section(), 0))) == 40


@pytest.mark.parametrize(("ratio", "synthetic"), [(1.0, 4), (3.0, 6), (0.01, 1), (100.0, 7)])
def test_the_ratio_holds_in_every_batch(ratio, synthetic):
    for batch in Batches(TRAIN, section(synthetic_ratio=ratio), seed=0):
        assert sum(TRAIN[index][3] for index, _seed in batch) == synthetic


def test_half_of_a_batch_is_real_where_nothing_else_is_asked_for():
    """However many synthetic images lie in the folder: else ten to each real one would crowd the real ones out."""
    for batch in Batches(TRAIN, section(), seed=0):
        assert sum(TRAIN[index][3] for index, _seed in batch) == 4


def test_without_a_ratio_batches_are_as_the_data():
    # 46 batches of 8 are 8 passes over 46 images
    batches = list(Batches(TRAIN, section(iterations=46, synthetic_ratio=None), seed=0))
    shown = Counter(index for batch in batches for index, _seed in batch)
    assert set(shown.values()) == {8} and len(shown) == 46


@pytest.mark.parametrize("ratio", [None, 1.0])
def test_triplet_batches_hold_so_many_images_of_so_many_people(ratio):
    for batch in Batches(TRAIN, section(loss="triplet", instances=4, synthetic_ratio=ratio), seed=0):
        items = [TRAIN[index] for index, _seed in batch]
        assert sorted(Counter(item[1] for item in items).values()) == [4, 4]
        for pid in {0, 1, 2} & {item[1] for item in items}:
            of_person = [(index, TRAIN[index]) for index, _seed in batch if TRAIN[index][1] == pid]
            assert len({index for index, _item in of_person}) == 4  # enough of them: none twice
            assert ratio is None or sum(item[3] for _index, item in of_person) == 2


def test_batches_that_cannot_be_made_up_say_why():
    with pytest.raises(UsageError, match=r"reid.batch_size=6 cannot hold people with reid.instances=4 images each"):
        Batches(TRAIN, section(loss="triplet", batch_size=6), 0)
    with pytest.raises(UsageError, match="at least 8"):
        Batches(TRAIN, section(loss="triplet", batch_size=4), 0)
    with pytest.raises(AugmentError, match=r"needs 8 people, training has 4. Lower reid.batch_size to 16 or less"):
        Batches(TRAIN, section(loss="triplet", batch_size=32), 0)
