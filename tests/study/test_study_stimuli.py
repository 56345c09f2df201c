"""Which images are shown, and that nothing but their content tells real from generated."""

from io import BytesIO

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from augment.base.errors import AugmentError, UsageError
from augment.base.files import sha256_bytes
from augment.base.images import read_image
from augment.base.seals import sealed_json
from augment.cli import main
from augment.config import GanConfig, QualityConfig
from augment.gan import inference
from augment.manifest import write_manifest
from augment.stage import provenance
from augment.study.answers import JOURNAL
from augment.study.protocol import Protocol
from augment.study.stimuli import make_stimuli

SIZE = (32, 16)
IDS = [f"gallery/000{person}_c1s1_00000{shot}_01" for person in (1, 2) for shot in (1, 2, 3, 4)]


class Negative(torch.nn.Module):
    """Generates the source's negative."""

    image_size = SIZE

    def forward(self, source, source_joints, target_joints):
        return -source


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Eight images of two people, all 24 test pairs, a generator that is known."""
    monkeypatch.setattr(inference, "load_generator", lambda path, weights, device: (Negative(), GanConfig()))
    rng = np.random.default_rng(0)
    images, poses = [], []
    for id in IDS:
        buffer = BytesIO()
        Image.fromarray(rng.integers(0, 256, (*SIZE, 3), np.uint8)).save(buffer, "PNG")
        file = f"{id.partition('/')[2]}.png"
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "images" / file).write_bytes(buffer.getvalue())
        row = {"id": id, "path": f"../images/{file}", "sha256": sha256_bytes(buffer.getvalue()), "width": 16,
               "height": 32, "status": "ok", "reason": None}  # fmt: skip
        images.append(row | {"split": "gallery", "pid": int(file[:4]), "camid": 1, "sequence": 1, "frame": 1})
        poses.append(row | {"x": [5.0] * 18, "y": [9.0] * 18, "confidence": [1.0] * 18, "people": 1,
                            "estimator": "test", "checkpoint": None, "accepted": True, "verdict": "ok"})  # fmt: skip
    pairs = [{"from": a, "to": b, "split": "test"} for a in IDS for b in IDS if a != b and a[:12] == b[:12]]
    weights = {"id": "gan/last", "path": "w", "sha256": "0" * 64, "status": "ok", "reason": None, "role": "last",
               "iteration": 2, "system": "dsc", "config_digest": "", "losses": "{}", "parent": None}  # fmt: skip
    origin = provenance("test", 1, QualityConfig(), {})
    for stage, kind, rows in (("images", "images", images), ("poses", "poses", poses), ("pairs", "pairs", pairs),
                              ("gan", "checkpoints", [weights])):  # fmt: skip
        write_manifest(tmp_path / stage / f"{kind}.parquet", kind, rows, origin)
    return tmp_path


def test_half_is_generated_from_test_pairs_and_half_real_with_no_image_twice(run):
    manifest = make_stimuli(Protocol(images=3, training=1), run)
    rows = manifest.frame()
    assert rows.groupby(["generated", "training"]).size().to_dict() == {
        (False, False): 3, (False, True): 1, (True, False): 3, (True, True): 1,
    }  # fmt: skip
    assert rows["target"].is_unique and set(rows["target"]) == set(IDS)
    for row in manifest.table.to_pylist():
        shown = read_image(manifest.file_of(row["path"])).astype(int)
        other = row["source"] if row["generated"] else row["target"]
        file = read_image(run / "images" / f"{other.partition('/')[2]}.png").astype(int)
        if row["generated"]:
            assert row["source"] != row["target"] and row["source"][:12] == row["target"][:12]
            assert abs(shown - (255 - file)).max() <= 1
        else:
            assert row["source"] is None and (shown == file).all()


def test_names_and_encoding_do_not_tell_them_apart(run):
    manifest = make_stimuli(Protocol(images=3, training=1), run)
    headers = set()
    for row in manifest.frame().to_dict("records"):
        data = manifest.file_of(row["path"]).read_bytes()
        headers.add((data[:33], data.count(b"tEXt")))  # PNG's header with size, depth and colours; no comments
        assert len(row["id"]) == 16 and not any(part in row["id"] for part in ("gen", "real", "000"))
    assert len(headers) == 1


def test_they_are_made_once_and_not_changed_under_answers(run):
    first = make_stimuli(Protocol(images=2, training=1), run)
    before = first.path.stat().st_mtime_ns
    assert make_stimuli(Protocol(images=2, training=1), run).path.stat().st_mtime_ns == before
    assert len(make_stimuli(Protocol(images=1, training=1), run).table) == 4  # nobody has answered yet
    line = sealed_json({"user": "u", "stimulus": "s"}) + "\n"
    (run / "study" / JOURNAL).write_text(line)
    with pytest.raises(AugmentError, match="another generator or protocol"):
        make_stimuli(Protocol(images=2, training=1), run)


def test_too_few_test_images_are_told_with_the_remedy(run):
    with pytest.raises(UsageError, match=r"8 different images .* 55 of each kind, after 10 .* need 130.*--images"):
        make_stimuli(Protocol(), run)


def test_commands_say_what_is_wrong(run, tmp_path):
    call = CliRunner().invoke
    none = call(main, ["study", str(tmp_path / "nothing")])
    assert none.exit_code == 3 and "nothing: no such folder. Name the folder of a run" in none.output
    early = call(main, ["study", str(run), "--results"])
    assert early.exit_code == 3 and "no study there yet" in early.output
    assert call(main, ["study", str(run), str(run)]).exit_code == 2
    make_stimuli(Protocol(images=2, training=0), run)
    empty = call(main, ["study", str(run), "--results"])
    assert empty.exit_code == 0 and "R2G" in empty.output and "–" in empty.output
