"""What a stage would do: told without making anything, and true of what it then does."""

import shutil

import pytest

from augment.config import Config
from augment.manifest import read_manifest
from augment.pipeline import times as times_module
from augment.pipeline.reuse import Decision, decide
from augment.pipeline.stages import STAGES, run_stage, stage_named
from augment.pipeline.times import read_times, time_needed
from augment.stage import Estimate

BY_NAME = {stage.name: stage for stage in STAGES}


@pytest.fixture
def config(finished_run, tiny_config) -> Config:
    """Of a copy of the finished run."""
    shutil.copytree(finished_run, tiny_config.folder)
    return tiny_config


def changed(config: Config, section: str, **values: object) -> Config:
    return config.model_copy(update={section: getattr(config, section).model_copy(update=values)})


def test_every_stage_states_the_identity_under_which_it_made_its_table(config):
    before = {path: path.stat().st_mtime_ns for path in config.folder.rglob("*")}
    for stage in STAGES:
        made = read_manifest(stage.path(config.folder)).provenance
        assert stage.identity(config)["digest"] == made["digest"], stage.name
        assert decide(stage, config, []) == Decision(
            "reuse", "up to date", len(read_manifest(stage.path(config.folder)).table)
        )
    assert {path: path.stat().st_mtime_ns for path in config.folder.rglob("*")} == before


def test_an_interrupted_quality_stage_is_seen(config, monkeypatch):
    from augment.quality import stage as quality

    monkeypatch.setattr(quality, "_PAIRS_PER_PART", 3)  # of 8 pairs
    scored = []
    original = quality._observe

    def stop(batch, *others):
        scored.append(len(batch))
        if sum(scored) > 6:
            raise KeyboardInterrupt
        return original(batch, *others)

    monkeypatch.setattr(quality, "_observe", stop)
    config = changed(config, "quality", batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        run_stage(BY_NAME["quality"], config)
    assert scored == [2, 1, 2, 1, 2]
    assert decide(BY_NAME["quality"], config, []) == Decision("resume", "was interrupted", 6)


def test_a_longer_training_goes_on_from_a_shorter_one(config):
    longer = changed(config, "gan", iterations=8)
    assert decide(BY_NAME["gan"], longer, []) == Decision("resume", "resumes a shorter training", 6)


def test_a_training_that_was_put_aside_comes_back_and_what_follows_waits(config):
    other = changed(config, "gan", iterations=2, seed=1)
    assert decide(BY_NAME["gan"], other, []).why == "gan.iterations 6 -> 2; gan.seed 0 -> 1"
    run_stage(BY_NAME["gan"], other)
    assert decide(BY_NAME["gan"], config, []) == Decision("restore", "made before, set aside since", 6)
    assert not decide(BY_NAME["gan"], config, []).is_work
    assert decide(BY_NAME["synthetic"], config, ["gan"]).why == "waits for gan"


def test_times_are_scaled_by_the_estimates_of_then_and_now(config, monkeypatch):
    section = config.reid
    then = {"reid": {"seconds": 30.0, "units": 2, "estimated": 10.0, "section": section.identity()}}

    def needed(times, seconds, units=6, done=0):
        return time_needed("reid", section, Estimate("", units, 0, seconds), done, times)

    assert needed(then, 50.0) == (150.0, "this run's own times")  # three times as long as estimated
    assert needed(then, 50.0, done=2) == (pytest.approx(100), "this run's own times")
    assert needed({}, 50.0, done=3) == (25.0, "default rates")
    assert needed({}, None) == (None, "unknown")
    unrated = {"reid": then["reid"] | {"estimated": None}}
    assert needed(unrated, None, units=2) == (30.0, "this run's own times")  # the same work
    assert needed(unrated, None, units=3) == (None, "unknown")
    monkeypatch.setattr(times_module, "has_gpu", lambda: True)
    assert time_needed("reid", section, Estimate("", 6, 0, 50.0, on_gpu=True), 0, {}) == (
        None, "no rate for this GPU yet")  # fmt: skip


@pytest.mark.parametrize("content", ["null", "[1]", "{", ""])
def test_damaged_times_count_as_none(tmp_path, content):
    (tmp_path / "timings.json").write_text(content)
    assert read_times(tmp_path) == {}


def test_a_run_records_what_it_estimated(config):
    times = read_times(config.folder)
    assert list(times) == [stage.name for stage in STAGES]
    # 8 of 20 test pairs, 2 arms of one seed, 2 images for each source, 6 iterations
    assert times["quality"]["units"] == 8 and times["reid"]["units"] == 2 and times["gan"]["units"] == 6
    synthetic = read_manifest(stage_named("synthetic").path(config.folder)).table
    assert times["synthetic"]["units"] == len(synthetic)
