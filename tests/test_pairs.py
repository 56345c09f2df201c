import hashlib
import os
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.base.errors import AugmentError
from augment.config import PairsConfig
from augment.data.published import published_names
from augment.manifest import write_manifest
from augment.pairs.mining import mine_pairs, sample_test_pairs
from augment.pairs.published import read_published
from augment.pairs.stage import make_pairs
from augment.pose.annotations import read_posegan_csv

ORIGIN = {"stage": "made up", "digest": "0" * 64}


def posegan(*rows: tuple[str, list[int]]) -> pd.DataFrame:
    """Frames as read_posegan_csv returns them: name and the joints that are missing."""
    x = [np.where(np.isin(np.arange(18), missing), np.nan, 10.0) for _, missing in rows]
    return pd.DataFrame({"name": [name for name, _ in rows], "x": x, "y": x})


def pairs_of(frame: pd.DataFrame) -> list[tuple[str, str]]:
    return list(frame.itertuples(index=False, name=None))


def test_all_ordered_pairs_in_the_released_order():
    frame = posegan(
        ("0007_c1s1_000001_01.jpg", []), ("0002_c1s1_000001_01.jpg", []), ("0007_c2s1_000001_01.jpg", []),
        ("0007_c1s1_000009_01.jpg", []), ("0002_c3s1_000001_01.jpg", []), ("0009_c3s1_000001_01.jpg", []),
    )  # fmt: skip
    a, b, c, d, e = (frame["name"][k] for k in (0, 2, 3, 1, 4))
    assert pairs_of(mine_pairs(frame)) == [(a, b), (a, c), (b, a), (b, c), (c, a), (c, b), (d, e), (e, d)]


def test_released_filter():
    good = ("0002_c1s1_000001_01.jpg", [0, 1, 3, 4, 6, 7, 9, 10, 12, 13, 14, 15, 16, 17])  # shoulders and hips suffice
    rows = [good, ("0002_c2s1_000001_01.jpg", [])]
    for joint in (2, 5, 8, 11):
        rows.append((f"0002_c3s1_00000{joint}_01.jpg", [joint]))
    rows += [("-1_c1s1_000001_01.jpg", []), ("-1_c2s1_000001_01.jpg", []), ("0000_c1s1_000001_01.jpg", []),
             ("0000_c2s1_000001_01.jpg", [])]  # fmt: skip
    assert len(mine_pairs(posegan(*rows))) == 2


@given(st.lists(st.tuples(st.integers(-1, 4), st.booleans()), max_size=25))
def test_mining_equals_brute_force(rows):
    poses = pd.DataFrame({
        "id": [f"train/{number}" for number in range(len(rows))], "pid": [pid for pid, _ in rows],
        "accepted": [accepted for _, accepted in rows],
    })  # fmt: skip
    groups: dict[int, list[str]] = {}
    for id, (pid, accepted) in zip(poses["id"], rows, strict=True):
        if accepted and pid > 0:
            groups.setdefault(pid, []).append(id)
    assert pairs_of(mine_pairs(poses)) == [pair for group in groups.values() for pair in permutations(group, 2)]


def test_deepfashion_pairs_share_person_and_clothes():
    frame = posegan(
        ("fasionMENDenimid0000008001_1front.jpg", []), ("fasionMENDenimid0000008001_2side.jpg", []),
        ("fasionMENDenimid0000008002_1front.jpg", []),
    )  # fmt: skip
    assert len(mine_pairs(frame)) == 2


def test_errors_name_row_and_column():
    with pytest.raises(AugmentError, match=r"poses, row 1: 'me\.jpg' has no identity\. Names are like 0002_c1s1"):
        mine_pairs(posegan(("0002_c1s1_000001_01.jpg", []), ("me.jpg", [])))
    with pytest.raises(AugmentError, match="no column 'y'"):
        mine_pairs(posegan(("0002_c1s1_000001_01.jpg", [])).drop(columns="y"))
    with pytest.raises(AugmentError, match="neither a column 'id' nor 'name'; there are x, y"):
        mine_pairs(posegan(("0002_c1s1_000001_01.jpg", [])).drop(columns="name"))


def test_sampling_is_seeded_and_takes_all_when_there_are_fewer(capsys):
    pairs = pd.DataFrame({"from": [f"a{k}" for k in range(50)], "to": [f"b{k}" for k in range(50)]})
    sample = sample_test_pairs(pairs, 20, seed=3)
    assert len(set(pairs_of(sample))) == 20 and set(pairs_of(sample)) <= set(pairs_of(pairs))
    assert (
        pairs_of(sample) == pairs_of(sample_test_pairs(pairs, 20, seed=3)) != pairs_of(sample_test_pairs(pairs, 20, 4))
    )
    assert pairs_of(sample_test_pairs(pairs, 100)) == pairs_of(pairs)
    assert "pairs.test_pairs is 100, but there are only 50: all are used." in capsys.readouterr().err


