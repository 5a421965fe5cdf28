# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""SIGTERM ends long work as Ctrl-C does, so that nothing half-done and no process stays behind."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def terminable() -> Iterator[None]:
    """Raise `KeyboardInterrupt` at SIGTERM inside the `with` block; in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
