"""What would stop a run's last stages is told before or after its first."""

import shutil

import pytest

from augment.base.errors import AugmentError, UsageError
from augment.config import Config
from augment.manifest import read_manifest, write_manifest
from augment.pipeline.plan import make_plan
from augment.pipeline.stages import STAGES, check_settings, check_test, run_local, stage_named, stages_until


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"reid": {"start": "nowhere.pt"}}, "reid.start=.*nowhere.pt: cannot be read"),
     ({"quality": {"vgg_weights": "nowhere.pth"}}, "quality.vgg_weights: .*nowhere.pth cannot be read"),
     ({"quality": {"device": "gpu"}}, "device=gpu: no such kind"), ({"gan": {"device": "mps"}}, "is not supported"),
     ({"pose": {"estimator": "annotations"}}, "names no file for the split"),
     ({"gan": {"iterations": 5, "image_size": [100, 50]}}, "do not fit the generator")],
)  # fmt: skip
def test_a_run_that_would_stop_does_not_begin(tiny_config, changes, said):
    config = Config.model_validate(tiny_config.model_dump() | changes)
    for begin in (make_plan, run_local):
        with pytest.raises(AugmentError, match=said):
            begin(config)
    assert not (config.folder / "images").exists()


def test_only_the_stages_that_are_asked_for_are_checked(tiny_config):
    config = Config.model_validate(tiny_config.model_dump() | {"reid": {"start": "nowhere.pt", "device": "gpu"}})
    check_settings(stages_until("synthetic"), config)
    with pytest.raises(UsageError):
        check_settings(STAGES, config)


def test_images_on_which_reid_cannot_be_measured_are_told_before_a_generator_is_trained(tiny_config, finished_run):
    shutil.copytree(finished_run, tiny_config.folder)
    images = stage_named("images")
    frame = read_manifest(images.path(tiny_config.folder)).frame().assign(camid=1)
    write_manifest(images.path(tiny_config.folder), "images", frame, {"digest": "of one camera"})
    with pytest.raises(AugmentError, match=r"no query has a correct match.* For synthetic images alone: augment synth"):
        check_test(images, STAGES, tiny_config)
    check_test(images, stages_until("synthetic"), tiny_config)


def test_a_dry_run_refuses_what_the_run_would(tiny_config):
    arms = {"real": {}, "pairs": {"loss": "verification"}}
    reid = tiny_config.reid.model_dump() | {"batch_size": 4 * 100, "arms": arms}
    config = Config.model_validate(tiny_config.model_dump() | {"reid": reid})
    with pytest.raises(AugmentError, match=r"a batch of 400 images with reid\.instances=4 needs 100 people"):
        make_plan(config)
