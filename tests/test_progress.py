"""Progress of a child process, and bars on a terminal."""

import io
from multiprocessing import Pipe
from threading import Thread

import pytest
from rich.console import Console

from augment.base import progress as bars
from augment.base.progress import progress, say, sent_to_parent, show_sent


def test_what_a_child_does_is_shown_by_its_parent(monkeypatch, capsys):
    monkeypatch.setattr(bars, "_PLAIN_INTERVAL_S", 0)
    received, sent = Pipe(duplex=False)
    with sent_to_parent(sent):
        with progress("outer", 2, unit="runs") as outer:
            with progress("inner", 4) as inner:
                inner(3, "loss 1.5")
                say("by the way")
            outer()
        with progress("left open", 9) as left:
            left(1)
            bars._send("open", -1, "of one that dies", 5, 0, "images")
    assert capsys.readouterr().err == ""
    shown = Thread(target=show_sent, args=(received,))
    shown.start()
    shown.join(20)
    assert not shown.is_alive()
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        "inner: 3/4 images", "by the way", "outer: 1/2 runs", "left open: 1/9 images"
    ]  # fmt: skip
    assert lines[0].endswith("loss 1.5")
    say("here again")
    assert "here again" in capsys.readouterr().err


@pytest.fixture
def terminal(monkeypatch) -> io.StringIO:
    page = io.StringIO()
    monkeypatch.setattr(bars, "console", Console(file=page, force_terminal=True, width=100))
    return page


@pytest.mark.usefixtures("terminal")
def test_finished_bars_leave_the_screen_to_those_at_work():
    with progress("reid", 2):
        for run in ("first", "second"):
            with progress(run, 1) as advance:
                advance()
            assert [task.description for task in bars._bars.tasks] == ["reid"]
        with progress("third", 1):
            assert [task.description for task in bars._bars.tasks] == ["reid", "third"]
    assert bars._bars is None
