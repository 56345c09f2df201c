"""The filter of generated images: scores by hand, verdicts by hand, and nothing drawn twice."""

import numpy as np
import pandas as pd
import pytest
import torch
from gan.tiny_run import TINY, make_run

from augment.base.errors import AugmentError, UsageError
from augment.base.images import read_image
from augment.config import FilterConfig, SynthesisConfig
from augment.gan.stage import train_gan
from augment.manifest import read_manifest, verify
from augment.pose.estimator import predictor
from augment.pose.estimator.predictor import Pose
from augment.retrieval.embedder import Embedder
from augment.retrieval.networks import build_model
from augment.stage import Begun
from augment.synthesis import scoring, stage
from augment.synthesis.filtering import filtered, reasons, report_kept
from augment.synthesis.scoring import sharpness
from augment.synthesis.stage import synthesize

SECTION = SynthesisConfig(poses_per_image=4, own_pose=True, batch_size=8, device="cpu")


def never(*_args, **_settings):
    raise AssertionError("this work had been done")


def table(*rows) -> pd.DataFrame:
    """(id, source, kept) each."""
    frame = pd.DataFrame(rows, columns=["id", "source", "kept"])
    return frame.assign(status="ok", verdict=["" if kept else "own pose" for kept in frame["kept"]], rank=0)


MADE = table(("a", "x", True), ("b", "x", True), ("c", "x", True), ("d", "y", True), ("e", "y", False))
SCORES = pd.DataFrame({"id": list("abcd"), "similarity": [0.2, 0.5, 0.4, 0.1], "sharpness": [1.0, 0.2, 0.9, np.nan]})


def test_every_image_below_a_threshold_is_told_which():
    rows = filtered(MADE, SCORES, FilterConfig(similarity=0.2, sharpness=0.3))
    assert rows["kept"].tolist() == [True, False, True, False, False]
    assert rows["verdict"].tolist() == [
        "", "blurred: sharpness 0.200, at least 0.3", "", "unlike its source: similarity 0.100, at least 0.2",
        "own pose",
    ]  # fmt: skip
    assert reasons(rows) == {"blurred": 1, "unlike its source": 1, "own pose": 1}


def test_the_best_share_is_of_each_source_and_of_what_the_thresholds_leave():
    best = filtered(MADE, SCORES, FilterConfig(share=0.5))
    assert best["kept"].tolist() == [False, True, True, True, False]  # two of three, one of one
    assert best["verdict"][0] == "not among the best of its source: similarity 0.200"
    both = filtered(MADE, SCORES, FilterConfig(similarity=0.3, share=0.5))
    assert both["kept"].tolist() == [False, True, False, False, False]
    others = filtered(MADE, SCORES, FilterConfig(share=0.3, by="sharpness"))
    assert others["kept"].tolist() == [True, False, False, False, False]  # y's one figure is unknown


def test_a_score_that_is_not_known_passes_no_threshold():
    assert not filtered(MADE, SCORES, FilterConfig(sharpness=0.0))["kept"][3]


def test_a_filter_that_leaves_nothing_says_so():
    with pytest.raises(AugmentError, match=r"leaves none of 5 images \(4 unlike its source; 1 own pose\)"):
        report_kept(filtered(MADE, SCORES, FilterConfig(similarity=0.9)))


def test_sharpness_by_hand():
    image = np.zeros((1, 4, 4, 3), np.uint8)
    image[0, 1, 1] = 100  # Laplacian inside: -400, 100, 100, 0 with mean -50
    assert sharpness(image) == pytest.approx([(350**2 + 2 * 150**2 + 50**2) / 4])
    assert sharpness(np.full((1, 4, 4, 3), 7, np.uint8)) == pytest.approx([0])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    images, poses, pairs = make_run(folder, identities=3, each=2)
    checkpoints = train_gan(TINY.model_copy(update={"iterations": 1}), images, poses, pairs, folder / "gan")
    torch.manual_seed(0)
    torch.save(build_model("osnet_x0_25", 5, "softmax", False, torch.device("cpu")).state_dict(), folder / "judge.pt")
    return images, poses, checkpoints, folder / "judge.pt"