def tables(tmp_path: Path, rows: list[tuple[str, int, bool]]):
    """Image and pose manifests of (id, pid, accepted), all from camera 1."""
    blank = np.full(18, np.nan, np.float32)
    images, poses = [], []
    for id, pid, accepted in rows:
        split, _, stem = id.partition("/")
        common = {
            "id": id, "path": f"../data/{split}/{stem}.jpg", "sha256": "", "width": 64, "height": 128, "status": "ok",
            "reason": "",
        }  # fmt: skip
        images.append(common | {"split": split, "pid": pid, "camid": 1, "sequence": 1, "frame": 1})
        found = {"x": blank, "y": blank, "confidence": blank, "people": 1, "estimator": "e", "checkpoint": ""}
        poses.append(common | found | {"accepted": accepted, "verdict": ""})
    return (
        write_manifest(tmp_path / "run" / "images" / "images.parquet", "images", images, ORIGIN),
        write_manifest(tmp_path / "run" / "poses" / "poses.parquet", "poses", poses, ORIGIN),
    )


ROWS = [
    ("train/0001_a", 1, True), ("train/0001_b", 1, True), ("train/0001_c", 1, False), ("train/0002_a", 2, True),
    ("gallery/0003_a", 3, True), ("gallery/0003_b", 3, True), ("gallery/0003_c", 3, True), ("gallery/0000_a", 0, True),
]  # fmt: skip


def test_the_stage_writes_pairs_of_image_ids(tmp_path):
    images, poses = tables(tmp_path, ROWS)
    manifest = make_pairs(PairsConfig(), images, poses, tmp_path / "run" / "pairs")
    frame = manifest.frame()
    assert set(pairs_of(frame[frame["split"] == "train"][["from", "to"]])) == set(
        permutations(["train/0001_a", "train/0001_b"], 2)
    )
    assert (frame["split"] == "test").sum() == 6
    before = manifest.path.read_bytes(), manifest.path.stat().st_mtime_ns
    make_pairs(PairsConfig(), images, poses, tmp_path / "run" / "pairs")
    assert before == (manifest.path.read_bytes(), manifest.path.stat().st_mtime_ns)  # reused
    assert len(make_pairs(PairsConfig(test_pairs=4), images, poses, tmp_path / "run" / "pairs").frame()) == 6


def test_an_identity_on_both_sides_is_refused(tmp_path):
    images, poses = tables(tmp_path, [*ROWS, ("gallery/0002_z", 2, True)])
    with pytest.raises(AugmentError, match="1 identities are in the training part and in the test part: 0002"):
        make_pairs(PairsConfig(), images, poses, tmp_path / "run" / "pairs")


def test_nothing_to_train_on_is_an_error(tmp_path):
    images, poses = tables(tmp_path, [ROWS[0], *ROWS[2:]])
    with pytest.raises(
        AugmentError, match=r"no two training images of one person have an accepted pose \(3 poses, 2 acc"
    ):
        make_pairs(PairsConfig(), images, poses, tmp_path / "run" / "pairs")


def test_a_published_list(tmp_path, capsys):
    images, poses = tables(tmp_path, ROWS)
    (tmp_path / "run" / "data").mkdir()
    file = tmp_path / "run" / "data" / "published.csv"  # found beside the images
    file.write_text("from,to\n0003_b.jpg,0003_a.jpg\n0003_a.jpg,0099_a.jpg\n0003_c.jpg,0003_a.jpg\n")
    section = PairsConfig(test_pairs_file="published.csv")
    frame = make_pairs(section, images, poses, tmp_path / "run" / "pairs").frame()
    test = frame[frame["split"] == "test"]
    assert pairs_of(test[["from", "to"]]) == [
        ("gallery/0003_b", "gallery/0003_a"),
        ("gallery/0003_c", "gallery/0003_a"),
    ]
    assert "2 of the 3 pairs in published.csv" in capsys.readouterr().err
    file.write_text("from,to\n0003_a.jpg,0003_c.jpg\n")  # other content, other result
    assert (make_pairs(section, images, poses, tmp_path / "run" / "pairs").frame()["split"] == "test").sum() == 1
    file.write_text("source,target\na,b\n")
    with pytest.raises(AugmentError, match=r"published\.csv: no column 'from'; its first line must be 'from,to'"):
        make_pairs(section, images, poses, tmp_path / "run" / "pairs")
    file.write_text("from,to\nx.jpg,y.jpg\n")
    with pytest.raises(AugmentError, match="of its 1 pairs none has both images"):
        make_pairs(section, images, poses, tmp_path / "run" / "pairs")
    with pytest.raises(AugmentError, match=r"gone\.csv: no such file in .*pairs\.test_pairs_file, or set MARKET"):
        make_pairs(PairsConfig(test_pairs_file="gone.csv"), images, poses, tmp_path / "run" / "pairs")


