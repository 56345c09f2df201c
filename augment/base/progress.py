"""Progress of long work: a rich bar on a terminal, a plain line now and then elsewhere.

Only one process may draw on a terminal, so a child process sends its progress to its parent.
"""

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from augment.base.console import PlainConsole
from augment.base.terminal import shown

console = PlainConsole(stderr=True)

_PLAIN_INTERVAL_S = 15.0
_bars: Progress | None = None
_open_bars = 0
_lock = threading.Lock()
_parent: Connection | None = None
_numbers = itertools.count()  # of the bars that a child process opens


def say(message: str) -> None:
    """Print a message above the progress bars. Square brackets are text, not markup."""
    if _parent is not None:
        _send("say", message)
        return
    console.print(message, soft_wrap=True)


@contextmanager
def progress(title: str, total: int, done: int = 0, unit: str = "images") -> Iterator[Callable[..., None]]:
    """Show the progress of ``title``; yields ``advance(count=1, note="")``.

    ``done`` counts what an earlier run finished. Several may be open at once, also in several threads.
    """
    if _parent is not None:
        with _sent_bar(title, total, done, unit) as advance:
            yield advance
    elif console.is_terminal:
        with _rich_bar(title, total, done, unit) as advance:
            yield advance
    else:
        yield _plain_lines(title, total, done, unit)


@contextmanager
def _rich_bar(title: str, total: int, done: int, unit: str) -> Iterator[Callable[..., None]]:
    global _bars, _open_bars
    with _lock:
        if _bars is None:
            _bars = Progress(
                TextColumn("{task.description:<12}", markup=False), BarColumn(bar_width=30), MofNCompleteColumn(),
                TextColumn("{task.fields[unit]}", markup=False), TimeElapsedColumn(), TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False), console=console,
            )
            _bars.start()
        _open_bars += 1
        bars = _bars
        task = bars.add_task(title, total=total, completed=done, unit=unit, note="")

    def advance(count: int = 1, note: str = "") -> None:
        bars.update(task, advance=count, note=note)

    try:
        yield advance
    finally:
        with _lock:
            _open_bars -= 1
            if _open_bars == 0:
                bars.stop()
                _bars = None
            else:
                bars.remove_task(task)  # or many finished ones would push those at work off the screen


def _plain_lines(title: str, total: int, done: int, unit: str) -> Callable[..., None]:
    start = last = time.monotonic()
    first = done

    def advance(count: int = 1, note: str = "") -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last >= _PLAIN_INTERVAL_S or done == total:
            last = now
            rate = (done - first) / max(now - start, 1e-9)
            print(shown(f"{title}: {done}/{total} {unit}, {rate:.1f}/s {note}".rstrip()), file=sys.stderr, flush=True)

    return advance


@contextmanager
def sent_to_parent(connection: Connection) -> Iterator[None]:
    """In a child process: the parent shows the block's progress and messages, by :func:`show_sent`."""
    global _parent
    with connection:
        _parent = connection
        try:
            yield
        finally:
            _parent = None


@contextmanager
def _sent_bar(title: str, total: int, done: int, unit: str) -> Iterator[Callable[..., None]]:
    number = next(_numbers)
    _send("open", number, title, total, done, unit)
    try:
        yield lambda count=1, note="": _send("advance", number, count, note)
    finally:
        _send("close", number)


def _send(*message: object) -> None:
    if _parent is not None:
        with _lock:
            _parent.send(message)


def show_sent(connection: Connection) -> None:
    """In the parent: show what a child process sends, until its block ends or it dies."""
    bars: dict[int, tuple[ExitStack, Callable[..., None]]] = {}
    with ExitStack() as all_bars:
        while True:
            try:
                kind, *content = connection.recv()
            except EOFError:
                return
            if kind == "say":
                say(*content)
                continue
            number, *content = content
            if kind == "open":
                bar = all_bars.enter_context(ExitStack())
                bars[number] = bar, bar.enter_context(progress(*content))
            elif kind == "advance":
                bars[number][1](*content)
            else:
                bars.pop(number)[0].close()
