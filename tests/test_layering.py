"""What may import what: data flows one way, and only flows/ knows Prefect."""

import ast
import re
from pathlib import Path

import pytest

import augment

PACKAGE = Path(augment.__file__).parent
ROOT = PACKAGE.parent

# A module may import from its own floor and from those listed before it. The command line may use flows.
_PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ORDER = [line.split() for line in _PAGE.partition("```floors\n")[2].partition("```")[0].splitlines()]
PLACE = {name: place for place, names in enumerate(ORDER) for name in names}


def imports(path: Path) -> set[str]:
    """Full names of all modules that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_library_never_imports_prefect(path):
    assert not {name for name in imports(path) if name.split(".")[0] in ("prefect", "prefect_dask", "prefect_ray")}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_from_its_left(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    assert own in PLACE, f"{own} has no place in the order yet"
    for name in imports(path):
        package, _, rest = name.partition(".")
        if package == "augment" and rest and (other := rest.split(".")[0]) in PLACE:
            assert PLACE[other] <= PLACE[own], f"{own} imports {other}, which lies to its right"
        if package == "flows":
            assert own == "commands"


def test_only_the_adapter_imports_openpifpaf():
    users = {path.name for path in modules() if any(name.split(".")[0] == "openpifpaf" for name in imports(path))}
    assert users == {"openpifpaf_adapter.py"}


def test_every_part_of_the_package_is_on_a_floor_and_every_floor_is_there():
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in modules()} - {"__init__"}
    assert parts == set(PLACE) and len(ORDER) == 17


def test_places_named_in_the_page_exist():
    named = re.findall(r"`([a-z_/]+\.py)`", _PAGE)
    assert len(named) > 10
    assert [name for name in named if not ((PACKAGE / name).exists() or (ROOT / name).exists())] == []


def test_the_equations_stand_where_the_page_says_in_three_hundred_lines():
    rows = re.findall(r"^\| (\d.*) \| `(\S+)` \| (.+) \|$", _PAGE, re.M)
    stated = {number for equation, _, _ in rows for number in re.findall(r"\d+", equation.partition(":")[0])}
    assert stated >= {str(number) for number in range(1, 11)}
    for _, file, functions in rows:
        text = (PACKAGE / file).read_text(encoding="utf-8")
        for name in re.findall(r"`([\w.]+)`", functions):
            assert f"def {name.rpartition('.')[2]}(" in text, f"{file} has no {name}"
    assert sum(len((PACKAGE / file).read_text().splitlines()) for file in {file for _, file, _ in rows}) <= 300
