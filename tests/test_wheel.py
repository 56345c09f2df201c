"""The wheel: it holds all that the checkout has, and works in an empty folder."""

import os
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from augment import __version__
from augment.config import shipped_configs

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy: a build leaves folders behind, and an old one would feed the next."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("augment", "flows", "configs"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", out, source],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.whl"))


def test_it_holds_every_file_of_the_packages_and_the_configurations(wheel):
    with zipfile.ZipFile(wheel) as archive:
        inside = {name: archive.getinfo(name).file_size for name in archive.namelist()}
    for package in ("augment", "flows"):
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert inside.get(path.relative_to(ROOT).as_posix()) == path.stat().st_size, path
    configs = {path.name for path in (ROOT / "configs").glob("*.yaml")}
    assert len(configs) > 5 and {f"augment/configs/{name}" for name in configs} <= set(inside)
    assert {name.split("/")[0] for name in inside} == {"augment", "flows", f"reid_augment-{__version__}.dist-info"}


def test_its_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        folder = f"reid_augment-{__version__}.dist-info"
        about = Parser().parsestr(archive.read(f"{folder}/METADATA").decode())
        assert "augment = augment.cli:main" in archive.read(f"{folder}/entry_points.txt").decode()
    assert about["Version"] == __version__
    assert f"\n## {__version__} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_it_runs_by_name_in_an_empty_folder(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    (tmp_path / "empty").mkdir()

    def augment(*arguments: str) -> str:
        code = "import augment, sys; from augment.cli import main; print(augment.__file__); main()"
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=tmp_path / "empty", capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(tmp_path / "installed"), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        used, _, printed = done.stdout.partition("\n")
        assert used == str(tmp_path / "installed" / "augment" / "__init__.py")
        return printed

    listed = {line.split()[0] for line in augment("config", "list").splitlines() if line}
    assert listed >= set(shipped_configs())
    assert "Plan for outputs/demo" in augment("run", "demo", "--dry-run")
    assert not any((tmp_path / "empty").iterdir())
