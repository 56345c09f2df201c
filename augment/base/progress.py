"""Progress of long work: a rich bar on a terminal, a plain line now and then elsewhere."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from augment.base.console import PlainConsole
from augment.base.terminal import shown

console = PlainConsole(stderr=True)

_PLAIN_INTERVAL_S = 15.0
_bars: Progress | None = None
_open_bars = 0
_lock = threading.Lock()


def say(message: str) -> None:
    """Print a message above the progress bars. Square brackets are text, not markup."""
    target = _bars.console if _bars is not None else console
    target.print(message, soft_wrap=True)


@contextmanager
def progress(title: str, total: int, done: int = 0, unit: str = "images") -> Iterator[Callable[..., None]]:
    """Show the progress of ``title``; yields ``advance(count=1, note="")``.

    ``done`` counts what an earlier run finished. Several may be open at once, also in several threads.
    """
    if console.is_terminal:
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
