"""Ctrl-C that is not lost: libraries between the terminal and the work may swallow or rename a KeyboardInterrupt."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from augment.base.progress import say

INTERRUPTED = 130  # 128 + SIGINT, as shells say it

_asked = threading.Event()


def stop_if_asked() -> None:
    """Raise KeyboardInterrupt if there was a Ctrl-C. Called before each piece of work."""
    if _asked.is_set():
        raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[None]:
    """Whatever ends the block after a Ctrl-C, it ends with KeyboardInterrupt.

    The first Ctrl-C lets work in other threads come to its end, the second does not wait. Nothing is lost either way,
    since everything is written whole or not at all.
    """

    def handle(number: int, frame: Any) -> None:
        if _asked.is_set():
            os._exit(INTERRUPTED)
        _asked.set()
        say("stopping; Ctrl-C once more stops at once.")
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handle)
    _asked.clear()
    try:
        yield
        stop_if_asked()
    except Exception:
        stop_if_asked()
        raise
    finally:
        signal.signal(signal.SIGINT, before)
