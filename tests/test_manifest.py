import errno
import json
import math
import pickle
import re
import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.base.errors import AugmentError
from augment.base.files import atomic_write, sha256_bytes
from augment.base.seals import seal_of_table
from augment.manifest import (
    SCHEMA_VERSION,
    SCHEMAS,
    Manifest,
    content_digest,
    read_manifest,
    relative_path,
    to_table,
    verify,
    write_manifest,
)

ORIGIN = {"stage": "made up", "digest": "0" * 64}

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_joints = st.lists(st.one_of(st.just(math.nan), st.floats(width=32, allow_nan=False)), min_size=18, max_size=18)
_numbers = {pa.int8(): 7, pa.int16(): 15, pa.int32(): 31, pa.int64(): 63}


def _cell(kind: pa.DataType) -> st.SearchStrategy:
    if kind == pa.string():
        return _text
    if kind == pa.bool_():
        return st.booleans()
    if kind == pa.float64():
        return st.floats()
    if kind == pa.float32():
        return st.floats(width=32)
    if kind in _numbers:
        bits = _numbers[kind]
        return st.integers(-(2**bits), 2**bits - 1)
    return _joints


@st.composite
def kind_and_rows(draw):
    kind = draw(st.sampled_from(sorted(SCHEMAS)))
    row = st.fixed_dictionaries({field.name: _cell(field.type) for field in SCHEMAS[kind]})
    keys = {"pairs": ["split", "from", "to"], "metrics": ["run", "arm", "seed", "metric"]}.get(kind, ["id"])
    return kind, draw(st.lists(row, max_size=5, unique_by=lambda values: tuple(values[key] for key in keys)))


@given(kind_and_rows(), st.randoms())
@settings(deadline=None, max_examples=60)
def test_any_rows_come_back_and_their_order_does_not_matter(rows_of_kind, random):
    kind, rows = rows_of_kind
    with tempfile.TemporaryDirectory() as folder:
        first = write_manifest(Path(folder, "a.parquet"), kind, rows, ORIGIN)
        shuffled = random.sample(rows, len(rows))
        second = write_manifest(Path(folder, "b.parquet"), kind, shuffled, ORIGIN)
        assert first.path.read_bytes() == second.path.read_bytes()
        for back in (read_manifest(first.path, kind), _read_as_a_large_one(first.path, kind)):
            assert back.columns(*SCHEMAS[kind].names[::-1]).equals(first.table.select(SCHEMAS[kind].names[::-1]))
            assert back.num_rows == len(rows)
            assert back.digest == content_digest(kind, back.table)
        back = read_manifest(first.path, kind)
        assert back.table.schema.equals(SCHEMAS[kind])
        assert back.digest == first.digest
        assert back.provenance == ORIGIN
        rewritten = write_manifest(Path(folder, "c.parquet"), kind, back.frame(), back.provenance)
        assert rewritten.path.read_bytes() == first.path.read_bytes()


def _read_as_a_large_one(path: Path, kind: str) -> Manifest:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("augment.manifest._KEPT_ROWS", -1)
        manifest = read_manifest(path, kind)
    assert "table" not in manifest.__dict__
    return manifest


@given(kind_and_rows(), st.data())
@settings(deadline=None, max_examples=40)
def test_digest_depends_on_every_column_but_path(rows_of_kind, data):
    kind, rows = rows_of_kind
    if not rows:
        return
    column = data.draw(st.sampled_from(SCHEMAS[kind].names))
    field = SCHEMAS[kind].field(column)
    value = data.draw(_cell(field.type).filter(lambda value: not _same(value, rows[0][column])))
    changed = [rows[0] | {column: value}, *rows[1:]]
    with tempfile.TemporaryDirectory() as folder:
        try:
            after = write_manifest(Path(folder, "b.parquet"), kind, changed, ORIGIN)
        except ValueError:
            return  # the change made two rows alike
        before = write_manifest(Path(folder, "a.parquet"), kind, rows, ORIGIN)
        assert (before.digest == after.digest) == (column == "path")


def _same(value, expected) -> bool:
    return bool(np.array_equal(np.asarray(value), np.asarray(expected), equal_nan=isinstance(value, float | list)))


