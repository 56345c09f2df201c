"""README.md and docs/*.md are true: every command can be read, and what needs neither a GPU nor Market-1501 is run."""

import ast
import glob
import importlib
import json
import re
import shlex
import shutil
from pathlib import Path

import click
import duckdb
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from augment.cli import main
from augment.commands.common import read_config
from augment.gan.generators import CARD
from augment.pipeline import doctor

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}

# Commands that are read but not run, by what they need.
NOT_RUN = {
    "Market-1501": r"configs/(market1501|table4)|\$MARKET1501_ROOT|outputs/(systems/|market1501)",
    "many minutes": r"train.identities[= ]2000",
    "images that we do not ship": r"data import pku |outputs/pku|/data/(mine|deepfashion)",
    "a bucket": r"s3://",
    "people, or a server that waits": r"augment (study|serve)\b",
}
# Run with fewer people, or with the weights of the tiny run.
SMALLER = {"--train-identities 60": "--train-identities 12", "export outputs/wide": "export outputs/demo",
           "weights-00[2-8]": "weights-", " outputs/wide/gan/weights-009000.safetensors": ""}  # fmt: skip


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def shell_lines(text: str) -> list[str]:
    """Lines of indented blocks that a shell would run; continued ones joined, comments and loops' words left out."""
    joined = re.sub(r"\\\n\s*", "", text)
    lines = [line.partition(" # ")[0].strip() for line in joined.splitlines() if line.startswith("    ")]
    return [line for line in lines if re.match(r"(\w+=\S+ )?(torchrun|augment|python|make|\.venv/bin)\b(?! *->)", line)]


def spans(text: str) -> list[str]:
    """Commands in the running text and in tables."""
    return [span for span in re.findall(r"`([^`\n]+)`", text) if re.match(r"(augment|python|make|tensorboard) ", span)]


# In the order of each page: a command may need what one above it has made.
COMMANDS = list(dict.fromkeys((page, line) for page, text in TEXTS.items() for line in shell_lines(text)))
MENTIONED = sorted({(page, span) for page, text in TEXTS.items() for span in spans(text)})
OURS = [(page, line[line.index("augment ") :]) for page, line in COMMANDS if re.search(r"(^|\s)augment ", line)]


