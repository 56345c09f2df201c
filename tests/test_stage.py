import pickle
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.base.errors import AugmentError, Refused
from augment.base.files import sha256_bytes
from augment.config import DataConfig, PairsConfig
from augment.manifest import read_manifest, verify, write_manifest
from augment.stage import finished, one_by_one, provenance, run_shards, size_of_shards

IDS = [f"train/{number:02d}" for number in range(10)]


def origin(version: int = 1):
    return provenance("images", version, DataConfig(), {"listing": "abc"})


def work(ids, *, folder: Path, log: list | None = None, stop_at: str | None = None):
    """Writes a file for each id; every third id fails."""
    rows = []
    for id in ids:
        if id == stop_at:
            raise KeyboardInterrupt
        if log is not None:
            log.append(id)
        failed = int(id[-1]) % 3 == 0
        content = id.encode()
        file = folder / "files" / id.replace("/", "-")
        if not failed:
            file.parent.mkdir(exist_ok=True, parents=True)
            file.write_bytes(content)
        rows.append({
            "id": id, "path": f"files/{file.name}", "sha256": "" if failed else sha256_bytes(content), "width": 1,
            "height": 1, "status": "failed" if failed else "ok", "reason": "third" if failed else "", "split": "train",
            "pid": 1, "camid": 1, "sequence": 1, "frame": 1,
        })  # fmt: skip
    return rows


def make(folder: Path, log: list | None = None, ids=IDS, version: int = 1, **options):
    stop_at = options.pop("stop_at", None)
    function = partial(work, log=log, stop_at=stop_at)
    return run_shards(
        "images", folder / "images.parquet", origin(version), ids, function, **{"shard_size": 3} | options
    )


def test_work_is_done_once(tmp_path):
    log: list[str] = []
    first = make(tmp_path, log)
    assert log == IDS and first.frame()["id"].tolist() == IDS
    stamp = first.path.stat().st_mtime_ns
    assert make(tmp_path, log).digest == first.digest
    assert log == IDS and first.path.stat().st_mtime_ns == stamp
    assert not (tmp_path / ".parts").exists()


def test_only_what_is_lost_or_changed_is_done_again(tmp_path):
    before = make(tmp_path).path.read_bytes()
    (tmp_path / "files" / "train-01").unlink()
    (tmp_path / "files" / "train-05").write_bytes(b"scribble")
    log: list[str] = []
    assert make(tmp_path, log).path.read_bytes() == before
    assert log == ["train/01", "train/05"]
    assert (tmp_path / "files" / "train-05").read_bytes() == b"train/05"


def test_parts_that_outlive_the_table_do_no_harm(tmp_path, monkeypatch):
    """Deleting them fails where no more files can be opened."""
    log: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr("augment.base.files.shutil.rmtree", lambda *_, **__: None)
        before = make(tmp_path).path.read_bytes()
        (tmp_path / "files" / "train-01").unlink()
        assert make(tmp_path, log).path.read_bytes() == before and log == ["train/01"]
    assert list(tmp_path.glob(".parts/*/*.parquet"))
    assert make(tmp_path, log).path.read_bytes() == before and log == ["train/01"]
    assert not list(tmp_path.glob(".parts/*/*.parquet"))


def test_a_torn_table_is_made_anew(tmp_path):
    path = make(tmp_path).path
    before = path.read_bytes()
    path.write_bytes(before[:100])
    assert make(tmp_path).path.read_bytes() == before


