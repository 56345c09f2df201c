"""Which training people and images are left when little data is asked for."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.base.errors import UsageError
from augment.config import DataConfig
from augment.data.layouts import Found, parse_name
from augment.data.selection import LEFT_OUT, select
from augment.data.stage import scan_images


def found(split: str, pid: int, frame: int) -> Found:
    name = f"{pid:04d}_c1s1_{frame:06d}_00.jpg"
    return Found(f"{split}/{name[:-4]}", Path(name), split, parse_name(name))


# 8 people with 5 images each to train on, two others to test on, and a distractor
SET = [found("train", pid, frame) for pid in range(2, 18, 2) for frame in range(5)]
TEST = [found(split, pid, 9) for split in ("query", "gallery") for pid in (3, 5)] + [found("gallery", 0, 9)]


def people_of(images: list[Found], split: str = "train") -> dict[int, set[str]]:
    people: dict[int, set[str]] = {}
    for image in images:
        if image.split == split:
            people.setdefault(image.name.pid, set()).add(image.id)
    return people


def subset(**options) -> list[Found]:
    return select(SET + TEST, DataConfig(subset=options))


@given(st.integers(2, 9), st.integers(1, 6), st.integers(0, 99))
def test_so_many_people_with_so_many_images_and_the_test_set_whole(identities, images, seed):
    chosen = subset(identities=identities, images_per_identity=images, seed=seed)
    train, left_out = people_of(chosen), people_of(chosen, LEFT_OUT)
    assert [len(ids) for ids in train.values()] == [min(images, 5)] * min(identities, 8)
    for pid, ids in train.items():  # a person's images are split, none is lost
        assert sorted(ids | left_out.get(pid, set())) == [image.id for image in SET if image.name.pid == pid]
        assert not ids & left_out.get(pid, set())
    assert set(left_out) <= set(train)
    assert [image for image in chosen if image.split in ("query", "gallery")] == TEST


def test_a_larger_subset_of_a_seed_holds_the_smaller_and_another_seed_another():
    small, large = (people_of(subset(identities=n, images_per_identity=k)) for n, k in ((3, 2), (6, 4)))
    assert all(ids < large[pid] for pid, ids in small.items())
    assert len({tuple(people_of(subset(identities=3, seed=seed))) for seed in range(8)}) > 4


def test_the_order_of_the_files_does_not_matter():
    options = DataConfig(subset={"identities": 4, "images_per_identity": 2})
    assert people_of(select(SET[::-1], options)) == people_of(select(SET, options))


@pytest.mark.parametrize("key", ["validation_identities", "skip_identities"])
def test_nobody_left_to_train_on_is_told(key):
    assert len(people_of(select(SET + TEST, DataConfig(**{key: 7})))) == 1
    with pytest.raises(UsageError, match=f"data.{key} is 8, but the training set has 8 people"):
        select(SET + TEST, DataConfig(**{key: 8}))
    both = {"validation_identities": 5, "skip_identities": 3}
    with pytest.raises(UsageError, match=r"identities is 5 and data\.skip_identities is 3, but the training set has 8"):
        select(SET + TEST, DataConfig(**both))


def test_without_a_subset_nothing_changes():
    assert select(SET + TEST, DataConfig()) == SET + TEST


@pytest.mark.parametrize(("skip", "first", "pids"), [(3, None, [8, 10, 12, 14, 16]), (3, 2, [8, 10]), (0, 2, [2, 4])])
def test_skipped_people_and_the_first_of_the_others(skip, first, pids):
    images = select(SET + TEST, DataConfig(skip_identities=skip, train_identities=first))
    assert sorted(people_of(images)) == pids
    assert [image for image in images if image.split != "train"] == TEST


def test_a_subset_is_taken_of_the_people_that_are_left():
    images = select(SET, DataConfig(skip_identities=4, train_identities=3, subset={"identities": 2}))
    assert set(people_of(images)) < {10, 12, 14} and len(people_of(images)) == 2


def test_the_table_of_images_tells_what_is_left_out(market, tmp_path):
    frame = scan_images(DataConfig(root=market, subset={"images_per_identity": 1}), tmp_path / "images").frame()
    assert frame["split"].value_counts().to_dict() == {"gallery": 4, "query": 2, "train": 2, "left_out": 1}
    assert frame.loc[frame["split"] == "left_out", "pid"].tolist() == [2]
    assert (frame["status"] == "ok").all()
