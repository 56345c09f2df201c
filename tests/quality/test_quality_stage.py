import io
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from augment.base.errors import AugmentError, UsageError
from augment.base.files import sha256_bytes, sha256_file
from augment.config import GanConfig, QualityConfig
from augment.gan import inference
from augment.manifest import write_manifest
from augment.quality import stage
from augment.quality.arms import generator_digests, other_generators
from augment.quality.examples import select_examples
from augment.quality.pictures import choose_pairs
from augment.quality.scores import PER_PAIR, pair_scores
from augment.quality.stage import measure_quality
from augment.retrieval.networks import build_model
from augment.stage import provenance

SIZE = (32, 16)
IDS = [f"gallery/000{person}_c1s1_00000{shot}_01" for person in (1, 2) for shot in (1, 2, 3)]


class Copier(torch.nn.Module):
    """A generator that hands back the source, so its scores are those of the arm "source copied"."""

    image_size = SIZE

    def __init__(self, fail_after=None):
        super().__init__()
        self.calls = 0
        self.fail_after = fail_after

    def forward(self, source, source_joints, target_joints):
        assert source.shape[1:] == (3, *SIZE) and source_joints.shape[1:] == target_joints.shape[1:] == (18, 2)
        self.calls += 1
        if self.calls == self.fail_after:
            raise KeyboardInterrupt
        return source


@pytest.fixture
def tables(tmp_path):
    """Six images of two people with poses, all twelve test pairs, one checkpoint."""
    random = np.random.default_rng(0)
    origin = provenance("test", 1, QualityConfig(), {})
    images, poses = [], []
    for id in IDS:
        file = f"{id.partition('/')[2]}.png"
        buffer = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (*SIZE, 3), np.uint8)).save(buffer, "PNG")
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "images" / file).write_bytes(buffer.getvalue())
        row = {"id": id, "path": file, "sha256": sha256_bytes(buffer.getvalue()), "width": 16, "height": 32,
               "status": "ok", "reason": None}  # fmt: skip
        images.append(row | {"split": "gallery", "pid": int(file[:4]), "camid": 1, "sequence": 1, "frame": 1})
        joints = random.uniform(0, 16, (2, 18))
        poses.append(row | {"x": list(joints[0]), "y": list(joints[1] * 2), "confidence": [1.0] * 18, "people": 1,
                            "estimator": "test", "checkpoint": None, "accepted": True, "verdict": "ok"})  # fmt: skip
    pairs = [{"from": a, "to": b, "split": "test"} for a in IDS for b in IDS if a != b and a[:12] == b[:12]]
    pairs.append({"from": IDS[0], "to": IDS[1], "split": "train"})
    weights = {"id": "2", "path": "w.safetensors", "sha256": "0" * 64, "status": "ok", "reason": None, "role": "last",
               "iteration": 2, "system": "dsc", "config_digest": "", "losses": "{}", "parent": None}  # fmt: skip
    return {
        kind: write_manifest(tmp_path / folder / f"{kind}.parquet", kind, rows, origin)
        for kind, folder, rows in (
            ("images", "images", images), ("poses", "images", poses), ("pairs", "pairs", pairs),
            ("checkpoints", "gan", [weights]),
        )
    }  # fmt: skip


@pytest.fixture
def copier(monkeypatch):
    generator = Copier()
    config = GanConfig(system="dsc", seed=7)
    monkeypatch.setattr(inference, "load_generator", lambda path, weights, device: (generator, config))
    monkeypatch.setattr(stage, "_PAIRS_PER_PART", 4)
    return generator


def measure(tables, folder, **settings):
    return measure_quality(QualityConfig(batch_size=3, device="cpu", **settings), **tables, folder=folder)


def test_copying_generator_scores_as_the_copied_source(tables, copier, tmp_path):
    metrics = measure(tables, tmp_path / "quality").frame()
    assert set(metrics["run"]) == {"quality"}
    by_arm = {arm: rows.set_index("metric")["value"].to_dict() for arm, rows in metrics.groupby("arm")}
    assert set(by_arm) == {"dsc", "source copied", "real target"}
    assert by_arm["dsc"] == by_arm["source copied"]
    assert by_arm["real target"]["ssim_255"] == 1 and by_arm["real target"]["l1_released"] == 0
    assert set(metrics[metrics["arm"] == "dsc"]["seed"]) == {7}
    per_pair = pd.read_csv(tmp_path / "quality" / "per_pair.csv")
    assert len(per_pair) == 12
    for metric in ("ssim_released", "mask_ssim_255", "l1_released"):
        assert per_pair[metric].mean() == pytest.approx(by_arm["dsc"][metric], abs=1e-5)
        np.testing.assert_array_equal(per_pair[metric], per_pair[f"copied_{metric}"])


