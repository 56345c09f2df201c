import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from gan.tiny_run import SIZE, TINY, make_run
from PIL import Image

from augment.base.errors import AugmentError, UsageError
from augment.base.seals import sealed_json
from augment.config import Config, dump_yaml
from augment.gan.checkpoints import load_generator
from augment.gan.dataset import to_network, to_uint8
from augment.gan.stage import train_gan
from augment.manifest import read_manifest, write_manifest
from augment.quality import compare
from augment.quality.arms import COPIED, REAL
from augment.quality.compare import at_the_same, open_runs
from augment.quality.pictures import choose_pairs, load_pairs
from augment.quality.ssim import ssim_scores
from augment.report import systems
from augment.report.systems import compare_generators


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The tiny run trained as two systems, one of them twice as long."""
    folders = []
    for system, iterations in (("dsc", 4), ("full", 8)):
        folder = tmp_path_factory.mktemp("systems") / system
        section = TINY.model_copy(update={"system": system, "iterations": iterations, "keep_checkpoints": 9})
        tables = make_run(folder)
        train_gan(section, *tables, folder / "gan")
        (folder / "config.yaml").write_text(dump_yaml(Config(gan=section)))
        folders.append(folder)
    return folders


@pytest.fixture(scope="module")
def compared(runs, tmp_path_factory):
    output = tmp_path_factory.mktemp("comparison")
    return compare_generators(runs, output, pairs=5, examples=3, device="cpu"), output


def tables_of(folder):
    return [read_manifest(folder / kind / f"{kind}.parquet", kind) for kind in ("images", "poses", "pairs")]


def test_scores_are_the_mean_ssim_over_pairs(runs, compared):
    scores, _ = compared
    images, poses, pairs = tables_of(runs[0])
    chosen, _ = choose_pairs(images, poses, pairs, 5)
    pictures = load_pairs(images, poses, chosen, SIZE)
    copied = ssim_scores(pictures.source, pictures.target)["ssim_released"]
    first = scores.iloc[0]
    assert first["run"] == COPIED
    assert first["ssim_released"] == pytest.approx(copied.mean().item())
    assert len({source[:12] for source, _ in chosen}) == 1
    assert np.isnan(first["ssim_released ±"])  # of a single person
    for folder in runs:
        checkpoints = read_manifest(folder / "gan" / "checkpoints.parquet", "checkpoints")
        for row in checkpoints.frame().itertuples():
            generator, _ = load_generator(checkpoints.file_of(row.path))
            source = to_network(pictures.source.permute(0, 2, 3, 1))
            with torch.inference_mode():
                images = to_uint8(generator(source, pictures.source_joints, pictures.target_joints)).permute(0, 3, 1, 2)
            expected = ssim_scores(images, pictures.target)["ssim_released"].mean().item()
            found = scores[(scores["run"].str.endswith(folder.name)) & (scores["iteration"] == row.iteration)]
            assert found["ssim_released"].item() == pytest.approx(expected)


def test_every_checkpoint_has_a_line(compared):
    scores, output = compared
    iterations = {run: rows["iteration"].tolist() for run, rows in scores.groupby("run")}
    assert iterations == {COPIED: [0], REAL: [0], "systems0/dsc": [2, 4], "systems1/full": [2, 4, 6, 8]}
    pd.testing.assert_frame_equal(pd.read_csv(output / "scores.csv"), scores, rtol=1e-5)


def test_picture_and_page_show_every_run(compared):
    _, output = compared
    picture = np.asarray(Image.open(output / "pairs.png"))
    # two blocks side by side: source, its pose, pose, target, two generators, and an empty column; 4 pixels between
    assert picture.shape == (16 + 2 * SIZE[0] + 4 * 4, 12 * SIZE[1] + 4 * 15, 3)
    page = (output / "comparison.html").read_text()
    assert "averaged weights, modern, width 0.0625" in page
    assert "full, patches</td>" in page
    assert "After the same iterations" in page
    assert "0.290 / 0.805" not in page and "nan" not in page  # these are not the images of the paper's test


def test_published_figures_are_beside_those_on_the_official_test(runs, monkeypatch, tmp_path):
    monkeypatch.setattr(systems, "published_layout", lambda run, config: "market1501")
    compare_generators(runs, tmp_path, pairs=5, examples=3, device="cpu")
    page = (tmp_path / "comparison.html").read_text()
    assert page.count("0.272 / 0.796") >= 1 and page.count("0.290 / 0.805") >= 1


def test_a_comparison_goes_on_where_it_was(runs, compared, monkeypatch):
    scores, output = compared
    (output / "comparison.html").unlink()
    used = []
    real = compare.generate_targets
    for module in (compare, systems):
        monkeypatch.setattr(module, "generate_targets", lambda path, *rest: used.append(path.name) or real(path, *rest))
    again = compare_generators(runs, output, pairs=5, examples=3, device="cpu")
    assert used == ["weights-000004.safetensors", "weights-000008.safetensors"]  # for the picture alone
    pd.testing.assert_frame_equal(again, scores)
    assert (output / "comparison.html").exists()


def test_minutes_come_from_the_log_even_where_its_last_line_was_cut_short(runs, tmp_path):
    folder = shutil.copytree(runs[0], tmp_path / "run")
    log = [{"iteration": 2, "iterations_per_second": 0.1}, {"iteration": 4, "iterations_per_second": 0.05}]
    (folder / "gan" / "log.jsonl").write_text("\n".join(map(sealed_json, log)) + '\n{"iteration": 5, "iterations_per')
    (trained,) = open_runs([folder])
    assert [trained.minutes(n) * 60 for n in (0, 1, 2, 4)] == pytest.approx([0, 10, 20, 60])


def test_the_same_iterations_and_the_same_time():
    scores = pd.DataFrame({
        "run": [COPIED, "slow", "slow", "slow", "fast", "fast", "fast"], "iteration": [0, 10, 20, 30, 10, 20, 40],
        "minutes": [0, 2.0, 4.0, 6.0, 1.0, 2.0, 4.5],
    })  # fmt: skip
    assert at_the_same(scores, "iteration")[["run", "iteration"]].values.tolist() == [["slow", 30], ["fast", 20]]
    assert at_the_same(scores, "minutes")[["run", "iteration"]].values.tolist() == [["slow", 20], ["fast", 40]]


def test_runs_that_cannot_be_compared_are_named(runs, tmp_path):
    with pytest.raises(UsageError, match="given twice"):
        open_runs([runs[0], runs[0]])
    (tmp_path / "empty").mkdir()
    with pytest.raises(AugmentError, match="empty: no finished images stage there"):
        open_runs([tmp_path / "empty"])
    other = shutil.copytree(runs[1], tmp_path / "other")
    pairs = read_manifest(other / "pairs" / "pairs.parquet", "pairs").frame()
    write_manifest(other / "pairs" / "pairs.parquet", "pairs", pairs.drop(pairs.index[pairs["split"] == "test"][0]), {
        "digest": "pairs", "stage": "pairs",
    })  # fmt: skip
    with pytest.raises(AugmentError, match="other: its pairs are not those of"):
        compare_generators([runs[0], other], tmp_path / "out", pairs=6)
