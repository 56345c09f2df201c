"""Bulk generation: which poses, which names, one row each, and the same bytes however the work is cut."""

import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import webdataset
from gan.tiny_run import TINY, make_run
from PIL import Image

from augment.base.errors import AugmentError
from augment.base.files import sha256_bytes
from augment.base.images import encode_jpeg, read_image
from augment.config import SynthesisConfig
from augment.gan.checkpoints import load_generator
from augment.gan.dataset import joints_of, to_network, to_uint8
from augment.gan.stage import train_gan
from augment.manifest import Manifest, verify, write_manifest
from augment.synthesis import stage as synthesis
from augment.synthesis.stage import synthesize
from augment.synthesis.targets import find_sources, sample_poses

SECTION = SynthesisConfig(poses_per_image=4, batch_size=8, device="cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """images, poses, checkpoints of 4 people with 4 images each, and what is drawn from them."""
    folder = tmp_path_factory.mktemp("run")
    images, poses, pairs = make_run(folder, identities=4, each=4)
    checkpoints = train_gan(TINY.model_copy(update={"iterations": 2}), images, poses, pairs, folder / "gan")
    synthetic = synthesize(SECTION, images, poses, checkpoints, folder / "synthetic")
    return images, poses, checkpoints, synthetic


def changed(manifest: Manifest, to, **columns):
    """The same table with other values in the rows that ``columns`` name: {column: {id: value}}."""
    frame = manifest.frame().set_index("id", drop=False)
    for column, values in columns.items():
        for row, value in values.items():
            frame.at[row, column] = value
    return write_manifest(to, manifest.kind, frame, {"digest": "changed", "stage": manifest.kind})


def test_every_source_has_its_images_and_rows(made):
    images, _, checkpoints, synthetic = made
    frame = synthetic.frame()
    assert len(frame) == 16 * 4
    assert verify(synthetic).empty
    assert set(frame["status"]) == {"ok"}
    known = images.frame().set_index("id")
    for row in frame.itertuples():
        stem = row.source.removeprefix("train/")
        assert row.id == f"synthetic/{stem}g{row.rank}"
        assert row.path == f"images/{stem}g{row.rank}.jpg"
        assert (row.pid, row.camid) == (known.loc[row.source, "pid"], known.loc[row.source, "camid"])
        assert row.pose_pid == known.loc[row.pose_source, "pid"]
    assert frame.groupby("source")["rank"].apply(list).map(lambda ranks: ranks == [0, 1, 2, 3]).all()
    last = checkpoints.frame().set_index("id").loc["gan/last"]
    assert set(frame["checkpoint"]) == {last["sha256"]}
    with Image.open(synthetic.file_of(frame["path"][0])) as image:
        assert (image.format, image.size, image.mode) == ("JPEG", (16, 32), "RGB")


def test_names_are_read_by_others_as_the_source_person_and_camera(made):
    """torchreid and fast-reid both search base names for this."""
    for row in made[3].frame().itertuples():
        pid, camid = map(int, re.search(r"([-\d]+)_c(\d)", row.path.rpartition("/")[2]).groups())
        assert (pid, camid) == (row.pid, row.camid)


def test_poses_are_seeded_by_image_and_differ():
    drawn = sample_poses("train/0002_c1s1_000451_03", 10, 100, seed=0)
    assert len(set(drawn.tolist())) == 10
    np.testing.assert_array_equal(drawn, sample_poses("train/0002_c1s1_000451_03", 10, 100, seed=0))
    assert drawn.tolist() != sample_poses("train/0002_c1s1_000451_04", 10, 100, seed=0).tolist()
    assert drawn.tolist() != sample_poses("train/0002_c1s1_000451_03", 10, 100, seed=1).tolist()
    assert sorted(sample_poses("train/x", 10, 3, seed=0).tolist()) == [0, 1, 2]  # no more poses than there are


def test_poses_are_drawn_evenly_from_everybody():
    sampled = [sample_poses(f"train/{n}", 10, 50, seed=0) for n in range(2000)]
    counts = np.bincount(np.concatenate(sampled), minlength=50)
    assert abs(counts - 400).max() < 5 * 20  # binomial: deviation just under sqrt(400)


@pytest.mark.parametrize("shard_size", [1, 12, 20])
def test_shards_do_not_matter(made, tmp_path, shard_size):
    images, poses, checkpoints, synthetic = made
    again = synthesize(SECTION, images, poses, checkpoints, tmp_path, shard_size=shard_size)
    assert again.path.read_bytes() == synthetic.path.read_bytes()


def test_on_a_cpu_nothing_is_compiled_and_that_is_said(made, tmp_path, capsys):
    images, poses, checkpoints, synthetic = made
    again = synthesize(SECTION.model_copy(update={"compile": True}), images, poses, checkpoints, tmp_path)
    assert again.path.read_bytes() == synthetic.path.read_bytes()
    assert capsys.readouterr().err.count("synthesis.compile needs CUDA and has no effect on this cpu.") == 1


def test_images_are_what_the_generator_draws_of_these_rows(made):
    images, poses, checkpoints, synthetic = made
    generator, _ = load_generator(checkpoints.file_of(checkpoints.frame().set_index("id").loc["gan/last", "path"]))
    paths, joints = images.frame().set_index("id")["path"], joints_of(poses.frame().set_index("id", drop=False))
    place = {id: number for number, id in enumerate(poses.frame()["id"])}
    frame = synthetic.frame()
    for start in range(0, len(frame), SECTION.batch_size):
        rows = frame[start : start + SECTION.batch_size]
        source = torch.from_numpy(np.stack([read_image(images.file_of(paths[id])) for id in rows["source"]]))
        own, other = (torch.from_numpy(joints[[place[id] for id in rows[c]]]) for c in ("source", "pose_source"))
        with torch.inference_mode():
            drawn = to_uint8(generator(to_network(source), own, other)).numpy()
        assert [sha256_bytes(encode_jpeg(image)) for image in drawn] == list(rows["sha256"])


def test_tables_are_read_once_however_many_shards(made, tmp_path, monkeypatch):
    images, poses, checkpoints, _ = made
    read = []
    monkeypatch.setattr(synthesis, "find_sources", lambda *tables: read.append(1) or find_sources(*tables))
    synthesize(SECTION, images, poses, checkpoints, tmp_path, shard_size=4)  # 16 shards
    assert len(read) == 2  # to cut the work into shards, and to do it
    synthesize(SECTION, images, poses, checkpoints, tmp_path / "again")
    assert len(read) == 4  # the files may be others by then


def test_interrupted_it_goes_on(made, tmp_path):
    images, poses, checkpoints, synthetic = made
    done = []

    def stopped(function, shards):
        for shard in shards:
            if len(done) == 2:
                raise KeyboardInterrupt
            done.append(shard)
            yield function(shard)

    with pytest.raises(KeyboardInterrupt):
        synthesize(SECTION, images, poses, checkpoints, tmp_path, spread=stopped, shard_size=12)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "images").iterdir()}
    assert len(written) == 2 * 12
    torn = tmp_path / "images" / "0004_c4s1_000003_01g0.jpg"  # as a kill leaves it: no row names it yet
    torn.write_bytes(b"\xff\xd8 half")
    again = synthesize(SECTION, images, poses, checkpoints, tmp_path, shard_size=12)
    assert again.path.read_bytes() == synthetic.path.read_bytes()
    assert verify(again).empty
    assert all(path.stat().st_mtime_ns == time for path, time in written.items())


def test_a_lost_image_is_drawn_again(made, tmp_path):
    images, poses, checkpoints, synthetic = made
    again = synthesize(SECTION, images, poses, checkpoints, tmp_path)
    (tmp_path / "images" / "0001_c1s1_000000_01g2.jpg").unlink()
    again = synthesize(SECTION, images, poses, checkpoints, tmp_path)
    assert verify(again).empty
    assert again.table.equals(synthetic.table)


def test_junk_distractors_and_rejected_poses_give_and_lend_nothing(made, tmp_path, capsys):
    images, poses, checkpoints, _ = made
    ids = list(images.frame()["id"])
    unwanted = {"pid": {ids[0]: -1, ids[1]: 0}, "status": {ids[3]: "failed"}}
    images = changed(images, images.path.parent / "junk.parquet", **unwanted)
    poses = changed(poses, poses.path.parent / "rejected.parquet", accepted={ids[2]: False})
    frame = synthesize(SECTION, images, poses, checkpoints, tmp_path).frame()
    assert set(frame["source"]) == set(ids[4:])
    assert set(frame["pose_source"]) <= set(ids[4:])
    assert "4 of 16 training images are not used as sources" in capsys.readouterr().err


def test_an_unreadable_source_is_a_failed_row_and_the_rest_goes_on(made, tmp_path):
    images, poses, checkpoints, synthetic = made
    ids = list(images.frame()["id"])
    (tmp_path / "broken.jpg").write_bytes(b"")
    broken = {ids[5]: str(tmp_path / "broken.jpg")}
    images = changed(images, images.path.parent / "broken.parquet", path=broken)
    frame = synthesize(SECTION, images, poses, checkpoints, tmp_path / "synthetic").frame()
    failed = frame[frame["status"] == "failed"]
    assert list(failed["source"]) == [ids[5]]
    assert "the file is empty" in failed["reason"].iloc[0]
    assert not failed["kept"].iloc[0]
    expected = synthetic.frame().query("source != @ids[5]")
    assert list(frame[frame["status"] == "ok"]["sha256"]) == list(expected["sha256"])


def test_raw_and_average_weights_draw_differently(made, tmp_path):
    images, poses, checkpoints, synthetic = made
    raw = synthesize(SECTION.model_copy(update={"weights": "raw"}), images, poses, checkpoints, tmp_path)
    assert set(raw.frame()["sha256"]) != set(synthetic.frame()["sha256"])


def test_weights_that_changed_are_refused(made, tmp_path):
    images, poses, checkpoints, _ = made
    frame = checkpoints.frame()
    frame["sha256"] = "0" * 64
    other = write_manifest(checkpoints.path.parent / "other.parquet", "checkpoints", frame, {"digest": "x"})
    with pytest.raises(AugmentError, match=r"weights-000002.safetensors: is not the file that the"):
        synthesize(SECTION, images, poses, other, tmp_path)


def test_without_sources_or_generator_it_says_so(made, tmp_path):
    images, poses, checkpoints, _ = made
    nobody = changed(poses, poses.path.parent / "nobody.parquet", accepted=dict.fromkeys(poses.frame()["id"], False))
    with pytest.raises(AugmentError, match="no training image has an accepted pose"):
        synthesize(SECTION, images, nobody, checkpoints, tmp_path)
    empty = write_manifest(tmp_path / "none.parquet", "checkpoints", [], {"digest": "x"})
    with pytest.raises(AugmentError, match="holds no finished generator"):
        synthesize(SECTION, images, poses, empty, tmp_path)


def test_provenance_tells_the_generator(made):
    _, _, checkpoints, synthetic = made
    last = checkpoints.frame().set_index("id").loc["gan/last", "sha256"]
    assert synthetic.provenance["inputs"]["generator"] == last
    assert json.dumps(synthetic.provenance["section"])  # plain JSON


@pytest.mark.parametrize("format", ["webdataset", "parquet"])
def test_images_in_few_files_are_the_same_images(made, tmp_path, format, monkeypatch):
    monkeypatch.setattr(synthesis, "IN_CONTAINER", 20)  # of 5 sources
    images, poses, checkpoints, synthetic = made
    section = SECTION.model_copy(update={"format": format})
    contained = synthesize(section, images, poses, checkpoints, tmp_path, shard_size=8)
    ending = {"webdataset": "tar", "parquet": "parquet"}[format]
    files = sorted(tmp_path.glob("images/*"))
    assert [file.name for file in files] == [f"00000{k}.{ending}" for k in range(4)]  # 5, 5, 5 and 1 of 16 sources
    assert contained.digest == synthetic.digest
    assert verify(contained).empty
    found = contained.row("synthetic/0002_c1s1_000000_01g2")
    twin = synthetic.file_of(synthetic.row(found["id"])["path"])
    np.testing.assert_array_equal(read_image(contained.file_of(found["path"])), read_image(twin))
    if format == "webdataset":
        shards = webdataset.WebDataset([str(file) for file in files], shardshuffle=False)
        samples = list(shards.to_tuple("__key__", "jpg", "json"))
    else:
        rows = [row for file in files for row in pq.read_table(file).to_pylist()]
        samples = [(row["name"], row.pop("jpg"), json.dumps(row)) for row in rows]
    assert len(samples) == 64
    for key, jpeg, known in samples:
        row = synthetic.row(f"synthetic/{key}")
        assert jpeg == synthetic.file_of(row["path"]).read_bytes()
        assert json.loads(known)["source"] == row["source"] and json.loads(known)["pid"] == row["pid"]

    before = [file.read_bytes() for file in files]
    with open(files[1], "r+b") as file:  # one image of the second file
        file.seek(files[1].stat().st_size // 2)
        file.write(bytes(400))
    files[3].unlink()
    problems = len(verify(write_manifest(contained.path, "synthetic", contained.table, contained.provenance)))
    assert 5 <= problems <= 6  # of the unlinked file four, of the other one or two
    again = synthesize(section, images, poses, checkpoints, tmp_path, shard_size=1000)
    assert [file.read_bytes() for file in files] == before
    assert again.table.equals(contained.table)


def test_images_of_earlier_settings_do_not_stay_among_those_of_the_table(made, tmp_path):
    images, poses, checkpoints, _ = made
    folder = tmp_path / "synthetic"
    synthesize(SECTION.model_copy(update={"own_pose": True}), images, poses, checkpoints, folder)
    (folder / "images" / "notes.txt").write_text("a user's")
    few = synthesize(SECTION.model_copy(update={"poses_per_image": 1}), images, poses, checkpoints, folder)
    there = {f"images/{path.name}" for path in (folder / "images").iterdir()}
    assert there == set(few.frame()["path"]) | {"images/notes.txt"} and len(few.frame()) == 16
    contained = SECTION.model_copy(update={"poses_per_image": 2, "format": "webdataset"})
    synthesize(contained, images, poses, checkpoints, folder)
    assert sorted(path.name for path in (folder / "images").iterdir()) == ["000000.tar", "notes.txt"]
