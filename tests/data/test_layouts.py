import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.base.errors import AugmentError
from augment.data.layouts import (
    DEEPFASHION_NAME,
    MARKET_NAME,
    Name,
    list_deepfashion,
    list_market,
    parse_deepfashion,
    parse_market,
    parse_name,
    printable,
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("0002_c1s1_000451_03.jpg", Name(2, 1, 1, 451)),
        ("-1_c6s3_094992_04.jpg", Name(-1, 6, 3, 94992)),
        ("0000_c4s6_022316_04.jpg.jpg", Name(0, 4, 6, 22316)),  # Market-1501 has 24 such endings
        ("1501_c6s4_001902_01.png", Name(1501, 6, 4, 1902)),
        ("2_c1s1_000451_03.jpg", None),
        ("0002_c1s1_000451_03.jpg ", None),
        ("0002_c1s1_000451_03.jpg\n", None),
        ("x0002_c1s1_000451_03.jpg", None),
        ("-2_c1s1_000451_03.jpg", None),
        ("0002c1s1_000451_03.jpg", None),
        ("٠٠٠٢_c1s1_000451_03.jpg", None),  # digits, but not ours
        ("0002_c1s1_000451_03.gif", None),
    ],
)
def test_market_names(name, expected):
    assert parse_market(name) == expected


def test_deepfashion_identity_is_person_and_clothes():
    assert parse_deepfashion("fasionMENDenimid0000008001_1front.jpg") == Name(8001, 1, 1, 0)
    assert parse_deepfashion("fasionWOMENTeesTanksid0000031606_2side.jpg") == Name(31606, 2, 6, 0)
    assert parse_deepfashion("fasionDOGSDenimid0000008001_1front.jpg") is None


@given(st.one_of(st.text(), st.from_regex(MARKET_NAME), st.from_regex(DEEPFASHION_NAME)))
def test_any_name_parses_or_not_but_never_fails(name):
    parsed = parse_name(name)
    assert parsed is None or (parsed.pid >= -1 and all(value < 2**31 for value in parsed))
    printable(name).encode()


def test_market_listing_is_sorted_and_reads_base_names_only(market):
    found = list_market(market)
    assert [image.id for image in found] == sorted(image.id for image in found)
    assert len(found) == 9
    assert {image.name.pid for image in found if image.split == "train"} == {2, 7}
    assert not any(image.problem for image in found)


def test_same_stem_twice_is_told(market):
    (market / "query" / "0003_c1s1_000001_00.png").write_bytes(b"x")
    problems = {image.id: image.problem for image in list_market(market) if image.problem}
    assert problems == {"query/0003_c1s1_000001_00.png": "0003_c1s1_000001_00.jpg has the same name"}


def test_missing_and_empty_folders_are_named(market, tmp_path):
    with pytest.raises(AugmentError, match=r"bounding_box_train: No such file.*set data\.root"):
        list_market(tmp_path)
    for file in (market / "bounding_box_test").iterdir():
        file.unlink()
    with pytest.raises(AugmentError, match=r"bounding_box_test: holds no image.*gallery images belong there"):
        list_market(market)


@pytest.mark.parametrize("above", ["", "Img"])  # img/ as it is mirrored, and as it is distributed
def test_deepfashion_tree_gets_the_authors_names(tmp_path, above):
    (tmp_path / "Eval").mkdir()
    (tmp_path / above / "img").mkdir(parents=True)
    (tmp_path / "Eval" / "list_eval_partition.txt").write_text(
        "3\nimage_name item_id evaluation_status\n"
        "img/WOMEN/Blouses_Shirts/id_00000001/02_1_front.jpg   id_00000001 train\n"
        "img/WOMEN/Blouses_Shirts/id_00000001/02_3_back.jpg id_00000001 train\n"
        "img/MEN/Denim/id_00000080/01_1_front.jpg id_00000080 gallery\n"
        "img/MEN/Denim/id_00000080/odd name.jpg id_00000080 query\n"
    )
    found = list_deepfashion(tmp_path)
    assert [(image.id, image.split, image.name.pid, image.name.camid) for image in found if not image.problem] == [
        ("gallery/fasionMENDenimid0000008001_1front", "gallery", 8001, 1),
        ("train/fasionWOMENBlousesShirtsid0000000102_1front", "train", 102, 1),
        ("train/fasionWOMENBlousesShirtsid0000000102_3back", "train", 102, 3),
    ]
    assert found[0].file == tmp_path / above / "img/MEN/Denim/id_00000080/01_1_front.jpg"
    assert [image.id for image in found if image.problem] == ["query/img/MEN/Denim/id_00000080/odd name.jpg"]


def test_deepfashion_flat_folders(tmp_path):
    for folder, name in (
        ("train", "fasionMENDenimid0000008001_1front.jpg"),
        ("test", "fasionMENDenimid0000009001_1front.jpg"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(b"x")
    assert [image.split for image in list_deepfashion(tmp_path)] == ["gallery", "train"]


def test_deepfashion_errors_name_file_and_line(tmp_path):
    with pytest.raises(AugmentError, match=r"neither list_eval_partition\.txt .* nor the folders train and test"):
        list_deepfashion(tmp_path)
    (tmp_path / "list_eval_partition.txt").write_text("1\nheader\nimg/x.jpg train\n")
    with pytest.raises(AugmentError, match=r"/img: no such folder; .* Unpack img\.zip"):
        list_deepfashion(tmp_path)
    (tmp_path / "img").mkdir()
    with pytest.raises(
        AugmentError, match=r"list_eval_partition\.txt, line 3: not 'image item_id train\|query\|gallery'"
    ):
        list_deepfashion(tmp_path)


def test_one_id_for_two_files_is_an_error(tmp_path):
    (tmp_path / "img").mkdir()
    line = "img/MEN/Denim/id_00000080/01_1_front.jpg id_00000080 train\n"
    (tmp_path / "list_eval_partition.txt").write_text("2\nheader\n" + 2 * line)
    with pytest.raises(AugmentError, match="would both have the id train/fasionMENDenimid0000008001_1front"):
        list_deepfashion(tmp_path)