def metric(**changes):
    return {"run": "r", "arm": "real", "seed": 0, "metric": "mAP", "value": 0.5} | changes


def test_provenance_is_no_part_of_the_digest(tmp_path):
    first = write_manifest(tmp_path / "a.parquet", "metrics", [metric()], ORIGIN)
    second = write_manifest(tmp_path / "b.parquet", "metrics", [metric()], ORIGIN | {"command": "augment run"})
    assert first.digest == second.digest and first.path.read_bytes() != second.path.read_bytes()


def test_wrong_rows_are_told():
    with pytest.raises(ValueError, match=r"metrics rows: missing columns \['value'\], unknown columns \['valeu'\]"):
        to_table("metrics", [{"run": "r", "arm": "a", "seed": 0, "metric": "m", "valeu": 1.0}])
    with pytest.raises(ValueError, match=r"metrics rows: .*is duplicated"):
        to_table("metrics", [metric(), metric()])
    with pytest.raises(ValueError, match="metrics rows: "):
        to_table("metrics", [metric(value="high")])


def test_reading_what_is_none_of_ours(tmp_path):
    with pytest.raises(AugmentError, match=r"no\.parquet: no such manifest\. Run the stage that makes it first"):
        read_manifest(tmp_path / "no.parquet", "images")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 half a file")
    with pytest.raises(
        AugmentError, match=r"torn\.parquet: not readable as parquet .* Delete it and run the stage again"
    ):
        read_manifest(tmp_path / "torn.parquet", "images")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "foreign.parquet")
    with pytest.raises(AugmentError, match=r"foreign\.parquet: a parquet file, but not a manifest"):
        read_manifest(tmp_path / "foreign.parquet", "images")
    write_manifest(tmp_path / "metrics.parquet", "metrics", [metric()], ORIGIN)
    with pytest.raises(AugmentError, match=r"is a manifest of metrics, not of images"):
        read_manifest(tmp_path / "metrics.parquet", "images")


def test_a_newer_major_version_is_refused(tmp_path):
    path = write_manifest(tmp_path / "m.parquet", "metrics", [metric()], ORIGIN).path
    for version, refused in (((SCHEMA_VERSION[0], 99), False), ((SCHEMA_VERSION[0] + 1, 0), True)):
        fields = {"kind": "metrics", "schema_version": version, "provenance": ORIGIN}
        header, table = json.dumps(fields), pq.read_table(path)
        metadata = {"augment": header, "augment.sha256": seal_of_table(header.encode(), table)}
        pq.write_table(table.replace_schema_metadata(metadata), path)
        if refused:
            with pytest.raises(
                AugmentError, match=r"schema version 2 is newer than the 1 read here\. Update reid-augment"
            ):
                read_manifest(path, "metrics")
        else:
            assert read_manifest(path, "metrics").frame()["value"].tolist() == [0.5]


def image_row(id: str, content: bytes, status: str = "ok") -> dict:
    return {
        "id": id, "path": f"files/{id}.jpg", "sha256": sha256_bytes(content), "width": 1, "height": 1,
        "status": status, "reason": "", "split": "train", "pid": 1, "camid": 1, "sequence": 1, "frame": 1,
    }  # fmt: skip


def test_verify_names_changed_and_missing_files(tmp_path):
    (tmp_path / "files").mkdir()
    for name in ("a", "b"):
        (tmp_path / "files" / f"{name}.jpg").write_bytes(name.encode())
    rows = [image_row("a", b"a"), image_row("b", b"x"), image_row("c", b"c"), image_row("d", b"d", status="failed")]
    problems = verify(write_manifest(tmp_path / "images.parquet", "images", rows, ORIGIN))
    assert problems.to_dict("records") == [
        {"id": "b", "problem": "files/b.jpg: its content has changed"},
        {"id": "c", "problem": "files/c.jpg: is gone"},
        {"id": "d", "problem": "files/d.jpg: is gone"},  # what could not be used is no longer there
    ]