def test_scores_are_those_of_the_images_and_a_change_of_the_filter_draws_nothing(run, tmp_path, monkeypatch):
    images, poses, checkpoints, judge = run
    plain = synthesize(SECTION, images, poses, checkpoints, tmp_path)

    def section(**changes):
        asked = {"judge": judge, "judge_size": (64, 32), **changes}
        return SECTION.model_copy(update={"filter": FilterConfig(**asked)})

    def begun(**changes):
        return stage.begun(tmp_path, stage.identity(section(**changes), images, poses, checkpoints, tmp_path))

    monkeypatch.setattr(stage, "_generate_shard", never)  # nothing is drawn from here on
    assert begun(similarity=-1.0) == Begun(30, why="generated before; to be scored for the filter")
    made = synthesize(section(similarity=-1.0, share=0.5), images, poses, checkpoints, tmp_path)
    assert verify(made).empty
    scores = read_manifest(tmp_path / "scores.parquet", "scores")
    assert scores.provenance["inputs"]["judge"] == made.provenance["inputs"]["judge"]
    frame = made.frame()
    new = frame["rank"].notna()
    assert new.sum() == 24 and list(scores.frame()["id"]) == list(frame.loc[new, "id"])
    assert frame.loc[~new, "verdict"].unique().tolist() == ["own pose"]
    assert (frame[new].groupby("source")["kept"].sum() == 2).all()

    embedder = Embedder(judge, torch.device("cpu"), "judge", size=(64, 32))
    known = images.frame().query("split == 'train'").set_index("id")
    pixels = np.stack([read_image(images.file_of(path)) for path in known["path"]])
    real = embedder(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    for row, scored in zip(frame[new].itertuples(), scores.frame().itertuples(), strict=True):
        pixels = np.stack([read_image(made.file_of(row.path))])
        cosines = pd.Series(real @ embedder(torch.from_numpy(pixels).permute(0, 3, 1, 2))[0], known.index)
        assert scored.similarity == pytest.approx(cosines[row.source], abs=1e-5)
        own = known["pid"] == row.pid
        assert scored.margin == pytest.approx(cosines[own].max() - cosines[~own].max(), abs=1e-5)
        assert np.isnan(scored.pose) and scored.sharpness > 0  # nobody asked for the pose

    monkeypatch.setattr(scoring, "_score_shard", never)  # nor is anything scored again
    other = synthesize(section(similarity=-1.0, share=0.25), images, poses, checkpoints, tmp_path)
    assert (other.frame()[new].groupby("source")["kept"].sum() == 1).all()
    assert begun(similarity=0.5) == Begun(54, True, "generated before; only the filter is another")
    assert begun(similarity=0.5, pose=0.5) == Begun(30, why="generated before; to be scored for the filter")
    assert synthesize(SECTION, images, poses, checkpoints, tmp_path).digest == plain.digest
    again = synthesize(section(similarity=-1.0, share=0.5), images, poses, checkpoints, tmp_path)
    assert again.path.read_bytes() == made.path.read_bytes()
    (tmp_path / "unfiltered.parquet").unlink()  # the table itself is what counts
    assert synthesize(section(similarity=-1.0, share=0.5), images, poses, checkpoints, tmp_path).digest == made.digest


def test_a_judge_that_is_missing_is_asked_for_before_anything_is_drawn(run, tmp_path):
    images, poses, checkpoints, _ = run
    section = SECTION.model_copy(update={"filter": FilterConfig(similarity=0.3)})
    with pytest.raises(UsageError, match=r"synthesis\.filter\.judge: give the weights of a re-ID network"):
        synthesize(section, images, poses, checkpoints, tmp_path)
    assert not (tmp_path / "images").exists()


def test_pose_and_person_are_by_the_estimator_against_the_pose_asked_for(run, tmp_path, monkeypatch):
    images, poses, checkpoints, _ = run
    wanted = poses.frame().set_index("id")

    class Estimator:
        """Finds every joint of the images in their order where it was asked for, but the nose of the first."""

        def __init__(self, _checkpoint, device):
            self.device = device

        def estimate(self, crops):
            found = [Pose(np.column_stack([*wanted.loc[row.pose_source, ["x", "y"]], np.full(18, 0.75)]), 1)
                     for row in asked.itertuples()]  # fmt: skip
            assert len(crops) == len(found)
            found[0].joints[0, 1] += 0.11 * crops[0].shape[0]
            return found

    monkeypatch.setattr(predictor, "Estimator", Estimator)
    plain = synthesize(SECTION, images, poses, checkpoints, tmp_path)
    asked = plain.frame().query("kept")
    section = SECTION.model_copy(update={"filter": FilterConfig(pose=1.0)})
    made = synthesize(section, images, poses, checkpoints, tmp_path).frame()
    scores = read_manifest(tmp_path / "scores.parquet", "scores").frame()
    joints = int(np.isfinite(wanted.loc[asked["pose_source"].iloc[0], "x"].astype(float)).sum())
    assert scores["pose"].tolist() == pytest.approx([(joints - 1) / joints] + [1] * (len(asked) - 1))
    assert set(scores["person"]) == {0.75} and scores["similarity"].isna().all()
    left_out = made[made["verdict"].str.startswith("not in the target pose: pose 0.")]
    assert left_out["id"].tolist() == [asked["id"].iloc[0]]