def test_a_published_list_of_deepfashion_has_the_authors_names_for_the_original_tree(tmp_path):
    assert published_names(
        ["gallery/fasionMENDenimid0000008001_1front", "train/0002_c1s1_000451_03", "train/000004"],
        ["../img/MEN/Denim/id_00000080/01_1_front.jpg", "../train/0002_c1s1_000451_03.jpg.jpg", "../crops/me.png"],
    ) == ["fasionMENDenimid0000008001_1front.jpg", "0002_c1s1_000451_03.jpg.jpg", "me.png"]


def test_nothing_to_test_on_is_said(tmp_path, capsys):
    images, poses = tables(tmp_path, ROWS[:4])
    assert (make_pairs(PairsConfig(), images, poses, tmp_path / "run" / "pairs").frame()["split"] == "train").all()
    assert "no pair to test on: nobody has two test images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("0003_a.jpg,0003_a.jpg", "'0003_a.jpg', '0003_a.jpg' is an image with itself"),
        ("0003_b.jpg,0003_a.jpg", "'0003_b.jpg', '0003_a.jpg' is listed twice"),
        ("0003_a.jpg,0004_a.jpg", "'0003_a.jpg', '0004_a.jpg' shows two different people"),
        ("0003_a.jpg,", "'0003_a.jpg', '' does not name two images"),
        ("", "'', '' does not name two images"),
    ],
)  # fmt: skip
def test_what_is_no_test_pair_is_named_with_its_line(tmp_path, pair, said):
    people = [("0003_a", 3), ("0003_b", 3), ("0003_c", 3), ("0004_a", 4)]
    candidates = pd.DataFrame(
        [{"id": f"gallery/{name}", "name": f"{name}.jpg", "pid": pid, "accepted": True} for name, pid in people]
    )
    file = tmp_path / "pairs.csv"
    good = "from,to\n0003_b.jpg,0003_a.jpg\n0003_a.jpg,0003_b.jpg\n"
    file.write_text("\ufeff" + good)
    assert len(read_published(file, candidates)) == 2
    file.write_text(good + pair + "\n0003_c.jpg,0003_a.jpg\n")
    with pytest.raises(AugmentError, match=rf"pairs\.csv, line 4: the pair {said} \(1 such lines\)"):
        read_published(file, candidates)


def published(name: str) -> Path:
    beside = Path(__file__).parents[2] / "data"
    file = Path(os.environ.get("MARKET1501_ANNOTATIONS", beside)) / name
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    return file


def digest(pairs: pd.DataFrame) -> str:
    lines = sorted(f"{a},{b}\n".encode() for a, b in pairs_of(pairs))
    return hashlib.sha256(b"".join(lines)).hexdigest()


@pytest.mark.market
def test_published_training_pairs():
    pairs = mine_pairs(read_posegan_csv(published("market-annotation-train.csv")))
    assert len(pairs) == 263_632
    assert digest(pairs) == "6194c0c3927720892678230ee8faf36d6d0e3c2f205869004fe660cb1a1b61a9"


@pytest.mark.market
def test_published_test_pairs_in_their_order():
    pairs = sample_test_pairs(mine_pairs(read_posegan_csv(published("market-annotation-test.csv"))))
    assert digest(pairs) == "f81a0db7695ee6bc86211af8edb48ab15a13744dfd5837d6bf34b9a0e5dadd66"
    pd.testing.assert_frame_equal(pairs, pd.read_csv(published("market-pairs-test.csv")), check_dtype=False)
    names = sorted({*pairs["from"], *pairs["to"]})
    candidates = pd.DataFrame({"id": names, "name": names,
                               "pid": [int(name[:4]) for name in names], "accepted": True})  # fmt: skip
    assert len(read_published(published("market-pairs-test.csv"), candidates)) == 12_000


def test_a_person_with_very_many_images_is_sampled(monkeypatch):
    monkeypatch.setattr("augment.pairs.mining.PARTNERS", 3)
    many, few = [f"train/a{k}" for k in range(9)], [f"train/b{k}" for k in range(4)]
    poses = pd.DataFrame({"id": [*many, *few], "pid": [7] * 9 + [8] * 4, "accepted": True})
    pairs = pairs_of(mine_pairs(poses, seed=5))
    assert len(pairs) == len(set(pairs)) == 9 * 3 + 4 * 3
    assert pairs[27:] == list(permutations(few, 2))  # four images have three others each: all of them
    for image in many:
        partners = [target for source, target in pairs if source == image]
        assert len(partners) == 3 and partners == sorted(partners) and set(partners) <= {*many} - {image}
    assert pairs == pairs_of(mine_pairs(poses, seed=5)) != pairs_of(mine_pairs(poses, seed=6))
    alone = poses[poses["pid"] == 7].reset_index(drop=True)
    assert pairs_of(mine_pairs(alone, seed=5)) == pairs[:27]  # whoever else is there