@given(stop=st.sampled_from(IDS), first_size=st.integers(1, 11), second_size=st.integers(1, 11), lost=st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_interrupted_anywhere_the_bytes_are_the_same(tmp_path_factory, stop, first_size, second_size, lost):
    undisturbed = make(tmp_path_factory.mktemp("whole"))
    folder = tmp_path_factory.mktemp("interrupted")
    with pytest.raises(KeyboardInterrupt):
        make(folder, shard_size=first_size, stop_at=stop)
    parts = sorted((folder / ".parts").rglob("*.parquet"))
    finished_ids = {id for part in parts[lost:] for id in pq.read_table(part)["id"].to_pylist()}
    for part in parts[:lost]:
        part.unlink()
    log: list[str] = []
    resumed = make(folder, log, shard_size=second_size)
    assert resumed.path.read_bytes() == undisturbed.path.read_bytes()
    assert sorted(log) == sorted(set(IDS) - finished_ids)


def test_another_digest_does_all_and_fewer_ids_none(tmp_path):
    make(tmp_path)
    log: list[str] = []
    make(tmp_path, log, version=2)
    assert log == IDS
    log.clear()
    assert make(tmp_path, log, ids=IDS[:4], version=2).frame()["id"].tolist() == IDS[:4]
    assert log == []


def backwards(function, shards):
    return map(pickle.loads(pickle.dumps(function)), reversed(shards))  # as another process would get it


def test_spread_may_reorder_and_send_elsewhere(tmp_path):
    whole = make(tmp_path / "a")
    spread = make(tmp_path / "b", spread=backwards)
    assert whole.path.read_bytes() == spread.path.read_bytes()


def test_a_forgotten_row_is_an_error(tmp_path):
    def forgetful(ids, *, folder):
        return work(ids[1:], folder=folder)

    with pytest.raises(AugmentError, match="images: no row came back for train/00 and 0 more"):
        run_shards("images", tmp_path / "images.parquet", origin(), IDS, forgetful, spread=one_by_one, shard_size=3)


def test_digest_covers_section_version_and_inputs_by_content(tmp_path):
    metrics = [{"run": "r", "arm": "a", "seed": 0, "metric": "m", "value": 1.0}]
    here = write_manifest(tmp_path / "a.parquet", "metrics", metrics, {})
    there = write_manifest(tmp_path / "deep" / "b.parquet", "metrics", metrics, {"command": "another"})
    other = write_manifest(tmp_path / "c.parquet", "metrics", [metrics[0] | {"value": 2.0}], {})
    base = provenance("pairs", 1, PairsConfig(), {"images": here})["digest"]
    assert provenance("pairs", 1, PairsConfig(test_pairs_file="x.csv"), {"images": there})["digest"] == base
    assert provenance("pairs", 1, PairsConfig(seed=1), {"images": here})["digest"] != base
    assert provenance("pairs", 2, PairsConfig(), {"images": here})["digest"] != base
    assert provenance("pairs", 1, PairsConfig(), {"images": other})["digest"] != base
    assert provenance("poses", 1, PairsConfig(), {"images": here})["digest"] != base


def test_finished_wants_the_same_digest_and_whole_files(tmp_path):
    path = tmp_path / "images.parquet"
    assert finished(path, origin()) is None
    make(tmp_path)
    assert finished(path, origin()).digest == read_manifest(path).digest
    assert finished(path, origin(2)) is None
    (tmp_path / "files" / "train-01").write_bytes(b"scribble")
    assert finished(path, origin()) is None


def note_of(id: str) -> list[str]:
    return [f"notes/{id.partition('/')[2]}.txt"]


def work_with_notes(ids, *, folder: Path, log: list | None = None, stop_at: str | None = None):
    """As work(); beside each file lies a note that no row names."""
    for id in ids:
        if id == stop_at:
            raise KeyboardInterrupt
        note = folder / note_of(id)[0]
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(f"note on {id}")
    return work(ids, folder=folder, log=log)


def make_with_notes(folder: Path, log: list | None = None, ids=IDS, stop_at: str | None = None):
    function = partial(work_with_notes, log=log, stop_at=stop_at)
    return run_shards("images", folder / "images.parquet", origin(), ids, function, shard_size=3, files=note_of)


def test_files_that_no_row_names_are_checked_and_made_again(tmp_path):
    made = make_with_notes(tmp_path)
    before = made.path.read_bytes()
    assert made.files["notes/03.txt"] == sha256_bytes(b"note on train/03") and len(made.files) == 10
    assert finished(made.path, origin()).path == made.path
    (tmp_path / "notes" / "03.txt").unlink()
    (tmp_path / "notes" / "07.txt").write_text("scribble")
    problems = verify(read_manifest(made.path))
    assert problems["id"].tolist() == ["notes/03.txt", "notes/07.txt"]
    assert finished(made.path, origin()) is None
    log: list[str] = []
    assert make_with_notes(tmp_path, log).path.read_bytes() == before
    assert log == ["train/03", "train/07"]
    assert (tmp_path / "notes" / "07.txt").read_text() == "note on train/07"


def test_those_of_finished_shards_are_known_after_an_interruption(tmp_path):
    undisturbed = make_with_notes(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        make_with_notes(tmp_path / "stopped", stop_at="train/06")
    (tmp_path / "stopped" / "notes" / "04.txt").unlink()
    log: list[str] = []
    resumed = make_with_notes(tmp_path / "stopped", log)
    assert log == ["train/04", "train/06", "train/07", "train/08", "train/09"]
    assert resumed.path.read_bytes() == undisturbed.path.read_bytes()
    assert list(make_with_notes(tmp_path / "stopped", ids=IDS[:2]).files) == ["notes/00.txt", "notes/01.txt"]


def test_a_table_that_memory_does_not_suffice_for_counts_as_no_damaged_one(tmp_path, monkeypatch):
    manifest = run_shards("images", tmp_path / "t.parquet", origin(), IDS, partial(work, folder=tmp_path))
    before = manifest.path.read_bytes()

    def refuse(*_, **__):
        raise OSError("Unknown error: Failed to launch worker thread: Resource temporarily unavailable")

    for name in ("ParquetFile", "read_table", "read_metadata"):
        monkeypatch.setattr(pq, name, refuse)
    with pytest.raises(Refused, match="out of memory"):
        finished(tmp_path / "t.parquet", origin())
    assert manifest.path.read_bytes() == before


@pytest.mark.parametrize(
    ("asked", "count", "seconds_each", "size"),
    [(7, 10**6, 1e-3, 7),  # as asked
     ("auto", 160_000, 1e-3, 10_000),  # a sixteenth, which takes ten seconds
     ("auto", 10**6, 1e-3, 10_000),  # no more than ten seconds
     ("auto", 48_000, 1e-3, 3_000),  # a sixteenth: three seconds
     ("auto", 1_600, 1e-3, 1_000),  # a sixteenth would take a tenth of a second
     ("auto", 100, 30.0, 1)],  # never less than one
)  # fmt: skip
def test_a_shard_is_one_to_ten_seconds_of_work(asked, count, seconds_each, size):
    assert size_of_shards(asked, count, seconds_each) == size