def subcommand(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the first words name, and the words after them."""
    command: click.Command = main
    while isinstance(command, click.Group):
        assert words and words[0] in command.commands, f"no command augment ... {' '.join(words[:1])}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


def test_there_is_much_to_read():
    assert len(OURS) > 15 and len(MENTIONED) > 25 and len(COMMANDS) > 20


@pytest.mark.parametrize(("page", "line"), OURS)
def test_a_command_is_understood(page, line, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PREFECT_API_URL", "")
    for variable, value in (
        ("$system", "dsc"), ("$precision", "bf16"), ("$seed", "1"), ("$VGG", "vgg.pth"), ("$MARKET1501_ROOT", "market"),
    ):  # fmt: skip
        line = line.replace(variable, value)
    monkeypatch.setattr("augment.commands.common.fetch", lambda path: True)  # nothing is fetched from a bucket
    command, words = subcommand(shlex.split(line)[1:])
    context = command.make_context("augment", words)  # an unknown option or a missing argument is an error
    if config := context.params.get("config_path"):
        read_config(config, context.params.get("overrides", ()))  # so is an unknown key


@pytest.mark.parametrize(("page", "span"), MENTIONED)
def test_a_command_in_the_text_exists(page, span):
    program, *words = span.split()
    if program == "augment":
        named = [word for word in words if re.fullmatch(r"[a-z]+", word)]
        command: click.Command = main
        for word in named:
            if not isinstance(command, click.Group):
                break
            assert word in command.commands, span
            command = command.commands[word]
        options = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"--[a-z][a-z-]*", span)) <= options | {"--help"}, span
    elif program == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.M), span
    elif program == "python":
        source = (ROOT / words[0]).read_text()
        for option in re.findall(r"--[a-z][a-z-]*", span):
            assert f'"{option}"' in source, f"{span}: no option {option}"


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_to_files(page):
    folder = (ROOT / page).parent
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]*[./][^)#\s]*)", TEXTS[page])
    assert [link for link in links if not (folder / link).exists()] == []


def test_make_targets_exist():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
    made = [line.split()[1] for _, line in COMMANDS if line.startswith("make ")]
    assert made and set(made) <= set(targets)


@pytest.mark.parametrize("page", TEXTS)
def test_names_of_the_library_exist(page):
    for name in re.findall(r"`(augment(?:\.\w+)+)", TEXTS[page]):
        if name == "augment.sha256":  # a key in a table's metadata
            continue
        module, _, attribute = name.rpartition(".")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(module), attribute), name


@pytest.fixture(scope="module")
def place(finished_run, tmp_path_factory) -> Path:
    """A folder as after `make demo`, of the tiny run: configs/demo.yaml, outputs/demo, pictures and crops of people.

    Files called demo and own-data stand in for the shipped configurations of these names.
    """
    folder = tmp_path_factory.mktemp("documented")
    shutil.copytree(finished_run, folder / "outputs" / "demo")
    (folder / "configs").mkdir()
    tiny = yaml.safe_load((finished_run.parents[1] / "tiny.yaml").read_text())
    (folder / "configs" / "demo.yaml").write_text(yaml.safe_dump(tiny | {"name": "demo"}))
    shutil.copy(folder / "configs" / "demo.yaml", folder / "demo")
    own = yaml.safe_load((ROOT / "configs" / "own-data.yaml").read_text())
    small = {"gan": {"iterations": 2}, "pairs": {"test_pairs": 20}, "quality": {"pairs": 8}, "reid": tiny["reid"]}
    (folder / "own-data").write_text(yaml.safe_dump(
        own | {section: own[section] | values for section, values in small.items()}
    ))  # fmt: skip
    people = sorted((finished_run / "rendered" / "bounding_box_train").glob("*.jpg"))
    for name, source in zip(("me.jpg", "other.jpg", "another.jpg"), people[::7], strict=False):
        shutil.copy(source, folder / name)
    (folder / "CARD.json").write_text(json.dumps(dict.fromkeys(CARD, "made up") | {"figures": {}}))
    (folder / "crops").mkdir()
    for number, source in enumerate(people):  # 0001_c2s1_000451_03.jpg
        shutil.copy(source, folder / "crops" / f"cam{source.name[6]}-person{source.name[:4]}-{number}.jpg")
    return folder


@pytest.mark.parametrize(
    ("page", "line"), [(page, line) for page, line in OURS if not re.search("|".join(NOT_RUN.values()), line)]
)
def test_a_command_runs(page, line, place, monkeypatch):
    monkeypatch.chdir(place)
    # Each package in a process of its own: tests/test_doctor.py
    monkeypatch.setattr(doctor, "_imported", lambda name, *_: doctor.Check(name, "ok", "works"))
    for documented, smaller in SMALLER.items():
        line = line.replace(documented, smaller)
    words = shlex.split(line)[1:]
    words = [path for word in words for path in (sorted(glob.glob(word)) if "*" in word else [word])]
    command, _ = subcommand(list(words))
    if any("--engine" in parameter.opts for parameter in command.params):
        words += ["--engine", "local"]  # tests/flows runs Prefect
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output


def test_nothing_is_left_out_for_no_reason():
    for reason, pattern in NOT_RUN.items():
        assert any(re.search(pattern, line) for _, line in OURS), reason
    for documented in SMALLER:
        assert any(documented in line for _, line in OURS), documented


PYTHON = [(page, code) for page, text in TEXTS.items() for code in blocks(text, "python")]
SQL = [(page, query) for page, text in TEXTS.items() for block in blocks(text, "sql") for query in block.split(";")
       if query.strip()]  # fmt: skip


@pytest.mark.parametrize(("page", "code"), PYTHON)
def test_python_runs(page, code, place, monkeypatch, request):
    monkeypatch.chdir(place)
    if "flows" in code:
        request.getfixturevalue("prefect_harness")
    names: dict = {}
    for statement in ast.parse(code).body:
        source = ast.unparse(statement)
        if isinstance(statement, ast.Expr):  # what a reader would see in a notebook
            shown = eval(source, names)
            assert not isinstance(shown, pd.DataFrame) or "failed" in source or len(shown), source
        else:
            exec(source, names)


@pytest.mark.parametrize(("page", "query"), SQL)
def test_sql_runs(page, query, place, monkeypatch):
    monkeypatch.chdir(place)
    assert len(duckdb.sql(query).fetchall()), query


def test_every_kind_of_code_was_found():
    assert len(PYTHON) >= 5 and len(SQL) >= 5
