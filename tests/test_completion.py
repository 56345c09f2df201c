"""Tab: what click's machinery answers, and what a real Bash then writes on the line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from augment.cli import main

# Loads the script, lays the line as Bash would cut it, calls the function and prints what it would write.
BASH = r"""
complete() { :; }
compopt() { echo "${@: -1}"; }
eval "$(_AUGMENT_COMPLETE=bash_source augment)"
COMP_LINE=$1; COMP_POINT=${#1}; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_augment_completion augment
printf '%s\n' "${COMPREPLY[@]}"
"""


def answers(*words: str) -> list[str]:
    return [item.value for item in ShellComplete(main, {}, "augment", "_").get_completions(list(words[:-1]), words[-1])]


def test_commands_configurations_keys_and_values():
    assert answers("ru") == ["run"]
    assert answers("config", "s") == ["show"]
    assert answers("run", "market1501-f") == ["market1501-few", "market1501-few-validation"]
    assert answers("doctor", "own") == ["own-data"]
    assert answers("run", "demo", "--set", "") == [
        "name=", "output=", "data.", "pose.", "pairs.", "gan.", "synthesis.", "quality.", "reid.", "report.", "flow.",
    ]  # fmt: skip
    assert answers("run", "demo", "--set", "data.re") == ["data.rendered."]
    assert answers("run", "demo", "--set", "gan.it") == ["gan.iterations="]
    assert answers("run", "demo", "--set", "gan.system=") == [
        f"gan.system={system}" for system in ("baseline", "dsc", "percloss", "full")
    ]
    assert answers("run", "demo", "--set", "reid.pretrained=t") == ["reid.pretrained=true"]
    assert answers("run", "demo", "--set", "gan.compile=f") == ["gan.compile=false", "gan.compile=full"]
    assert answers("run", "demo", "--set", "quality.pose_checkpoint=n") == ["quality.pose_checkpoint=null"]
    for unknown in ("gan.nothing=", "gone.system=", "gan.iterations=", "gan.system.more="):
        assert answers("run", "demo", "--set", unknown) == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="no Bash")
@pytest.mark.parametrize(("line", "words", "expected"), [
    ("augment run own", ["augment", "run", "own"], "own-data\n"),
    # Bash cuts at "=": only what follows is to be written
    ("augment run demo --set gan.system=f", ["augment", "run", "demo", "--set", "gan.system", "=", "f"], "full\n"),
    ("augment run demo --set gan.system=", ["augment", "run", "demo", "--set", "gan.system", "="],
     "baseline\ndsc\npercloss\nfull\n"),
    ("augment run demo --set gan.it", ["augment", "run", "demo", "--set", "gan.it"],
     "nospace\ngan.iterations=\n"),
])  # fmt: skip
def test_bash_writes_it(line, words, expected, tmp_path):
    program = tmp_path / "augment"
    program.write_text(f"#!{sys.executable}\nfrom augment.cli import main\nmain(prog_name='augment')\n")
    program.chmod(0o755)
    done = subprocess.run(
        ["bash", "--norc", "-c", BASH, "bash", line, *words], capture_output=True, text=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(Path(__file__).parents[1]),
             "COMP_WORDBREAKS": " \t\n\"'><=;|&(:"},
    )  # fmt: skip
    assert done.stdout == expected, done.stderr
