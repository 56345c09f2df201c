"""Whole runs on tiny data: figures, determinism, resume."""

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch

from augment.base.errors import AugmentError, UsageError
from augment.base.randomness import RANDOM_STATE
from augment.config import ArmConfig, Config
from augment.reid import stage, training
from augment.reid.arms import settings_of_arms
from augment.reid.checks import check_images
from augment.reid.stage import compare_arms
from augment.stage import Begun


def files_of(folder) -> dict[str, str]:
    """Every file's hash; the table's provenance names the command, so its rows stand for it."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".parquet"
    }  # fmt: skip


def test_arms_train_equally_long_and_every_figure_is_a_row(people, section, tmp_path, capsys):
    metrics = compare_arms(section, *people.tables(), tmp_path / "reid").frame()
    assert list(metrics["run"].unique()) == ["augmented-s0", "real-s0"]
    wide = metrics.pivot_table(index="metric", columns="arm", values="value")
    assert set(wide.index) == {
        "rank1", "rank5", "rank10", "rank20", "mAP", "mAP_trapezoid", "mINP", "queries", "train_real",
        "train_synthetic", "iterations",
    }  # fmt: skip
    assert wide.loc["iterations"].tolist() == [6, 6] and wide.loc["queries"].tolist() == [4, 4]
    assert wide.loc["train_real"].tolist() == [24, 24] and wide.loc["train_synthetic"].tolist() == [12, 0]
    assert capsys.readouterr().out == ""  # torchreid is kept quiet
    strips = pd.read_csv(tmp_path / "reid" / "retrieval-real-s0.csv")
    assert strips.groupby("query")["rank"].apply(list).tolist() == [list(range(1, 11))] * 4
    strip = strips[strips["query"] == strips["query"][0]]
    assert strip["right"].tolist() == (strip["gallery"].str[8:12] == strip["query"].str[6:10]).astype(int).tolist()
    curve = pd.read_csv(tmp_path / "reid" / "training-real-s0.csv")
    assert curve["iteration"].tolist() == [1, 2, 3, 4, 5, 6] and np.isfinite(curve["loss"]).all()


@pytest.mark.parametrize("changes", [{}, {"loss": "triplet", "instances": 2}])
def test_a_killed_training_ends_as_if_nothing_had_happened(people, section, tmp_path, monkeypatch, changes):
    section = section.model_copy(update={"arms": {"augmented": ArmConfig()}, **changes})
    whole = compare_arms(section, *people.tables(), tmp_path / "whole")
    monkeypatch.setattr(training, "_SAVE_EVERY_S", -1.0)
    monkeypatch.setattr(training, "_CHECK_EVERY", 1)
    steps = []
    save = training._save

    def save_then_die(*args):
        save(*args)
        steps.append(1)
        if len(steps) in (2, 3):
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_save", save_then_die)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            compare_arms(section, *people.tables(), tmp_path / "killed")
    assert (tmp_path / "killed" / "state-augmented-s0.pt").exists()
    again = compare_arms(section, *people.tables(), tmp_path / "killed")
    assert len(steps) == 6  # two iterations, one more, and the last three: none twice
    assert again.digest == whole.digest
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")


def test_the_plan_counts_what_another_choice_of_arms_has_trained(people, section, tmp_path):
    tables, folder = people.tables(), tmp_path / "reid"

    def begun(**changes):
        return stage.begun(folder, stage.identity(section.model_copy(update=changes), *tables, folder))

    both = {"real": ArmConfig(), "augmented": ArmConfig()}
    assert begun(arms=both) == Begun()
    compare_arms(section.model_copy(update={"arms": both}), *tables, folder)
    more = {**both, "classic": ArmConfig()}
    assert begun(arms=more).units == 2 and not begun(arms=more).complete
    assert begun(arms=both, seeds=(0, 1)).units == begun(arms=both, lengths=(2,)).units == 2
    assert begun(arms={"real": ArmConfig()}) == Begun(1, True, "trained before")
    assert begun(arms=both, learning_rate=0.5).units == begun(arms=both, iterations=7).units == 0
    people.synthetic.pop()
    tables = people.tables()
    assert begun(arms=both).units == 1  # that of real images only


@pytest.mark.parametrize("name", ["training-real-s0.csv", "retrieval-real-s0.csv", "real-s0.json"])
def test_a_file_of_the_report_that_is_gone_or_changed_is_made_again(people, section, tmp_path, monkeypatch, name):
    section = section.model_copy(update={"arms": {"real": ArmConfig()}, "seeds": (0, 1)})
    folder = tmp_path / "reid"
    made = compare_arms(section, *people.tables(), folder)
    before = files_of(folder)
    assert set(made.files) == {file for file in before if not file.endswith(".safetensors")}
    trained, tested = [], []
    test = stage._test
    monkeypatch.setattr(training, "_train", lambda run, *rest: trained.append(run))
    monkeypatch.setattr(stage, "_test", lambda model, run, *rest: tested.append(run) or test(model, run, *rest))
    (folder / name).unlink()
    compare_arms(section, *people.tables(), folder)
    assert files_of(folder) == before
    (folder / name).write_bytes(b"scribble")
    compare_arms(section, *people.tables(), folder)
    assert files_of(folder) == before
    assert trained == [] and tested == ["real-s0", "real-s0"]  # not the other seed, and nothing is trained again


def test_a_further_seed_reuses_the_weights(people, section, tmp_path, monkeypatch):
    distances = ("cosine", "euclidean", "xqda", "kissme")
    section = section.model_copy(update={"arms": {"real": ArmConfig()}, "distances": distances})
    single = compare_arms(section, *people.tables(), tmp_path / "one")
    assert {"rank1", "rank1_euclidean", "mAP_xqda", "mINP_kissme"} <= set(single.frame()["metric"])

    trained = []
    train = training._train
    monkeypatch.setattr(training, "_train", lambda run, *rest: trained.append(run) or train(run, *rest))
    more = compare_arms(section.model_copy(update={"seeds": (0, 1)}), *people.tables(), tmp_path / "one")
    assert trained == ["real-s1"]
    kept = more.frame().query("run == 'real-s0'").reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, single.frame())


def test_what_cannot_be_trained_is_refused_before_it_is(people, section, tmp_path):
    tables = people.tables()
    with pytest.raises(UsageError, match=r"reid.model=osnet_x025: torchreid has no such model. Did you mean osnet_x0"):
        compare_arms(section.model_copy(update={"model": "osnet_x025"}), *tables, tmp_path / "reid")
    with pytest.raises(UsageError, match="device=tpu9: no such kind of device"):
        compare_arms(section.model_copy(update={"device": "tpu9"}), *tables, tmp_path / "reid")
    with pytest.raises(AugmentError, match="needs 16 people, training has 6"):
        compare_arms(section.model_copy(update={"loss": "triplet", "batch_size": 64}), *tables, tmp_path / "reid")
    people.images = [row for row in people.images if row["split"] != "train" or row["frame"] == 0]
    few = section.model_copy(update={"distances": ("cosine", "xqda"), "arms": {"real": ArmConfig()}})
    with pytest.raises(AugmentError, match="needs people with several real training images each"):
        compare_arms(few, *people.tables(), tmp_path / "reid")
    assert not (tmp_path / "reid").exists()


@pytest.mark.parametrize(("size", "real"), [(11, 1), (32, 3), (4, 1), (110, 10)])
def test_the_papers_mixture_is_one_real_image_to_ten(section, size, real):
    asked = section.model_copy(update={"batch_size": size, "arms": {"real": ArmConfig(), "union": ArmConfig()}})
    arm = settings_of_arms(asked)["union"]
    assert (arm.real, arm.synthetic, arm.until) == (real, size - real, 1.0)


def test_arms_that_would_train_on_something_else_are_refused(section):
    with pytest.raises(UsageError, match=r"augmeted is no ready-made arm.* train as real\. Did you mean augmented"):
        settings_of_arms(section.model_copy(update={"arms": {"real": ArmConfig(), "augmeted": ArmConfig()}}))
    names = {"ide": ArmConfig(), "mine": ArmConfig(synthetic=4, against="ide")}  # the first may have any name
    assert settings_of_arms(section.model_copy(update={"arms": names}))["mine"].synthetic == 4
    for arm, changes, said in (
        ("own_pose", {}, "synthesis.own_pose=true"), ("more_real", {}, "data.subset.images_per_identity"),
    ):  # fmt: skip
        config = Config(reid=section.model_copy(update={"arms": {"real": ArmConfig(), arm: ArmConfig()}, **changes}))
        with pytest.raises(UsageError, match=re.escape(said)):
            check_images(config)


@pytest.mark.parametrize(
    ("arm", "said"),
    [({"real": 7, "synthetic": 1}, "a fraction of a synthetic image.*multiple of 4"),
     ({"real": 0, "synthetic": 8, "label": "positive", "alone": 8}, "needs real images in every batch")],
)  # fmt: skip
def test_batches_of_triplets_that_cannot_be_shared_out(people, section, tmp_path, arm, said):
    arms = {"mine": ArmConfig(loss="triplet", **arm)}
    section = section.model_copy(update={"arms": arms, "instances": 2})
    with pytest.raises(UsageError, match=said):
        compare_arms(section, *people.tables(), tmp_path / "reid")


def test_an_exploding_loss_names_the_run_and_the_iteration(people, section, tmp_path):
    with pytest.raises(AugmentError, match=r"real-s0: the loss is nan at iteration \d. Lower reid.learning_rate"):
        compare_arms(section.model_copy(update={"learning_rate": 1e30}), *people.tables(), tmp_path / "reid")


def test_a_teacher_is_the_arm_of_real_images_or_trained_for_it(people, section, tmp_path, monkeypatch):
    taught = ArmConfig(real=4, synthetic=4, label="teacher")
    section = section.model_copy(update={"iterations": 2})
    trained = []
    train = training._train
    monkeypatch.setattr(training, "_train", lambda run, *rest: trained.append(run) or train(run, *rest))
    tables = people.tables()
    both = section.model_copy(update={"arms": {"real": ArmConfig(), "taught": taught}})
    made = compare_arms(both, *tables, tmp_path / "both").frame()
    assert trained == ["real-s0", "taught-s0"]
    alone = compare_arms(section.model_copy(update={"arms": {"taught": taught}}), *tables, tmp_path / "alone").frame()
    assert trained[2:] == ["teacher-softmax-2-s0", "taught-s0"]
    expected = made.query("arm == 'taught'").reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, expected)


def test_arms_side_by_side_give_the_same_as_one_by_one(people, section, tmp_path):
    section = section.model_copy(update={"iterations": 2})
    tables = people.tables()
    whole = compare_arms(section, *tables, tmp_path / "whole")

    def two_threads(function, shards):
        with ThreadPoolExecutor(2) as threads:
            yield from threads.map(function, shards)

    torch.set_num_threads(2)
    with_a_thread_each = section.model_copy(update={"threads": 1})
    beside = compare_arms(with_a_thread_each, *tables, tmp_path / "beside", spread=two_threads)
    assert beside.digest == whole.digest
    assert files_of(tmp_path / "beside") == files_of(tmp_path / "whole")
    assert torch.get_num_threads() == 2


def test_a_training_in_a_process_of_its_own_reports_through_this_one(people, section, tmp_path, capfd):
    section = section.model_copy(update={"arms": {"real": ArmConfig()}, "start": None, "iterations": 2})
    with RANDOM_STATE:
        compare_arms(section, *people.tables(), tmp_path / "reid")
    said = capfd.readouterr().err
    assert said.count("real-s0: 2/2 iterations") == 1 and "real-s0 gallery: " in said


def test_systems_of_other_losses_and_in_bf16_share_a_run(people, section, tmp_path):
    arms = {"ide": ArmConfig(), "embedding": ArmConfig(loss="verification"),
            "positives": ArmConfig(loss="triplet", real=4, synthetic=4, label="positive", against="ide")}  # fmt: skip
    changes = {"iterations": 2, "instances": 2, "arms": arms, "precision": "bf16"}
    metrics = compare_arms(section.model_copy(update=changes), *people.tables(), tmp_path / "reid").frame()
    assert set(metrics["arm"]) == set(arms) and np.isfinite(metrics["value"]).all()
