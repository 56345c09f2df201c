"""Reliable Ctrl-C: libraries may swallow a KeyboardInterrupt or raise another exception in its place."""

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
    """Raise KeyboardInterrupt if there was a Ctrl-C. Called before each unit of work."""
    if _asked.is_set():
        raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[None]:
    """After a Ctrl-C the block raises KeyboardInterrupt, whatever exception reaches its end.

    The first Ctrl-C waits for work in other threads, the second does not. Nothing is lost either way, since all writes
    are atomic.
    """

    def handle(number: int, frame: Any) -> None:
        if _asked.is_set():
            os._exit(INTERRUPTED)
        _asked.set()
        say("stopping; press Ctrl-C again to stop immediately.")
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
