"""What a worker of pytest-xdist does as a whole."""

from pathlib import Path

HERE = Path(__file__).parent


def test_files_belong_together_or_stand_alone(pytestconfig):
    conftest = pytestconfig.pluginmanager.get_plugin(str(HERE / "conftest.py"))
    files = [file.relative_to(HERE.parent).as_posix() for file in HERE.rglob("test_*.py")]
    units = {file: conftest.unit_of_work(f"{file}::TestOne::test_two[a::b]") for file in files}
    titles = conftest._TOGETHER
    for title, names in titles.items():
        for name in names:
            assert title in [unit for file, unit in units.items() if file.startswith(f"tests/{name}")], name
    alone = {file: unit for file, unit in units.items() if unit not in titles}
    assert all(f"tests/{unit}" == file for file, unit in alone.items()) and len(alone) > 50
    assert units["tests/flows/test_server.py"] == units["tests/test_interruption.py"]


def test_the_finished_run_and_prefect_are_used_by_two_workers_at_most(pytestconfig):
    conftest = pytestconfig.pluginmanager.get_plugin(str(HERE / "conftest.py"))
    for file in HERE.rglob("test_*.py"):
        if file != Path(__file__) and any(name in file.read_text() for name in ("finished_run", "prefect_harness")):
            unit = conftest.unit_of_work(file.relative_to(HERE.parent).as_posix())
            assert unit in list(conftest._TOGETHER)[:2], file