def test_examples_are_strips_of_five_pictures(tables, copier, tmp_path):
    measure(tables, tmp_path / "quality")
    listed = pd.read_csv(tmp_path / "quality" / "examples.csv")
    assert list(listed["kind"]) == ["best"] * 4 + ["typical"] * 4 + ["worst"] * 4  # a third of twelve each
    per_pair = pd.read_csv(tmp_path / "quality" / "per_pair.csv")["ssim_released"]
    # the list is rounded to six decimals
    assert listed["ssim_released"].iloc[0] == pytest.approx(per_pair.max(), abs=5e-7)
    assert listed["ssim_released"].iloc[8] == pytest.approx(per_pair.min(), abs=5e-7)
    strip = np.asarray(Image.open(tmp_path / "quality" / listed["file"][0]))
    assert strip.shape == (32 + 2 * 2, 5 * 16 + 6 * 2, 3)
    np.testing.assert_array_equal(strip[2:-2, 2:18], strip[2:-2, -18:-2])  # generated = source


def test_killed_run_goes_on_and_gives_the_same_bytes(tables, copier, tmp_path):
    whole = measure(tables, tmp_path / "whole")
    calls, copier.calls, copier.fail_after = copier.calls, 0, 4  # two batches make the first part of four pairs
    with pytest.raises(KeyboardInterrupt):
        measure(tables, tmp_path / "killed")
    copier.calls, copier.fail_after = 0, None
    resumed = measure(tables, tmp_path / "killed")
    assert copier.calls == calls - 2
    for file in ("metrics.parquet", "per_pair.csv", "examples.csv", "examples/best-01.png"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert whole.digest == resumed.digest
    assert not (tmp_path / "killed" / ".parts").exists()


def test_second_call_reuses_and_other_settings_do_not(tables, copier, tmp_path):
    measure(tables, tmp_path / "quality")
    copier.calls = 0
    measure(tables, tmp_path / "quality")
    assert copier.calls == 0
    fewer = measure(tables, tmp_path / "quality", pairs=5).frame()
    assert copier.calls > 0 and set(fewer[fewer["metric"] == "pairs"]["value"]) == {5}


def test_parts_that_a_failing_disk_kept_are_removed_by_the_next_call(tables, copier, tmp_path):
    measure(tables, tmp_path)
    part = tmp_path / ".parts" / "0" / "00000000.npz"
    part.parent.mkdir(parents=True)
    part.touch()
    measure(tables, tmp_path)
    assert not (tmp_path / ".parts").exists()


@pytest.mark.parametrize("name", ["per_pair.csv", "examples.csv", "examples/best-01.png"])
def test_a_file_of_the_report_that_is_gone_or_changed_is_made_again(tables, copier, tmp_path, name):
    folder = tmp_path / "quality"
    made = measure(tables, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {str(path.relative_to(folder)) for path in before} == {"metrics.parquet", *made.files}
    (folder / name).unlink()
    measure(tables, folder)
    (folder / name).write_bytes(b"scribble")
    measure(tables, folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_fewer_pairs_are_spread_over_all_people(tables):
    chosen, left_out = choose_pairs(tables["images"], tables["poses"], tables["pairs"], 4)
    every, _ = choose_pairs(tables["images"], tables["poses"], tables["pairs"], 100)
    assert len(every) == 12 and left_out == 0
    assert chosen == [every[0], every[3], every[6], every[9]]


def test_pair_without_a_pose_is_left_out(tables, tmp_path):
    rows = tables["poses"].frame()
    rows.loc[0, "status"] = "failed"
    poses = write_manifest(tmp_path / "p.parquet", "poses", rows, tables["poses"].provenance)
    chosen, left_out = choose_pairs(tables["images"], poses, tables["pairs"], 100)
    assert len(chosen) == 8 and left_out == 4  # an image is in four of its person's six ordered pairs
    assert all(IDS[0] not in pair for pair in chosen)


def test_no_test_pairs_is_a_note_and_an_empty_table(tables, copier, tmp_path, capsys):
    rows = tables["pairs"].frame()
    tables["pairs"] = write_manifest(tmp_path / "p.parquet", "pairs", rows[rows["split"] == "train"], {"digest": ""})
    assert len(measure(tables, tmp_path / "quality").table) == 0
    assert "there are no test pairs" in capsys.readouterr().err
    assert len(pd.read_csv(tmp_path / "quality" / "per_pair.csv")) == 0


def test_no_checkpoint_says_what_to_do(tables, tmp_path):
    tables["checkpoints"] = write_manifest(tmp_path / "c.parquet", "checkpoints", [], {"digest": ""})
    with pytest.raises(AugmentError, match=r"c\.parquet: holds no finished generator\. Train one first"):
        measure(tables, tmp_path / "quality")


def test_l1_by_hand_and_masked_scores_ignore_the_background():
    target = torch.randint(0, 200, (1, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    image, masks = target.clone(), torch.zeros(1, 1, 24, 24, dtype=torch.uint8)
    masks[..., :12] = 1
    image[..., 12:] += 51  # half of the pixels are off by 51 of 255: 51 / 255 * 2 / 2 = 0.2
    scores = pair_scores(image, target, masks)
    assert scores["l1_released"].item() == pytest.approx(0.2)
    assert scores["mask_ssim_released"].item() == pytest.approx(1)
    assert scores["ssim_released"].item() < 0.99


def test_psnr_and_l1_by_hand_on_2x2_images():
    # Of 12 values one is off by 6: mean squared error 36 / 12 = 3, mean absolute error .5 of 255, times 2.
    image = torch.full((1, 3, 2, 2), 100, dtype=torch.uint8)
    target = image.clone()
    target[0, 1, 0, 1] = 106
    large = torch.zeros(1, 3, 12, 12, dtype=torch.uint8)  # SSIM's window asks for more pixels: 36 such images
    image, target = (torch.cat([tile.repeat(1, 1, 6, 6)]) + large for tile in (image, target))
    scores = pair_scores(image, target, torch.ones(1, 1, 12, 12, dtype=torch.uint8))
    assert scores["psnr"].item() == pytest.approx(10 * np.log10(255**2 / 3))
    assert scores["l1_released"].item() == pytest.approx(0.5 / 255 * 2)
    assert set(scores) == set(PER_PAIR)


def test_psnr_equals_torchmetrics():
    from torchmetrics.functional.image import peak_signal_noise_ratio

    random = torch.Generator().manual_seed(0)
    images, targets = torch.randint(0, 256, (2, 5, 3, 16, 12), dtype=torch.uint8, generator=random)
    found = pair_scores(images, targets, torch.ones(5, 1, 16, 12, dtype=torch.uint8))["psnr"]
    expected = [peak_signal_noise_ratio(a.double(), b.double(), data_range=255.0).item()
                for a, b in zip(images, targets, strict=True)]  # fmt: skip
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_table_has_intervals_and_a_line_for_what_is_missing(tables, copier, tmp_path, capsys):
    measure(tables, tmp_path / "quality")
    table = pd.read_csv(tmp_path / "quality" / "table.csv").set_index(["arm", "metric"])
    row = table.loc["dsc", "ssim_255"]
    assert row["low"] < row["value"] < row["high"]
    lpips = table.loc["dsc", "lpips_alex"]
    assert np.isnan(lpips["value"]) and lpips["missing"].startswith("quality.lpips_weights: torchvision's AlexNet")
    assert {"fid@12", "kid", "identity_kept", "pck_05", "frechet_osnet_msmt17@12"} <= set(table.loc["dsc"].index)
    said = capsys.readouterr().err
    assert "quality: 18 metrics need files of weights (" in said


def test_people_are_looked_for_with_every_arm(tables, copier, tmp_path):
    torch.manual_seed(0)
    torch.save(build_model("osnet_x0_25", 1, "softmax", False, torch.device("cpu")).state_dict(), tmp_path / "w.pt")
    rows = tables["images"].frame()
    rows["camid"] = [1, 2, 3] * 2
    tables["images"] = write_manifest(tmp_path / "images" / "i.parquet", "images", rows, {"digest": ""})
    measure(tables, tmp_path / "quality", identity_weights=tmp_path / "w.pt")
    table = pd.read_csv(tmp_path / "quality" / "table.csv").pivot(index="metric", columns="arm", values="value")
    assert table.loc["identity_kept", "dsc"] == table.loc["identity_kept", "source copied"] == 1  # copies of the source
    assert table.loc["identity_mAP", "dsc"] == table.loc["identity_mAP", "source copied"]
    assert 0 < table.loc["identity_mAP", "real target"] <= 1
    suffix = sha256_file(tmp_path / "w.pt")[:8]  # not the published file, so distances have another name
    assert table.loc[f"frechet_osnet_{suffix}@12", "dsc"] >= 0
    per_pair = pd.read_csv(tmp_path / "quality" / "per_pair.csv")
    np.testing.assert_array_equal(per_pair["identity_rank1"], per_pair["copied_identity_rank1"])


class Negative(Copier):
    """Another generator, which hands back the source's negative."""

    def forward(self, source, source_joints, target_joints):
        return -super().forward(source, source_joints, target_joints)


def test_other_generators_stand_in_the_same_table_with_paired_differences(tables, copier, tmp_path, monkeypatch):
    other, loaded = Negative(), inference.load_generator
    (tmp_path / "negative.safetensors").write_bytes(b"weights")
    monkeypatch.setattr(
        inference, "load_generator",
        lambda path, **options: (other, GanConfig()) if path.stem == "negative" else loaded(path, **options),
    )  # fmt: skip
    settings = {"generators": [str(tmp_path / "negative.safetensors")]}
    metrics = measure(tables, tmp_path / "quality", **settings).frame()
    table = pd.read_csv(tmp_path / "quality" / "table.csv")
    assert list(dict.fromkeys(table["arm"])) == ["dsc", "negative", "source copied", "real target"]
    per_pair = pd.read_csv(tmp_path / "quality" / "per_pair.csv")
    row = table.set_index(["arm", "metric"]).loc["negative", "ssim_255"]
    paired = per_pair["negative_ssim_255"] - per_pair["ssim_255"]
    assert row["difference"] == pytest.approx(paired.mean(), abs=1e-5)
    assert row["difference_low"] < row["difference"] < row["difference_high"]
    differences = table.set_index("arm")["difference"]
    assert differences["dsc"].isna().all() and (differences["source copied"].dropna() == 0).all()
    assert set(metrics[metrics["arm"] == "negative"]["seed"]) == {0}
    calls = other.calls
    measure(tables, tmp_path / "quality", **settings)
    assert other.calls == calls  # reused
    (tmp_path / "negative.safetensors").write_bytes(b"others")
    measure(tables, tmp_path / "quality", **settings)
    assert other.calls > calls


def test_images_of_another_program_are_measured_by_the_pairs_in_their_names(tables, copier, tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    files = {id: tmp_path / "images" / f"{id.partition('/')[2]}.png" for id in IDS}
    pairs = tables["pairs"].frame().query("split == 'test'")
    for source, target in zip(pairs["from"], pairs["to"], strict=True):
        shutil.copy(files[source], folder / f"{files[source].stem}__{files[target].stem}.png")
    settings = {"generators": [str(folder)]}
    first = measure(tables, tmp_path / "quality", **settings)
    table = pd.read_csv(tmp_path / "quality" / "table.csv").set_index(["arm", "metric"])["value"].dropna()
    pd.testing.assert_series_equal(table["theirs"], table["source copied"], check_names=False)
    digest = first.provenance["digest"]
    one = sorted(folder.iterdir())[0]
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(one)
    assert measure(tables, tmp_path / "quality", **settings).provenance["digest"] != digest
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(one)
    with pytest.raises(AugmentError, match=rf"{one.name}: is 8x8, the generator's images are 32x16"):
        measure(tables, tmp_path / "quality", **settings)
    one.unlink()
    with pytest.raises(AugmentError, match=rf"theirs: has no image for 1 of 12 test pairs \({one.name}, for example\)"):
        measure(tables, tmp_path / "quality", **settings)
    with pytest.raises(AugmentError, match=r"images: is neither the folder of a run .* nor one of generated images"):
        other_generators(QualityConfig(generators=[str(tmp_path / "images")]))


def test_generators_have_the_names_that_people_know_them_by(tmp_path):
    file = tmp_path / "dsc.safetensors"
    file.write_bytes(b"")
    names = other_generators(QualityConfig(generators=["market1501", str(file)]))
    assert list(names) == ["market1501", "dsc"] and names["dsc"] == file
    assert list(other_generators(QualityConfig(generators=[str(file)]), own="dsc")) == [str(file)]
    with pytest.raises(UsageError, match=r"quality\.generators: market1501 is duplicated"):
        other_generators(QualityConfig(generators=["market1501", "market1501"]))
    with pytest.raises(UsageError, match="nobody: neither a weights file"):
        generator_digests(QualityConfig(generators=["nobody"]))


def test_examples_are_the_top_the_middle_and_the_bottom():
    scores = np.array([0.5, 0.9, 0.1, 0.7, 0.3])
    assert select_examples(scores, each=1) == {"best": [1], "typical": [0], "worst": [2]}
    assert select_examples(np.array([0.4]), each=12) == {"best": [0], "typical": [0], "worst": [0]}
