"""The doctor names what is missing, how to get it, and whether this configuration needs it."""

import re

import pytest
import torch
from click.testing import CliRunner

from augment.cli import main
from augment.config import Config
from augment.gan import cost
from augment.pipeline import doctor
from augment.pipeline.doctor import Check


@pytest.fixture
def quick(monkeypatch):
    """Without the checks that start a process for each package."""
    monkeypatch.setattr(doctor, "_imported", lambda name, *_: Check(name, "ok", "works"))
    monkeypatch.setattr(cost, "bf16_gain", lambda *_: 1.0)


def checks(config: Config) -> dict[str, Check]:
    return {check.name: check for check in doctor.examine(config)}


def test_everything_the_tiny_run_needs(quick, tiny_config):
    found = checks(tiny_config)
    assert {name: check for name, check in found.items() if check.status == "failed"} == {}
    assert found["data set"].found == "13 gallery, 12 query, 24 train (rendered)"
    assert found["key points of train"].found == "annotation-train.csv will be rendered with the set"
    assert not tiny_config.folder.exists()


def test_missing_data_set(quick, tmp_path):
    config = Config.model_validate({"data": {"root": str(tmp_path / "no")}, "output": str(tmp_path / "run")})
    check = checks(config)["data set"]
    assert check.status == "failed" and "no such folder. Set data.root" in check.found


@pytest.mark.parametrize("features", ["vgg19", "vgg19+rgb"])
def test_missing_weights(quick, tmp_path, tiny_set, features):
    gan = {"features": features, "vgg_weights": str(tmp_path / "vgg.pth")}
    config = Config.model_validate({"data": {"root": str(tiny_set)}, "gan": gan, "output": str(tmp_path / "run")})
    check = checks(config)["VGG-19 weights"]
    assert check.status == "failed" and "no such file" in check.found and "gan.features=patches" in check.fix


def test_a_generator_that_is_used_as_it_is_needs_no_weights(quick, tmp_path, tiny_set):
    gan = {"features": "vgg19+rgb", "iterations": 0, "decay_iterations": 0, "start": "market1501"}
    config = Config.model_validate({"data": {"root": str(tiny_set)}, "gan": gan, "output": str(tmp_path / "run")})
    assert "VGG-19 weights" not in checks(config)


@pytest.mark.parametrize(
    ("check", "changes", "said"),
    [("re-ID arms", {"reid": {"start": "nowhere.pt"}}, r"reid.start=.*nowhere.pt: cannot be read"),
     ("re-ID arms", {"reid": {"arms": {"tiny": {"real": 1}}}}, "a batch of 1 images is too small"),
     ("re-ID model", {"reid": {"model": "hacnn", "height": 64, "width": 32}}, "does not take images of 64x32"),
     ("re-ID model", {"reid": {"model": "pcb_p4", "height": 64, "width": 32}}, "has several classifiers"),
     ("other generators", {"quality": {"generators": ["nowhere"]}}, "nowhere")],
)  # fmt: skip
def test_what_would_stop_a_run_in_its_last_stages(quick, tiny_config, check, changes, said):
    found = checks(Config.model_validate(tiny_config.model_dump() | changes))[check]
    assert found.status == "failed" and re.search(said, found.found)


def test_missing_package(quick, monkeypatch):
    def version(name):
        raise doctor.PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", version)
    check = next(check for check in doctor.examine(None) if check.name == "openpifpaf")
    assert check.status == "failed" and check.found == "not installed" and "make setup" in check.fix


@pytest.mark.parametrize(
    ("gain", "precision", "status", "advice"),
    [(1.8, "fp32", "ok", "gan.precision=bf16"), (1.8, "bf16", "ok", ""), (1.1, "fp32", "ok", ""),
     (0.5, "bf16", "warn", "gan.precision=fp32"), (0.5, "fp32", "ok", "")],
)  # fmt: skip
def test_bf16_is_advised_where_it_pays(monkeypatch, gain, precision, status, advice):
    monkeypatch.setattr(cost, "bf16_gain", lambda *_: gain)
    check = doctor._bf16(Config.model_validate({"gan": {"precision": precision}}))
    assert check.status == status and advice in check.fix and bool(advice) == bool(check.fix)
    assert check.found.startswith(f"{gain} times as fast")


def test_what_bf16_gains_is_measured(tiny_config):
    assert 0.01 < cost.bf16_gain(tiny_config, torch.device("cpu"), seconds=0.05) < 100


def test_a_gpu_that_is_not_there(quick, tmp_path, tiny_set, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    config = Config.model_validate({"data": {"root": str(tiny_set)}, "gan": {"device": "cuda"}})
    check = checks(config)["gpu"]
    assert check.status == "failed" and "gan.device is cuda" in check.found and "gan.device=auto" in check.fix


def test_exit_code(quick, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("data: {layout: rendered}\ngan: {features: patches}")
    bad.write_text("data: {root: nowhere}")
    result = CliRunner().invoke(main, ["doctor", str(good)])
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(main, ["doctor", str(bad)])
    assert result.exit_code == 3
    assert "failed data set" in result.output and " warnings, 1 failed" in result.output


def test_packages_really_work():
    """The real checks, each in its own process."""
    found = {check.name: check for check in doctor.examine(None)}
    for name in ("torchvision operators", "prefect with fastapi", "openpifpaf works", "torchreid works"):
        assert found[name].status == "ok", found[name]


def test_judges_without_weights_are_told_with_the_file_they_need(quick, tmp_path, tiny_set):
    (tmp_path / "alexnet.pth").write_bytes(b"weights")
    settings = {"lpips_weights": str(tmp_path / "alexnet.pth")}
    found = checks(Config.model_validate({"data": {"root": str(tiny_set)}, "quality": settings}))
    assert found["metrics by inception"].status == "info" and "FID, KID" in found["metrics by inception"].found
    assert found["metrics by inception"].fix.startswith("quality.inception_weights: ")
    assert "metrics by alexnet" not in found and found["metric weights"].found.startswith("lpips_weights ")
    found = checks(Config.model_validate({"quality": {"lpips_weights": str(tmp_path / "gone.pth")}}))
    assert found["metric weights"].status == "failed"


def test_a_folder_of_somebody_elses_and_too_little_memory(quick, tiny_config, monkeypatch):
    tiny_config.folder.mkdir()
    (tiny_config.folder / "thesis.tex").write_text("mine")
    check = checks(tiny_config)["write permission"]
    assert check.status == "failed" and "is not the folder of a run and not empty (it holds thesis.tex)" in check.found
    (tiny_config.folder / "thesis.tex").unlink()
    monkeypatch.setattr("augment.pipeline.plan.available_memory", lambda: 10**6)
    monkeypatch.setattr("augment.pipeline.plan.has_gpu", lambda: False)
    check = checks(tiny_config)["memory"]
    assert check.status == "warn" and "reid takes about" in check.found
