"""Whose a folder is: a run takes no folder that holds something else, and removes nothing that it did not write."""

import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from augment.base.errors import AugmentError, UsageError
from augment.cli import main
from augment.config import Config, load_config
from augment.pipeline.folder import check_folder, locked_run
from augment.pipeline.stages import STAGES
from augment.run import Run


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_users_folder_is_refused_and_left_as_it_is(tmp_path, tiny_config):
    project = tmp_path / "proj"
    (project / "notes").mkdir(parents=True)
    (project / "notes" / ".thesis.partial").write_text("years of work")
    (project / "config.yaml").write_text("mine: 1\n")
    before = contents(project)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny_config.model_dump(mode="json")))
    for options in (["--engine", "local"], ["--dry-run"]):
        arguments = ["images", str(tmp_path / "tiny.yaml"), "--set", f"output={project}", *options]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2
        assert f"{project}: is not the folder of a run and not empty (it holds config.yaml)" in result.output
        assert contents(project) == before


def test_a_refused_run_leaves_the_configuration_of_the_last_one(tmp_path, finished_run):
    run = tmp_path / "tiny"
    shutil.copytree(finished_run, run)
    before = contents(run)
    arguments = ["run", str(run / "config.yaml"), "--engine", "local", "--set", f"output={run}"]
    for wrong in ("reid.arms={real: {}, own_pose: {}}", "reid.arms={real: {}, reel: {}}", "gan.device=tpu"):
        result = CliRunner().invoke(main, [*arguments, "--set", "reid.iterations=999", "--set", wrong])
        assert result.exit_code in (2, 3) and "Traceback" not in result.output
        assert contents(run) == before


def test_results_are_shown_with_the_settings_that_made_them(finished_run):
    """A stage alone, or an interrupted run, leaves a configuration that other tables were not made with."""
    made = load_config(finished_run / "config.yaml")
    changes = ["reid.iterations=999", "reid.arms={real: {}, more: {real: 8}}", "data.validation_identities=2",
               "gan.system=baseline", "synthesis.filter.sharpness=0.5", "flow.workers=3",
               "gan.log_every=7"]  # fmt: skip
    later = load_config(finished_run / "config.yaml", changes)
    assert Run(finished_run).config_as_made(made) == made
    shown = Run(finished_run).config_as_made(later)
    for stage in STAGES:
        assert stage.settings(shown).identity() == stage.settings(made).identity()
    assert list(shown.reid.arms) == list(made.reid.arms)  # the first is the reference
    assert shown.flow.workers == 3 and shown.gan.log_every == 7  # no result depends on these


def test_the_report_says_which_settings_the_results_do_not_have(tmp_path, finished_run):
    run = tmp_path / "tiny"
    shutil.copytree(finished_run, run)
    quiet = CliRunner().invoke(main, ["report", str(run)])
    assert quiet.exit_code == 0 and "results are shown" not in quiet.output
    told = CliRunner().invoke(main, ["report", str(run), "--set", "reid.iterations=999"])
    assert "that made them; the configuration has others: reid.iterations." in told.output
    assert "999 iterations" not in (run / "report.html").read_text()


def test_a_run_removes_only_what_its_own_writes_left(tmp_path):
    run = tmp_path / "run"
    with locked_run(Config(output=run)) as folder:
        assert folder == run
    mine = [run / ".thesis.partial", run / "notes" / ".page.html.abcdefgh.partial", run / "gan" / ".mine.partial"]
    left = [run / ".config.yaml.abcdefgh.partial", run / "gan" / "samples" / ".000500.jpg.ab_d3f6h.partial"]
    for path in mine + left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    with locked_run(Config(output=run)):
        pass
    assert all(path.exists() for path in mine) and not any(path.exists() for path in left)


def test_folders_of_runs_new_empty_and_older_are_taken(tmp_path):
    check_folder(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    check_folder(tmp_path / "empty")
    older = tmp_path / "older"  # version 1.0: no marker yet
    older.mkdir()
    for name in (".lock", "config.yaml", "report.html"):
        (older / name).write_text("")
    with locked_run(Config(output=older)):
        assert (older / ".augment-run").read_text() == "This folder belongs to a run of reid-augment.\n"


def test_a_folder_around_or_within_a_run_is_refused(tmp_path):
    with locked_run(Config(output=tmp_path / "outputs" / "tiny")):
        with pytest.raises(UsageError, match=r"outputs: is not the folder of a run and not empty \(it holds tiny\)"):
            check_folder(tmp_path / "outputs")
        with pytest.raises(UsageError, match=r"synthetic: is inside the folder of the run .*tiny\."):
            check_folder(tmp_path / "outputs" / "tiny" / "synthetic")


def test_places_where_no_folder_can_be(tmp_path):
    (tmp_path / "file").write_text("")
    for name, message in (("file", "file: is a file, not a folder"), ("file/run", "a part of that path is a file"),
                          ("x" * 256, "the name is too long")):  # fmt: skip
        with pytest.raises(AugmentError, match=message), locked_run(Config(output=tmp_path / name)):
            pass


def test_the_traceback_of_a_mistake_goes_when_the_next_run_succeeds(tmp_path, tiny_config, monkeypatch):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny_config.model_dump(mode="json")))
    command = ["report", str(tmp_path / "tiny.yaml")]
    assert "no finished stage of a run" in CliRunner().invoke(main, command).output
    assert not tiny_config.folder.exists()
    monkeypatch.setattr("augment.report.page.check_tables", lambda _: None)
    with monkeypatch.context() as patched:
        patched.setattr("augment.report.page.write_report", lambda *_: {}["gone"])
        assert CliRunner().invoke(main, command).exit_code == 1
    assert "KeyError" in (tiny_config.folder / "error.log").read_text()
    monkeypatch.setattr("augment.report.page.write_report", lambda *_: None)
    assert CliRunner().invoke(main, command).exit_code == 0
    assert not (tiny_config.folder / "error.log").exists()


def test_a_run_says_what_changed_since_the_last_one_in_its_folder(tmp_path, capsys):
    first = Config(output=tmp_path / "run", data={"root": "/data/a"})
    for _ in range(2):
        with locked_run(first):
            pass
    assert capsys.readouterr().err == ""
    # where and with how many workers does not count
    second = Config(output=tmp_path / "run", data={"root": "/data/b"}, gan={"iterations": 5}, flow={"workers": 4})
    with locked_run(second), locked_run(second):
        pass
    said = f'{tmp_path / "run"}: since its last run: data.root "/data/a" -> "/data/b"; gan.iterations 90000 -> 5'
    assert " ".join(capsys.readouterr().err.split()) == said
    (tmp_path / "run" / "config.yaml").write_text("a_key_of_another_version: 1")
    with locked_run(first):
        pass
    assert capsys.readouterr().err == ""