def test_plain_pandas_and_duckdb_read_a_manifest(tmp_path):
    path = write_manifest(
        tmp_path / "m.parquet", "metrics", [metric(), metric(arm="augmented", value=0.75)], ORIGIN
    ).path
    assert pd.read_parquet(path)["value"].tolist() == [0.75, 0.5]
    gain = duckdb.sql(
        f"select b.value - a.value from '{path}' a join '{path}' b using (run, seed, metric) "
        "where a.arm = 'real' and b.arm = 'augmented'"
    ).fetchall()
    assert gain == [(0.25,)]


def test_relative_paths_are_posix(tmp_path):
    assert relative_path(tmp_path / "a" / "x.jpg", tmp_path / "b" / "c") == "../../a/x.jpg"


def test_atomic_write_leaves_the_old_content_and_no_rubbish(tmp_path):
    file = tmp_path / "folder" / "file"
    with atomic_write(file) as out:
        out.write(b"old")
    with pytest.raises(RuntimeError), atomic_write(file) as out:
        out.write(b"new, but only ha")
        raise RuntimeError("stopped")
    assert file.read_bytes() == b"old"
    assert [entry.name for entry in file.parent.iterdir()] == ["file"]


def test_atomic_write_tells_a_full_disk_and_a_missing_permission(tmp_path):
    for number, message in ((errno.ENOSPC, "the disk is full"), (errno.EACCES, r"no permission\. Change that")):
        with pytest.raises(AugmentError, match=f"file: {message}"), atomic_write(tmp_path / "file"):
            raise OSError(number, "x")
    assert not list(tmp_path.iterdir())
    if Path("/dev/full").exists():
        with pytest.raises(OSError, match="No space left"), open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")


def test_the_documentation_has_every_column():
    text = (Path(__file__).parents[1] / "docs" / "manifests.md").read_text(encoding="utf-8")
    common, *sections = text.partition("## Columns")[2].partition("## Provenance")[0].split("\n### ")[1:]
    titled = {section.partition("\n")[0]: section for section in sections}
    assert set(titled) == set(SCHEMAS)
    for kind, schema in SCHEMAS.items():
        listed = titled[kind] + (common if "width" in schema.names or kind == "checkpoints" else "")
        for column in schema.names:
            assert re.search(rf"\b{column}\b", listed), (kind, column)


def image(id: str) -> dict:
    return {"id": id, "path": f"{id}.jpg", "sha256": sha256_bytes(id.encode()), "width": 64, "height": 128,
            "status": "ok", "reason": "", "split": "train", "pid": 1, "camid": 1, "sequence": 1,
            "frame": 1}  # fmt: skip


def test_a_manifest_is_sent_as_its_path_and_bound_to_its_content(tmp_path):
    path = tmp_path / "images.parquet"
    first = write_manifest(path, "images", [image(f"train/{number:05d}") for number in range(3000)], {})
    read = read_manifest(path)
    sent = pickle.dumps(read)
    assert len(read.table) == 3000 and len(sent) < 500
    assert pickle.loads(sent).table.equals(first.table)
    write_manifest(path, "images", [image("train/00000")], {})
    for use in (lambda manifest: manifest.table, lambda manifest: manifest.rows(["train/00000"])):
        with pytest.raises(AugmentError, match=r"images\.parquet: differs from the table where the work"):
            use(pickle.loads(sent))


def test_some_rows_without_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr("augment.manifest._ROW_GROUP", 100)
    path = tmp_path / "images.parquet"
    made = write_manifest(path, "images", [image(f"train/{number:05d}") for number in range(1000)], {})
    ids = ["train/00730", "train/00605", "train/00731"]
    rows = Manifest(path).rows(ids)
    assert rows.index.tolist() == rows["id"].tolist() == ids
    pd.testing.assert_frame_equal(rows, made.frame().set_index("id", drop=False).loc[ids])
    assert Manifest(path).rows([]).empty
    with pytest.raises(KeyError, match="train/9"):
        Manifest(path).rows(["train/9"])
    damaged = bytearray(path.read_bytes())  # a page of a row group that is not asked for
    start = pq.read_metadata(path).row_group(0).column(0).data_page_offset + 20
    damaged[start : start + 20] = bytes(20)
    path.write_bytes(damaged)
    assert Manifest(path).rows(ids).index.tolist() == ids
    with pytest.raises(AugmentError, match="not readable as parquet"):
        Manifest(path).rows(["train/00001"])
