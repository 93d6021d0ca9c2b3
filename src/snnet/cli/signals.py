"""Turns signals that end a command into an event."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """An event that Ctrl-C, TERM and HUP set instead of ending the program.

    Set-up stops when the event is set, tear-down does not.  After the first signal all
    others are ignored, also while the program ends.
    """
    event = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        event.set()

    # Signals that are ignored (nohup, background jobs of scripts) stay ignored.
    caught = [number for number in _STOPPING if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in caught}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if event.is_set() else handler)
