"""The dry run says what does not fit."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from augment.base.devices import available_memory
from augment.config import Config, FilterConfig
from augment.pipeline.plan import make_plan, show_plan
from augment.retrieval.networks import build_model


def printed(plan, capsys) -> str:
    show_plan(plan, Console(width=200))
    return capsys.readouterr().out


def test_what_does_not_fit_into_memory_or_on_the_disk_is_said(tiny_config, monkeypatch, capsys):
    monkeypatch.setattr("augment.pipeline.plan.has_gpu", lambda: False)
    plan = make_plan(tiny_config)
    assert not plan.too_large and "not enough" not in printed(plan, capsys)
    monkeypatch.setattr("augment.pipeline.plan.available_memory", lambda: 10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    plan = make_plan(tiny_config)
    assert [step.stage for step in plan.too_large] == ["gan", "reid"]
    text = printed(plan, capsys)
    assert "Free on that disk: 1.0 MB. That is not enough" in text
    assert "gan takes about " in text and "reid takes about " in text and "1.0 MB are free. That is not enough" in text
    assert not tiny_config.folder.exists()


def test_every_disk_that_is_written_to_is_checked(tmp_path, monkeypatch, capsys):
    """A rendered set and downloaded weights on disks of their own: 82 images of 4 KB (two junk), 575 MB of VGG-19."""
    people = {"train_identities": 10, "test_identities": 10, "images_per_identity": 4}
    values = {"layout": "rendered", "rendered": people, "root": str(tmp_path / "other" / "set")}
    config = Config.model_validate({"data": values, "output": str(tmp_path / "run"), "gan": {"features": "vgg19",
                                    "width": 0.1}, "pose": {"estimator": "openpifpaf"}})  # fmt: skip
    (tmp_path / "other").mkdir()
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr("augment.base.disk._disk", lambda folder: next(
        (name for name in ("other", "hub") if name in Path(folder).parts), "run"))  # fmt: skip
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(
        free={"other": 10**5, "checkpoints": 10**9}.get(Path(folder).name, 10**12)))  # fmt: skip
    plan = make_plan(config, "gan")
    steps = {step.stage: step.estimate.disk for step in plan.steps}
    assert [(room.folder.name, room.needed, room.is_short) for room in plan.rooms[1:]] == [
        ("set", 82 * 4000, True), ("checkpoints", 574_673_361, False)]  # fmt: skip
    assert plan.rooms[0].needed == pytest.approx(sum(steps.values()) - 82 * 4000 - 574_673_361)
    text = printed(plan, capsys)
    assert f"328 KB of it at {tmp_path}/other/set, on another disk; free there: 100 KB. That is not enough" in text
    assert "575 MB of it at" in text and "free there: 1.0 GB.\n" in text


@pytest.mark.parametrize("batch", [4, 1000])
def test_a_batch_at_width_1_takes_130_mb_a_pair_beside_the_networks(tiny_config, batch):
    """61.1 million weights of the generator count five times (average, gradient, two moments), 2.8 million of the
    discriminator four times, four bytes each."""
    gan = tiny_config.gan.model_copy(update={"width": 1.0, "batch_size": batch})
    step = next(step for step in make_plan(tiny_config.model_copy(update={"gan": gan})).steps if step.stage == "gan")
    assert step.estimate.memory == pytest.approx(batch * 130e6 + 4 * (5 * 61.1e6 + 4 * 2.8e6), rel=0.01)


def test_the_largest_configuration_is_planned_without_making_it(tmp_path):
    values = {"layout": "rendered", "rendered": {"train_identities": 50, "test_identities": 50}}
    config = Config.model_validate({"data": values, "output": str(tmp_path / "run"), "gan": {"iterations": 10**9,
                                    "features": "patches"}, "pose": {"estimator": "openpifpaf"}})  # fmt: skip
    steps = make_plan(config, "gan").steps
    assert "rendered into" not in steps[0].estimate.amount
    elsewhere = config.model_copy(update={"data": config.data.model_copy(update={"root": tmp_path / "set"})})
    assert make_plan(elsewhere, "images").steps[0].estimate.amount.endswith(f", rendered into {tmp_path / 'set'}")
    assert steps[-1].seconds > 10**8 and not (tmp_path / "run").exists()


def test_memory_is_known_on_linux():
    assert available_memory() > 2**20


def test_the_plan_counts_what_the_filter_and_the_metrics_look_at(tmp_path, capsys):
    """40 training images in ten poses and their own; 20 gallery images and two of junk."""
    people = {"train_identities": 10, "test_identities": 10, "images_per_identity": 4}
    weights = tmp_path / "osnet.pt"
    torch.save(build_model("osnet_x0_25", 2, "softmax", False, torch.device("cpu")).state_dict(), weights)
    config = Config.model_validate({
        "data": {"layout": "rendered", "rendered": people, "root": str(tmp_path / "set")},
        "output": str(tmp_path / "run"), "pose": {"estimator": "openpifpaf"},
        "gan": {"start": "rendered", "iterations": 0},
        "synthesis": {"filter": {"margin": 0, "pose": 0.5, "judge": str(weights)}, "own_pose": True},
        "quality": {"pairs": 20, "identity_weights": str(weights)},
    })  # fmt: skip
    plan = make_plan(config)
    steps = {step.stage: step for step in plan.steps}
    shares = {share.name: share for step in plan.steps for share in step.estimate.shares}
    assert {name: share.images for name, share in shares.items()} == {
        "generator": 440, "sharpness": 400, "re-ID network of the filter": 440, "pose estimator of the filter": 400,
        "the run's generator": 20, "SSIM, PSNR, L1": 40, "osnet": 60 + 22,
    }  # fmt: skip
    assert shares["re-ID network of the filter"].seconds_each == pytest.approx(0.01)
    assert steps["synthetic"].estimate.seconds == pytest.approx(sum(
        share.seconds for share in steps["synthetic"].estimate.shares))  # fmt: skip
    text = printed(plan, capsys)
    assert "440 images, 11 for each" in text and "pose estimator of the filter" in text
    unfiltered = config.model_copy(update={"synthesis": config.synthesis.model_copy(update={"filter": FilterConfig()})})
    assert not next(step for step in make_plan(unfiltered).steps if step.stage == "synthetic").estimate.shares
