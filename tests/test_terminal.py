"""Names and values from data reach the terminal as text: no escape sequence, no markup, no formula."""

import re

import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.tree import Tree

from augment.base.console import PlainConsole
from augment.base.progress import say
from augment.base.terminal import shown, spreadsheet_cell
from augment.cli import main
from augment.manifest import write_manifest

RED = "\x1b[31mred\x1b[0m"
EVIL = f"train/[bold]x[/bold] {RED} \x9b2J \u202egpj.exe :smile:"
SAFE = "train/[bold]x[/bold] \\x1b[31mred\\x1b[0m \\x9b2J \\u202egpj.exe :smile:"


@given(st.text())
def test_nothing_is_left_that_steers(text):
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", shown(text))
    shown(text).encode()  # raises on a lone surrogate
    if text.isascii() and text.isprintable():
        assert shown(text) == text


def test_tables_and_trees_show_what_is_there(capsys):
    console = PlainConsole(width=200)
    table = Table(EVIL, title=EVIL)
    table.add_row(EVIL)
    tree = Tree(EVIL)
    tree.add(EVIL)
    for printed in (table, tree, EVIL):
        console.print(printed)
    assert capsys.readouterr().out.count(SAFE) == 6
    say(EVIL)
    assert SAFE in capsys.readouterr().err


@pytest.fixture
def hostile_run(tmp_path):
    row = {"id": EVIL, "path": f"{RED}.jpg", "sha256": "0" * 64, "width": 64, "height": 128, "status": "ok",
           "reason": EVIL, "split": "train", "pid": 1, "camid": 1, "sequence": 1, "frame": 1}  # fmt: skip
    origin = {"stage": "images", "digest": "0" * 64, "version": 2, "command": f"augment {EVIL}", "section": {},
              "inputs": {EVIL: "0" * 64}, "packages": {EVIL: RED}}  # fmt: skip
    write_manifest(tmp_path / "run" / "images" / "images.parquet", "images", [row], origin)
    return tmp_path / "run"


def test_commands_that_look_into_manifests(hostile_run):
    table, run = str(hostile_run / "images" / "images.parquet"), str(hostile_run)
    for arguments in (["show", table], ["show", f"{run}{RED}"], ["verify", run], ["trace", EVIL, "--run", run],
                      ["trace", f"no such {RED}", "--run", run]):  # fmt: skip
        result = CliRunner().invoke(main, ["manifest", *arguments])
        assert "\\x1b[31mred" in result.output and not re.search("[\x1b\x9b\u202e]", result.output), arguments
    assert "[bold]x[/bold]" in CliRunner().invoke(main, ["manifest", "trace", EVIL, "--run", str(hostile_run)]).output


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_a_cell_of_a_csv_is_no_formula(formula):
    assert spreadsheet_cell(formula) == "'" + formula
    assert spreadsheet_cell("0002_c1s1_000451_03.jpg") == "0002_c1s1_000451_03.jpg"
    assert pd.Series([formula]).map(spreadsheet_cell).to_csv(index=False).splitlines()[1].lstrip('"').startswith("'")
